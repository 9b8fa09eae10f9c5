"""Loading a language model as phi: its tokenizer, and its body without the language-model head."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from .config import Config, ModelOptions
from .model_choices import (
    compute_dtype,
    device,
    longest,
    quantisation,
    rope_turn,
    stored_dtype,
)
from .rendering import dated, render
from .weights import adapter_identity, adapter_task, weights_identity

__all__ = [
    "LanguageModel",
    "adapter_identity",
    "compute_dtype",
    "device",
    "load_backbone",
    "load_config",
    "load_tokenizer",
    "longest",
    "quantisation",
    "render",
    "require_startable",
    "rope_turn",
    "stored_dtype",
    "weights_identity",
]

_HEADS = ("score", "classifier", "pooler", "lm_head")  # parts that phi does not use
_TASKS = {
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "FEATURE_EXTRACTION": transformers.AutoModel,
}


class LanguageModel(NamedTuple):
    """A model that turns tokens into hidden states, ready to run."""

    tokenizer: Any
    backbone: Any  # a torch module: input_ids (b, t) -> last_hidden_state (b, t, d_model)
    device: torch.device
    causal: bool  # False: a token sees those after it (an encoder such as BERT)
    widths: tuple[int, ...]  # of each hidden state: the embeddings', each layer's; the last one's


def require_startable(
    config: Config, environment: Mapping[str, str] = os.environ, *, trains: bool = True
) -> None:
    """``ValueError`` where training would fail here after labels are bought, or run more than once.

    One process walks a run. Where it ``trains``: TRL's trainers take one visible GPU, and LoRA needs
    modules to adapt, which have to be named where peft makes no choice for the architecture.
    """
    processes = environment.get("WORLD_SIZE", "1")
    if processes.isdecimal() and int(processes) > 1:
        raise ValueError(
            f"WORLD_SIZE: found {processes} processes; needed one: each would walk the same run and "
            "buy its labels. Start activeduel by itself, without accelerate launch or torchrun."
        )
    if trains:
        _require_trainable(config)


def _require_trainable(config: Config) -> None:
    options, training = config.model, config.training
    with_dpo = bool(config.selection.baselines) or training.dpo_baseline
    with_trl = training.method == "reward" or (training.method == "adpo" and with_dpo)
    gpus = torch.cuda.device_count() if device(options).type == "cuda" else 0
    if with_trl and gpus > 1:
        raise ValueError(
            f"device: found {gpus} visible GPUs; needed one: TRL's trainers refuse several in one "
            "process. Set CUDA_VISIBLE_DEVICES=0 (or another number), or say device: cpu."
        )
    if training.method != "head" and options.use_peft:
        from .on_meta import NotBuilt, lora_targets

        found = load_config(options)
        own = options.model_revision if options.trust_remote_code else None
        with suppress(NotBuilt):  # what could not be tried here may train all the same
            lora_targets(found, options.lora_target_modules, own_code=own)


def load_tokenizer(options: ModelOptions) -> Any:
    """The model's tokenizer, its chat template ``dated``; ``ValueError`` where it cannot be had."""
    with _named(options):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
        )
    template = tokenizer.chat_template
    if isinstance(template, dict):
        tokenizer.chat_template = {name: dated(text) for name, text in template.items()}
    elif template:
        tokenizer.chat_template = dated(template)
    return tokenizer


def load_config(options: ModelOptions) -> Any:
    """The model's configuration; ``ValueError`` where it cannot be had, or is of an encoder-decoder."""
    with _named(options):
        config = transformers.AutoConfig.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"model_name_or_path: found an encoder-decoder ({config.model_type}); needed a "
            "causal model or an encoder. Choose another model."
        )
    return config


def load_backbone(options: ModelOptions, adapter: Path | None = None) -> LanguageModel:
    """The model without its language-model head, in evaluation mode, with the adapter where one is given.

    An adapter that peft saved on a causal model or on a sequence classifier serves alike: its weights
    in the body are used, its head is not. Weights must be safetensors. No global generator is left
    changed. Raises ``ValueError`` where something is missing: the model, a package, a GPU.
    """
    place, asked = device(options), quantisation(options)
    load_config(options)  # refuses what is no text model before any weight is read
    if adapter is not None:
        kind = _TASKS.get(adapter_task(adapter) or "CAUSAL_LM", transformers.AutoModel)
        _needs("peft", "an adapter")
    else:
        kind = transformers.AutoModel
    with _own_randomness(), _named(options):
        model = _load(kind, options, asked, place)
        if adapter is not None:
            model = _adapted(model, adapter)
    backbone = model.base_model if hasattr(model, "base_model") else model
    if asked is None:
        backbone = backbone.to(place)
    backbone = backbone.eval().requires_grad_(False)
    backbone.config.get_text_config().use_cache = False
    causal, widths = _tried(backbone, place)
    return LanguageModel(load_tokenizer(options), backbone, place, causal, widths)


def _load(kind: Any, options: ModelOptions, asked: dict[str, Any] | None, place: Any) -> Any:
    """The model of this kind, every weight of its body read from the checkpoint."""
    more: dict[str, Any] = {}
    if options.attn_implementation is not None:
        more["attn_implementation"] = options.attn_implementation
    if asked is not None:
        _needs("bitsandbytes", "load_in_4bit and load_in_8bit")
        if options.load_in_4bit:
            asked = {**asked, "bnb_4bit_compute_dtype": getattr(torch, compute_dtype(options))}
        more["quantization_config"] = transformers.BitsAndBytesConfig(**asked)
        more["device_map"] = {"": place}
    if kind is transformers.AutoModelForSequenceClassification:
        more["num_labels"] = 1
    dtype = options.dtype if options.dtype == "auto" else getattr(torch, options.dtype)
    with _quiet():
        model, report = kind.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            **more,
        )
    absent = [k for k in report["missing_keys"] if not any(part in k for part in _HEADS)]
    if absent:
        raise ValueError(
            f"model_name_or_path: found no weights for {min(absent)!r} (and {len(absent) - 1} "
            f"more) in {options.model_name_or_path!r}; needed all. Save the whole model again."
        )
    return model


def _adapted(model: Any, adapter: Path) -> Any:
    """The model with the adapter's weights beside its own."""
    import peft

    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return peft.PeftModel.from_pretrained(model, adapter, is_trainable=False).get_base_model()


def _tried(backbone: Any, place: torch.device) -> tuple[bool, tuple[int, ...]]:
    """Whether states stay when later tokens change, and the widths of all states: tried, not believed.

    Each dimension is compared with its own size: some models have a few that are huge.
    """
    texts = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 16, 15, 14, 13]], device=place)
    try:
        with torch.inference_mode():
            found = backbone(input_ids=texts, output_hidden_states=True)
        states = [*found.hidden_states, found.last_hidden_state]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"model_name_or_path: found a model ({backbone.config.model_type}) that makes no hidden "
            f"states from tokens alone ({str(error)[:200]}); needed a causal language model or an "
            "encoder. Choose another, or load it without load_in_8bit and load_in_4bit."
        ) from error
    widths = tuple(s.shape[2] if s.shape[:-1] == texts.shape else 0 for s in states)
    if not widths[-1]:
        raise ValueError(
            f"model_name_or_path: found last hidden states of shape {tuple(states[-1].shape)} for "
            f"tokens {tuple(texts.shape)}; needed one vector a token. Choose another model."
        )
    before = states[-1][:, :4].float()
    apart, size = (before[0] - before[1]).abs(), before.abs().amax(dim=(0, 1))
    rounding = 1e-4 if states[-1].dtype == torch.float32 else 1e-2
    return bool((apart <= rounding * size).all()), widths


def _needs(package: str, what: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"{package}: found no such package; needed it for {what}. "
            f"Install it: pip install {package}"
        )


@contextmanager
def _named(options: ModelOptions) -> Iterator[None]:
    """Errors of the loading library, in our words, with the model named."""
    try:
        yield
    except (OSError, ImportError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"model_name_or_path: could not load {options.model_name_or_path!r}: {first[:300]} "
            "Needed a transformers model with safetensors weights (pickled .bin weights are never "
            "read). Check the name, the revision, the access, and whether HF_HUB_OFFLINE is meant."
        ) from error


@contextmanager
def _own_randomness() -> Iterator[None]:
    """What initialises weights (heads, adapters, before they are read) leaves torch's generator alone."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and the report of heads that are left out: that is what is meant."""
    speech = transformers.utils.logging
    level, bars = speech.get_verbosity(), speech.is_progress_bar_enabled()
    speech.set_verbosity_error()
    speech.disable_progress_bar()
    try:
        yield
    finally:
        speech.set_verbosity(level)
        if bars:
            speech.enable_progress_bar()

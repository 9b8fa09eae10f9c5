"""Loading a language model as phi: its tokenizer, and its body without the language-model head."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from .config import ModelOptions
from .rendering import render
from .weights import adapter_identity, adapter_task, weights_identity

__all__ = [
    "LanguageModel",
    "adapter_identity",
    "device",
    "load_backbone",
    "load_config",
    "load_tokenizer",
    "longest",
    "quantisation",
    "render",
    "stored_dtype",
    "weights_identity",
]

_HEADS = ("score", "classifier", "pooler", "lm_head")  # parts that phi does not use
_TASKS = {
    "CAUSAL_LM": transformers.AutoModelForCausalLM,
    "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    "FEATURE_EXTRACTION": transformers.AutoModel,
}
UNLIMITED = 10**9  # a tokenizer without a limit says a number above this


class LanguageModel(NamedTuple):
    """A model that turns tokens into hidden states, ready to run."""

    tokenizer: Any
    backbone: Any  # a torch module: input_ids (b, t) -> last_hidden_state (b, t, d_model)
    device: torch.device
    causal: bool  # False: a token sees those after it (an encoder such as BERT)
    dimension: int  # d_model
    layers: int


def device(options: ModelOptions) -> torch.device:
    """The device that ``options.device`` means here: "auto" takes a GPU where there is one.

    Raises ``ValueError`` for "cuda" without a GPU.
    """
    gpu = torch.cuda.is_available()
    if options.device == "cuda" and not gpu:
        raise ValueError(
            "device: found 'cuda', but torch sees no GPU; needed one. Use device: cpu (or auto), or "
            "install torch's CUDA build and check the driver."
        )
    return torch.device("cuda" if gpu and options.device != "cpu" else "cpu")


def load_tokenizer(options: ModelOptions) -> Any:
    """The model's tokenizer; ``ValueError`` where it cannot be had."""
    with _named(options):
        return transformers.AutoTokenizer.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
        )


def load_config(options: ModelOptions) -> Any:
    """The model's configuration; ``ValueError`` where it cannot be had."""
    with _named(options):
        return transformers.AutoConfig.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
        )


def longest(config: Any, tokenizer: Any, max_length: int) -> int:
    """How many tokens a text may have: ``max_length``, or less where the model has fewer positions."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or max_length
    known = tokenizer.model_max_length
    return int(min(max_length, positions, known if known < UNLIMITED else max_length))


def stored_dtype(options: ModelOptions, config: Any) -> str:
    """The type that the weights are computed in: as asked, or as the checkpoint says ("auto")."""
    if options.dtype != "auto":
        return options.dtype
    return str(config.get_text_config().dtype or torch.float32).removeprefix("torch.")


def quantisation(options: ModelOptions) -> dict[str, Any] | None:
    """What bitsandbytes is told, or None; ``ValueError`` where 4 and 8 bits are both asked for."""
    if options.load_in_4bit and options.load_in_8bit:
        raise ValueError(
            "load_in_4bit, load_in_8bit: found both; needed at most one. Choose one of them."
        )
    if options.load_in_8bit:
        return {"load_in_8bit": True}
    if not options.load_in_4bit:
        return None
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": options.bnb_4bit_quant_type,
        "bnb_4bit_use_double_quant": options.use_bnb_nested_quant,
    }


def load_backbone(options: ModelOptions, adapter: Path | None = None) -> LanguageModel:
    """The model without its language-model head, in evaluation mode, with the adapter where one is given.

    An adapter that peft saved on a causal model or on a sequence classifier serves alike: its weights
    in the body are used, its head is not. Weights must be safetensors. No global generator is left
    changed. Raises ``ValueError`` where something is missing: the model, a package, a GPU.
    """
    place, asked = device(options), quantisation(options)
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
    config = backbone.config.get_text_config()
    config.use_cache = False
    if getattr(backbone.config, "is_encoder_decoder", False):
        raise ValueError(
            f"model_name_or_path: found an encoder-decoder ({backbone.config.model_type}); needed a "
            "causal model or an encoder. Choose another model."
        )
    return LanguageModel(
        load_tokenizer(options),
        backbone,
        place,
        _is_causal(backbone, place),
        int(config.hidden_size),
        int(config.num_hidden_layers),
    )


def _load(kind: Any, options: ModelOptions, asked: dict[str, Any] | None, place: Any) -> Any:
    """The model of this kind, every weight of its body read from the checkpoint."""
    more: dict[str, Any] = {}
    if options.attn_implementation is not None:
        more["attn_implementation"] = options.attn_implementation
    if asked is not None:
        _needs("bitsandbytes", "load_in_4bit and load_in_8bit")
        if options.load_in_4bit:
            half = torch.bfloat16 if place.type == "cuda" else torch.float32
            chosen = half if options.dtype == "auto" else getattr(torch, options.dtype)
            asked = {**asked, "bnb_4bit_compute_dtype": chosen}
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


def _is_causal(backbone: Any, place: torch.device) -> bool:
    """Whether a token's hidden state stays when a later token changes: tried, not believed."""
    texts = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=place)
    with torch.inference_mode():
        states = backbone(input_ids=texts).last_hidden_state[:, :3].float()
    apart, size = (states[0] - states[1]).abs().max(), states.abs().max()
    return bool(apart <= 1e-3 * size)


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

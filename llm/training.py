"""What trainings share: a model to train and to save, batches, log-probabilities, the optimizer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PretrainedConfig,
)

from .config import ModelOptions
from .models import device, load_config, load_tokenizer, longest, quantisation
from .surroundings import quiet, written_to
from .tokens import TokenRow

HEADS = ("score", "classifier")  # names of a reward head, by architecture
_CHUNK = 1024  # rows of logits that are turned to float32 at once


class Batch(NamedTuple):
    """Padded rows (r, L): tokens, which of them are there, and which belong to a response."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    response: torch.Tensor


def computes_in_bfloat16(options: ModelOptions) -> bool:
    """Whether training runs in mixed precision: asked for, or left open on a GPU or with 4 or 8 bits.

    ``ValueError`` for float16, which would need its loss scaled.
    """
    if options.dtype == "float16":
        raise ValueError(
            "dtype: found float16, whose gradients vanish without scaling of the loss; needed "
            "bfloat16 or float32 for training. Choose one."
        )
    if options.dtype == "auto":
        return device(options).type == "cuda" or quantisation(options) is not None
    return options.dtype == "bfloat16"


def tokenizer_of(options: ModelOptions) -> Any:
    """The model's tokenizer; its end of sequence pads where it has no token for that."""
    tokenizer = load_tokenizer(options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def max_length_of(options: ModelOptions, tokenizer: Any, max_length: int) -> int:
    """``max_length``, or less where the model has fewer positions."""
    return longest(load_config(options), tokenizer, max_length)


def load_base(options: ModelOptions, tokenizer: Any, *, reward: bool = False) -> Any:
    """The causal model, or with ``reward`` the same with one score, on its device, without dropout.

    Weights that will all be trained are float32 (bfloat16 would swallow their steps), those under
    LoRA are as ``dtype`` says (on a CPU "auto" is float32), 4 or 8 bits where asked. Only LoRA's own
    dropout drops anything: what the configuration says of others is 0, also where the model is saved
    whole. ``ValueError`` where the checkpoint lacks weights.
    """
    auto: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    place, bits = device(options), quantisation(options)
    exact = not options.use_peft or (options.dtype == "auto" and place.type == "cpu")
    config = load_config(options)
    _steady(config)
    if reward:
        config.num_labels = 1
    settings: dict[str, Any] = {"config": config}
    if options.attn_implementation:
        settings["attn_implementation"] = options.attn_implementation
    if bits is not None:
        settings |= {"quantization_config": _bits(options, bits, reward), "device_map": {"": place}}
    with quiet():
        model, report = auto.from_pretrained(
            options.model_name_or_path,
            revision=options.model_revision,
            trust_remote_code=options.trust_remote_code,
            use_safetensors=True,
            dtype="float32" if exact else options.dtype,
            output_loading_info=True,
            **settings,
        )
    new = HEADS if reward else ()
    if absent := [k for k in report["missing_keys"] if not k.startswith(new)]:
        raise ValueError(
            f"model_name_or_path: found no weights for {min(absent)!r} (and {len(absent) - 1} more) "
            f"in {options.model_name_or_path!r}; needed all. Choose a causal language model."
        )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # one that the configuration does not name
            module.p = 0.0
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model if bits else model.to(place)


def _steady(config: Any) -> None:
    """No probability of dropping or jittering anything, in a configuration and those within it."""
    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            _steady(value)
        elif ("drop" in name or "jitter" in name) and type(value) in (float, int):
            setattr(config, name, type(value)(0))


def _bits(options: ModelOptions, bits: dict[str, Any], reward: bool) -> BitsAndBytesConfig:
    if options.load_in_4bit:
        half = computes_in_bfloat16(options)
        bits = {**bits, "bnb_4bit_compute_dtype": torch.bfloat16 if half else torch.float32}
    # a fresh head has nothing to quantise yet, and is trained
    return BitsAndBytesConfig(**bits, llm_int8_skip_modules=list(HEADS) if reward else None)


def load_trained(
    options: ModelOptions, tokenizer: Any, folder: Path, *, reward: bool = False
) -> Any:
    """What a training published in ``folder``: the base with its adapter, or a whole model."""
    if (folder / "adapter_config.json").exists():
        return with_adapter(load_base(options, tokenizer, reward=reward), folder)
    whole = replace(options, model_name_or_path=str(folder), model_revision="main")
    return load_base(whole, tokenizer, reward=reward)


def lora(options: ModelOptions, model: Any, *, reward: bool = False) -> Any:
    """The LoRA configuration; a reward head is trained and saved with it.

    ``ValueError`` for a target that names nothing in the model: peft overlooks it beside others.
    """
    from peft import LoraConfig

    targets = options.lora_target_modules
    if targets and targets != ("all-linear",):
        _all_there(targets, model)
    return LoraConfig(
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        # peft knows this word only as a text: in a list it would be a module's name
        target_modules="all-linear" if targets == ("all-linear",) else targets and list(targets),
        modules_to_save=[name for name in HEADS if hasattr(model, name)] if reward else None,
    )


def _all_there(targets: Sequence[str], model: Any) -> None:
    modules = {f".{name}": module for name, module in model.named_modules()}
    if lost := [t for t in targets if not any(path.endswith(f".{t}") for path in modules)]:
        matrices = [
            path
            for path, m in modules.items()
            if getattr(getattr(m, "weight", None), "ndim", 0) == 2
        ]
        known = ", ".join(sorted({path.rpartition(".")[2] for path in matrices}))
        raise ValueError(
            f"lora_target_modules: found {', '.join(lost)}, which the model has not; needed names of its "
            f"modules ({known}), or all-linear. Correct them."
        )


def with_adapter(model: Any, adapter: Path | None, *, trainable: bool = False) -> Any:
    """The model with a saved adapter on it; the model itself where ``adapter`` is None."""
    if adapter is None:
        return model
    from peft import PeftModel

    with quiet():
        return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)


def start_policy(options: ModelOptions, tokenizer: Any, start: Path | None, seed: int) -> Any:
    """The causal model to train: under a saved adapter, under a fresh one that ``seed`` draws, or whole."""
    policy = with_adapter(load_base(options, tokenizer), start, trainable=True)
    if start is None and options.use_peft:
        from peft import get_peft_model

        torch.manual_seed(seed)
        policy = get_peft_model(policy, lora(options, policy))
    return policy.train()


def mixed_precision(options: ModelOptions) -> Any:
    """Context in which a forward pass computes in bfloat16, where the options say so."""
    enabled = computes_in_bfloat16(options)
    return torch.autocast(device(options).type, dtype=torch.bfloat16, enabled=enabled)


def adamw(
    weights: Mapping[str, torch.Tensor], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW as transformers sets it up: biases and norms (one-dimensional) do not decay."""
    groups = [
        {"params": [w for w in weights.values() if w.ndim > 1], "weight_decay": weight_decay},
        {"params": [w for w in weights.values() if w.ndim <= 1], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return torch.optim.AdamW(filled, lr=learning_rate, fused=True)


def checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:  # its name before transformers 5.23
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()


def save_model(model: Any, folder: Path) -> None:
    """Write an adapter (or, without one, the model) as safetensors; looks nothing up on a hub."""
    if hasattr(model, "peft_config"):
        with written_to(folder):
            model.save_pretrained(
                folder, selected_adapters=["default"], save_embedding_layers=False
            )
        (folder / "README.md").unlink(missing_ok=True)  # a model card made of blanks
        path = folder / "adapter_config.json"
        facts = json.loads(path.read_bytes())
        if isinstance(facts["target_modules"], list):
            facts["target_modules"].sort()  # they come in the order of a set: another each time
        path.write_text(json.dumps(facts, indent=2, sort_keys=True))
    else:
        with written_to(folder):
            model.save_pretrained(folder)


def collate(rows: Sequence[TokenRow], pad: int, place: torch.device) -> Batch:
    """Rows padded on the right to the longest."""
    length = max(len(row.tokens) for row in rows)
    tokens = torch.full((len(rows), length), pad, dtype=torch.long)
    position = torch.arange(length)
    ends = torch.tensor([len(row.tokens) for row in rows])[:, None]
    starts = torch.tensor([row.start for row in rows])[:, None]
    for r, row in enumerate(rows):
        tokens[r, : len(row.tokens)] = torch.from_numpy(row.tokens)
    there = position < ends
    return Batch(tokens.to(place), there.long().to(place), (there & (position >= starts)).to(place))


def log_probabilities(model: Any, batch: Batch) -> torch.Tensor:
    """log pi(response | prompt) of each row, summed over the response's tokens: (r,) float32.

    Logits are made of the response's positions alone: those of prompts and padding are never used.
    """
    keep = F.pad(batch.response[:, 1:], (0, 1))  # positions whose next token is the response's
    targets = batch.input_ids[:, 1:][batch.response[:, 1:]]
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0][keep][None],)
    )
    try:
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits[0]
    finally:
        hook.remove()
    if logits.dtype == torch.float32:
        chosen = _log_probability_of(logits, targets)
    else:
        parts = zip(logits.split(_CHUNK), targets.split(_CHUNK), strict=True)
        chosen = torch.cat(
            [checkpoint(_log_probability_of, *part, use_reentrant=False) for part in parts]
        )
    return chosen.new_zeros(keep.shape).masked_scatter(keep, chosen).sum(dim=1)


def _log_probability_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -F.cross_entropy(logits.float(), targets, reduction="none")

"""What a model's options mean for this model on this machine: device, types, bits and length."""

from __future__ import annotations

from typing import Any

import torch

from .config import ModelOptions

UNLIMITED = 10**9  # a tokenizer without a limit says a number above this
_COUNTS_FROM_PADDING = (  # the first position is the padding token's number + 1
    "camembert",
    "data2vec-text",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


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


def longest(config: Any, tokenizer: Any, max_length: int) -> int:
    """How many tokens a text may have: ``max_length``, or less where the model has fewer positions."""
    text, known = config.get_text_config(), tokenizer.model_max_length
    positions = getattr(text, "max_position_embeddings", None) or -1  # XLNet says -1: no limit
    if text.model_type in _COUNTS_FROM_PADDING:
        positions -= text.pad_token_id + 1
    limits = [limit for limit in (positions, known) if 0 < limit < UNLIMITED]
    return int(min(max_length, *limits)) if limits else max_length


def rope_turn(config: Any) -> int | None:
    """The length above which a batch's longest text changes the positions of all its texts.

    So it is with "longrope" (Phi-3's long versions), which has one set of frequencies up to here and
    another above; None elsewhere.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    turns = [
        kind.get("original_max_position_embeddings") or text.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") == "longrope"
    ]
    return min(map(int, turns), default=None)


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


def compute_dtype(options: ModelOptions) -> str:
    """The type in which a 4-bit body's matrix products are: as asked; "auto": bfloat16 on a GPU."""
    if options.dtype != "auto":
        return options.dtype
    return "bfloat16" if device(options).type == "cuda" else "float32"

"""What features are kept under: the texts of a pool, and everything that changes their features."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._provenance import package_versions
from ..theory.checks import Ints
from .config import FeatureOptions, ModelOptions
from .forms import canonical
from .model_choices import compute_dtype, device, quantisation, stored_dtype

if TYPE_CHECKING:
    from .data import Text, TextPool

FORMAT = 2  # of what features.py and rendering.py make of a text: raised when that changes
PACKAGES = ("torch", "transformers", "tokenizers")


class Texts(NamedTuple):
    """The different texts of a pool: a response that stands in several pairs is read once."""

    rows: list[tuple[Text, Text]]  # (prompt, response) of each
    slots: Ints  # (2n,) which of them each response of each pair is
    identity: str  # sha256 over all of them, in the pool's order


def texts_of(pool: TextPool) -> Texts:
    """The different (prompt, response) of a pool, and where each stands."""
    known: dict[bytes, int] = {}
    rows: list[tuple[Text, Text]] = []
    slots = np.empty(2 * len(pool.pair_ids), dtype=np.int64)
    whole = hashlib.sha256()
    for i, (prompt, responses) in enumerate(zip(pool.prompts, pool.responses, strict=True)):
        start = canonical(prompt)
        for side, response in enumerate(responses):
            text = f"{start}\0{canonical(response)}"
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            whole.update(digest)
            slots[2 * i + side] = known.setdefault(digest, len(rows))
            if len(known) > len(rows):
                rows.append((prompt, response))
    return Texts(rows, slots, whole.hexdigest())


def tokenizer_identity(tokenizer: Any) -> str:
    """sha256 over what turns text into tokens: vocabulary, rules and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules = repr(sorted(tokenizer.get_vocab().items()))
    else:
        bare = type(backend).from_str(backend.to_str())
        bare.no_padding()
        bare.no_truncation()
        rules = bare.to_str()
    special = sorted((k, str(v)) for k, v in tokenizer.special_tokens_map.items())
    return _digest(f"{type(tokenizer).__name__}\n{special}\n{rules}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def settings_of(
    texts: Texts,
    model: ModelOptions,
    options: FeatureOptions,
    tokenizer: Any,
    config: Any,
    *,
    adapted: bool,
) -> dict[str, Any]:
    """Everything that changes features beside weights, adapter and length.

    Which attention "default" is follows from the model and the packages. Padding is ours, whatever
    the tokenizer's side is; dropout is off.
    """
    bits = quantisation(model)
    computed = {"compute_dtype": compute_dtype(model)} if model.load_in_4bit else {}
    return {
        "format": FORMAT,
        "tokenizer": tokenizer_identity(tokenizer),
        "chat_template": _digest(str(tokenizer.chat_template)),
        "truncation": "keep_end",
        "layer": options.layer,
        "pooling": options.pooling,
        "dtype": stored_dtype(model, config),
        "attention": model.attn_implementation or "default",
        "quantisation": None if bits is None else bits | computed,
        "pool": texts.identity,
        **computed_with(model, adapted=adapted),
    }


def computed_with(model: ModelOptions, *, adapted: bool) -> dict[str, Any]:
    """The device and the packages, whose kernels round each in their own way."""
    used = [*PACKAGES, *["peft"] * adapted, *["bitsandbytes"] * (quantisation(model) is not None)]
    return {
        "device": device(model).type,
        "float32_products": torch.get_float32_matmul_precision(),  # TF32 where it is not "highest"
        "packages": {k: v for k, v in package_versions(used).items() if k != "python"},
    }

"""Which training a folder belongs to: everything that its result is a function of."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._provenance import canonical
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .feature_key import tokenizer_identity
from .training import tokenizer_of
from .weights import weights_identity

if TYPE_CHECKING:
    from .data import TextPool

# where things stand, and how fast: the weights are known by their content
_NOT_IDENTITY = ("model_name_or_path", "model_revision", "trust_remote_code", "tokens_per_batch",
                 "save_steps")  # fmt: skip


def training_identity(
    pool: "TextPool",
    examples: Sequence[Any],
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    seed: int,
    *,
    memory: Path | None,
    **more: Any,
) -> dict[str, Any]:
    """Data, options, seed and the contents of the weights, as JSON; ``memory`` as in ``weights_identity``.

    ``examples`` are the pairs or the labels, in their order; ``more`` is what this training has besides.
    """
    tokenizer = tokenizer_of(model)
    rules = f"{tokenizer_identity(tokenizer)}\n{tokenizer.chat_template}"
    options = asdict(model) | asdict(features) | asdict(training)
    options["confidence_threshold"] = repr(training.confidence_threshold)  # infinity is not JSON
    return {
        "pool": pool.identity,
        "examples": hashlib.sha256(np.asarray(examples, dtype="<f8").tobytes()).hexdigest(),
        "options": {k: v for k, v in options.items() if k not in _NOT_IDENTITY},
        "weights": weights_identity(model, memory=memory),
        "tokenizer": hashlib.sha256(rules.encode("utf-8", "surrogatepass")).hexdigest(),
        "seed": seed,
        **more,
    }


def published(folder: Path, name: str, identity: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds this training's result, by its JSON file ``name``; False: nothing is there.

    ``ValueError`` where something else is.
    """
    if not folder.exists():
        return False
    try:
        found = dict(json.loads((folder / name).read_bytes())["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder}: found something that is no result of a training ({name} does not say so); "
            "needed an empty place. It was kept: move it away, or name another folder."
        ) from None
    if other := differing(found, identity):
        raise ValueError(
            f"{folder}: found the result of another training ({other}); needed this one's, or "
            "nothing. It was kept as it is: move it away, or name another folder."
        )
    return True


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In words, what two identities do not share; empty where they are the same."""
    one, other = (
        {**facts.get("options", {}), **facts} for facts in (found, json.loads(canonical(wanted)))
    )
    names = sorted(k for k in one | other if k != "options" and one.get(k) != other.get(k))
    return f"other {', '.join(names)}" if names else ""

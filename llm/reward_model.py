"""The reward model that a run leaves: a linear head on a language model's features, and how to use it.

A folder with ``head.safetensors`` (centre, turn, theta), ``reward.json`` (the model, how features are
made) and, where one was trained, the LoRA adapter.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._durable import TEMPORARY, publish_folder
from ..theory.checks import Floats
from .config import Config, FeatureOptions, ModelOptions
from .head import Fit, Projection

if TYPE_CHECKING:
    from .arm import State
    from .data import Text, TextPool

FORMAT = "activeduel-reward/1"
HEAD, FACTS, ADAPTER = "head.safetensors", "reward.json", "adapter"


class RewardModel(NamedTuple):
    """r(prompt, response) = theta'(phi(prompt, response) - centre) turn."""

    projection: Projection
    theta: Floats  # (k,)
    model: ModelOptions
    features: FeatureOptions
    adapter: Path | None

    def rewards(self, pool: TextPool, cache: Path) -> Floats:
        """Rewards (n, 2) of both responses of every pair; features are kept in ``cache``."""
        from .features import features

        phi = features(pool, self.model, self.features, cache, adapter=self.adapter)
        return self.projection.rewards(phi, self.theta)

    def score(self, prompts: Sequence[Text], responses: Sequence[Text], cache: Path) -> Floats:
        """Rewards (n,) of single responses, as plain text or as conversations."""
        from .data import TextPool

        n = len(prompts)
        none = np.zeros(0, dtype=np.int64)
        pool = TextPool(
            pair_ids=tuple(map(str, range(n))),
            prompts=tuple(prompts),
            responses=tuple((r, r) for r in responses),
            context=np.zeros(n, dtype=np.int64),
            context_types=("all",),
            group=np.arange(n),
            gold=np.full(n, np.nan),
            rewards=np.full((n, 2), np.nan),
            annotators=(),
            judged_pair=none,
            annotator=none,
            preference=np.zeros(0),
        )
        return self.rewards(pool, cache)[:, 0]


def save_reward_model(
    folder: Path, config: Config, state: State, fit: Fit, adapter: Path | None
) -> Path:
    """Publish the reward model as ``folder``, whole; what an earlier call left there is replaced."""
    from safetensors.numpy import save_file

    temporary = folder.with_name(f"{TEMPORARY}{folder.name}-{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    tensors = {"centre": state.projection.centre, "turn": state.projection.turn, "theta": fit.theta}
    save_file(
        {name: np.ascontiguousarray(values, dtype=np.float64) for name, values in tensors.items()},
        temporary / HEAD,
    )
    if adapter is not None:
        shutil.copytree(adapter, temporary / ADAPTER)
    facts = {
        "format": FORMAT,
        "model": dataclasses.asdict(config.model),
        "features": dataclasses.asdict(config.features),
        "state": state.id,
        "kept_share": state.projection.kept_share,
        "labels": fit.labels,
    }
    (temporary / FACTS).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    publish_folder(temporary, folder)
    return folder


def load_reward_model(folder: Path) -> RewardModel:
    """The reward model in ``folder``; ``ValueError`` where that is something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"the format {facts['format']!r}")
        tensors = load_file(folder / HEAD)
        model, features = facts["model"], facts["features"]
        if model["lora_target_modules"] is not None:
            model["lora_target_modules"] = tuple(model["lora_target_modules"])
        return RewardModel(
            Projection(tensors["centre"], tensors["turn"], facts["kept_share"]),
            tensors["theta"],
            ModelOptions(**model),
            FeatureOptions(**features),
            folder / ADAPTER if (folder / ADAPTER).is_dir() else None,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"{folder}: found no reward model ({error}); needed a folder that activeduel llm run or "
            "train has left. Run it first, or pass its folder."
        ) from error

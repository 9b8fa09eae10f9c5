"""A reward model with LoRA, by TRL's RewardTrainer as it is, and the rewards that it gives."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from ..theory.checks import Floats
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .features import batches
from .identity import published, training_identity
from .model_choices import rope_turn
from .surroundings import kept_randomness, quiet
from .tokens import TokenRow, both_sides
from .training import (
    collate,
    load_base,
    load_trained,
    lora,
    max_length_of,
    mixed_precision,
    tokenizer_of,
)
from .trl_stage import chosen_first, stage, train, trainer_settings

if TYPE_CHECKING:
    from .data import TextPool

FACTS = "reward.json"


def train_reward(
    pool: "TextPool",
    labels: Sequence[tuple[int, float]],
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    folder: Path,
    *,
    seed: int,
    memory: Path | None = None,
    report_to: str = "none",
    progress: bool = False,
) -> Path:
    """Train rewards on ``labels`` (pair, preference for a) and publish them as ``folder``.

    LoRA and a score head (or the whole model without ``use_peft``) minimise
    -log sigmoid(r(chosen) - r(rejected)). Ties are dropped and counted in reward.json beside the
    adapter. Texts longer than ``features.max_length`` lose their beginning, as features do. This
    training's own result is returned untouched; ``memory``: where hashes of files are remembered. The
    same labels, options and seed give the same weights on one CPU thread. ``ValueError`` where no label
    is decided, ``folder`` is another training's, or the weights do not stay finite.
    """
    identity = training_identity(
        pool, labels, model, features, training, seed, memory=memory, method="reward"
    )
    if published(folder, FACTS, identity):
        return folder
    decided, tokenizer = chosen_first(labels), tokenizer_of(model)
    rows = _rows(pool, [pair for pair, _ in decided], model, features, tokenizer)
    chosen = [rows[2 * i + side].tokens for i, (_, side) in enumerate(decided)]
    rejected = [rows[2 * i + 1 - side].tokens for i, (_, side) in enumerate(decided)]
    with stage(folder, seed) as temporary:
        base = load_base(model, tokenizer, reward=True)
        settings = trainer_settings(model, training, temporary, seed, progress)
        trainer = RewardTrainer(
            base,
            # rows that are too long are cut already: TRL would drop them, and they are paid for
            args=RewardConfig(**settings, report_to=report_to, max_length=None),
            train_dataset=Dataset.from_dict({"chosen_ids": chosen, "rejected_ids": rejected}),
            processing_class=tokenizer,
            peft_config=lora(model, base, reward=True) if model.use_peft else None,
        )
        ties = len(labels) - len(decided)
        facts = {"labels": len(labels), "ties": ties, "identity": identity}
        train(trainer, tokenizer, temporary, FACTS, facts)
        del trainer, base  # they hold each other in circles, and two models may not fit a GPU
        gc.collect()
    return folder


def rewards(
    pool: "TextPool",
    pairs: Sequence[int],
    model: ModelOptions,
    features: FeatureOptions,
    adapter: Path,
) -> Floats:
    """Rewards of both sides of each pair, (len, 2), by what ``train_reward`` published in ``adapter``.

    They do not depend on the batches (``features.tokens_per_batch``) beyond rounding.
    """
    tokenizer = tokenizer_of(model)
    rows = _rows(pool, pairs, model, features, tokenizer)
    with kept_randomness(0), quiet():  # the head is drawn before it is read
        trained = load_trained(model, tokenizer, adapter, reward=True).eval()
    found = np.empty(len(rows))
    lengths, turn = np.array([len(row.tokens) for row in rows]), rope_turn(trained.config)
    for batch in batches(lengths, features.tokens_per_batch, turn):
        found[batch] = _scores(trained, [rows[i] for i in batch], model, tokenizer.pad_token_id)
    return found.reshape(-1, 2)


def _scores(trained: Any, rows: list[TokenRow], model: ModelOptions, pad: int) -> Floats:
    batch = collate(rows, pad, next(trained.parameters()).device)
    with torch.inference_mode(), quiet(), mixed_precision(model):
        logits = trained(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return np.asarray(logits.float().cpu().numpy()[:, 0], dtype=np.float64)


def _rows(
    pool: "TextPool",
    pairs: Sequence[int],
    model: ModelOptions,
    features: FeatureOptions,
    tokenizer: Any,
) -> list[TokenRow]:
    """Both sides of each pair, a before b, cut to the maximal length at the beginning."""
    length = max_length_of(model, tokenizer, features.max_length)
    both = both_sides(pool, pairs, tokenizer, length)
    return [TokenRow(text.ids, text.response) for pair in both for text in pair]

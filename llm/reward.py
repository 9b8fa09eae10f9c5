"""A reward model with LoRA, by TRL's RewardTrainer as it is, and the rewards that it gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from ..theory.checks import Floats
from .config import FeatureOptions, ModelOptions, TrainingOptions
from .rendering import encode
from .tokens import TokenRow
from .training import (
    collate,
    kept_randomness,
    load_base,
    load_trained,
    lora,
    max_length_of,
    mixed_precision,
    quiet,
    tokenizer_of,
)
from .trl_stage import stage, train, trainer_settings

if TYPE_CHECKING:
    from .data import TextPool


def train_reward(
    pool: "TextPool",
    labels: Sequence[tuple[int, float]],
    model: ModelOptions,
    features: FeatureOptions,
    training: TrainingOptions,
    folder: Path,
    *,
    seed: int,
    report_to: str = "none",
    progress: bool = False,
) -> Path:
    """Train rewards on ``labels`` (pair, preference for a) and publish them as ``folder``.

    LoRA and a score head (or the whole model without ``use_peft``) minimise
    -log sigmoid(r(chosen) - r(rejected)). Ties are dropped and counted in reward.json beside the
    adapter. Texts longer than ``features.max_length`` lose their beginning, as features do. A folder
    that is there is returned untouched. The same labels, options and seed give the same weights on
    one CPU thread. ``ValueError`` where no label is decided.
    """
    if folder.exists():
        return folder
    decided = [label for label in labels if label[1] != 0.5]
    if not decided:
        raise ValueError(f"labels: found {len(labels)}, none decided; needed one. Ask for more.")
    tokenizer = tokenizer_of(model)
    rows = _rows(pool, [pair for pair, _ in decided], model, features, tokenizer)
    a, b = rows[::2], rows[1::2]
    sides = [
        (x, y) if label[1] > 0.5 else (y, x) for x, y, label in zip(a, b, decided, strict=True)
    ]
    with stage(folder, seed) as temporary:
        base = load_base(model, tokenizer, reward=True)
        settings = trainer_settings(model, training, temporary, seed, progress)
        trainer = RewardTrainer(
            base,
            # rows that are too long are cut already: TRL would drop them, and they are paid for
            args=RewardConfig(**settings, report_to=report_to, max_length=None),
            train_dataset=Dataset.from_dict(
                {
                    "chosen_ids": [chosen.tokens for chosen, _ in sides],
                    "rejected_ids": [rejected.tokens for _, rejected in sides],
                }
            ),
            processing_class=tokenizer,
            peft_config=lora(model, base, reward=True) if model.use_peft else None,
        )
        facts = {"labels": len(labels), "ties": len(labels) - len(decided), "seed": seed}
        train(trainer, tokenizer, temporary, "reward.json", facts)
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
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i].tokens))
    found, start = np.empty(len(rows)), 0
    while start < len(order):
        count = max(1, features.tokens_per_batch // len(rows[order[start]].tokens))
        batch = order[start : start + count]
        found[batch] = _scores(trained, [rows[i] for i in batch], model, tokenizer.pad_token_id)
        start += count
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
    sides = [(pool.prompts[pair], text) for pair in pairs for text in pool.responses[pair]]
    length = max_length_of(model, tokenizer, features.max_length)
    return [TokenRow(t.ids.tolist(), t.response) for t in encode(tokenizer, sides, length)]

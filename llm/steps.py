"""A training's steps: which pairs each takes, and how large it is, as functions of seed and step."""

import hashlib
import math
from functools import lru_cache

import numpy as np

from .config import TrainingOptions


def rate(step: int, steps: int, warm_up: float, kind: str) -> float:
    """Share of the learning rate that step ``step`` of ``steps`` (from 0) takes, as transformers has it.

    Rises linearly over the first ceil(steps ``warm_up``) steps, then falls to 0 ("linear", "cosine")
    or stays ("constant", which does not warm up).

    >>> [rate(step, 4, 0.25, "linear") for step in range(4)]
    [0.0, 1.0, 0.6666666666666666, 0.3333333333333333]
    """
    rising = math.ceil(steps * warm_up)
    if kind == "constant":
        return 1.0
    if step < rising:
        return step / rising
    if kind == "linear":
        return (steps - step) / max(1, steps - rising)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


@lru_cache(maxsize=1)
def pair_order(pairs: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order in which an epoch takes the pairs: 0 .. pairs - 1 shuffled by (seed, epoch)."""
    rng = np.random.default_rng(draw(seed, "order", epoch))
    return tuple(int(i) for i in rng.permutation(pairs))


def step_count(pairs: int, training: TrainingOptions) -> int:
    return math.ceil(training.num_train_epochs * _steps_per_epoch(pairs, training))


def _steps_per_epoch(pairs: int, training: TrainingOptions) -> int:
    micro = math.ceil(pairs / training.per_device_train_batch_size)
    return math.ceil(micro / training.gradient_accumulation_steps)


def micro_batches(step: int, pairs: int, training: TrainingOptions, seed: int) -> list[list[int]]:
    """The micro-batches of a step; an epoch's last may be smaller, and fewer."""
    epoch, within = divmod(step, _steps_per_epoch(pairs, training))
    size, order = training.per_device_train_batch_size, pair_order(pairs, seed, epoch)
    effective = size * training.gradient_accumulation_steps
    taken = order[within * effective : (within + 1) * effective]
    return [list(taken[i : i + size]) for i in range(0, len(taken), size)]


def draw(seed: int, *purpose: str | int) -> int:
    """63 bits that are a function of the seed and what they are for."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

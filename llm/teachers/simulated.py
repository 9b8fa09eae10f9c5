"""A simulated teacher: Bradley-Terry on hidden rewards, with a rationality per context type."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...theory.checks import Ints
from ..config import TeacherOptions
from ..data import TextPool
from .protocol import Answer, Question, uniform
from .settings import read_settings, refuse


@dataclass(frozen=True)
class Settings:
    """The keys of this kind."""

    lapse: float = 0.0  # share of answers given by a coin
    bias: float = 0.0  # towards response a, in logits

    def check(self, options: TeacherOptions) -> None:
        """``ValueError`` where lapse is no share."""
        if not 0 <= self.lapse <= 1:
            refuse(options, f"lapse {self.lapse}", "a share in [0, 1]", "Change it.")


class Simulated:
    """P(a preferred) = lapse/2 + (1 - lapse) mu(b (reward_a - reward_b) + bias), mu(u) = 1/(1+e^-u).

    b is the stated rationality in the pair's context type. The answer compares this probability
    with a uniform number named by (seed, teacher, pair id, number), so no order or batch changes it.
    Raises ``ValueError`` where the pool has no hidden rewards, or lapse lies outside [0, 1].
    Source: Dual Active Learning for RLHF (arXiv 2410.02504), its teacher model.
    """

    instant = True

    def __init__(self, options: TeacherOptions, pool: TextPool, *, seed: int) -> None:
        self.name, self._pool, self._seed = options.name, pool, int(seed)
        self._settings = read_settings(options, Settings)
        self._rationality = options.rationality_in(pool.context_types)
        self._known = ~np.isnan(pool.rewards).any(axis=1)
        if not self._known.any():
            refuse(options, "no hidden rewards", "some", "Name their columns in reward_column.")

    def capacity(self) -> Ints:
        """Unlimited (-1) where both rewards are known, else none."""
        return np.where(self._known, -1, 0).astype(np.int64)

    def probability(self, pair: int, context: int) -> float:
        """P(a preferred) on one pair of the pool."""
        reward_a, reward_b = self._pool.rewards[pair].tolist()
        u = self._rationality[context] * (reward_a - reward_b) + self._settings.bias
        e = math.exp(-abs(u))
        lapse = self._settings.lapse
        return lapse / 2 + (1 - lapse) * (1 / (1 + e) if u >= 0 else e / (1 + e))

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """1 or 0 to each question, in order."""
        for q in questions:
            draw = uniform(self._seed, self.name, q.pair_id, q.number)
            yield Answer(q.key, float(draw < self.probability(q.pair, q.context)))

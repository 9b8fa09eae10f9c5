"""Random querying: plays the best estimate and asks now and then, whatever is at stake."""

from __future__ import annotations

from typing import NamedTuple

from ...theory.checks import positive_number, whole_number
from ..draws import Draws
from ..kernels.random import SELECT
from ..stream import Round, World
from .dueling import Duel, Knowledge, checked_ridge, lowest_best


class RandomQuery(NamedTuple):
    """Random querying with its options; ``random_query`` makes it. The policy counts queries."""

    probability: float
    budget: int | None
    ridge: float
    radius: float = 0.0

    def start(self) -> int:
        return 0

    def choose(self, policy: int, scene: Round, know: Knowledge, draws: Draws) -> tuple[Duel, int]:
        first = lowest_best(scene.features @ know.theta)
        second = draws.below(SELECT, 0, len(scene.features) - 1)
        second += second >= first
        ask = draws.uniform(SELECT, 1) < self.probability
        ask = ask and (self.budget is None or policy < self.budget)
        return Duel(first, second, ask), policy + ask


def random_query(
    world: World,
    horizon: int,
    *,
    probability: float,
    budget: int | None = None,
    ridge: float | None = None,
) -> RandomQuery:
    """y1 = argmax theta_hat'phi in every round; with a fixed probability it is compared with another.

    The other arm is uniform among the A - 1 others. The baseline for APPO's choice of WHEN to ask:
    at matched queries it differs in nothing else of consequence. Ours.
    ``probability`` in [0, 1]; ``budget`` >= 0, most queries (None: no limit); ``ridge`` > 0, default
    ||theta||^-2. Raises ``ValueError`` otherwise.
    """
    chance = positive_number("probability", probability, zero=True)
    if chance > 1:
        raise ValueError(f"probability: found {chance:g}, needed a number in 0..1.")
    most = None if budget is None else whole_number("budget", budget, low=0)
    return RandomQuery(chance, most, checked_ridge(world, ridge))

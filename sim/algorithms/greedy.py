"""Greedy: always compares the two actions with the largest estimated rewards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..draws import Draws
from ..stream import Round, World
from .dueling import Duel, Knowledge, checked_ridge, lowest_best


class Greedy(NamedTuple):
    """Greedy with its options; ``greedy`` makes it."""

    ridge: float
    radius: float = 0.0

    def start(self) -> None:
        return None

    def choose(
        self, policy: None, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, None]:
        estimate = scene.features @ know.theta
        first = lowest_best(estimate)
        others = np.delete(np.arange(estimate.size), first)
        second = int(others[lowest_best(estimate[others])])
        return Duel(first, second, ask=True), None


def greedy(world: World, horizon: int, *, ridge: float | None = None) -> Greedy:
    """y1 and y2 are the largest and second largest theta_hat'phi; asked about in every round. Ours.

    No exploration: what shows how much of another rule's regret exploration saves (ties go to the
    lowest index, so that the first round compares actions 0 and 1).
    ``ridge`` > 0, default ||theta||^-2. Raises ``ValueError`` otherwise.
    """
    return Greedy(checked_ridge(world, ridge))

"""MaxInP: of the actions that may still be best, the pair that tells most."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...theory.checks import positive_number, whole_number
from ...theory.selectors.batch import TIE
from ..draws import Draws
from ..stream import Round, World
from .dueling import Duel, Knowledge, checked_ridge, lengths, lowest_best


class MaxInP(NamedTuple):
    """MaxInP with its options; ``maxinp`` makes it and gives the defaults."""

    radius: float
    ridge: float

    def start(self) -> None:
        return None

    def choose(
        self, policy: None, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, None]:
        z = scene.features[:, None] - scene.features[None]
        norm = lengths(z, know.inverse)
        chance = z @ know.theta + self.radius * norm
        promising = np.flatnonzero((chance >= -TIE * np.abs(chance).max()).all(axis=1))
        i, j = np.triu_indices(len(promising), 1 if len(promising) > 1 else 0)
        pair = lowest_best(norm[promising[i], promising[j]])
        arms = np.array([promising[i[pair]], promising[j[pair]]])
        lead = lowest_best(scene.features[arms] @ know.theta)
        return Duel(int(arms[lead]), int(arms[1 - lead]), ask=True), None


def maxinp(
    world: World, horizon: int, *, radius: float | None = None, ridge: float | None = None
) -> MaxInP:
    """Maximum-Informative-Pair: compares in every round.

    Promising actions: {i: theta_hat'z_ij + radius ||z_ij||_{gram^-1} >= 0 for all j} (up to rounding),
    z_ij = phi_i - phi_j; among them the pair of largest ||z_ij||_{gram^-1} (ties: lowest i, then j). A single
    promising action is compared with itself, which teaches nothing and costs a query.
    The paper's pair has no order and its regret is the mean of both; here the first arm is the one
    with the larger estimated reward, the order that favours it where the first alone is charged.
    Its initial random rounds, there to make gram invertible, are replaced by the ridge.
    ``radius`` >= 0, default sqrt(d log T), which Bengs et al. use in experiments; ``ridge`` > 0, default
    ||theta||^-2. Raises ``ValueError`` otherwise.
    Source: Saha, "Optimal algorithms for stochastic contextual preference bandits" (NeurIPS 2021);
    Bengs, Saha and Huellermeier (arXiv 2202.04593) for the experiments.
    """
    if radius is None:
        radius = math.sqrt(world.theta.size * math.log(whole_number("horizon", horizon, low=1)))
    return MaxInP(positive_number("radius", radius, zero=True), checked_ridge(world, ridge))

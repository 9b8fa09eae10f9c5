"""CoLSTIM: the first arm wins a simulated contest, the second is its strongest optimistic rival."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...theory.checks import positive_number, whole_number
from ..draws import Draws
from ..kernels.random import SELECT
from ..stream import Round, World
from .dueling import Duel, Knowledge, checked_ridge, lengths, lowest_best


class Colstim(NamedTuple):
    """CoLSTIM with its options; ``colstim`` makes it and gives the defaults."""

    radius: float
    trim: float
    ridge: float

    def start(self) -> None:
        return None

    def choose(
        self, policy: None, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, None]:
        phi = scene.features
        noise = np.array([draws.gumbel(SELECT, arm) for arm in range(len(phi))])
        noise = np.clip(noise, -self.trim, self.trim)
        first = lowest_best(phi @ know.theta + noise * lengths(phi, know.inverse))
        z = phi - phi[first]
        second = lowest_best(z @ know.theta + self.radius * lengths(z, know.inverse))
        return Duel(first, second, ask=True), None


def colstim(
    world: World,
    horizon: int,
    *,
    radius: float | None = None,
    trim: float | None = None,
    ridge: float | None = None,
) -> Colstim:
    """CoLSTIM imitates the feedback process with perturbed utilities; it compares in every round.

    i = argmax theta_hat'phi_i + e_i ||phi_i||_{gram^-1}, e_i standard Gumbel (the noise behind
    Bradley-Terry answers) cut to [-trim, trim], new for every arm and round;
    j = argmax theta_hat'z_ji + radius ||z_ji||_{gram^-1}, z_ji = phi_j - phi_i: j may be i, a
    comparison that teaches nothing and costs a query.
    Its initial random rounds, there to make gram invertible, are replaced by the ridge.
    ``radius`` and ``trim`` >= 0 (the paper's c_1 and C_thresh), default sqrt(d log T), the values of its
    experiments; ``ridge`` > 0, default ||theta||^-2. Raises ``ValueError`` otherwise.
    Source: Bengs, Saha and Huellermeier (ICML 2022; arXiv 2202.04593).
    """
    natural = math.sqrt(world.theta.size * math.log(whole_number("horizon", horizon, low=1)))
    return Colstim(
        positive_number("radius", natural if radius is None else radius, zero=True),
        positive_number("trim", natural if trim is None else trim, zero=True),
        checked_ridge(world, ridge),
    )

"""Dueling Thompson sampling: each arm is best for a theta drawn from the posterior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...theory.checks import positive_number
from ..draws import Draws
from ..kernels.random import SELECT
from ..stream import Round, World
from .dueling import Duel, Knowledge, checked_ridge, lowest_best


class Thompson(NamedTuple):
    """Thompson sampling with its options; ``thompson`` makes it and gives the defaults."""

    scale: float
    ridge: float
    radius: float = 0.0

    def start(self) -> None:
        return None

    def choose(
        self, policy: None, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, None]:
        d = know.theta.size
        root = np.linalg.cholesky(know.information)  # H = root root'

        def best(start: int) -> int:
            step = np.linalg.solve(root.T, draws.normals(SELECT, start, d))
            return lowest_best(scene.features @ (know.theta + self.scale * step))

        return Duel(best(0), best(d + d % 2), ask=True), None


def thompson(
    world: World, horizon: int, *, scale: float = 1.0, ridge: float | None = None
) -> Thompson:
    """Two thetas from N(theta_hat, scale^2 H^-1), independently; each names the arm it likes best.

    H = ridge I + sum mu'(theta_hat'z) z z', the information at the estimate: the Laplace approximation
    of the posterior under the prior N(0, I/ridge), in which the ridge-penalised MLE is the mode. Not
    the unweighted gram, and without the Feel-Good term of Li, Zhao and Gu (arXiv 2404.06013), whose two
    independent arms these are. It compares in every round; both arms may be the same.
    ``scale`` >= 0 stretches the posterior; ``ridge`` > 0, default ||theta||^-2. Raises ``ValueError``
    otherwise.
    """
    return Thompson(positive_number("scale", scale, zero=True), checked_ridge(world, ridge))

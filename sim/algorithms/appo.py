"""APPO: play the optimistic action, and ask only where the comparison is uncertain."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...theory.bounds import appo_step_size
from ...theory.checks import Floats, positive_number
from ..draws import Draws
from ..kernels.random import PLAY, SELECT
from ..stream import Round, StreamingWorld, World
from .dueling import Duel, Knowledge, checked_ridge, lengths, lowest_best
from .optimism import Policy, check_rewards, optimistic_advantage, uniform_policy


class Appo(NamedTuple):
    """APPO with its options; ``appo`` makes it and gives the defaults."""

    world: World
    radius: float
    uncertainty_threshold: float
    ridge: float
    step_size: float
    tested_pair: bool

    def start(self) -> Policy:
        return uniform_policy(self.world)

    def choose(
        self, policy: Policy, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, Policy]:
        second = draws.below(SELECT, 0, len(scene.features))

        def advantage(features: Floats) -> Floats:
            return optimistic_advantage(know, features, second, self.radius)

        tested = lowest_best(advantage(scene.features))
        z = scene.features[tested] - scene.features[second]
        if lengths(z, know.inverse) <= self.uncertainty_threshold:
            return Duel(tested, second, ask=False), policy
        if self.tested_pair:
            return Duel(tested, second, ask=True), policy
        first = draws.weighted(PLAY, 0, policy.at(scene))
        return Duel(first, second, ask=True), policy.improved(advantage, self.step_size)


def appo(
    world: World,
    horizon: int,
    *,
    radius: float,
    uncertainty_threshold: float | None = None,
    ridge: float | None = None,
    step_size: float | None = None,
    tested_pair: bool = False,
) -> Appo:
    """Active Proximal Policy Optimization, as its Algorithm 1 prints it.

    y2 ~ Uniform(A); y1 = argmax_y Dhat(x, y), Dhat = min(theta_hat'z_y + radius ||z_y||_{gram^-1}, 1),
    z_y = phi(x, y) - phi(x, y2). If ||z_y1||_{gram^-1} <= uncertainty_threshold, y1 is played: nothing
    is asked, nothing changes. Else y1 is drawn again, from pi(.|x); (y1, y2) is asked about, z joins
    gram, and pi(y|x) is multiplied by exp(step_size Dhat(x, y)) for EVERY x, with this round's
    theta_hat, gram (before z) and y2. theta_hat: ridge-penalised MLE of the queried rounds.

    Slips of the print, and what is done: eq. (4.1) has o - mu where its proof needs mu - o, and
    ``Dhat(y, x)`` in the policy line is Dhat(x, y); both as needed. Dhat is clipped at 1 (algorithm),
    not 2 (proof F.4). As y1 is drawn again after the test, a queried z may lie below the threshold,
    or be 0 where y1 = y2: left as printed. ``tested_pair=True`` is the variant that asks about the
    TESTED pair and plays it; every queried z is then above the threshold, the potential ceiling
    (``theory.bounds.query_ceiling``) is proven, and no policy is played: step_size does not apply.

    ``radius`` >= 0; ``uncertainty_threshold`` >= 0, infinity = never ask, default .99 gap/(2 radius);
    ``ridge`` > 0, default ||theta||^-2; ``step_size`` >= 0, default Theorem 5.1's at the threshold
    (B = ||theta||, L = 2 max ||phi||). On a stream threshold and step size have no default; its
    rewards are unbounded, so there the clip is part of the algorithm, not of a proof.
    Raises ``ValueError`` on other values, missing defaults, and rewards of a prompt more than 1 apart.
    Source: RLHF with Active Queries (arXiv 2402.09401v2), Algorithm 1.
    """
    check_rewards(world)
    radius = positive_number("radius", radius, zero=True)
    threshold = _threshold(world, radius, uncertainty_threshold)
    if tested_pair and step_size is not None:
        raise ValueError("step_size: tested_pair=True plays no policy; leave step_size out.")
    step = 0.0 if tested_pair else _step_size(world, threshold, step_size)
    return Appo(world, radius, threshold, checked_ridge(world, ridge), step, bool(tested_pair))


def _threshold(world: World, radius: float, given: float | None) -> float:
    if given is not None:
        if isinstance(given, float) and given == math.inf:
            return math.inf
        return positive_number("uncertainty_threshold", given, zero=True)
    gap = math.inf if isinstance(world, StreamingWorld) else world.gap
    if not (math.isfinite(gap) and radius > 0):
        raise ValueError(
            "uncertainty_threshold: the default .99 gap/(2 radius) needs a finite world with a gap "
            f"and a radius > 0; found gap {gap:g}, radius {radius:g}; pass uncertainty_threshold=..."
        )
    return 0.99 * gap / (2 * radius)


def _step_size(world: World, threshold: float, given: float | None) -> float:
    if given is not None:
        return positive_number("step_size", given, zero=True)
    if isinstance(world, StreamingWorld):
        raise ValueError(  # noqa: TRY004
            "step_size: the theorem's needs bounded features, found a stream; pass step_size=..."
        )
    norm = float(np.linalg.norm(world.theta))
    feature = 2 * float(np.linalg.norm(world.features, axis=2).max())
    if not 0 < threshold < 3 * feature * norm:
        raise ValueError(
            "step_size: the theorem's needs a threshold in (0, 3 L B), L B = "
            f"{feature * norm:g}, found {threshold:g}; pass step_size=..."
        )
    _, actions, dim = world.features.shape
    return appo_step_size(threshold, dim, actions, norm_bound=norm, feature_bound=feature)

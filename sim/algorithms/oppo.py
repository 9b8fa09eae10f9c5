"""OPPO: APPO's policy with a question in every round."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...theory.checks import Floats, positive_number, whole_number
from ..draws import Draws
from ..kernels.random import PLAY, SELECT
from ..stream import Round, StreamingWorld, World
from .dueling import Duel, Knowledge, checked_ridge
from .optimism import Policy, check_rewards, optimistic_advantage, uniform_policy


class Oppo(NamedTuple):
    """OPPO with its options; ``oppo`` makes it and gives the defaults."""

    world: World
    radius: float
    ridge: float
    step_size: float

    def start(self) -> Policy:
        return uniform_policy(self.world)

    def choose(
        self, policy: Policy, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, Policy]:
        second = draws.below(SELECT, 0, len(scene.features))

        def advantage(features: Floats) -> Floats:
            return optimistic_advantage(know, features, second, self.radius)

        first = draws.weighted(PLAY, 0, policy.at(scene))
        return Duel(first, second, ask=True), policy.improved(advantage, self.step_size)


def oppo(
    world: World,
    horizon: int,
    *,
    radius: float,
    ridge: float | None = None,
    step_size: float | None = None,
) -> Oppo:
    """Dueling OPPO: y2 ~ Uniform(A), y1 ~ pi(.|x), ask, and move pi along Dhat for every prompt.

    APPO (see ``appo``) where every comparison counts as uncertain. Asking in EVERY round is what its
    O~(d sqrt T) regret with T queries means; APPO with threshold 0 differs from it in rounds whose
    tested pair is y1 = y2, which it plays unasked.
    ``radius`` >= 0; ``ridge`` > 0, default ||theta||^-2; ``step_size`` >= 0, default
    sqrt(2 log|A| / horizon), which is ours: the theorem's formula gives 0 at threshold 0.
    Raises ``ValueError`` on other values, and on rewards of a prompt more than 1 apart.
    Source: RLHF with Active Queries (arXiv 2402.09401v2), the special case Gamma = 0.
    """
    check_rewards(world)
    if step_size is None:
        actions = world.actions if isinstance(world, StreamingWorld) else world.features.shape[1]
        rounds = whole_number("horizon", horizon, low=1)
        step_size = math.sqrt(2 * math.log(actions) / rounds)
    return Oppo(
        world,
        positive_number("radius", radius, zero=True),
        checked_ridge(world, ridge),
        positive_number("step_size", step_size, zero=True),
    )

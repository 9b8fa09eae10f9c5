"""What a round of a dueling world shows: a prompt's actions; and a world whose prompts never repeat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import Floats, real_array, whole_number
from .draws import Draws
from .kernels.random import CONTEXT
from .world import DuelingWorld


class Round(NamedTuple):
    """One round: what the algorithm sees (prompt, features), and the truth it is charged by."""

    prompt: int  # index of the prompt; on a stream the number of the round
    features: Floats  # (A, d)
    rewards: Floats  # (A,) true rewards
    regret: Floats  # (A,) best reward of this prompt minus each action's; ties are exactly 0


@dataclass(frozen=True, eq=False)
class StreamingWorld:
    """A new prompt every round: ``actions`` features drawn from N(0, I/d), reward theta'phi.

    Features are about 1 long and rewards have standard deviation ||theta||/sqrt(d); neither is
    bounded, and two actions may come as close as they like: no gap, and none of the theorems that
    need one. ``theta`` (d,), ``actions`` A >= 2. Raises ``ValueError`` otherwise.

    >>> StreamingWorld([1.0, 0.0], 3).features(Draws(0, 0, 0)).shape
    (3, 2)
    """

    theta: Floats
    actions: int

    def __init__(self, theta: ArrayLike, actions: int):
        theta = real_array("theta", theta, (None,))
        theta.setflags(write=False)
        object.__setattr__(self, "theta", theta)
        object.__setattr__(self, "actions", whole_number("actions", actions, low=2))

    def features(self, draws: Draws) -> Floats:
        """(A, d) features of the round whose draws these are: action by action, N(0, I/d)."""
        d = self.theta.size
        normals = draws.normals(CONTEXT, 0, self.actions * d)
        return np.asarray(normals.reshape(self.actions, d) / math.sqrt(d))


World = DuelingWorld | StreamingWorld


def rounds(world: World) -> Callable[[Draws], Round]:
    """The function from a round's draws to the round; on a finite world prompts are uniform."""
    if isinstance(world, StreamingWorld):
        return lambda draws: _streamed(world, draws)
    rewards, regret = world.rewards, shortfall(world.rewards)
    if rewards.shape[1] < 2:
        raise ValueError("features: found 1 action a prompt, needed at least 2 to compare.")

    def finite(draws: Draws) -> Round:
        x = draws.below(CONTEXT, 0, len(rewards))
        return Round(x, world.features[x], rewards[x], regret[x])

    return finite


def _streamed(world: StreamingWorld, draws: Draws) -> Round:
    features = world.features(draws)
    rewards = features @ world.theta
    return Round(draws.round_, features, rewards, shortfall(rewards))


def shortfall(rewards: Floats) -> Floats:
    """max_a r - r over the last axis; below 1e-12 of the largest |r| (at least 1) it is a tie: 0."""
    short = rewards.max(axis=-1, keepdims=True) - rewards
    tie = 1e-12 * max(1.0, float(np.abs(rewards).max()))
    return np.asarray(np.where(short > tie, short, 0.0))

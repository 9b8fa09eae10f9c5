"""Optimistic advantages and the policies that follow them: the mathematics of APPO and OPPO."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...theory.checks import Floats
from ..stream import Round, StreamingWorld, World
from .dueling import Knowledge, lengths

Advantage = Callable[[Floats], Floats]  # features (..., A, d) -> (..., A)


def optimistic_advantage(know: Knowledge, features: Floats, against: int, radius: float) -> Floats:
    """Dhat(x, y) = min(theta_hat'z + radius ||z||_{gram^-1}, 1), z = phi(x, y) - phi(x, against).

    ``features`` (..., A, d); returns (..., A). Rewards lie in [0, 1], so no true advantage is above
    1. Source: arXiv 2402.09401v2, Algorithm 1, which clips at 1 (its proof F.4 writes 2).
    """
    z = features - features[..., against : against + 1, :]
    return np.minimum(z @ know.theta + radius * lengths(z, know.inverse), 1.0)


class TablePolicy(NamedTuple):
    """A policy on a finite world: log-weights of every action of every prompt."""

    features: Floats  # (X, A, d)
    log_weights: Floats  # (X, A): the sum of step_size * Dhat over the queries so far

    def at(self, scene: Round) -> Floats:
        """(A,) log-weights at this round's prompt."""
        return np.asarray(self.log_weights[scene.prompt])

    def improved(self, advantage: Advantage, step_size: float) -> TablePolicy:
        """pi(y|x) exp(step_size Dhat(x, y)) for EVERY prompt x."""
        return self._replace(log_weights=self.log_weights + step_size * advantage(self.features))


class RememberedPolicy(NamedTuple):
    """The same policy where prompts never repeat: the past Dhat are kept, and summed when needed."""

    past: tuple[tuple[Advantage, float], ...] = ()

    def at(self, scene: Round) -> Floats:
        """(A,) log-weights at this round's prompt."""
        weights = np.zeros(len(scene.features))
        for advantage, step_size in self.past:
            weights = weights + step_size * advantage(scene.features)
        return weights

    def improved(self, advantage: Advantage, step_size: float) -> RememberedPolicy:
        """One more Dhat to remember."""
        return RememberedPolicy((*self.past, (advantage, step_size)))


Policy = TablePolicy | RememberedPolicy


def uniform_policy(world: World) -> Policy:
    """pi_1: every action of every prompt alike."""
    if isinstance(world, StreamingWorld):
        return RememberedPolicy()
    return TablePolicy(world.features, np.zeros(world.features.shape[:2]))


def check_rewards(world: World) -> None:
    """Refuse a finite world whose true advantages pass 1, where Dhat is clipped."""
    if isinstance(world, StreamingWorld):
        return
    spread = float(np.ptp(world.rewards, axis=1).max())
    if spread > 1 + 1e-9:
        raise ValueError(
            f"rewards: found actions of one prompt {spread:g} apart, needed at most 1, where Dhat is "
            "clipped; divide theta by it."
        )

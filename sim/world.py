"""Worlds with known truth: prompts x actions with an exact gap, and pools of pairs to label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import Floats, Ints, integer_array, positive_number, real_array, whole_number
from ..theory.pool import Pool
from .teachers import Teachers

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True, eq=False)
class PairPool:
    """An offline pool of pairs with known truth.

    ``z`` (n, d) feature differences, ``context`` (n,) context type of each pair, ``theta`` (d,) the
    true reward weights, ``teachers`` who can be asked, ``available`` (n, m) labels each teacher can
    give on each pair (-1, the default, unlimited). ``world`` is set by ``DuelingWorld.pairs``.
    Raises ``ValueError`` on shapes that do not fit and values that are not finite.
    """

    z: Floats
    context: Ints
    theta: Floats
    teachers: Teachers
    available: Ints
    world: DuelingWorld | None = None

    def __init__(
        self,
        z: ArrayLike,
        context: ArrayLike,
        theta: ArrayLike,
        teachers: Teachers,
        available: ArrayLike | None = None,
        world: DuelingWorld | None = None,
    ):
        z = real_array("z", z, (None, None))
        (n, d), m = z.shape, teachers.count
        context = integer_array("context", context, (n,), low=0, high=teachers.context_types)
        theta = real_array("theta", theta, (d,))
        if available is None:
            capacity = np.full((n, m), -1, dtype=np.int64)
        else:
            capacity = integer_array("available", available, (n, m), low=-1)
        values = {"z": z, "context": context, "theta": theta, "available": capacity}
        for name, value in values.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "teachers", teachers)
        object.__setattr__(self, "world", world)

    @staticmethod
    def synthetic(
        pairs: int,
        dim: int,
        context_types: int,
        teachers: Teachers,
        rng: Generator,
        margins: tuple[float, float] | None = None,
    ) -> PairPool:
        """``pairs`` Gaussian pairs, context types and a unit theta drawn from ``rng``.

        With ``margins=(lo, hi)`` the component of every pair along theta is replaced so that
        |theta'z| is uniform on [lo, hi], sign at random: the hard-margin worlds, in which the
        sharpest teacher is often the wrong one to ask.
        """
        pairs, dim = whole_number("pairs", pairs, low=1), whole_number("dim", dim, low=1)
        whole_number("context_types", context_types, low=1)
        theta = rng.standard_normal(dim)
        theta /= np.linalg.norm(theta)
        z = rng.standard_normal((pairs, dim))
        if margins is not None:
            lo, hi = real_array("margins", margins, (2,))
            if not 0 <= lo <= hi:
                raise ValueError(f"margins: found {margins}, needed 0 <= lo <= hi.")
            wanted = rng.uniform(lo, hi, pairs) * rng.choice([-1.0, 1.0], pairs)
            z += (wanted - z @ theta)[:, None] * theta
        context = rng.integers(context_types, size=pairs)
        return PairPool(z, context, theta, teachers)

    def ask(self) -> Pool:
        """The pool as a selector sees it: the truth left out."""
        t = self.teachers
        return Pool(self.z, self.context, t.rationality, t.cost, self.available)

    def with_available(self, available: ArrayLike) -> PairPool:
        """The same pool with other capacities (n, m)."""
        return PairPool(self.z, self.context, self.theta, self.teachers, available, self.world)


@dataclass(frozen=True, eq=False)
class DuelingWorld:
    """X prompts with A actions each: reward theta'phi(x, a), prompts drawn uniformly.

    ``features`` (X, A, d), ``theta`` (d,). Raises ``ValueError`` on shapes that do not fit and
    values that are not finite.

    >>> w = DuelingWorld([[[1.0, 0.0], [0.0, 1.0]]], [0.9, 0.5])
    >>> round(w.gap, 12)
    0.4
    """

    features: Floats
    theta: Floats

    def __init__(self, features: ArrayLike, theta: ArrayLike):
        phi = real_array("features", features, (None, None, None))
        values = {"features": phi, "theta": real_array("theta", theta, (phi.shape[2],))}
        for name, value in values.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def rewards(self) -> Floats:
        """(X, A) true rewards theta'phi."""
        return np.asarray(self.features @ self.theta)

    @property
    def gap(self) -> float:
        """Smallest nonzero sub-optimality max_a r(x, a) - r(x, a) over all prompts and actions.

        Differences below 1e-12 of the reward range count as ties. Infinite where all tie.
        """
        r = self.rewards
        short = r.max(axis=1, keepdims=True) - r
        real = short[short > 1e-12 * max(1.0, float(np.abs(r).max()))]
        return float(real.min()) if real.size else float("inf")

    @staticmethod
    def with_gap(prompts: int, actions: int, dim: int, gap: float, rng: Generator) -> DuelingWorld:
        """A world with rewards in [0, 1] whose smallest nonzero sub-optimality is exactly ``gap``.

        Rewards first: one best action a prompt in [gap, 1], the others uniform in [0, best - gap],
        one of them exactly best - gap. Features are Gaussian directions moved along theta (unit
        norm, d >= 2; at d = 1 the reward itself) until theta'phi is that reward, and shortened
        across theta so that ||phi|| <= 1.
        Raises ``ValueError`` where gap is not in (0, 1] or there are fewer than two actions.
        """
        prompts, dim = whole_number("prompts", prompts, low=1), whole_number("dim", dim, low=1)
        actions, gap = whole_number("actions", actions, low=2), positive_number("gap", gap)
        if gap > 1:
            raise ValueError(f"gap: found {gap:g}, needed at most 1, as rewards lie in [0, 1].")
        theta = rng.standard_normal(dim)
        theta /= np.linalg.norm(theta)
        best = rng.uniform(gap, 1.0, prompts)
        rewards = rng.uniform(0.0, 1.0, (prompts, actions)) * (best - gap)[:, None]
        order = rng.permuted(np.tile(np.arange(actions), (prompts, 1)), axis=1)
        rewards[np.arange(prompts), order[:, 0]] = best
        tight = int(rng.integers(prompts))
        rewards[tight, order[tight, 1]] = best[tight] - gap
        across = rng.standard_normal((prompts, actions, dim))
        across -= (across @ theta)[..., None] * theta
        if dim > 1:
            room = np.sqrt(1.0 - rewards**2) * rng.uniform(0.5, 1.0, rewards.shape)
            across *= (room / np.linalg.norm(across, axis=2))[..., None]
        world = DuelingWorld(across + rewards[..., None] * theta, theta)
        if abs(world.gap - gap) > 1e-9:
            raise ArithmeticError(f"the world came out with gap {world.gap!r}, wanted {gap!r}")
        return world

    def pairs(self, teachers: Teachers, context_type: ArrayLike) -> PairPool:
        """Every pair of actions a < b of every prompt x: z = phi(x, a) - phi(x, b).

        ``context_type`` (X,) is the context type of each prompt. The pool keeps this world.
        """
        x, a, _ = self.features.shape
        kinds = integer_array("context_type", context_type, (x,), low=0)
        first, second = np.triu_indices(a, 1)
        z = (self.features[:, first] - self.features[:, second]).reshape(-1, self.theta.size)
        return PairPool(z, np.repeat(kinds, first.size), self.theta, teachers, world=self)

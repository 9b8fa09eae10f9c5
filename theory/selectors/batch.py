"""A batch of questions being put together: what is still open, what was taken, what it changed.

Written once against the array API standard: NumPy arrays in the simulator, torch tensors on a GPU.
"""

import math
from typing import Any, Protocol

from array_api_compat import array_namespace, device

from ..pool import Array, Belief, Picks, Pool

TIE = 1e-9
"""Scores closer than this share of the largest |score| are a tie; ties go to the lowest index."""


class Rng(Protocol):
    """What a selector may draw from: ``CounterRng`` or ``numpy.random.Generator``."""

    def random(self, size: Any = None) -> Any: ...
    def integers(self, n: Any) -> Any: ...


class Batch:
    """The state of one call of a selector.

    ``open`` (n, m) bool: labels that can still be bought with the money left. ``take`` buys one.
    Raises ``ValueError`` on a pool or belief that does not fit together, on values that are not
    finite, on a budget that is not positive or above the price of everything that can be bought.
    """

    def __init__(self, pool: Pool, belief: Belief, budget: float):
        self.xp = array_namespace(pool.z)
        _check(self.xp, pool, belief)
        capacity = _capacity(self.xp, pool)
        if not (budget > 0 and math.isfinite(budget)):
            raise ValueError(f"budget: found {budget}, needed a positive amount of money.")
        if budget > capacity * (1 + 1e-12):
            raise ValueError(
                f"budget: found {budget:g}, but everything still available costs {capacity:g}; "
                "lower the budget."
            )
        self.pool, self.belief = pool, belief
        self.money = float(budget)
        self._slack = 1e-9 * self.money
        self._left = self.xp.asarray(pool.available, copy=True)
        self._prices = [float(c) for c in pool.cost]
        self._taken: list[tuple[int, int, float]] = []
        self.open = self._left != 0
        self._close_unaffordable()

    def _close_unaffordable(self) -> None:
        for teacher, price in enumerate(self._prices):
            if price > self.money + self._slack:
                self.open[:, teacher] = False

    @property
    def more(self) -> bool:
        """Whether anything can still be bought."""
        return bool(self.xp.any(self.open))

    @property
    def open_pairs(self) -> Array:
        """(n,) bool: pairs that at least one teacher can still be asked about."""
        return self.xp.any(self.open, axis=1)

    def take(self, pair: int, teacher: int, score: float) -> None:
        """Buy one label of ``teacher`` on ``pair``."""
        self._taken.append((pair, teacher, score))
        self.money -= self._prices[teacher]
        if self._left[pair, teacher] > 0:
            self._left[pair, teacher] -= 1
            self.open[pair, teacher] = bool(self._left[pair, teacher] != 0)
        self._close_unaffordable()

    def picks(self) -> Picks:
        """What was taken, in order."""
        xp, where = self.xp, device(self.pool.z)
        columns = list(zip(*self._taken, strict=True)) or [(), (), ()]
        return Picks(
            pair=xp.asarray(columns[0], dtype=xp.int64, device=where),
            teacher=xp.asarray(columns[1], dtype=xp.int64, device=where),
            score=xp.asarray(columns[2], dtype=self.pool.z.dtype, device=where),
        )

    def random_teacher(self, pair: int, rng: Rng) -> int:
        """A uniformly random teacher among those open on ``pair``."""
        teachers = [j for j in range(len(self._prices)) if self.open[pair, j]]
        return teachers[int(rng.integers(len(teachers)))]

    def best_teacher(self, pair: int, rng: Rng | None = None) -> int:
        """The teacher with the largest rationality among those open on ``pair``."""
        return first_best(
            self.xp, self.pool.rationality[:, int(self.pool.context[pair])], self.open[pair, :]
        )


class Leverages:
    """v_i = z_i' A^-1 z_i for all pairs, kept current while vectors are added to A.

    Adding weight * z z' costs one product with z (Sherman-Morrison), not a new factorisation.
    Raises ``ValueError`` where the matrix is not positive definite.
    """

    def __init__(self, z: Array, matrix: Array):
        xp = array_namespace(z)
        try:
            lower = xp.linalg.cholesky(matrix)
        except (ValueError, RuntimeError, ArithmeticError) as error:
            raise _not_positive_definite() from error
        if not bool(xp.all(xp.isfinite(lower))):
            raise _not_positive_definite()
        self._z, self._inverse = z, xp.linalg.inv(matrix)
        self.values = xp.sum((z @ self._inverse) * z, axis=1)

    def add(self, pair: int, weight: float) -> None:
        """Add weight * z_pair z_pair' to the matrix."""
        g = self._inverse @ self._z[pair, :]
        scale = weight / (1 + weight * float(self._z[pair, :] @ g))
        self._inverse = self._inverse - scale * g[:, None] * g[None, :]
        projection = self._z @ g
        self.values = self.values - scale * projection * projection


def fisher_weights(pool: Pool, theta: Array) -> Array:
    """w (n, m): one label of teacher j on pair i carries the information w_ij z_i z_i'."""
    xp = array_namespace(pool.z)
    b = xp.take(pool.rationality, pool.context, axis=1).T
    e = xp.exp(-xp.abs(b * (pool.z @ theta)[:, None]))
    return b * b * e / ((1 + e) * (1 + e))


def first_best(xp: Any, score: Array, allowed: Array) -> int:
    """Index of the largest allowed score; of tied ones (see ``TIE``) the lowest."""
    floor = xp.where(allowed, score, -math.inf)
    scale = float(xp.max(xp.where(allowed, xp.abs(score), 0.0)))
    return int(xp.argmax(xp.astype(floor >= float(xp.max(floor)) - TIE * scale, xp.int8)))


def nth_true(xp: Any, flags: Array, k: int) -> int:
    """Index of the k-th (from 0) true entry."""
    return int(xp.nonzero(flags)[0][k])


def random_pair(batch: Batch, rng: Rng) -> int:
    """A uniformly random pair among those that can still be asked about."""
    flags = batch.open_pairs
    return nth_true(batch.xp, flags, int(rng.integers(int(batch.xp.count_nonzero(flags)))))


def _capacity(xp: Any, pool: Pool) -> float:
    if bool(xp.any(pool.available < 0)):
        return math.inf
    per_teacher = xp.sum(pool.available, axis=0)
    return sum(float(k) * float(c) for k, c in zip(per_teacher, pool.cost, strict=True))


def _check(xp: Any, pool: Pool, belief: Belief) -> None:
    if pool.z.ndim != 2 or 0 in pool.z.shape:
        raise ValueError(f"pool.z: found shape {tuple(pool.z.shape)}, needed (pairs, features).")
    (n, d), m = pool.z.shape, pool.rationality.shape[0]
    needed = {
        "pool.context": (pool.context, (n,)),
        "pool.rationality": (pool.rationality, (m, pool.rationality.shape[-1])),
        "pool.cost": (pool.cost, (m,)),
        "pool.available": (pool.available, (n, m)),
        "belief.theta": (belief.theta, (d,)),
        "belief.information": (belief.information, (d, d)),
        "belief.gram": (belief.gram, (d, d)),
    }
    for name, (array, shape) in needed.items():
        if tuple(array.shape) != shape:
            raise ValueError(f"{name}: found shape {tuple(array.shape)}, needed {shape}.")
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name}: found a value that is not finite; repair that entry.")
    if not bool(xp.all(xp.isfinite(pool.z))):
        raise ValueError("pool.z: found a value that is not finite; remove or repair that pair.")
    if not bool(xp.all(pool.cost > 0)):
        raise ValueError("pool.cost: found a price that is not positive, needed prices > 0.")
    low, high = int(xp.min(pool.context)), int(xp.max(pool.context))
    kinds = pool.rationality.shape[1]
    if low < 0 or high >= kinds:
        raise ValueError(f"pool.context: found {low}..{high}, needed values in 0..{kinds - 1}.")
    if not bool(xp.any(pool.available != 0)):
        raise ValueError("pool.available: nothing can be asked any more; add pairs or stop.")


def _not_positive_definite() -> ValueError:
    return ValueError(
        "the information (or Gram) matrix is not positive definite: the labels so far do not span "
        "all directions; pass a ridge > 0 or buy warm-up labels first."
    )

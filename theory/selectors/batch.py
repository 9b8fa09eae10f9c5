"""A batch of questions being put together: what is still open, what was taken, what it changed.

Written once against the array API standard: NumPy arrays in the simulator, torch tensors on a GPU.
Beyond the standard it assumes slices that are views and assignment to rows by their indices.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Protocol

from array_api_compat import array_namespace, device

from ..pool import Array, Belief, Picks, Pool
from .lazy import BLOCK, TIE, Ranking, Rows, at, blocks, tie
from .leverages import Leverages, inverse_cholesky

__all__ = [
    "TIE",
    "Batch",
    "Leverages",
    "Ranking",
    "Rng",
    "Rows",
    "at",
    "first_at_least",
    "first_best",
    "fisher_weights",
    "inverse_cholesky",
    "nth_true",
    "over_teachers",
    "random_pair",
]


class Rng(Protocol):
    """What a selector may draw from: ``CounterRng`` or ``numpy.random.Generator``."""

    def random(self, size: Any = None) -> Any: ...
    def integers(self, n: Any) -> Any: ...


class Batch:
    """The state of one call of a selector.

    ``open`` (n, m) bool: labels that can still be bought with the money left; ``open_pairs`` (n,)
    bool: pairs with any of them; ``affordable``: teachers whose price is still within the money.
    ``take`` buys one label.
    Raises ``ValueError`` on a pool or belief that does not fit together, on values that are not
    finite, on a budget that is not positive or above the price of everything that can be bought.
    """

    def __init__(self, pool: Pool, belief: Belief, budget: float):
        xp = self.xp = array_namespace(pool.z)
        _check(xp, pool, belief)
        capacity = _capacity(xp, pool)
        if not (budget > 0 and math.isfinite(budget)):
            raise ValueError(f"budget: found {budget}, needed a positive amount of money.")
        if budget > capacity * (1 + 1e-12):
            raise ValueError(
                f"budget: found {budget:g}, but everything still available costs {capacity:g}; "
                "lower the budget."
            )
        self._prices = [float(c) for c in pool.cost]
        self.pool, self.belief = _one_type(xp, pool, belief)
        self.money = float(budget)
        self._slack = 1e-9 * self.money
        self._taken: list[tuple[int, int, float]] = []
        self._left = xp.asarray(pool.available, copy=True)
        # teacher by teacher in memory: what is done for all pairs is done along such columns
        n, m = self._left.shape
        self.open = xp.zeros((m, n), dtype=xp.bool, device=device(pool.z)).T
        self.open[:, :] = self._left != 0
        self._count_pairs()
        self.affordable = len(self._prices)
        self._close_unaffordable()

    def _close_unaffordable(self) -> None:
        dear = [j for j, price in enumerate(self._prices) if price > self.money + self._slack]
        if len(self._prices) - len(dear) < self.affordable:
            self.affordable = len(self._prices) - len(dear)
            for teacher in dear:
                self.open[:, teacher] = False
            self._count_pairs()

    def _count_pairs(self) -> None:
        self.open_pairs = over_teachers(self.xp.logical_or, self.open)
        self._pairs = int(self.xp.count_nonzero(self.open_pairs))

    @property
    def more(self) -> bool:
        """Whether anything can still be bought."""
        return self._pairs > 0

    def take(self, pair: int, teacher: int, score: float) -> None:
        """Buy one label of ``teacher`` on ``pair``."""
        self._taken.append((pair, teacher, score))
        self.money -= self._prices[teacher]
        left = int(self._left[pair, teacher])
        if left > 0:
            self._left[pair, teacher] = left - 1
        if left == 1:
            self.open[pair, teacher] = False
            still = bool(self.xp.any(self.open[pair, :]))
            self.open_pairs[pair] = still
            self._pairs -= not still
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
        teachers = [j for j, is_open in enumerate(self.open[pair, :].tolist()) if is_open]
        return teachers[int(rng.integers(len(teachers)))]

    def best_teacher(self, pair: int, rng: Rng | None = None) -> int:
        """The teacher with the largest rationality among those open on ``pair``."""
        return first_best(
            self.xp, self.pool.rationality[:, int(self.pool.context[pair])], self.open[pair, :]
        )


def fisher_weights(pool: Pool, theta: Array) -> Array:
    """w (n, m): one label of teacher j on pair i carries the information w_ij z_i z_i'."""
    xp = array_namespace(pool.z)
    b = xp.take(pool.rationality, pool.context, axis=1).T
    e = xp.exp(-xp.abs(b * (pool.z @ theta)[:, None]))
    return b * b * e / ((1 + e) * (1 + e))


def over_teachers(operation: Callable[[Array, Array], Array], x: Array) -> Array:
    """(n,) the operation over the columns of x (n, m): few long columns, so one after the other."""
    return reduce(operation, [x[:, j] for j in range(x.shape[1])])


def first_best(xp: Any, score: Array, allowed: Array) -> int:
    """Index of the largest allowed score; of tied ones (see ``TIE``) the lowest."""
    score = xp.where(allowed, score, -math.inf)
    scale = float(xp.max(xp.where(allowed, xp.abs(score), 0.0)))
    return first_at_least(xp, score, float(xp.max(score)) - tie(xp, score) * scale)


def first_at_least(xp: Any, score: Array, floor: float) -> int:
    """Lowest index of a score that reaches the floor."""
    return int(xp.argmax(xp.astype(score >= floor, xp.int8)))


def nth_true(xp: Any, flags: Array, k: int) -> int:
    """Index of the k-th (from 0) true entry."""
    return int(xp.nonzero(flags)[0][k])


def random_pair(batch: Batch, rng: Rng) -> int:
    """A uniformly random pair among those that can still be asked about."""
    flags = batch.open_pairs
    return nth_true(batch.xp, flags, int(rng.integers(int(batch.xp.count_nonzero(flags)))))


def _one_type(xp: Any, pool: Pool, belief: Belief) -> tuple[Pool, Belief]:
    """Theta, rationality and prices in the type of z; the matrices as they are."""
    vectors = (pool.rationality, pool.cost, belief.theta)
    if any(x.dtype != pool.z.dtype for x in vectors):
        rationality, cost, theta = (xp.astype(x, pool.z.dtype, copy=False) for x in vectors)
        pool = pool._replace(rationality=rationality, cost=cost)
        belief = belief._replace(theta=theta)
    return pool, belief


def _finite(xp: Any, array: Array) -> bool:
    """Whether all values are finite, looked at in blocks: a flag a value would be a large array."""
    small = array.ndim < 2 or array.shape[0] * array.shape[1] <= BLOCK
    parts = [array] if small else (array[rows, :] for rows in blocks(array))
    return all(bool(xp.all(xp.isfinite(part))) for part in parts)


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
        if not _finite(xp, array):
            raise ValueError(f"{name}: found a value that is not finite; repair that entry.")
    if pool.z.dtype not in (xp.float32, xp.float64):
        raise ValueError(f"pool.z: found {pool.z.dtype}, needed float32 or float64.")
    if not _finite(xp, pool.z):
        raise ValueError("pool.z: found a value that is not finite; remove or repair that pair.")
    if not bool(xp.all(pool.cost > 0)):
        raise ValueError("pool.cost: found a price that is not positive, needed prices > 0.")
    for name in ("context", "available"):
        kind = getattr(pool, name).dtype
        if not xp.isdtype(kind, "integral"):
            raise ValueError(f"pool.{name}: found {kind}, needed whole numbers of an integer type.")
    low, high = int(xp.min(pool.context)), int(xp.max(pool.context))
    kinds = pool.rationality.shape[1]
    if low < 0 or high >= kinds:
        raise ValueError(f"pool.context: found {low}..{high}, needed values in 0..{kinds - 1}.")
    if not bool(xp.any(pool.available != 0)):
        raise ValueError("pool.available: nothing can be asked any more; add pairs or stop.")

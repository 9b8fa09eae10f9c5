"""Greedy choice without looking at every row before every pick.

What a pick adds only lowers the values of the rows (log det is submodular, the distance to the
nearest centre shrinks), so a value computed earlier is an upper bound. Rows are brought up to date
from the top down, until no bound reaches the best of the rows that are up to date.

Source: Minoux (1978), "Accelerated greedy algorithms for maximizing submodular set functions"; here
in blocks of rows, so that the work is a few matrix products.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from array_api_compat import array_namespace, device

from ..pool import Array

TIE = 1e-9
"""Scores closer than this share of the largest |score| are a tie; ties go to the lowest index."""

BLOCK = 2**15
"""Numbers of z that are looked at together at first, in at least 64 rows."""

SMALL = 4
"""Blocks of a pool that is looked at as a whole: to sort it would cost more than it spares."""

Rows = Any
"""A slice of the rows, or the indices (k,) of some."""


def at(x: Array, rows: Rows) -> Array:
    """These rows of x."""
    return x[rows] if isinstance(rows, slice) else array_namespace(x).take(x, rows, axis=0)


def tie(xp: Any, values: Array) -> float:
    """The share of the largest |score| that is a tie: ``TIE``, for float32 8 of its epsilons."""
    return max(TIE, 8 * float(xp.finfo(values.dtype).eps))


def block_size(z: Array) -> int:
    """Rows of z in a block."""
    return max(64, BLOCK // int(z.shape[1]))


def largest_block(z: Array) -> int:
    """The most rows of z that are ever copied at a time: a block, or a 64th of z."""
    return max(block_size(z), int(z.shape[0]) // 64)


def blocks(z: Array) -> Iterator[slice]:
    """Slices that cover the rows of z."""
    n, size = int(z.shape[0]), largest_block(z)
    return (slice(low, min(low + size, n)) for low in range(0, n, size))


class Shrinking:
    """Values (n,) of the rows of z that shrink as vectors are added, brought up to date on demand.

    ``bounds`` (n,) holds each row's last known value, ``evaluations`` counts the rows brought up to
    date so far: plain greedy needs n a pick. A subclass says in ``_shrunk`` what vectors do.
    A row is brought up to date by one product with all the vectors that it has not seen.
    """

    def __init__(self, z: Array, values: Array):
        self.xp, self.z, self.bounds = array_namespace(z), z, values
        self.evaluations = 0
        self.tie = tie(self.xp, z)
        self._vectors = self._room(64)
        self._first = self._added = 0  # the vectors held are numbers first..added - 1
        # how many vectors each row has seen; where that is one number, it stands in _abreast alone
        self._seen = self.xp.zeros(z.shape[0], dtype=self.xp.int64, device=device(z))
        self._abreast: int | None = 0

    @property
    def values(self) -> Array:
        """(n,) the values of all rows, up to date."""
        for rows in blocks(self.z):
            self.refresh(rows)
        return self.bounds

    def refresh(self, rows: Rows) -> Array:
        """The values of these rows, up to date."""
        everything = isinstance(rows, slice) and rows.stop - rows.start == self.z.shape[0]
        low, seen = self._abreast, None
        if low is None:
            seen = at(self._seen, rows)
            low = int(self.xp.min(seen))
        values = at(self.bounds, rows)
        if low == self._added:
            return values
        self.evaluations += values.shape[0]
        values = self._shrunk(rows, values, low, seen)
        if everything:
            self.bounds, self._abreast = values, self._added
        else:
            self.bounds[rows] = values
            self._lay_open()
            self._seen[rows] = self._added
        return values

    def reliable(self, row: int) -> bool:
        """Whether the row's value can be relied on; where not, ``refresh`` will renew it."""
        return True

    def _shrunk(self, rows: Rows, values: Array, low: int, seen: Array | None) -> Array:
        """What ``values`` become by the vectors from number ``low``, less those ``seen`` (k,)."""
        raise NotImplementedError

    def _products(self, rows: Rows, low: int) -> Array:
        """(k, added - low) inner products of the rows with the vectors from number ``low``."""
        held = self._vectors[low - self._first : self._added - self._first, :]
        return at(self.z, rows) @ held.T

    def _add(self, vector: Array) -> None:
        held = self._added - self._first
        if held == self._vectors.shape[0]:
            room = self._room(2 * held)
            room[:held, :] = self._vectors
            self._vectors = room
        self._vectors[held, :] = vector
        self._added += 1

    def _room(self, rows: int) -> Array:
        z = self.z
        return self.xp.empty((rows, z.shape[1]), dtype=z.dtype, device=device(z))

    def _lay_open(self) -> None:
        """Write down row by row what every row has seen."""
        if self._abreast is not None:
            self._seen[:] = self._abreast
            self._abreast = None


class Ranking:
    """The rows by score, the best first, where a score can only fall while values shrink.

    ``score(values (k,), rows)`` gives the scores (k,) of these rows, -inf where nothing can be asked.
    Where a score can rise for another reason, say so by ``again``.
    """

    def __init__(self, values: Shrinking, score: Callable[[Array, Rows], Array]):
        self._values, self._score, self._xp = values, score, values.xp
        self._all = slice(0, int(values.z.shape[0]))
        self._size = block_size(values.z)
        self._whole = self._all.stop <= SMALL * self._size
        if not self._whole:
            self._bounds, self._reach = score(values.bounds, self._all), math.inf

    def again(self, rows: Rows | None = None) -> None:
        """Score these rows (or all) anew, at the values as they are known."""
        if not self._whole:
            rows = self._all if rows is None else rows
            self._bounds[rows] = self._score(at(self._values.bounds, rows), rows)

    def best(self) -> tuple[int, float]:
        """The first row with the best score, and the least score that is tied with it."""
        xp = self._xp
        while True:
            if self._whole:
                self._bounds = self._score(self._values.refresh(self._all), self._all)
                top = float(xp.max(self._bounds))
            else:
                top = self._climb()
            floor = self._floor(top)
            row = int(xp.argmax(xp.astype(self._bounds >= floor, xp.int8)))
            if self._values.reliable(row):
                return row, floor

    def _climb(self) -> float:
        """Bring rows up to date from the top down, until no other can be tied with their best."""
        xp, bounds = self._xp, self._bounds
        rows = xp.nonzero(bounds >= self._reach)[0]
        top = self._descend(xp.take(rows, xp.argsort(xp.take(bounds, rows), stable=False)))
        if self._reach <= self._floor(top):
            return top
        order = xp.argsort(bounds, stable=False)
        # To sort all rows is dear: the next picks sort those that reach this far, while these do.
        self._reach = float(bounds[order[max(self._all.stop - 8 * self._size, 0)]])
        return self._descend(order)

    def _descend(self, order: Array) -> float:
        """The best score among these rows, in ascending order: from the end, as far as needed."""
        xp, bounds, size = self._xp, self._bounds, self._size
        left, top = int(order.shape[0]), -math.inf
        while left:
            rows = order[max(left - size, 0) : left]
            score = self._score(self._values.refresh(rows), rows)
            bounds[rows] = score
            top = max(top, float(xp.max(score)))
            left = max(left - size, 0)
            if left and float(bounds[order[left - 1]]) < self._floor(top):
                break
            size = min(2 * size, largest_block(self._values.z))
        return top

    def _floor(self, top: float) -> float:
        """The least score that is tied with the best one."""
        return top - self._values.tie * abs(top)

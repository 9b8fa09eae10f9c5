"""Recorded answers as a pool with capacity: every answer is sold once, in an order fixed by the seed."""

import math
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.pool import Pool
from .kernels.random import CounterRng
from .recorded import Recorded

LARGEST_OFFER = (
    60_000  # (pair, annotator) cells a selector looks at; of a larger pool, a random part
)


class Cells(NamedTuple):
    """The answers on n pairs by m annotators, one cell a (pair, annotator) that has any.

    What has been bought is one number a cell: the first so many answers of it.
    """

    z: Floats  # (n, k) of these pairs
    pair: Ints  # (cells,) row of z
    teacher: Ints  # (cells,)
    key: Ints  # (cells,) pair * m + teacher, ascending
    size: Ints  # (cells,) recorded answers
    teachers: int  # m
    total: Floats  # (answers + 1,) running sum of the answers, cell after cell
    first: Ints  # (cells,) where each cell starts in it

    def wins(self, bought: Ints) -> Floats:
        """(cells,) sum of the first ``bought`` answers of each cell."""
        return np.asarray(self.total[self.first + bought] - self.total[self.first])


class HeldOut(NamedTuple):
    """Pairs on which nothing is bought, with their decided votes (ties are left out)."""

    z: Floats  # (h, k)
    pairs: Ints  # (h,)
    first: Floats  # (h,) votes for a
    second: Floats  # (h,) votes for b

    def agreement(self, margin: Floats) -> float:
        """Share of decided judgements with the sign of ``margin`` (h,); a margin of 0 counts half."""
        side = np.sign(margin)
        right = self.first * (1 + side) / 2 + self.second * (1 - side) / 2
        return float(right.sum() / (self.first + self.second).sum())

    def majority(self) -> float:
        """Agreement of each pair's own majority: the most that one answer a pair can reach."""
        return float(np.maximum(self.first, self.second).sum() / (self.first + self.second).sum())


def make_cells(recorded: Recorded, pairs: Ints, z: Floats, rng: CounterRng) -> Cells:
    """The answers recorded on ``pairs``, shuffled within each (pair, annotator) cell."""
    m = len(recorded.annotators)
    local = np.full(len(recorded.pair_ids), -1)
    local[pairs] = np.arange(len(pairs))
    rows = np.flatnonzero(local[recorded.pair] >= 0)
    keys = local[recorded.pair[rows]] * m + recorded.annotator[rows]
    order = np.lexsort((rng.random(len(rows)), keys))
    key, first, size = np.unique(keys[order], return_index=True, return_counts=True)
    total = np.append(0.0, np.cumsum(recorded.preference[rows[order]]))
    return Cells(z, key // m, key % m, key, size, m, total, first)


def hold_out(recorded: Recorded, pairs: Ints, z: Floats) -> HeldOut:
    """The decided votes recorded on ``pairs``."""
    n = len(recorded.pair_ids)
    first, second = (
        np.bincount(recorded.pair[recorded.preference == side], minlength=n)[pairs].astype(float)
        for side in (1.0, 0.0)
    )
    return HeldOut(z, pairs, first, second)


def offer(cells: Cells, bought: Ints, labels: int, rng: CounterRng) -> tuple[Ints, Ints]:
    """Pairs and teachers shown to a selector that buys ``labels``.

    All of them; of a pool with more than ``LARGEST_OFFER`` cells a random part of the pairs that
    still have answers, so that memory and time stay bounded.
    """
    n, m = len(cells.z), cells.teachers
    if n * m <= LARGEST_OFFER:
        return np.arange(n), np.arange(m)
    left = cells.size > bought
    open_pairs = np.zeros(n, dtype=bool)
    open_pairs[cells.pair[left]] = True
    per_pair = len(cells.key) / n
    wanted = max(LARGEST_OFFER // m, math.isqrt(int(LARGEST_OFFER / per_pair)), labels)
    draw = np.where(open_pairs, rng.random(n), 2.0)
    pairs = np.sort(np.argsort(draw, kind="stable")[: min(wanted, int(open_pairs.sum()))])
    shown = np.zeros(n, dtype=bool)
    shown[pairs] = True
    return pairs, np.unique(cells.teacher[left & shown[cells.pair]])


def pool_of(
    cells: Cells, bought: Ints, rationality: Floats, pairs: Ints, teachers: Ints
) -> tuple[Pool, Ints]:
    """The pool of these pairs and teachers with the answers that are left, and the (n, m) counts bought."""
    rows, columns = np.full(len(cells.z), -1), np.full(cells.teachers, -1)
    rows[pairs], columns[teachers] = np.arange(len(pairs)), np.arange(len(teachers))
    inside = np.flatnonzero((rows[cells.pair] >= 0) & (columns[cells.teacher] >= 0))
    at = rows[cells.pair[inside]], columns[cells.teacher[inside]]
    available = np.zeros((len(pairs), len(teachers)), dtype=np.int64)
    counts = np.zeros_like(available)
    available[at], counts[at] = (cells.size - bought)[inside], bought[inside]
    pool = Pool(
        z=cells.z[pairs],
        context=np.zeros(len(pairs), dtype=np.int64),
        rationality=rationality[teachers, None],
        cost=np.ones(len(teachers)),
        available=available,
    )
    return pool, counts


def sell(cells: Cells, bought: Ints, pair: Ints, teacher: Ints) -> Ints:
    """``bought`` after one more answer of each (pair, teacher)."""
    at = np.searchsorted(cells.key, pair * cells.teachers + teacher)
    return bought + np.bincount(at, minlength=len(bought))

"""Peer: the plain eager greedy for a batch: after every pick each pair's leverage is brought up to date."""

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...sim.threads import in_threads
from ...theory import Belief, Pool, fisher_weight

_ROWS = 4096  # a chunk of rows in the one full pass


class Eager(NamedTuple):
    """The picks in order, their scores, and where the seconds went."""

    pair: list[int]
    teacher: list[int]
    score: list[float]
    start_seconds: float
    pick_seconds: float  # mean of one pick


def eager_greedy(pool: Pool, belief: Belief, picks: int, threads: int = 1) -> Eager:
    """argmax over the open (i, j) of log(1 + w_ij z_i' H^-1 z_i) / cost_j, then a rank-one update.

    Each update is one product of all pairs with one vector (Sherman-Morrison), in the pool's own
    precision, on ``threads`` threads. ``pool.available`` is taken as one label or none.
    """
    start = time.perf_counter()
    z = pool.z
    rationality = pool.rationality[:, pool.context].T.astype(np.float64)
    margin = (z @ belief.theta).astype(np.float64)
    weights = fisher_weight(np.broadcast_to(margin[:, None], rationality.shape), rationality)
    inverse = np.linalg.inv(belief.information).astype(z.dtype)
    leverage = np.empty(len(z), dtype=np.float64)

    def first_pass(first: int, end: int) -> None:
        for low in range(first, end, _ROWS):
            rows = z[low : min(low + _ROWS, end)]
            leverage[low : low + len(rows)] = np.einsum("ij,ij->i", rows @ inverse, rows)

    in_threads(first_pass, len(z), threads, None)
    opened = np.asarray(pool.available) != 0
    started = time.perf_counter()
    pairs, teachers, scores = [], [], []
    for _ in range(picks):
        gain = np.where(opened, np.log1p(weights * leverage[:, None]) / pool.cost, -np.inf)
        i, j = divmod(int(gain.argmax()), gain.shape[1])
        _take(z, inverse, leverage, i, float(weights[i, j]), threads)
        opened[i, j] = False
        pairs.append(i)
        teachers.append(j)
        scores.append(float(gain[i, j]))
    seconds = time.perf_counter() - started
    return Eager(pairs, teachers, scores, started - start, seconds / picks)


def _take(
    z: NDArray[np.floating],
    inverse: NDArray[np.floating],
    leverage: NDArray[np.float64],
    pair: int,
    weight: float,
    threads: int,
) -> None:
    """H <- H + weight z z' in its inverse and in all leverages, in place."""
    g = inverse @ z[pair]
    scale = weight / (1 + weight * float(z[pair] @ g))

    def update(low: int, high: int) -> None:
        leverage[low:high] -= scale * np.square(z[low:high] @ g, dtype=np.float64)

    in_threads(update, len(z), threads, None)
    inverse -= np.outer(g * z.dtype.type(scale), g)

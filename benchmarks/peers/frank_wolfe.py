"""Peer: Frank-Wolfe with away steps, the usual first-order method for D-optimal designs.

Wolfe-Atwood: each step moves weight to the point of largest variance, or away from the supported
one of smallest variance, whichever promises more, by the exact line search. Inverse and variances
follow by rank-one updates, O(n d) a step, in one compiled pass over the points.
Source: Atwood (1973); Todd and Yildirim (2007); start: one basis of large volume (QR with pivoting).
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import time
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import qr

Floats = NDArray[np.float64]
_BLOCK = 1024  # points a pass holds at a time: they stay in the first cache


class FrankWolfe(NamedTuple):
    """Weights (n,), the gap that a fresh factorisation certifies, steps, and whether gap <= tol."""

    weights: Floats
    gap: float
    steps: int
    finished: bool


def frank_wolfe(points: Floats, tol: float = 1e-6, seconds: float = np.inf) -> FrankWolfe:
    """Until the gap max v / d - 1 is at most ``tol``, or ``seconds`` are spent.

    >>> found = frank_wolfe(np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]))  # a line on [-1, 1]
    >>> found.weights.round(6).tolist(), found.finished
    ([0.5, 0.0, 0.5], True)
    """
    end = time.perf_counter() + seconds
    columns = np.ascontiguousarray(points.T)
    d, n = columns.shape
    weights = np.zeros(n)
    weights[qr(columns, mode="r", pivoting=True)[1][:d]] = 1 / d
    per_slice = int(np.clip(2e8 / (n * d), 50 * d, 100_000))  # about 0.1 s; then a fresh inverse
    steps, aim = 0, tol
    while True:
        inverse, v = _factorised(columns, weights)
        gap = float(v.max()) / d - 1
        if gap <= tol or time.perf_counter() > end:
            return FrankWolfe(weights, gap, steps, gap <= tol)
        taken = _steps(columns, weights, inverse, v, aim, per_slice)
        aim = aim if taken else 0.9 * aim  # the updated variances were a rounding too low
        steps += taken


def _factorised(columns: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """M^-1 and all variances from a fresh Cholesky factorisation."""
    held = np.flatnonzero(weights)
    moment = (columns[:, held] * weights[held]) @ columns[:, held].T
    root = np.linalg.inv(np.linalg.cholesky(moment))
    y = root @ columns
    return root.T @ root, np.einsum("ij,ij->j", y, y)


@njit(error_model="numpy", cache=True)
def _steps(columns, weights, inverse, v, tol, limit):
    """At most ``limit`` steps in place; how many were taken before the updated gap was <= tol."""
    d = len(columns)
    support = [i for i in range(len(weights)) if weights[i] > 0]
    top = int(np.argmax(v))
    for step in range(limit):
        if v[top] / d - 1 <= tol:
            return step
        at = 0
        for k in range(1, len(support)):
            if v[support[k]] < v[support[at]]:
                at = k
        j, move = top, (v[top] - d) / (d * (v[top] - 1))
        if v[top] / d - 1 < 1 - v[support[at]] / d:
            j = support[at]
            drop = -weights[j] / (1 - weights[j])
            move = max((v[j] - d) / (d * (v[j] - 1)), drop) if v[j] > 1 else drop
            if move == drop:
                support[at] = support[-1]
                support.pop()
                weights[j] = 0.0
        elif weights[j] == 0:
            support.append(j)
        for i in support:
            weights[i] *= 1 - move
        if j == top or move > drop:
            weights[j] += move
        top = _update(columns, inverse, v, j, move)
    return limit


@njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, cache=True)
def _update(columns, inverse, v, j, move):
    """M <- (1 - move) M + move x_j x_j', in its inverse and in v; the index of the largest v."""
    d, n = columns.shape
    g = np.zeros(d)
    for a in range(d):
        for b in range(d):
            g[b] += inverse[a, b] * columns[a, j]
    share, shrink = move / (1 - move + move * v[j]), 1 / (1 - move)
    for a in range(d):
        for b in range(d):
            inverse[a, b] = (inverse[a, b] - share * g[a] * g[b]) * shrink
    product = np.empty(_BLOCK)
    top, largest = 0, -np.inf
    for low in range(0, n, _BLOCK):
        size = min(_BLOCK, n - low)
        product[:] = 0.0
        for a in range(d):
            x, factor = columns[a, low : low + size], g[a]
            for i in range(size):
                product[i] += factor * x[i]
        block, highest = v[low : low + size], -1.0
        for i in range(size):
            block[i] = (block[i] - share * product[i] * product[i]) * shrink
            highest = max(highest, block[i])
        if highest > largest:
            top, largest = low + int(np.argmax(block)), highest
    return top

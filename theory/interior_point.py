"""The solver under every design here: log det M(w) over a simplex, with or without upper bounds.

Primal-dual interior point; its Newton matrix is (A M^-1 A')^2 elementwise plus a diagonal.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from .checks import Floats

Flags = NDArray[np.bool_]

NEWTON_STEPS = 200  # 5 to 40 are usual
_CHUNK = 4096  # rows a pass holds at a time


def information_root(points: Floats, weights: Floats) -> tuple[Floats, float]:
    """T (d, d) with T T' = M(weights)^-1, and log det M, from a fresh Cholesky factorisation.

    Raises ``numpy.linalg.LinAlgError`` where M is singular.
    """
    moment = (points * weights[:, None]).T @ points
    lower, failed = lapack.dpotrf(moment, lower=1)
    if failed:
        raise np.linalg.LinAlgError("the information matrix is singular")
    inverse, _ = lapack.dtrtri(lower, lower=1)
    return np.tril(inverse).T, 2 * float(np.log(np.diagonal(lower)).sum())


def variances(points: Floats, root: Floats) -> Floats:
    """v_i = x_i' M^-1 x_i = |x_i T|^2 (n,), in chunks of rows."""
    out = np.empty(len(points))
    for low in range(0, len(points), _CHUNK):
        y = points[low : low + _CHUNK] @ root
        np.einsum("ij,ij->i", y, y, out=out[low : low + _CHUNK])
    return out


def largest_mean(values: Floats, upper: Floats) -> tuple[float, float]:
    """Maximum of sum w_i values_i over 0 <= w <= upper, sum w = 1, and the marginal value.

    The fractional knapsack: fill the largest values up to their bounds. Unbounded: the maximum.

    >>> largest_mean(np.array([1.0, 3.0, 2.0]), np.array([1.0, 0.5, 1.0]))
    (2.5, 2.0)
    """
    if np.isinf(upper).all():
        best = float(values.max())
        return best, best
    order = np.argsort(-values, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(upper[order])[:-1]])
    filled = np.clip(1 - before, 0, upper[order])
    last = int(np.flatnonzero(filled > 0)[-1])
    return float(filled @ values[order]), float(values[order[last]])


class _Iterate(NamedTuple):
    """Stationarity v = multiplier - s + t; complementarity w s = room t = mu -> 0."""

    w: Floats  # (k,) > 0
    room: Floats  # (k,) upper - w > 0; 1 where there is no bound
    s: Floats  # (k,) >= 0
    t: Floats  # (k,) >= 0; 0 where there is no bound
    multiplier: float  # of sum w = 1


class _Direction(NamedTuple):
    w: Floats
    s: Floats
    t: Floats
    multiplier: float


def interior_point(a: Floats, upper: Floats, w: Floats, tol: float) -> tuple[Floats, int]:
    """Maximise log det A' diag(w) A over 0 <= w <= upper, sum w = 1; returns w and the steps used.

    ``a`` (k, d); ``w`` starts strictly inside. Predictor and corrector (Mehrotra). Stops once the
    largest mean variance of any feasible design is at most d (1 + tol), or when rounding allows no
    further progress; the best w seen is returned.
    """
    d = a.shape[1]
    bounded = np.isfinite(upper)
    x = _Iterate(w, np.where(bounded, upper - w, 1.0), w, w, 0.0)
    best, best_w = np.inf, w
    for step in range(NEWTON_STEPS):
        try:
            root, _ = information_root(a, x.w)
        except np.linalg.LinAlgError:
            return best_w, step
        y = a @ root
        v = np.einsum("ij,ij->i", y, y)
        mean, marginal = largest_mean(v, upper)
        if mean < best:
            best, best_w = mean, x.w
        if mean <= d * (1 + tol):
            return best_w, step
        if step == 0:
            x = _first_slacks(x, v, min(marginal, d), 0.1 * (mean - d), bounded)
        moved = _newton_step(x, y, v, bounded, 0.01 * tol * d)
        if moved is None:
            return best_w, step
        x = moved
    return best_w, NEWTON_STEPS


def _first_slacks(x: _Iterate, v: Floats, level: float, floor: float, bounded: Flags) -> _Iterate:
    s = np.maximum(level - v, floor)
    t = np.where(bounded, np.maximum(v - level, floor), 0.0)
    return x._replace(s=s, t=t, multiplier=float(level))


def _newton_step(
    x: _Iterate, y: Floats, v: Floats, bounded: Flags, enough: float
) -> _Iterate | None:
    """One predictor and corrector towards a total complementarity of at least ``enough``.

    Aiming lower than needed would only spoil the Newton matrix; None where it is singular.
    """
    solve = newton_solver(y, x.s / x.w + x.t / x.room)
    if solve is None:
        return None
    ones = solve(np.ones(len(v)))
    zero, pairs = np.zeros(len(v)), len(v) + int(bounded.sum())
    mu = float(x.w @ x.s + x.room @ x.t) / pairs
    guess = _direction(x, v, solve, ones, zero, zero)
    primal, dual = _reaches(x, guess, bounded, 1.0)
    ahead = _advance(x, guess, bounded, primal, dual)
    mu_ahead = float(ahead.w @ ahead.s + ahead.room @ ahead.t) / pairs
    target = max(mu * (mu_ahead / mu) ** 3, enough / pairs)
    taken = primal * dual  # the guess is corrected as far as it can be followed, or steps cycle
    to_s = target - taken * guess.w * guess.s
    to_t = np.where(bounded, target + taken * guess.w * guess.t, 0.0)
    move = _direction(x, v, solve, ones, to_s, to_t)
    return _advance(x, move, bounded, *_reaches(x, move, bounded, 0.99))


def _direction(
    x: _Iterate,
    v: Floats,
    solve: Callable[[Floats], Floats],
    ones: Floats,
    to_s: Floats,
    to_t: Floats,
) -> _Direction:
    """The Newton step towards w s = to_s, room t = to_t, stationarity and sum w = 1."""
    free = solve(v - x.multiplier + to_s / x.w - to_t / x.room)
    turn = (float(free.sum()) - (1 - float(x.w.sum()))) / float(ones.sum())
    dw = free - turn * ones
    return _Direction(dw, (to_s - x.s * dw) / x.w - x.s, (to_t + x.t * dw) / x.room - x.t, turn)


def _reaches(x: _Iterate, move: _Direction, bounded: Flags, fraction: float) -> tuple[float, float]:
    """Primal and dual step: at most 1, and ``fraction`` of the way to the boundary."""
    primal = min(_reach(x.w, move.w), _reach(x.room[bounded], -move.w[bounded]))
    dual = min(_reach(x.s, move.s), _reach(x.t, move.t))
    return min(1.0, fraction * primal), min(1.0, fraction * dual)


def _advance(x: _Iterate, move: _Direction, bounded: Flags, primal: float, dual: float) -> _Iterate:
    return _Iterate(
        x.w + primal * move.w,
        np.where(bounded, x.room - primal * move.w, 1.0),
        x.s + dual * move.s,
        x.t + dual * move.t,
        x.multiplier + dual * move.multiplier,
    )


def _reach(x: Floats, dx: Floats) -> float:
    """The longest step with x + step dx >= 0."""
    falling = dx < 0
    return float((x[falling] / -dx[falling]).min(initial=np.inf))


def newton_solver(y: Floats, diagonal: Floats) -> Callable[[Floats], Floats] | None:
    """Solves ((y y')^2 elementwise + diag) x = r for x; None where rounding makes that singular.

    ``y`` (k, d), ``diagonal`` (k,) > 0. With k well above p = d (d + 1) / 2, Woodbury's formula
    needs only a p by p factorisation.
    """
    k, d = y.shape
    if k > d * (d + 1):
        return _woodbury(y, diagonal)
    kernel = (y @ y.T) ** 2
    kernel.ravel()[:: k + 1] += diagonal
    lower, failed = lapack.dpotrf(kernel.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        return None
    return lambda r: np.asarray(lapack.dpotrs(lower, r, lower=1)[0])


def _woodbury(y: Floats, diagonal: Floats) -> Callable[[Floats], Floats] | None:
    """(y y')^2 = F F' with F (k, p) the products of coordinates; F is never stored whole."""
    d = y.shape[1]
    rows, cols = np.triu_indices(d)
    factor = np.where(rows == cols, 1.0, np.sqrt(2.0))
    inner = np.eye(len(rows))
    for low in range(0, len(y), _CHUNK):
        part = y[low : low + _CHUNK]
        f = part[:, rows] * part[:, cols] * factor
        inner += (f / diagonal[low : low + _CHUNK, None]).T @ f
    lower, failed = lapack.dpotrf(inner, lower=1, overwrite_a=1, clean=0)
    if failed:
        return None

    def once(r: Floats) -> Floats:
        x = r / diagonal
        moment = (y * x[:, None]).T @ y
        q, _ = lapack.dpotrs(lower, moment[rows, cols] * factor, lower=1)
        back = np.zeros((d, d))
        back[rows, cols] = q * factor
        return np.asarray(x - np.einsum("ij,ij->i", y @ back, y) / diagonal)

    def refined(r: Floats) -> Floats:
        x = once(r)
        moment = (y * x[:, None]).T @ y
        return x + once(r - diagonal * x - np.einsum("ij,ij->i", y @ moment, y))

    return refined

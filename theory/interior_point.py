"""The solver under every design here: log det M(w) over a simplex, with or without upper bounds.

Primal-dual interior point; its Newton matrix is (A M^-1 A')^2 elementwise plus a diagonal. Near the
optimum and without bounds: Newton steps on the support. Written against the array API standard;
without bounds ``kernels.newton`` has the compiled twins.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import cholesky
from .devices import like, namespace
from .kernels.newton import ATTEMPTS, CLOSE, DAMPING
from .pool import Array

NEWTON_STEPS = 200  # 5 to 40 are usual
_CHUNK = 4096  # rows a pass holds at a time


def information_root(points: Array, weights: Array) -> tuple[Array, float]:
    """T (d, d) with T T' = M(weights)^-1, and log det M, from a fresh Cholesky factorisation.

    Raises ``numpy.linalg.LinAlgError`` where M is singular.
    """
    return cholesky.inverse_root((points * weights[:, None]).T @ points)


def variances(points: Array, root: Array) -> Array:
    """v_i = x_i' M^-1 x_i = |x_i T|^2 (n,)."""
    xp, y = namespace(points), points @ root
    return xp.sum(y * y, axis=1)


def largest_mean(values: Array, upper: Array) -> tuple[float, float]:
    """Maximum of sum w_i values_i over 0 <= w <= upper, sum w = 1, and the marginal value.

    The fractional knapsack: fill the largest values up to their bounds. Unbounded: the maximum.

    >>> largest_mean(np.array([1.0, 3.0, 2.0]), np.array([1.0, 0.5, 1.0]))
    (2.5, 2.0)
    """
    xp = namespace(values)
    if bool(xp.all(xp.isinf(upper))):
        best = float(xp.max(values))
        return best, best
    order = xp.argsort(values, descending=True, stable=True)
    width, value = upper[order], values[order]
    before = xp.cumulative_sum(width, include_initial=True)[:-1]
    filled = xp.minimum(xp.maximum(1 - before, xp.zeros_like(before)), width)
    last = int(xp.max(xp.nonzero(filled)[0]))
    return float(xp.sum(filled * value)), float(value[last])


class _Iterate(NamedTuple):
    """Stationarity v = multiplier - s + t; complementarity w s = room t = mu -> 0."""

    w: Array  # (k,) > 0
    room: Array  # (k,) upper - w > 0; 1 where there is no bound
    s: Array  # (k,) >= 0
    t: Array  # (k,) >= 0; 0 where there is no bound
    multiplier: float  # of sum w = 1


class _Direction(NamedTuple):
    w: Array
    s: Array
    t: Array
    multiplier: float


def interior_point(a: Array, upper: Array, w: Array, tol: float) -> tuple[Array, int]:
    """Maximise log det A' diag(w) A over 0 <= w <= upper, sum w = 1; returns w and the steps used.

    ``a`` (k, d); ``w`` starts strictly inside. Predictor and corrector (Mehrotra). Stops once the
    largest mean variance of any feasible design is at most d (1 + tol), or when rounding allows no
    further progress; the best w seen is returned.
    """
    xp, d = namespace(a), a.shape[1]
    bounded = xp.isfinite(upper)
    x = _Iterate(w, xp.where(bounded, upper - w, 1.0), w, w, 0.0)
    best, best_w = float("inf"), w
    for step in range(NEWTON_STEPS):
        try:
            root, _ = information_root(a, x.w)
        except np.linalg.LinAlgError:
            return best_w, step
        y = a @ root
        v = xp.sum(y * y, axis=1)
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


def _first_slacks(x: _Iterate, v: Array, level: float, floor: float, bounded: Array) -> _Iterate:
    xp = namespace(v)
    s = xp.clip(level - v, min=floor)
    t = xp.where(bounded, xp.clip(v - level, min=floor), 0.0)
    return x._replace(s=s, t=t, multiplier=float(level))


def _newton_step(x: _Iterate, y: Array, v: Array, bounded: Array, enough: float) -> _Iterate | None:
    """One predictor and corrector towards a total complementarity of at least ``enough``.

    Aiming lower than needed would only spoil the Newton matrix; None where it is singular.
    """
    solve = newton_solver(y, x.s / x.w + x.t / x.room)
    if solve is None:
        return None
    xp = namespace(v)
    ones, zero = solve(xp.ones_like(v)), xp.zeros_like(v)
    pairs = v.shape[0] + int(xp.sum(xp.astype(bounded, xp.int64)))
    mu = float(x.w @ x.s + x.room @ x.t) / pairs
    guess = _direction(x, v, solve, ones, zero, zero)
    primal, dual = _reaches(x, guess, bounded, 1.0)
    ahead = _advance(x, guess, bounded, primal, dual)
    mu_ahead = float(ahead.w @ ahead.s + ahead.room @ ahead.t) / pairs
    target = max(mu * (mu_ahead / mu) ** 3, enough / pairs)
    taken = primal * dual  # the guess is corrected as far as it can be followed, or steps cycle
    to_s = target - taken * guess.w * guess.s
    to_t = xp.where(bounded, target + taken * guess.w * guess.t, 0.0)
    move = _direction(x, v, solve, ones, to_s, to_t)
    return _advance(x, move, bounded, *_reaches(x, move, bounded, 0.99))


def _direction(
    x: _Iterate,
    v: Array,
    solve: Callable[[Array], Array],
    ones: Array,
    to_s: Array,
    to_t: Array,
) -> _Direction:
    """The Newton step towards w s = to_s, room t = to_t, stationarity and sum w = 1."""
    xp = namespace(v)
    free = solve(v - x.multiplier + to_s / x.w - to_t / x.room)
    turn = (float(xp.sum(free)) - (1 - float(xp.sum(x.w)))) / float(xp.sum(ones))
    dw = free - turn * ones
    return _Direction(dw, (to_s - x.s * dw) / x.w - x.s, (to_t + x.t * dw) / x.room - x.t, turn)


def _reaches(x: _Iterate, move: _Direction, bounded: Array, fraction: float) -> tuple[float, float]:
    """Primal and dual step: at most 1, and ``fraction`` of the way to the boundary."""
    falling = namespace(x.w).where(bounded, -move.w, 0.0)
    primal = min(_reach(x.w, move.w), _reach(x.room, falling))
    dual = min(_reach(x.s, move.s), _reach(x.t, move.t))
    return min(1.0, fraction * primal), min(1.0, fraction * dual)


def _advance(x: _Iterate, move: _Direction, bounded: Array, primal: float, dual: float) -> _Iterate:
    return _Iterate(
        x.w + primal * move.w,
        namespace(x.w).where(bounded, x.room - primal * move.w, 1.0),
        x.s + dual * move.s,
        x.t + dual * move.t,
        x.multiplier + dual * move.multiplier,
    )


def _reach(x: Array, dx: Array) -> float:
    """The longest step with x + step dx >= 0."""
    xp, falling = namespace(x), dx < 0
    return float(xp.min(xp.where(falling, x / xp.where(falling, -dx, 1.0), float("inf"))))


def newton_on_support(a: Array, w: Array, tol: float) -> tuple[Array, int, bool]:
    """Maximise log det A' diag(w) A over the simplex from near the optimum: weights, steps, success.

    The support is taken to be where d^2 w_i + v_i > d: to first order the weights that stay
    positive. There v = d is wanted, and v(u) is nearly 2 v - K u with K = (A M^-1 A')^2 elementwise
    (K w = v); elsewhere u = 0. Semismooth Newton, so a few steps where the optimum is well
    determined; False where they lead away, or M is singular (neighbours that are all but parallel).
    """
    xp, d, last = namespace(a), a.shape[1], float("inf")
    for step in range(ATTEMPTS):
        try:
            root, _ = information_root(a, w)
        except np.linalg.LinAlgError:
            return w, step, False
        y = a @ root
        v = xp.sum(y * y, axis=1)
        gap = float(xp.max(v)) / d - 1
        if gap <= tol:
            return w, step, True
        if not gap <= max(0.5 * last, CLOSE):
            return w, step, False
        last, held = gap, xp.nonzero(d * d * w + v > d)[0]
        level, damping = v[held], DAMPING * v[held] ** 2
        solve = newton_solver(y[held, :], damping)
        if solve is None:
            return w, step, False
        u = solve(2 * level - d + damping * w[held])
        w = xp.zeros_like(w)
        w[held] = xp.clip(u, min=0.0)
        w = w / xp.sum(w)
    return w, ATTEMPTS, False


def newton_solver(y: Array, diagonal: Array) -> Callable[[Array], Array] | None:
    """Solves ((y y')^2 elementwise + diag) x = r for x; None where rounding makes that singular.

    ``y`` (k, d), ``diagonal`` (k,) > 0. With k well above p = d (d + 1) / 2, Woodbury's formula
    needs only a p by p factorisation.
    """
    k, d = y.shape
    if k > d * (d + 1):
        return _woodbury(y, diagonal)
    kernel = (y @ y.T) ** 2
    namespace(y).reshape(kernel, (-1,))[:: k + 1] += diagonal
    return cholesky.solver(kernel)


def _woodbury(y: Array, diagonal: Array) -> Callable[[Array], Array] | None:
    """(y y')^2 = F F' with F (k, p) the products of coordinates; F is never stored whole."""
    xp, d = namespace(y), y.shape[1]
    upper = np.triu_indices(d)
    rows, cols = (like(index, y) for index in upper)
    factor = like(np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0)), y)
    inner = like(np.eye(len(upper[0])), y)
    for low in range(0, y.shape[0], _CHUNK):
        part = y[low : low + _CHUNK, :]
        f = part[:, rows] * part[:, cols] * factor
        inner += (f / diagonal[low : low + _CHUNK, None]).T @ f
    solve = cholesky.solver(inner)
    if solve is None:
        return None

    def once(r: Array) -> Array:
        x = r / diagonal
        moment = (y * x[:, None]).T @ y
        back = xp.zeros_like(moment)
        back[rows, cols] = solve(moment[rows, cols] * factor) * factor
        return x - xp.sum((y @ back) * y, axis=1) / diagonal

    def refined(r: Array) -> Array:
        x = once(r)
        moment = (y * x[:, None]).T @ y
        return x + once(r - diagonal * x - xp.sum((y @ moment) * y, axis=1))

    return refined

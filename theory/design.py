"""Continuous D-optimal designs with a certificate: maximise log det M(w), M(w) = sum w_i x_i x_i'.

By the equivalence theorem (Kiefer and Wolfowitz 1960) w is optimal exactly when no point has a
variance v_i = x_i' M(w)^-1 x_i above d, so ``gap`` = max v / d - 1 proves how good any w is:
log det M* - log det M(w) <= d log(1 + gap). The solver works on a small set of points, found by
their variances (column generation), with a primal-dual interior point; under upper bounds on the
weights the same interior point runs on all points.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack

from .checks import Floats, Ints, one_of, positive_number, real_array
from .interior_point import information_root, interior_point, largest_mean, variances

METHODS = ("auto", "interior_point", "cvxpy")
_FINEST_TOL = 1e-10  # float64 variances carry errors of about 1e-13
_ROUNDS = 500  # of column generation; 5 to 20 are usual
_PATIENCE = 30  # rounds without a smaller gap: only rounding is left


class Design(NamedTuple):
    """Weights over the candidates, and the proof of how good they are."""

    weights: Floats  # (n,), or (n, m) from dual_design; >= 0, sum 1
    log_det: float  # log det M(weights), in the units of the points as given
    gap: float  # max over designs of sum w_i v_i / d - 1 on ALL candidates; 0 at the optimum
    support: Ints  # indices with weight > 0, sorted; (s, 2) of (pair, teacher) from dual_design
    iterations: int  # Newton steps


def d_optimal(
    points: ArrayLike, *, tol: float = 1e-6, method: str = "auto", start: ArrayLike | None = None
) -> Design:
    """The design on ``points`` (n, d) that maximises log det sum_i w_i x_i x_i' over the simplex.

    ``gap`` = max_i x_i' M^-1 x_i / d - 1 over all points, at most ``tol`` (in 1e-10..1) on return.
    ``method``: "interior_point" (ours; "auto" takes it) or "cvxpy" (a slow second opinion:
    maximise log det H subject to x_i' H x_i <= d, the weights are the multipliers; its ``gap`` is
    whatever the solver reached). ``start`` (n,): earlier weights to begin from, on any scale.
    Small factorisations are fastest on one BLAS thread (OPENBLAS_NUM_THREADS=1).
    Zero rows, duplicates and any scaling of the columns are fine.
    Raises ``ValueError`` when the points do not span R^d (it names the rank and what to drop), on
    an unknown method, and on wrong shapes or values that are not finite.
    Source: Kiefer and Wolfowitz (1960); dual: Titterington (1975).

    >>> design = d_optimal([[1, -1], [1, 0], [1, 1]])        # a straight line on [-1, 1]
    >>> design.weights.round(6).tolist(), design.support.tolist()
    ([0.5, 0.0, 0.5], [0, 2])
    >>> abs(design.log_det) < 1e-6, design.gap <= 1e-6       # det M = 1
    (True, True)
    """
    resolution = rank_resolution(points)
    points = real_array("points", points, (None, None))
    tol = tolerance(tol)
    method = one_of("method", method, METHODS)
    first = None if start is None else _start_weights(start, len(points))
    whitened = whiten("points", points, resolution)
    if method == "cvxpy":
        weights, steps = _cvxpy_weights(whitened.points, tol), 0
    else:
        weights, steps = simplex_weights(whitened.points, tol, first, whitened.basis)
    return certified_design(whitened, weights, np.full(len(weights), np.inf), tol, steps)


def tolerance(tol: float) -> float:
    """``tol`` as a float that float64 arithmetic can certify."""
    tol = positive_number("tol", tol)
    if not _FINEST_TOL <= tol < 1:
        raise ValueError(
            f"tol: found {tol:g}, needed {_FINEST_TOL:g} <= tol < 1, what float64 can certify."
        )
    return tol


def rank_resolution(points: ArrayLike) -> float:
    """Rounding of the numbers as given: float32 points span no more than float32 can tell."""
    kind = np.asarray(points).dtype
    return float(np.finfo(kind).eps) if kind.kind == "f" else float(np.finfo(np.float64).eps)


def _start_weights(start: ArrayLike, n: int) -> Floats:
    weights = real_array("start", start, (n,))
    if weights.min() < 0 or weights.sum() == 0:
        raise ValueError("start: found negative weights or only zeros; needed weights >= 0.")
    return np.asarray(weights / weights.sum())


# ---------------------------------------------------------------------------- coordinates


class Whitened(NamedTuple):
    """Points in coordinates where d of them, a basis of nearly the largest volume, are unit vectors."""

    points: Floats  # (n, d)
    log_volume: float  # add it to log det M to return to the units of the points as given
    basis: Ints  # (d,) rows that became the unit vectors


def whiten(name: str, points: Floats, resolution: float = 2.3e-16) -> Whitened:
    """Coordinates in which neither the scale of rows nor of columns matters.

    Greedy volume: QR with pivoting over the rows. A design's variances and gap do not change under
    linear maps; log det M shifts by 2 log |det|. Raises ``ValueError`` where rank < d.
    """
    n, d = points.shape
    exponent = np.frexp(np.abs(points).max(axis=0))[1]
    scaled = np.ldexp(points, -exponent)  # exact: every column between 1/2 and 1, or zero
    factor, pivot, *_ = lapack.dgeqp3(scaled.T)
    order = pivot.astype(np.int64) - 1
    basis = order[: min(n, d)]
    steps = np.abs(np.diagonal(factor))
    own = np.linalg.norm(scaled[basis], axis=1)
    spans = (steps > 64 * d * resolution * own) & (steps > resolution * steps[0])
    rank = len(spans) if spans.all() else int(np.argmin(spans))
    if rank < d:
        raise ValueError(_does_not_span(name, scaled[basis[:rank]], n, d))
    coordinates, _ = lapack.dtrtrs(factor[:, :d], np.triu(factor))
    out = np.empty((n, d))
    out[order] = coordinates.T
    out[basis] = np.eye(d)
    log_volume = 2 * float(np.log(steps).sum() + np.log(2.0) * exponent.sum())
    return Whitened(out, log_volume, basis)


def _does_not_span(name: str, basis: Floats, n: int, d: int) -> str:
    rank = len(basis)
    found = f"{name}: found {n} points of rank {rank}, needed rank {d} (one per column)."
    if rank == 0:
        return f"{found} All points are zero: no design is informative."
    unit = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    _, pivot, *_ = lapack.dgeqp3(unit)
    columns = sorted(int(j) - 1 for j in pivot[rank:])
    return (
        f"{found} Columns {columns} depend linearly on the others on these points: drop them, "
        f"reduce the features to {rank} dimensions, or add points in the missing directions."
    )


def certified_design(
    whitened: Whitened, weights: Floats, upper: Floats, tol: float, steps: int
) -> Design:
    """The record of ``weights``: log det, and the gap on all points from a fresh factorisation.

    Weights that only rounding keeps off their bounds are put there where the gap allows it.
    """
    design, v = _record(whitened, weights, upper, steps)
    trial = _settled(weights, v, upper)
    if trial is None:
        return design
    try:
        settled, _ = _record(whitened, trial, upper, steps)
    except np.linalg.LinAlgError:
        return design
    return settled if settled.gap <= max(tol, design.gap) else design


def _record(
    whitened: Whitened, weights: Floats, upper: Floats, steps: int
) -> tuple[Design, Floats]:
    held = np.flatnonzero(weights)
    root, log_det = information_root(whitened.points[held], weights[held])
    v = variances(whitened.points, root)
    best, _ = largest_mean(v, upper)
    gap = max(best / whitened.points.shape[1] - 1, 0.0)
    return Design(weights, log_det + whitened.log_volume, gap, held, steps), v


def _settled(weights: Floats, v: Floats, upper: Floats) -> Floats | None:
    """``weights`` at 0 (at their bounds) where they are nearer to it than v to its marginal value.

    Strict complementarity: at the optimum exactly one of the two distances is zero.
    """
    size = np.minimum(upper, 1.0)
    slack = (largest_mean(v, upper)[1] - v) / v.max()
    full = (size - weights) / size < -slack
    out = np.where(full, size, np.where(weights / size < slack, 0.0, weights))
    free = ~full & (out > 0)
    mass = 1 - float(out[full].sum())
    if free.any() and mass > 0:
        out[free] *= mass / out[free].sum()
    feasible = abs(out.sum() - 1) < 1e-12 and bool((out <= upper).all())
    return out if feasible else None


# ---------------------------------------------------------------------------- column generation


def simplex_weights(
    points: Floats, tol: float, start: Floats | None, basis: Ints
) -> tuple[Floats, int]:
    """Optimal weights without bounds, and the Newton steps: whitened points, a spanning basis.

    Each round looks at all points once, adds those of largest variance to the working set and
    solves that set by the interior point.
    """
    n, d = points.shape
    working = basis if start is None else np.union1d(basis, np.flatnonzero(start))
    w = np.full(len(working), 1.0 if start is None else 1e-3 / d)
    if start is not None:
        w += start[working]
    w /= w.sum()
    best_gap, best, best_round, steps = np.inf, (working, w), 0, 0
    for round_ in range(_ROUNDS):
        root, _ = information_root(points[working], w)
        v = variances(points, root)
        gap = float(v.max()) / d - 1
        if gap < best_gap:
            best_gap, best, best_round = gap, (working, w), round_
        if gap <= tol or round_ - best_round > _PATIENCE:
            break
        working, w = _enlarge(points, root, v, working, w, gap)
        inner = max(0.01 * tol, min(1e-2, 0.01 * gap))
        w, used = interior_point(points[working], np.full(len(w), np.inf), w, inner)
        steps += used
        keep = w > 1e-3 * tol / len(w)
        working, w = working[keep], w[keep] / w[keep].sum()
    out = np.zeros(n)
    out[best[0]] = best[1]
    return out, steps


def _enlarge(
    points: Floats, root: Floats, v: Floats, working: Ints, w: Floats, gap: float
) -> tuple[Ints, Floats]:
    """The working set plus up to 2 d points of large variance, with a little weight for each."""
    d = points.shape[1]
    wanted = v > d * (1 + 0.2 * min(gap, 1.0))
    wanted[working] = False  # first of all: they must not hide their neighbours
    candidates = np.flatnonzero(wanted)
    candidates = candidates[np.argsort(-v[candidates], kind="stable")[: 16 * d]]
    y = points[candidates] @ root / np.sqrt(v[candidates])[:, None]
    parallel = np.abs(y @ y.T) >= 0.95  # neighbours on a grid: the best of each bundle is enough
    left = np.ones(len(candidates), dtype=bool)
    new: list[int] = []
    while len(new) < 2 * d and left.any():
        pick = int(np.argmax(left))
        new.append(int(candidates[pick]))
        left &= ~parallel[pick]
    fresh = np.array(new, dtype=np.int64)
    share = min(0.1, 0.5 * gap) / max(len(fresh), 1)
    w = np.concatenate([np.maximum(w, 1e-2 * share), np.full(len(fresh), share)])
    return np.concatenate([working, fresh]), w / w.sum()


# ---------------------------------------------------------------------------- oracle


def _cvxpy_weights(points: Floats, tol: float) -> Floats:
    """The multipliers of the dual: the minimum-volume ellipsoid around the (whitened) points."""
    import warnings

    import cvxpy

    cp: Any = cvxpy  # without annotations of its own

    d = points.shape[1]
    shape = cp.Variable((d, d), PSD=True)
    inside = cp.sum(cp.multiply(points @ shape, points), axis=1) <= d
    problem = cp.Problem(cp.Maximize(cp.log_det(shape)), [inside])
    exact = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 200_000}
    best, best_gap = np.full(len(points), 1 / len(points)), np.inf
    for solver, options in ((cp.SCS, exact), (cp.CLARABEL, {})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate": the gap on return says how much
            try:
                problem.solve(solver=solver, **options)
            except cp.SolverError:
                continue
        if inside.dual_value is None:
            continue
        weights = np.maximum(np.asarray(inside.dual_value, dtype=np.float64), 0.0)
        weights[weights < 1e-8 * weights.max()] = 0.0
        weights /= weights.sum()
        root, _ = information_root(points, weights)
        gap = float(variances(points, root).max()) / d - 1
        if gap < best_gap:
            best, best_gap = weights, gap
        if gap <= tol:
            break
    return best

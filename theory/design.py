"""Continuous D-optimal designs with a certificate: maximise log det M(w), M(w) = sum w_i x_i x_i'.

By the equivalence theorem (Kiefer and Wolfowitz 1960) w is optimal exactly when no point has a
variance v_i = x_i' M(w)^-1 x_i above d, so ``gap`` = max v / d - 1 proves how good any w is:
log det M* - log det M(w) <= d log(1 + gap). The solver works on a small set of points, found by
their variances (``column_generation``), with a primal-dual interior point, near the optimum with
Newton steps on the support (``interior_point``).
"""

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array
from numpy.typing import ArrayLike

from .blas import on_one_blas_thread
from .checks import Floats, Ints, one_of, positive_number, real_array
from .column_generation import COMPILED, PLAIN, SmallSolver, Solution, generate
from .devices import host, like
from .interior_point import information_root, largest_mean, variances
from .points import PointCandidates
from .pool import Array
from .whitening import Whitened, rank_resolution, whiten, whiten_by_moment

METHODS = ("auto", "plain", "cvxpy")
_FINEST_TOL = 1e-10  # float64 variances carry errors of about 1e-13


class Design(NamedTuple):
    """Weights over the candidates, and the proof of how good they are."""

    weights: Array  # (n,), or (n, m) from dual_design; >= 0, sum 1
    log_det: float  # log det M(weights), in the units of the points as given
    gap: float  # max over designs of sum w_i v_i / d - 1 on ALL candidates; 0 at the optimum
    support: Array  # indices with weight > 0, sorted; (s, 2) of (pair, teacher) from dual_design
    iterations: int  # Newton steps


@on_one_blas_thread
def d_optimal(
    points: ArrayLike, *, tol: float = 1e-6, method: str = "auto", start: ArrayLike | None = None
) -> Design:
    """The design on ``points`` (n, d) that maximises log det sum_i w_i x_i x_i' over the simplex.

    ``gap`` = max_i x_i' M^-1 x_i / d - 1 over all points, at most ``tol`` (in 1e-10..1) on return;
    above it only where columns depend on each other so nearly that rounding, which it then
    includes, allows no more (condition above 1e8 or so).
    Arrays of another namespace (a torch tensor, on a CPU or a GPU) are worked on where they are,
    in float64 (in main memory where columns all but depend on each other); weights and support
    come back there.
    ``method``: "auto" (compiled for NumPy), "plain" (the same algorithm, readable) or "cvxpy" (a
    slow second opinion: maximise log det H subject to x_i' H x_i <= d, the weights are the
    multipliers; its ``gap`` is whatever the solver reached, ``start`` is not used). ``start`` (n,):
    earlier weights to begin from, on any scale: after a small change of the points most of the
    work is done. Weights on far more points than a design needs are no help and not used.
    BLAS works on one thread meanwhile: its many small factorisations are fastest so.
    Zero rows, duplicates and any scaling of the columns are fine.
    Raises ``ValueError`` when the points do not span R^d (it names the rank and what to drop), on
    an unknown method, and on wrong shapes or values that are not finite.
    Source: Kiefer and Wolfowitz (1960); dual: Titterington (1975); bounds on the variances of
    points not looked at: ``points.PointCandidates``.

    >>> design = d_optimal([[1, -1], [1, 0], [1, 1]])        # a straight line on [-1, 1]
    >>> design.weights.round(6).tolist(), design.support.tolist()
    ([0.5, 0.0, 0.5], [0, 2])
    >>> abs(design.log_det) < 1e-6, design.gap <= 1e-6       # det M = 1
    (True, True)
    """
    tol = tolerance(tol)
    method = one_of("method", method, METHODS)
    resolution = rank_resolution(points)
    given = finite_or_not(points)
    first = None if start is None else _start_weights(start, given.shape[0])
    if method == "cvxpy":
        whitened = whiten("points", real_array("points", host(given), (None, None)), resolution)
        weights = _cvxpy_weights(whitened.points, tol)
        return certified_design(whitened, weights, np.full(len(weights), np.inf), tol, 0)
    small = COMPILED if method == "auto" and is_numpy_array(given) else PLAIN
    return as_design(simplex_design("points", given, resolution, tol, first, small), given)


def finite_or_not(points: Any) -> Array:
    """``points`` as a float64 matrix where it lives; that all is finite is seen in the first look."""
    if is_array_api_obj(points) and not is_numpy_array(points):
        xp = array_namespace(points)
        if not xp.isdtype(points.dtype, ("real floating", "integral", "bool")):
            raise ValueError(f"points: found dtype {points.dtype}, needed real numbers.")
        if points.ndim != 2 or 0 in points.shape:
            raise ValueError(f"points: found shape {tuple(points.shape)}, needed (any, any).")
        points = points.detach() if hasattr(points, "detach") else points  # torch: no gradients
        return xp.astype(points, xp.float64)
    return real_array("points", points, (None, None), finite=False)


def simplex_design(
    name: str,
    points: Array,
    resolution: float,
    tol: float,
    start: tuple[Ints, Floats] | None,
    small: SmallSolver,
) -> Solution:
    """The optimal design without bounds on the weights; log det in the units of ``points``.

    Raises ``ValueError`` where the points do not span, or are not finite.
    """
    for design in (start, None) if start is not None else (None,):
        quick = whiten_by_moment(points, resolution, small.compiled, design)
        if quick is None:
            break
        try:
            found = _generated(*quick, tol, design, small)
            safe = found.certifiable()
            if not safe:  # then look again in the coordinates of what was found
                design = (found.working, found.weights)
                quick = whiten_by_moment(points, resolution, small.compiled, design)
                if quick is None:
                    break
                found = _generated(*quick, tol, design, small)
                safe = found.certifiable()
        except np.linalg.LinAlgError:
            continue
        if found.gap <= tol and safe:
            return found
    robust = whiten(name, real_array(name, host(points), (None, None)), resolution)
    there = robust._replace(points=like(robust.points, points))
    found = _generated(there, None, tol, None, small)
    return found._replace(gap=found.gap + robust.rounding)


def _generated(
    whitened: Whitened,
    known: Array | None,
    tol: float,
    start: tuple[Ints, Floats] | None,
    small: SmallSolver,
) -> Solution:
    candidates = PointCandidates(whitened, known, small)
    begin = candidates.first() if start is None else candidates.again(*start)
    found = generate(candidates, small, tol, begin)
    return found._replace(log_det=found.log_det + whitened.log_volume)


def as_design(found: Solution, points: Array) -> Design:
    """``found`` as weights on all points, in their namespace."""
    order = np.argsort(found.working)
    support = found.working[order]
    weights = np.zeros(points.shape[0])
    weights[support] = found.weights[order]
    return Design(
        like(weights, points),
        found.log_det,
        max(found.gap, 0.0),
        like(support, points),
        found.steps,
    )


def tolerance(tol: float) -> float:
    """``tol`` as a float that float64 arithmetic can certify."""
    tol = positive_number("tol", tol)
    if not _FINEST_TOL <= tol < 1:
        raise ValueError(
            f"tol: found {tol:g}, needed {_FINEST_TOL:g} <= tol < 1, what float64 can certify."
        )
    return tol


def _start_weights(start: ArrayLike, n: int) -> tuple[Ints, Floats]:
    known: Any = host(start) if is_array_api_obj(start) else start
    weights = real_array("start", known, (n,))
    if weights.min() < 0 or weights.sum() == 0:
        raise ValueError("start: found negative weights or only zeros; needed weights >= 0.")
    index = np.flatnonzero(weights)
    return index, weights[index] / weights.sum()


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

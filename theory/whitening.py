"""Coordinates in which a design problem is well scaled, and the proof that its points span R^d."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from scipy.linalg import lapack

from .checks import Floats, Ints
from .cholesky import inverse_root
from .devices import host, like, namespace
from .pool import Array
from .variances import variances

_EPS = float(np.finfo(np.float64).eps)
_FINE = 1e-11  # far below the finest tolerance
_CHUNK = 1 << 14  # rows of residuals at a time
_CLEAR = 1e-8  # share of a column's square that the columns before it leave unexplained


class Whitened(NamedTuple):
    """Points, and the linear map to coordinates in which they are well scaled.

    A design's variances and gap do not change under linear maps; log det M shifts by a constant.
    """

    points: Array  # (n, d)
    map: Floats  # (d, d): the coordinates of a point are its row times map
    log_volume: float  # add it to log det M in these coordinates for that in the units as given
    basis: Ints | None  # (d,) rows that span R^d well, where they were looked for
    rounding: float  # relative error that the coordinates put into variances

    def rows(self, index: Ints) -> Array:
        """(k, d) the points ``index`` in these coordinates."""
        return self.points[like(index, self.points)] @ like(self.map, self.points)


def rank_resolution(points: Any) -> float:
    """Rounding of the numbers as given: float32 points span no more than float32 can tell."""
    if is_array_api_obj(points) and not isinstance(points, np.ndarray):
        xp = array_namespace(points)
        floating = xp.isdtype(points.dtype, "real floating")
        return float(xp.finfo(points.dtype).eps) if floating else _EPS
    kind = getattr(points, "dtype", None)
    return float(np.finfo(kind).eps) if kind is not None and np.dtype(kind).kind == "f" else _EPS


def whiten_by_moment(
    points: Array, resolution: float, compiled: bool, design: tuple[Ints, Floats] | None
) -> tuple[Whitened, Array] | None:
    """Coordinates in which ``design`` (indices, weights), or even weights on evenly spaced rows,
    have M = I, and all variances (n,) in them.

    Costs one look at the points. None where that would not be safe: columns that all but depend
    on each other, too few rows, or entries that are not finite; then ``whiten`` decides.
    """
    d = points.shape[1]
    clear = max(_CLEAR, (256 * d * resolution) ** 2)
    for moment in _moments(points, design):
        squares = np.diagonal(moment)
        if not (np.isfinite(moment).all() and squares.min() > 0):
            continue
        scale = 1 / np.sqrt(squares)
        try:
            root, log_det = inverse_root(moment * np.outer(scale, scale))
        except np.linalg.LinAlgError:
            continue
        if 1 / np.diagonal(root).max() ** 2 > clear:
            break
    else:
        return None
    to = scale[:, None] * root
    v = variances(points, to, None, compiled)
    if not np.isfinite(float(namespace(v).sum(v))):
        return None
    return Whitened(points, to, log_det - 2 * float(np.log(scale).sum()), None, 0.0), v


def _moments(points: Array, design: tuple[Ints, Floats] | None) -> Iterator[Floats]:
    """Information matrices to try: of the design, of some rows, of all."""
    n, d = points.shape
    with np.errstate(over="ignore", invalid="ignore"):  # not finite: the caller sees to it
        if design is not None:
            rows, w = points[like(design[0], points)], like(design[1], points)
            yield host((rows * w[:, None]).T @ rows)
        for stride in dict.fromkeys((-(-n // (50 * d + 200)), 1)):
            rows = points[::stride, :]
            yield host(rows.T @ rows) / rows.shape[0]


def spanning(rows: Floats) -> Ints | None:
    """Positions of d rows of large volume; None where none is large."""
    d = rows.shape[1]
    factor, pivot, *_ = lapack.dgeqp3(rows.T)
    steps = np.abs(np.diagonal(factor))
    if len(steps) < d or steps[-1] < 1e-3 * steps[0]:
        return None
    return np.asarray(pivot[:d].astype(np.int64) - 1)


def whiten(name: str, points: Floats, resolution: float = _EPS) -> Whitened:
    """Coordinates in which d points, a basis of nearly the largest volume, are the unit vectors.

    Greedy volume: QR with pivoting over the rows, so neither the scale of rows nor of columns
    matters. Raises ``ValueError`` where rank < d.
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
    rounding = _refine(scaled, out, basis, np.triu(factor[:, :d]))
    log_volume = 2 * float(np.log(steps).sum() + np.log(2.0) * exponent.sum())
    return Whitened(out, np.eye(d), log_volume, basis, rounding if rounding > _FINE else 0.0)


def _refine(points: Floats, coordinates: Floats, basis: Ints, factor: Floats) -> float:
    """The relative error of variances that rounding leaves in ``coordinates``, which are put right.

    They solve R c = Q'x, whose sides are known to some eps of the norms of x and of the basis points:
    a long point has a large error in the coordinate of a short basis point. Where that matters, two
    steps of iterative refinement with residuals in extended precision; where the machine has none,
    or nothing helps, the second is as large as the error.
    """
    rows, d = points[basis], len(basis)
    inverse, _ = lapack.dtrtri(factor)
    steepest = float(np.linalg.norm(inverse, axis=1).max())
    sizes = np.linalg.norm(points, axis=1) + np.abs(coordinates) @ np.linalg.norm(rows, axis=1)
    rounding = 8 * d * _EPS * steepest * float(sizes.max())
    if rounding <= _FINE:
        return rounding
    for _ in range(2):
        rounding = 0.0
        for low in range(0, len(points), _CHUNK):
            part, c = points[low : low + _CHUNK], coordinates[low : low + _CHUNK]
            residual = part - c.astype(np.longdouble) @ rows.astype(np.longdouble)
            step = np.linalg.solve(rows.T, residual.astype(np.float64).T).T
            c += step
            rounding = max(rounding, 8 * d * float(np.abs(step).max()))
    return rounding


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

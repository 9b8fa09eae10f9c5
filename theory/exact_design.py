"""From shares to whole labels, and how close a set of labels comes to the optimum."""

import numpy as np
from numpy.typing import ArrayLike

from .blas import on_one_blas_thread
from .checks import Floats, Ints, positive_number, real_array, whole_number
from .interior_point import information_root
from .whitening import rank_resolution, whiten

_GAIN = 1e-9  # a swap must raise det by more than rounding
_SOLVER = 1e-6  # an optimum found numerically may lie this far below the true one
_BLOCK = 4_000_000  # entries of the swap table held at a time


@on_one_blas_thread
def exact_design(weights: ArrayLike, labels: int, *, points: ArrayLike) -> Ints:
    """Whole numbers of labels (n,), summing to ``labels``, with log det sum n_i x_i x_i' large.

    ``weights`` (n,) >= 0 on any scale are rounded efficiently (Pukelsheim and Rieder 1992), then
    single labels are exchanged for as long as a swap raises the determinant (Fedorov 1972):
    det ratio (1 + v_j)(1 - v_i) + v_ij^2. The result is a local optimum: no swap improves it.
    Raises ``ValueError`` when ``labels`` < d, when ``points`` (n, d) do not span R^d, on negative
    or all-zero weights, and on wrong shapes or values that are not finite.

    >>> exact_design([0.5, 0.0, 0.5], 5, points=[[1, -1], [1, 0], [1, 1]]).tolist()
    [3, 0, 2]
    """
    resolution = rank_resolution(points)
    points = real_array("points", points, (None, None))
    n, d = points.shape
    labels = whole_number("labels", labels, low=1)
    weights = real_array("weights", weights, (n,))
    if weights.min() < 0 or weights.sum() == 0:
        raise ValueError("weights: found negative entries or only zeros; needed weights >= 0.")
    if labels < d:
        raise ValueError(f"labels: found {labels}, needed at least {d}, the dimension of points.")
    whitened = whiten("points", points, resolution)
    counts = efficient_rounding(weights, labels)
    try:
        information_root(whitened.points, counts.astype(np.float64))
    except np.linalg.LinAlgError:  # the rounded support does not span: put a basis in
        counts = efficient_rounding(weights, labels - d) if labels > d else np.zeros_like(counts)
        counts[whitened.basis] += 1
    while (swap := _best_swap(whitened.points, counts)) is not None:
        counts[swap[0]] -= 1
        counts[swap[1]] += 1
    return counts


def efficient_rounding(weights: Floats, labels: int) -> Ints:
    """Counts that lose the least of any optimality criterion (Pukelsheim and Rieder 1992)."""
    weights = weights / weights.sum()
    support = int(np.count_nonzero(weights))
    counts: Ints = np.ceil(max(labels - support / 2, 0.0) * weights).astype(np.int64)
    share = np.where(weights > 0, weights, np.nan)
    while counts.sum() < labels:  # among equals (1e-9) the largest weight gains
        counts[np.nanargmin((counts + 1e-9) / share)] += 1
    while counts.sum() > labels:  # and the smallest loses
        counts[np.nanargmax(np.where(counts > 0, (counts - 1 + 1e-9) / share, -np.inf))] -= 1
    return counts


def _best_swap(points: Floats, counts: Ints) -> tuple[int, int] | None:
    """The exchange (from, to) of one label that raises det most, or None."""
    root, _ = information_root(points, counts.astype(np.float64))
    y = points @ root
    v = np.einsum("ij,ij->i", y, y)
    held = np.flatnonzero(counts)
    best, swap = 1 + _GAIN, None
    width = max(_BLOCK // len(held), 1)
    for low in range(0, len(points), width):
        cross = y[held] @ y[low : low + width].T
        ratio = (1 - v[held])[:, None] * (1 + v[low : low + width]) + cross * cross
        i, j = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        if ratio[i, j] > best:
            best, swap = float(ratio[i, j]), (int(held[i]), low + int(j))
    return swap


def d_efficiency(information: ArrayLike, log_det_optimum: float, labels: float) -> float:
    """D-efficiency in (0, 1]: (det(information / labels) / det M*)^(1/d).

    ``information`` (d, d) is summed over ``labels`` labels, at the true theta and WITHOUT ridge;
    ``log_det_optimum`` = log det M* of the optimal design (``Design.log_det``). Half the efficiency
    means that twice the labels are needed. An excess over 1 of up to 1e-6, the rounding and the
    default ``tol`` of an optimum found numerically, is returned as 1.
    Raises ``ValueError`` on a singular or asymmetric matrix, and above 1: then the optimum
    belongs to other candidates, another theta, or was passed as a determinant.

    >>> round(d_efficiency([[10.0, 0.0], [0.0, 40.0]], np.log(0.25), 100), 12)  # sqrt(.1 x .4 / .25)
    0.4
    """
    matrix = np.asarray(information)
    matrix = real_array("information", matrix, matrix.shape[:1] * 2 or (None, None))
    labels = positive_number("labels", labels)
    optimum = float(real_array("log_det_optimum", log_det_optimum, ()))
    scale = np.sqrt(np.maximum(np.diagonal(matrix), 0))
    if (np.abs(matrix - matrix.T) > 1e-9 * np.outer(scale, scale)).any():
        raise ValueError("information: found an asymmetric matrix, needed sum of w z z'.")
    if scale.min() == 0 or np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] < 1e-14:
        raise ValueError(
            "information: found a singular matrix, so the efficiency is 0; "
            "needed labels in all directions (at least d of them, without ridge)."
        )
    _, log_det = np.linalg.slogdet(matrix / np.outer(scale, scale))
    log_det += 2 * np.log(scale).sum() - len(matrix) * np.log(labels)
    efficiency = float(np.exp((log_det - optimum) / len(matrix)))
    if efficiency > 1 + _SOLVER:
        raise ValueError(
            f"log_det_optimum: found {optimum:g}, but the information given reaches "
            f"{log_det:g} per label (efficiency {efficiency:.6g} > 1); pass log det of the optimal "
            "design for the same candidates and theta (default tol or finer), and the labels summed over."
        )
    return min(efficiency, 1.0)

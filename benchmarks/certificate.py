"""Is a design what it says it is? Worked out anew with plain NumPy, without the library's solver."""

import numpy as np
from numpy.typing import NDArray

from .row import Answer

TOL = 1e-6
_ROUNDING = 1e-10  # another order of summation
_ROWS = 65_536

Floats = NDArray[np.float64]


def certificate(points: Floats, weights: Floats) -> tuple[float, float]:
    """(gap, log det M) of weights (n,) >= 0 with sum 1, on all points, from a fresh factorisation.

    >>> gap, log_det = certificate(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.5, 0.5]))
    >>> abs(gap) < 1e-15, abs(log_det) < 1e-15
    (True, True)
    """
    held = np.flatnonzero(weights)
    moment = (points[held] * weights[held, None]).T @ points[held]
    root = np.linalg.cholesky(moment)
    largest = 0.0
    for low in range(0, len(points), _ROWS):
        y = np.linalg.solve(root, points[low : low + _ROWS].T)
        largest = max(largest, float(np.square(y).sum(axis=0).max()))
    return largest / points.shape[1] - 1, 2 * float(np.log(np.diagonal(root)).sum())


def check_design(
    points: Floats, weights: Floats, claimed: float, peer_weights: Floats | None
) -> Answer:
    """Our gap, our log det as ``claimed``, and ours against the peer's, as far as both gaps allow.

    By the equivalence theorem any design's log det is within d log(1 + gap) of the optimum.
    """
    if weights.min() < 0 or abs(weights.sum() - 1) > 1e-9:
        return Answer(False, {}, "the weights are no distribution")
    gap, log_det = certificate(points, weights)
    numbers = {"gap": gap, "log_det": log_det}
    wrong = []
    if not gap <= TOL + _ROUNDING:
        wrong.append(f"gap {gap:.3g}, needed {TOL:g}")
    if not abs(log_det - claimed) <= 1e-8 * max(1.0, abs(log_det)):
        wrong.append(f"log det {log_det:.12g}, claimed {claimed:.12g}")
    if peer_weights is not None:
        peer_gap, peer_log_det = certificate(points, peer_weights)
        numbers |= {"peer_gap": peer_gap, "peer_log_det": peer_log_det}
        apart = points.shape[1] * np.log1p(max(gap, peer_gap, 0.0)) + 1e-9
        if not abs(log_det - peer_log_det) <= apart:
            wrong.append(f"log det {log_det:.12g}, the peer's {peer_log_det:.12g}")
    return Answer(not wrong, numbers, "; ".join(wrong))

"""Cholesky factors of NumPy arrays (LAPACK in place) and of any other array-API array."""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device as device_of
from scipy.linalg import lapack

from .devices import namespace
from .pool import Array


def inverse_root(matrix: Array) -> tuple[Array, float]:
    """T (d, d) upper triangular with T T' = matrix^-1, and log det of the matrix.

    Raises ``numpy.linalg.LinAlgError`` where the matrix is not positive definite.

    >>> root, log_det = inverse_root(np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> root.tolist(), round(log_det / np.log(2), 12)
    ([[0.5, -0.25], [0.0, 0.5]], np.float64(4.0))
    """
    lower = _factor(matrix)
    if lower is None:
        raise np.linalg.LinAlgError("the information matrix is singular")
    if isinstance(lower, np.ndarray):
        inverse, _ = lapack.dtrtri(lower, lower=1)
        return np.tril(inverse).T, 2 * float(np.log(lower.diagonal()).sum())
    xp = namespace(matrix)
    log_det = 2 * float(xp.sum(xp.log(xp.linalg.diagonal(lower))))
    unit = xp.eye(lower.shape[0], dtype=lower.dtype, device=device_of(lower))
    return xp.tril(_substitute(lower, unit, upper=False)).T, log_det


def solver(matrix: Array) -> Callable[[Array], Array] | None:
    """Solves matrix x = r for x (k,); None where the matrix is not positive definite.

    A NumPy matrix is overwritten.
    """
    lower = _factor(matrix, overwrite=True)
    if lower is None:
        return None
    if isinstance(lower, np.ndarray):
        return lambda r: np.asarray(lapack.dpotrs(lower, r, lower=1)[0])
    return lambda r: _substitute(lower.T, _substitute(lower, r[:, None], upper=False), upper=True)[
        :, 0
    ]


def _factor(matrix: Array, overwrite: bool = False) -> Array | None:
    """The lower factor (NumPy: whatever is above the diagonal is not cleaned)."""
    if isinstance(matrix, np.ndarray):
        lower, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=int(overwrite), clean=0)
        return None if failed else lower
    try:
        lower = namespace(matrix).linalg.cholesky(matrix)
    except (RuntimeError, ValueError, ArithmeticError):  # each namespace has an error of its own
        return None
    xp = namespace(matrix)
    return lower if bool(xp.all(xp.isfinite(lower))) else None


def _substitute(triangle: Array, r: Array, upper: bool) -> Array:
    """triangle^-1 r; the standard has no triangular solve, most namespaces have."""
    linalg: Any = namespace(triangle).linalg
    if hasattr(linalg, "solve_triangular"):
        return linalg.solve_triangular(triangle, r, upper=upper)
    return linalg.solve(triangle, r)

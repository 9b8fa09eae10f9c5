"""Two routines that numba's own linear algebra lacks: a Cholesky factor in place, half a Gram matrix.

They are SciPy's, called by address under names of our own, so that compiled code can be cached.
LAPACK counts rows down the columns: its lower triangle is the upper one of a NumPy matrix.
"""

from typing import Any

import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import get_cython_function_address

_LOWER, _TRANSPOSED = np.uint8(ord("L")), np.uint8(ord("T"))


def _routine(module: str, name: str, arguments: int) -> Any:
    """A Fortran routine whose arguments are all pointers."""
    symbol = f"activeduel_{name}"
    binding.add_symbol(symbol, get_cython_function_address(f"scipy.linalg.{module}", name))
    return types.ExternalFunction(symbol, types.void(*[types.voidptr] * arguments))


_dpotrf = _routine("cython_lapack", "dpotrf", 5)
_dsyrk = _routine("cython_blas", "dsyrk", 10)


@njit(error_model="numpy", cache=True)
def upper_gram(y, out):
    """The upper triangle of ``out`` (k, k) = y y', of ``y`` (k, d)."""
    letters = np.array([_LOWER, _TRANSPOSED])
    sizes = np.array([y.shape[0], y.shape[1]], dtype=np.int32)
    scale = np.array([1.0, 0.0])
    k, d, one, zero = sizes[:1].ctypes, sizes[1:].ctypes, scale[:1].ctypes, scale[1:].ctypes
    _dsyrk(letters[:1].ctypes, letters[1:].ctypes, k, d, one, y.ctypes, d, zero, out.ctypes, k)


@njit(error_model="numpy", cache=True)
def upper_factor(matrix):
    """The upper triangle of ``matrix`` becomes U with U'U = matrix; False where there is none."""
    letters, sizes = np.array([_LOWER]), np.array([matrix.shape[0], 0], dtype=np.int32)
    k, info = sizes[:1].ctypes, sizes[1:].ctypes
    _dpotrf(letters.ctypes, k, matrix.ctypes, k, info)
    return sizes[1] == 0

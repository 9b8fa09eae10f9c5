"""The decorator of functions that only kernels call."""

from typing import Any

from numba import njit

inner: Any = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
"""Without entries for Python and C, whose unpacking of some sixty arrays costs as much compile time
as the mathematics. Such a function cannot be called from Python."""

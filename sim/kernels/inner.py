"""The decorator of functions that only kernels call."""

from typing import Any

from numba import config, njit

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
if not config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
    _OPTIONS |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

inner: Any = njit(**_OPTIONS)
"""Without entries for Python and C, whose unpacking of some sixty arrays costs as much compile time
as the mathematics. Such a function cannot be called from Python, except in numba's CUDA simulator:
there a kernel is Python, and so must be able to call it."""

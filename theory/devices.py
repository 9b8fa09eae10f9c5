"""Between NumPy arrays in main memory and the arrays of any other namespace and device."""

from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np
from array_api_compat import array_namespace, to_device
from array_api_compat import device as device_of

from .pool import Array


def namespace(array: Array) -> Any:
    """NumPy for its arrays, at once; for others as ``array_api_compat.array_namespace``."""
    return numpy_namespace if isinstance(array, np.ndarray) else array_namespace(array)


def host(array: Array) -> Any:
    """As a NumPy array in main memory."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):  # torch: NumPy refuses what carries a gradient
        array = array.detach()
    return np.asarray(to_device(array, "cpu"))


def like(array: Any, other: Array) -> Array:
    """A NumPy array in the namespace and on the device of ``other``."""
    if isinstance(other, np.ndarray):
        return array
    return array_namespace(other).asarray(array, device=device_of(other))

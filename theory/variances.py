"""Variances of many points, and the largest of them: compiled for NumPy, the array API for the rest."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from array_api_compat import device as device_of

from .checks import Floats
from .devices import like, namespace
from .kernels import passes
from .pool import Array

_CHUNK = 1 << 20  # entries of a matrix product held at a time, outside the compiled pass:
_WIDE = 1 << 26  # what stays in the cache of a CPU, and what keeps a GPU busy
_A_THREAD = 40_000_000  # multiply-adds that are worth a thread
_SAMPLE = 1024


def variances(points: Array, to: Floats, index: Array | None, compiled: bool) -> Array:
    """|x_i to|^2 of the rows ``index`` of ``points``, in chunks."""
    size, d = points.shape[0] if index is None else index.shape[0], points.shape[1]
    if compiled:
        v = np.empty(size)
        parts = min(_cores(), size * d * d // _A_THREAD)
        if parts > 1:
            bounds = np.linspace(0, size, parts + 1).astype(int).tolist()
            with ThreadPoolExecutor(parts) as pool:
                work = partial(_compiled, points, to, index, v)
                list(pool.map(work, bounds[:-1], bounds[1:]))
        else:
            _compiled(points, to, index, v, 0, size)
        return v
    xp, there = namespace(points), like(to, points)
    where = device_of(points)
    out = xp.empty(size, dtype=points.dtype, device=where)
    step = max((_CHUNK if str(where).startswith("cpu") else _WIDE) // d, 1)
    for low in range(0, size, step):
        part = slice(low, low + step)
        y = (points[part, :] if index is None else points[index[part], :]) @ there
        out[part] = xp.sum(y * y, axis=1)
    return out


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compiled(
    points: Array, to: Floats, index: Array | None, v: Floats, low: int, high: int
) -> None:
    """v[low:high], without the interpreter's lock."""
    if index is None:
        passes.variances(points[low:high], to, v[low:high])
    else:
        passes.variances_of(points, index[low:high], to, v[low:high])


def largest(v: Array, most: int) -> Array:
    """Indices of the ``most`` largest (of very many: of about the largest), largest first."""
    xp, n = namespace(v), v.shape[0]
    index = None
    if n > 4 * most:
        sample = xp.sort(v[:: max(n // _SAMPLE, 1)])
        rank = min(2 * most * sample.shape[0] // n + 1, sample.shape[0])
        index = flat_nonzero(v >= sample[-rank])
        v = v[index]
    order = xp.argsort(-v, stable=True)[:most]
    return order if index is None else index[order]


def flat_nonzero(mask: Array) -> Array:
    """Indices of the true entries."""
    return namespace(mask).nonzero(mask)[0]

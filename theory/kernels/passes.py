"""One look at every candidate: variances v = |x root|^2 of points, and of all pairs of items."""

import math

import numpy as np
from numba import njit

from .newton import SUMS, row_norms

_ROWS = 256  # at a time: their products stay in the cache
_TILE = 1 << 16  # entries of a tile of a Gram matrix


@njit(error_model="numpy", nogil=True, cache=True)
def variances(points, root, out):
    """v (n,) of all rows of ``points`` (n, d), into ``out``."""
    n, d = points.shape
    y = np.empty((_ROWS, d))
    for low in range(0, n, _ROWS):
        high = min(low + _ROWS, n)
        part = y[: high - low]
        np.dot(points[low:high], root, part)
        row_norms(part, out[low:high])


@njit(error_model="numpy", nogil=True, cache=True)
def variances_of(points, index, root, out):
    """v (k,) of the rows ``index``, into ``out``."""
    k, d = index.size, points.shape[1]
    rows, y = np.empty((_ROWS, d)), np.empty((_ROWS, d))
    for low in range(0, k, _ROWS):
        high = min(low + _ROWS, k)
        for i in range(low, high):
            for j in range(d):
                rows[i - low, j] = points[index[i], j]
        part = y[: high - low]
        np.dot(rows[: high - low], root, part)
        row_norms(part, out[low:high])


@njit(error_model="numpy", cache=True)
def diverse(y, most, parallel):
    """Positions of the first up to ``most`` rows of ``y``, none with |cosine| >= ``parallel`` to an earlier one."""
    n, d = y.shape
    picked, unit = np.empty(most, dtype=np.int64), np.empty((most, d))
    count = 0
    for i in range(n):
        if count == most:
            break
        square = 0.0
        for j in range(d):
            square += y[i, j] * y[i, j]
        limit, apart = parallel * math.sqrt(square), square > 0
        for k in range(count):
            cosine = 0.0
            for j in range(d):
                cosine += y[i, j] * unit[k, j]
            if abs(cosine) >= limit:
                apart = False
                break
        if apart:
            for j in range(d):
                unit[count, j] = y[i, j] / math.sqrt(square)
            picked[count] = i
            count += 1
    return picked[:count]


@njit(error_model="numpy", fastmath=SUMS, cache=True)
def _square_distances(product, norms, i, low):
    """product[j] = |y_i - y_j|^2 for j = low + position > i, from y_i'y_j; returns the largest."""
    largest = 0.0
    for j in range(product.size):
        v = norms[i] + norms[low + j] - 2.0 * product[j]
        product[j] = v
        largest = max(largest, v)
    return largest


@njit(error_model="numpy", cache=True)
def _raise_floor(v, code, count, keep):
    """Keeps the ``keep`` largest of ``count`` entries in place; returns the smallest of them."""
    floor = np.partition(v[:count], count - keep)[count - keep]
    equals = keep
    for i in range(count):
        equals -= v[i] > floor
    kept = 0
    for i in range(count):
        equal = v[i] == floor and equals > 0
        if v[i] > floor or equal:
            equals -= equal
            v[kept], code[kept] = v[i], code[i]
            kept += 1
    return floor


@njit(error_model="numpy", nogil=True, cache=True)
def largest_pairs(y, level, keep):
    """Of all pairs i < j of rows of ``y`` (k, d) those of largest |y_i - y_j|^2 above ``level``.

    Returns the largest of all, and codes i k + j and values of about the ``keep`` largest, in no
    order: never less than the ``keep`` largest unless values are equal. Distances come from tiles
    of the Gram matrix; no array is larger than a tile or y.
    """
    k = y.shape[0]
    norms = np.empty(k)
    row_norms(y, norms)
    rows = max(_TILE // k, 4)
    buffer = np.empty(rows * k)
    v, code = np.empty(2 * keep + k), np.empty(2 * keep + k, dtype=np.int64)
    largest, count = 0.0, 0
    for low in range(0, k, rows):
        high = min(low + rows, k)
        tile = buffer[: (high - low) * (k - low)].reshape((high - low, k - low))
        np.dot(y[low:high], y[low:].T, tile)
        for i in range(low, high):
            row = tile[i - low, i - low + 1 :]
            top = _square_distances(row, norms, i, i + 1)
            largest = max(largest, top)
            if top > level:
                for j in range(row.size):
                    if row[j] > level:
                        v[count], code[count] = row[j], i * k + i + 1 + j
                        count += 1
                if count >= 2 * keep:
                    level, count = _raise_floor(v, code, count, keep), keep
    return largest, code[:count], v[:count]

"""Small dense algebra inside a kernel: Cholesky factors, triangular solves, leverages.

Matrices are (d, d) with d up to a few dozen, points are stored by column: ``x`` (d, cells).
"""

import math

from numba import njit

# Sums may be taken in any order (vector lanes); one machine always takes the same one.
SUMS = {"reassoc", "contract", "nsz"}


@njit(error_model="numpy")
def cholesky(a, lower):
    """Lower factor of the symmetric ``a`` (its lower half is read); False where not positive."""
    d = a.shape[0]
    for i in range(d):
        for j in range(i + 1):
            s = a[i, j]
            for k in range(j):
                s -= lower[i, k] * lower[j, k]
            if i == j:
                if not s > 1e-14 * a[i, i]:
                    return False
                lower[i, i] = math.sqrt(s)
            else:
                lower[i, j] = s / lower[j, j]
    return True


@njit(error_model="numpy")
def invert_lower(lower, inverse):
    """``inverse`` = lower^-1 (lower half)."""
    d = lower.shape[0]
    for j in range(d):
        inverse[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, d):
            s = 0.0
            for k in range(j, i):
                s -= lower[i, k] * inverse[k, j]
            inverse[i, j] = s / lower[i, i]


@njit(error_model="numpy")
def solve(lower, g, out):
    """``out`` = (lower lower')^-1 g; returns g'out."""
    d = g.size
    for i in range(d):
        s = g[i]
        for k in range(i):
            s -= lower[i, k] * out[k]
        out[i] = s / lower[i, i]
    square = 0.0
    for i in range(d):
        square += out[i] * out[i]
    for i in range(d - 1, -1, -1):
        s = out[i]
        for k in range(i + 1, d):
            s -= lower[k, i] * out[k]
        out[i] = s / lower[i, i]
    return square


@njit(error_model="numpy")
def add_outer(a, weight, v):
    """a += weight v v'."""
    d = v.size
    for i in range(d):
        for j in range(d):
            a[i, j] += weight * v[i] * v[j]


@njit(error_model="numpy")
def products(x, theta, n, out):
    """out[:n] = theta'x for the first n columns."""
    o = out[:n]
    row = x[0, :n]
    t = theta[0]
    for i in range(n):
        o[i] = t * row[i]
    for k in range(1, theta.size):
        row = x[k, :n]
        t = theta[k]
        for i in range(n):
            o[i] += t * row[i]


@njit(error_model="numpy")
def leverages(x, inverse_lower, n, work, out):
    """out[:n] = ||inverse_lower x_i||^2 = x_i' (lower lower')^-1 x_i."""
    o = out[:n]
    w = work[:n]
    for i in range(n):
        o[i] = 0.0
    for k in range(inverse_lower.shape[0]):
        t = inverse_lower[k, 0]
        row = x[0, :n]
        for i in range(n):
            w[i] = t * row[i]
        for j in range(1, k + 1):
            t = inverse_lower[k, j]
            row = x[j, :n]
            for i in range(n):
                w[i] += t * row[i]
        for i in range(n):
            o[i] += w[i] * w[i]


@njit(error_model="numpy", fastmath=SUMS)
def dot(a, b):
    """Sum of a_i b_i."""
    s = 0.0
    for i in range(a.size):
        s += a[i] * b[i]
    return s


@njit(error_model="numpy")
def weighted_gram(x, weight, n, ridge, work, out):
    """out = sum_i weight_i x_i x_i' + ridge I over the first n columns (lower half, mirrored)."""
    d = x.shape[0]
    w, v = work[:n], weight[:n]
    for k in range(d):
        row = x[k, :n]
        for i in range(n):
            w[i] = v[i] * row[i]
        for j in range(k + 1):
            s = dot(w, x[j, :n])
            out[k, j] = s
            out[j, k] = s
        out[k, k] += ridge


@njit(error_model="numpy", fastmath={"nnan", "nsz", "reassoc"})
def largest(values):
    """Largest entry (entries may be -inf)."""
    best = values[0]
    for i in range(1, values.size):
        best = max(best, values[i])
    return best


@njit(error_model="numpy", fastmath={"nnan", "nsz", "reassoc"})
def largest_size(values, n):
    """Largest |entry| among the first n, 0 where n is 0."""
    best = 0.0
    for i in range(n):
        best = max(best, abs(values[i]))
    return best


@njit(error_model="numpy")
def fill(value, out):
    """Every entry of the matrix ``out`` = value."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = value


@njit(error_model="numpy")
def identity(scale, out):
    """out = scale I."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = scale if i == j else 0.0

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
    """a += weight v v' (the lower half)."""
    for i in range(v.size):
        for j in range(i + 1):
            a[i, j] += weight * v[i] * v[j]


# Loops over columns take several rows at a time: a sum stays in a register instead of going through
# memory once a row.


@njit(error_model="numpy", fastmath={"contract"})
def products(x, t, n, out):
    """out[:n] = sum over k < t.size of t[k] x[k, :n]."""
    o, rows = out[:n], t.size
    head = (rows - 1) % 4 + 1
    a, t0 = x[0, :n], t[0]
    if head == 1:
        for i in range(n):
            o[i] = t0 * a[i]
    elif head == 2:
        b, t1 = x[1, :n], t[1]
        for i in range(n):
            o[i] = t0 * a[i] + t1 * b[i]
    elif head == 3:
        b, c, t1, t2 = x[1, :n], x[2, :n], t[1], t[2]
        for i in range(n):
            o[i] = t0 * a[i] + t1 * b[i] + t2 * c[i]
    else:
        b, c, e, t1, t2, t3 = x[1, :n], x[2, :n], x[3, :n], t[1], t[2], t[3]
        for i in range(n):
            o[i] = t0 * a[i] + t1 * b[i] + t2 * c[i] + t3 * e[i]
    for k in range(head, rows, 4):
        a, b, c, e = x[k, :n], x[k + 1, :n], x[k + 2, :n], x[k + 3, :n]
        t0, t1, t2, t3 = t[k], t[k + 1], t[k + 2], t[k + 3]
        for i in range(n):
            o[i] += t0 * a[i] + t1 * b[i] + t2 * c[i] + t3 * e[i]


@njit(error_model="numpy", fastmath={"contract"})
def leverages(x, inverse_lower, n, work, out):
    """out[:n] = ||inverse_lower x_i||^2 = x_i' (lower lower')^-1 x_i."""
    o, w = out[:n], work[:n]
    row, t = x[0, :n], inverse_lower[0, 0]
    for i in range(n):
        u = t * row[i]
        o[i] = u * u
    for k in range(1, inverse_lower.shape[0]):
        products(x, inverse_lower[k, :k], n, work)
        row, t = x[k, :n], inverse_lower[k, k]
        for i in range(n):
            u = w[i] + t * row[i]
            o[i] += u * u


@njit(error_model="numpy", fastmath=SUMS)
def dot(a, b):
    """Sum of a_i b_i."""
    s = 0.0
    for i in range(a.size):
        s += a[i] * b[i]
    return s


@njit(error_model="numpy", fastmath=SUMS)
def _four_dots(w, a, b, c, e):
    s0 = s1 = s2 = s3 = 0.0
    for i in range(w.size):
        s0 += w[i] * a[i]
        s1 += w[i] * b[i]
        s2 += w[i] * c[i]
        s3 += w[i] * e[i]
    return s0, s1, s2, s3


@njit(error_model="numpy")
def weighted_gram(x, weight, n, ridge, work, out):
    """out = sum_i weight_i x_i x_i' + ridge I over the first n columns (the lower half)."""
    w, v = work[:n], weight[:n]
    for k in range(x.shape[0]):
        row = x[k, :n]
        for i in range(n):
            w[i] = v[i] * row[i]
        fours = (k + 1) // 4 * 4
        for j in range(0, fours, 4):
            out[k, j], out[k, j + 1], out[k, j + 2], out[k, j + 3] = _four_dots(
                w, x[j, :n], x[j + 1, :n], x[j + 2, :n], x[j + 3, :n]
            )
        for j in range(fours, k + 1):
            out[k, j] = dot(w, x[j, :n])
        out[k, k] += ridge


@njit(error_model="numpy", fastmath={"nnan", "nsz", "reassoc"})
def largest(values):
    """Largest entry (entries may be -inf). Four quarters at once: a maximum waits for the last one."""
    q = values.size // 4
    a, b, c, e = values[:q], values[q : 2 * q], values[2 * q : 3 * q], values[3 * q :]
    best = best1 = best2 = best3 = -math.inf
    for i in range(q):
        best, best1 = max(best, a[i]), max(best1, b[i])
        best2, best3 = max(best2, c[i]), max(best3, e[i])
    for i in range(q, e.size):
        best = max(best, e[i])
    return max(max(best, best1), max(best2, best3))


@njit(error_model="numpy", fastmath={"contract"})
def scaled_product(sign, a, b, out):
    """out = sign a b."""
    for i in range(out.size):
        out[i] = sign * a[i] * b[i]


@njit(error_model="numpy")
def first_at_least(values, n, floor):
    """The first of the first n entries that is >= floor; n where none is. 64 are looked at at once."""
    for low in range(0, n, 64):
        block = values[low : min(low + 64, n)]
        found = 0
        for i in range(block.size):
            found |= block[i] >= floor
        if found:
            for i in range(block.size):
                if block[i] >= floor:
                    return low + i
    return n


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

"""Compiled twins of ``theory.interior_point`` without upper bounds: the weights of a small set of points.

The same optimum by another way: a penalty d sum w in place of the constraint sum w = 1, which spares a
third of the triangular solves. The Newton matrix is k by k: for k up to some thousand points.
"""

import math

import numpy as np
from numba import njit

from .lapack import upper_factor, upper_gram

# Sums may be taken in any order (vector lanes); one machine always takes the same one.
SUMS = {"reassoc", "contract", "nsz"}
STEPS = 200  # 5 to 40 are usual
ATTEMPTS = 8  # 1 to 4 are usual
CLOSE = 0.03  # to this gap steps may lead away: they are finding the support
DAMPING = 1e-9  # of v^2 joins the diagonal: weights that v does not determine stay as they are


@njit(error_model="numpy", cache=True)
def inverse_factor(moment, root):
    """``root`` (d, d) upper triangular with root root' = moment^-1; log det moment, or NaN if singular."""
    d = moment.shape[0]
    lower = np.zeros((d, d))
    log_det = 0.0
    for i in range(d):
        for j in range(i + 1):
            s = moment[i, j]
            for k in range(j):
                s -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = s / lower[j, j]
            elif s > 1e-15 * moment[i, i]:
                lower[i, i] = math.sqrt(s)
                log_det += math.log(s)
            else:
                return np.nan
    row = np.empty(d)
    for i in range(d):
        for j in range(d):
            root[i, j] = 0.0
    for i in range(d):
        for j in range(d):
            row[j] = 1.0 if i == j else 0.0
        for k in range(i):
            for j in range(k + 1):
                row[j] -= lower[i, k] * root[j, k]
        for j in range(i + 1):
            root[j, i] = row[j] / lower[i, i]
    return log_det


@njit(error_model="numpy", cache=True)
def information_root(points, weights, root):
    """As ``theory.interior_point.information_root``, into ``root``; NaN where M is singular."""
    weighted = np.empty(points.shape)
    for i in range(points.shape[0]):
        for j in range(points.shape[1]):
            weighted[i, j] = weights[i] * points[i, j]
    return inverse_factor(np.dot(weighted.T, points), root)


@njit(error_model="numpy", fastmath=SUMS, cache=True)
def _solve(upper, r, out):
    """``out`` = (upper' upper)^-1 r."""
    k = r.size
    for j in range(k):
        out[j] = r[j]
    for j in range(k):
        out[j] /= upper[j, j]
        c, row = out[j], upper[j]
        for i in range(j + 1, k):
            out[i] -= c * row[i]
    for j in range(k - 1, -1, -1):
        s, row = out[j], upper[j]
        for i in range(j + 1, k):
            s -= row[i] * out[i]
        out[j] = s / row[j]


@njit(error_model="numpy", fastmath=SUMS, cache=True)
def _newton_matrix(y, diagonal, out):
    """The upper triangle of ``out`` = factor of (y y')^2 elementwise + diagonal; False if none."""
    upper_gram(y, out)
    for i in range(diagonal.size):
        row = out[i]
        for j in range(i, diagonal.size):
            row[j] *= row[j]
        row[i] += diagonal[i]
    return upper_factor(out)


@njit(error_model="numpy", fastmath=SUMS, cache=True)
def row_norms(y, out):
    """out_i = |y_i|^2; returns their maximum."""
    largest = 0.0
    for i in range(y.shape[0]):
        s = 0.0
        for j in range(y.shape[1]):
            s += y[i, j] * y[i, j]
        out[i] = s
        largest = max(largest, s)
    return largest


@njit(error_model="numpy", cache=True)
def _reaches(w, s, dw, ds):
    """The longest primal and dual steps that keep w >= 0 and s >= 0."""
    primal = dual = np.inf
    for i in range(w.size):
        if dw[i] < 0:
            primal = min(primal, -w[i] / dw[i])
        if ds[i] < 0:
            dual = min(dual, -s[i] / ds[i])
    return primal, dual


@njit(error_model="numpy", cache=True)
def _complementarity(w, s, dw, ds, primal, dual):
    """Mean of w s after a step."""
    total = 0.0
    for i in range(w.size):
        total += (w[i] + primal * dw[i]) * (s[i] + dual * ds[i])
    return total / w.size


@njit(error_model="numpy", cache=True)
def _direction(upper, w, s, v, d, to, r, dw, ds):
    """The Newton step (dw, ds) towards w s = to and v = d - s."""
    for i in range(w.size):
        r[i] = v[i] - d + to[i] / w[i]
    _solve(upper, r, dw)
    for i in range(w.size):
        ds[i] = (to[i] - s[i] * dw[i]) / w[i] - s[i]


@njit(error_model="numpy", cache=True)
def interior_point(a, start, tol):
    """Maximise log det A' diag(w) A - d sum w over w >= 0: its optimum has sum w = 1.

    ``a`` (k, d), ``start`` (k,) > 0. Predictor and corrector as in the plain version. Stops once
    max v / d - 1 <= ``tol`` for the normalised weights, or when rounding allows no further
    progress. Returns the best weights seen, and the steps used.
    """
    k, d = a.shape
    w, best_w, s, v = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    dw, ds, to, r = np.zeros(k), np.zeros(k), np.empty(k), np.empty(k)
    root, kernel, best = np.empty((d, d)), np.empty((k, k)), np.inf
    for i in range(k):
        w[i] = best_w[i] = start[i]
    for step in range(STEPS):
        if math.isnan(information_root(a, w, root)):
            return best_w, step
        y = np.dot(a, root)
        largest, total = row_norms(y, v), 0.0
        for i in range(k):
            total += w[i]
        gap = largest * total / d - 1  # normalised weights have variances v * total
        if gap < best:
            best = gap
            for i in range(k):
                best_w[i] = w[i] / total
        if gap <= tol:
            return best_w, step
        if step == 0:
            for i in range(k):
                s[i] = max(d - v[i], 0.1 * (largest - d))
        for i in range(k):
            r[i] = s[i] / w[i]
        if not _newton_matrix(y, r, kernel):
            return best_w, step
        for i in range(k):
            to[i] = 0.0
        mu = _complementarity(w, s, dw, ds, 0.0, 0.0)
        _direction(kernel, w, s, v, d, to, r, dw, ds)
        primal, dual = _reaches(w, s, dw, ds)
        primal, dual = min(primal, 1.0), min(dual, 1.0)
        ahead = _complementarity(w, s, dw, ds, primal, dual)
        target = max(mu * (ahead / mu) ** 3, 0.01 * tol * d / k)  # lower would spoil the matrix
        for i in range(k):
            to[i] = target - primal * dual * dw[i] * ds[i]
        _direction(kernel, w, s, v, d, to, r, dw, ds)
        primal, dual = _reaches(w, s, dw, ds)
        primal, dual = min(1.0, 0.99 * primal), min(1.0, 0.99 * dual)
        for i in range(k):
            w[i] += primal * dw[i]
            s[i] += dual * ds[i]
    return best_w, STEPS


@njit(error_model="numpy", cache=True)
def newton_on_support(a, start, tol):
    """As ``theory.interior_point.newton_on_support``: weights, the steps used, whether they got there."""
    k, d = a.shape
    w, v, u, root = np.empty(k), np.empty(k), np.empty(k), np.empty((d, d))
    held, r, damping = np.empty(k, dtype=np.int64), np.empty(k), np.empty(k)
    buffer, last = np.empty(k * k), np.inf
    for i in range(k):
        w[i] = start[i]
    for step in range(ATTEMPTS):
        if math.isnan(information_root(a, w, root)):
            return w, step, False
        y = np.dot(a, root)
        gap = row_norms(y, v) / d - 1
        if gap <= tol:
            return w, step, True
        if not gap <= max(0.5 * last, CLOSE):
            return w, step, False
        last, size = gap, 0
        for i in range(k):
            if d * d * w[i] + v[i] > d:
                held[size], damping[size] = i, DAMPING * v[i] * v[i]
                r[size] = 2 * v[i] - d + damping[size] * w[i]
                for j in range(d):
                    y[size, j] = y[i, j]
                size += 1
        kernel = buffer[: size * size].reshape((size, size))
        if not _newton_matrix(y[:size], damping[:size], kernel):
            return w, step, False
        _solve(kernel, r[:size], u)
        total = 0.0
        for i in range(size):
            u[i] = max(u[i], 0.0)
            total += u[i]
        for i in range(k):
            w[i] = 0.0
        for i in range(size):
            w[held[i]] = u[i] / total
    return w, ATTEMPTS, False

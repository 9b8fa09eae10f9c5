"""The exact estimator, by a block: twin of ``sim.kernels.refit``, same steps, same stopping rule.

What a step costs with n cells and d weights, over the threads: n d multiply-adds for its length, n d
and an exponential for the answers, n d for the gradient, and eight barriers, the next direction's two
included; an information matrix n d^2 / 2 and two barriers, its factor's inverse d + 2.
"""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple

from numba import cuda

from ..functions import answer_residual, fisher_weight, sigmoid
from ..refit import MAX_STEPS, NEAR
from .block import (
    here,
    invert_factor,
    largest,
    leverage,
    product,
    solve,
    weighted_gram,
    weighted_sum,
)

Cells = namedtuple("Cells", "x rows trials wins residual weight")
"""x (d, C) by column and rows (C, d) by row, the same points: threads side by side read columns side
by side for a margin, entries of one row for a sum. trials, wins, residual, weight (C,)."""

Fit = namedtuple("Fit", "theta gradient information step half work inverse scratch")
"""theta, gradient (d,) shared and information (d, d), which outlive a refit; the rest is room that
fits may share: step, half (d,), work (d, d), inverse (padded(d), d), scratch."""


@cuda.jit(device=True)
def _gradient(cells, n, ridge, fit):
    """Gradient of the penalised log-likelihood at fit.theta, and the cells' weights, from scratch."""
    i, threads = here()
    while i < n:
        u = product(cells.x, i, fit.theta)
        cells.residual[i], cells.weight[i] = answer_residual(u, cells.trials[i], cells.wins[i])
        i += threads
    cuda.syncthreads()
    weighted_sum(cells.rows, cells.residual, n, ridge, fit.theta, fit.scratch, fit.gradient)


@cuda.jit(device=True)
def learn(scale, z, label, fit):
    """Bring gradient and information at fit.theta up to date with one more answer at x = scale z.

    No barrier: the caller's next one makes it visible. z (d,) is shared memory.
    """
    t, threads = here()
    u = 0.0
    k = 0
    while k < z.size:
        u += fit.theta[k] * (scale * z[k])
        k += 1
    residual, weight = label - sigmoid(u), fisher_weight(u, 1.0)
    k = t
    while k < z.size:
        own = scale * z[k]
        fit.gradient[k] += residual * own
        q = 0
        while q < k + 1:
            fit.information[k, q] += weight * own * (scale * z[q])
            q += 1
        k += threads


@cuda.jit(device=True)
def maximise(cells, n, ridge, fit, cold=False):
    """Newton's method from fit.theta; True where it converged, with fit.inverse at the final theta.

    ``cold``: gradient and information are computed first, as ``evaluate`` does on the CPU; otherwise
    they are where an earlier call and ``learn`` left them. The steps are those of
    ``sim.kernels.refit.maximise``, in a loop that names each part once: a call is compiled into
    the kernel where it stands, and registers and instruction cache are short.
    """
    t, threads = here()
    steps, before, decrement = 0, math.inf, math.inf
    moved = bool(cold)
    sum_up, factor, last = moved, True, False
    while True:
        if moved:
            _gradient(cells, n, ridge, fit)
        if sum_up:
            weighted_gram(cells.rows, cells.weight, n, ridge, fit.scratch, fit.information)
        if factor and not invert_factor(fit.information, fit.work, fit.inverse):
            return False
        if last:
            return True
        decrement = solve(fit.inverse, fit.gradient, fit.half, fit.step)
        if not factor and decrement > before / 900.0 and decrement > NEAR:
            moved, sum_up, factor = False, True, True  # the factor is too old: once more
            continue
        if factor and decrement >= 0.25 * before and before < 1e-12:
            return True  # rounding is all that is left
        if steps == MAX_STEPS:
            return False
        rho = 0.0
        i = t
        while i < n:
            rho = max(rho, abs(product(cells.x, i, fit.step)))
            i += threads
        rho = largest(rho, fit.scratch)
        alpha = math.log1p(rho) / rho if rho > 1e-12 else 1.0
        k = t
        while k < fit.theta.size:
            fit.theta[k] += alpha * fit.step[k]
            k += threads
        cuda.syncthreads()
        steps += 1
        last = decrement <= NEAR
        moved, sum_up, factor, before = True, last, last, decrement


@cuda.jit(device=True)
def certainly_exists(cells, n, fit):
    """Whether an unpenalised optimum certainly exists near fit.theta (after ``maximise``)."""
    decrement = solve(fit.inverse, fit.gradient, fit.half, fit.step)
    high = 0.0
    i, threads = here()
    while i < n:
        high = max(high, leverage(cells.x, i, fit.theta.size, fit.inverse))
        i += threads
    return decrement * largest(high, fit.scratch) <= 0.25

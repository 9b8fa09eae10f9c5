"""The exact estimator inside a kernel: penalised maximum likelihood over distinct cells.

A cell is a distinct x = rationality * z with its number of labels and wins, so the cost of a refit
depends on the number of distinct cells, not on the number of labels.
"""

import math
from collections import namedtuple

import numpy as np
from numba import njit

from .functions import answer_residual, fisher_weight, sigmoid
from .inner import inner
from .linear_algebra import (
    add_outer,
    cholesky,
    dot,
    invert_lower,
    largest_size,
    leverages,
    products,
    solve,
    weighted_gram,
)

NEAR = 1e-17  # squared Newton decrement from which one more step leaves only rounding
MAX_STEPS = 200

Cells = namedtuple("Cells", "x trials wins margin residual weight step_margin work")
Fit = namedtuple("Fit", "theta gradient step information lower inverse")


def new_cells(dim, capacity):
    """Room for ``capacity`` distinct cells."""
    return Cells(np.empty((dim, capacity)), *(np.zeros(capacity) for _ in range(7)))


def new_fit(dim):
    """An estimate of ``dim`` weights, at 0."""
    return Fit(*(np.zeros(dim) for _ in range(3)), *(np.zeros((dim, dim)) for _ in range(3)))


@inner
def _answers(cells, n):
    """Residuals wins - trials mu(u) and weights trials mu'(u) at the margins u."""
    u, trials, wins = cells.margin[:n], cells.trials[:n], cells.wins[:n]
    residual, weight = cells.residual[:n], cells.weight[:n]
    for i in range(n):
        residual[i], weight[i] = answer_residual(u[i], trials[i], wins[i])


@inner
def _gradient(cells, n, ridge, fit):
    """Gradient of the penalised log-likelihood at fit.theta, from scratch."""
    products(cells.x, fit.theta, n, cells.margin)
    _answers(cells, n)
    residual = cells.residual[:n]
    for k in range(fit.theta.size):
        fit.gradient[k] = dot(residual, cells.x[k, :n]) - ridge * fit.theta[k]


@inner
def refresh(cells, n, ridge, fit):
    """Information (with ridge) and its Cholesky factor at the current weights; False if singular."""
    weighted_gram(cells.x, cells.weight, n, ridge, cells.work, fit.information)
    return cholesky(fit.information, fit.lower)


@inner
def evaluate(cells, n, ridge, fit):
    """Gradient and information at fit.theta, from scratch."""
    _gradient(cells, n, ridge, fit)
    weighted_gram(cells.x, cells.weight, n, ridge, cells.work, fit.information)


@njit(error_model="numpy")
def learn(x, cell, label, fit):
    """Bring gradient and information at fit.theta up to date with one more answer on a cell.

    After ``maximise`` and any number of these, ``maximise`` may go on.
    """
    u, own = 0.0, fit.step
    for k in range(own.size):
        own[k] = x[k, cell]
        u += fit.theta[k] * own[k]
    residual = label - sigmoid(u)
    for k in range(own.size):
        fit.gradient[k] += residual * own[k]
    add_outer(fit.information, fisher_weight(u, 1.0), own)


@njit(error_model="numpy")
def maximise(cells, n, ridge, fit):
    """Newton's method from fit.theta, where ``evaluate`` or ``learn`` left gradient and information.

    True where it converged. The step is alpha = log(1 + rho) / rho times Newton's,
    rho = max_i |x_i'step|: the logistic likelihood's third derivative is below its second, which
    makes this step one that always climbs (Bach 2010, "Self-concordant analysis for logistic
    regression"); alpha -> 1 at the optimum. A factor is kept as long as it still shrinks the
    decrement 30-fold. Leaves gradient, information and its factor at the final theta.
    """
    if not cholesky(fit.information, fit.lower):
        return False
    decrement = solve(fit.lower, fit.gradient, fit.step)
    for _ in range(MAX_STEPS):
        products(cells.x, fit.step, n, cells.step_margin)
        rho = largest_size(cells.step_margin, n)
        alpha = math.log1p(rho) / rho if rho > 1e-12 else 1.0
        for k in range(fit.theta.size):
            fit.theta[k] += alpha * fit.step[k]
        _gradient(cells, n, ridge, fit)
        if decrement <= NEAR:
            return refresh(cells, n, ridge, fit)
        before = decrement
        decrement = solve(fit.lower, fit.gradient, fit.step)
        if decrement > before / 900.0 and decrement > NEAR:
            if not refresh(cells, n, ridge, fit):
                return False
            decrement = solve(fit.lower, fit.gradient, fit.step)
            if decrement >= 0.25 * before and before < 1e-12:
                return True  # rounding is all that is left
    return False


@njit(error_model="numpy")
def certainly_exists(cells, n, fit):
    """Whether an unpenalised optimum certainly exists near fit.theta (after ``maximise``).

    A finite optimum is certain where decrement * max_i ||x_i||_{H^-1} <= 1/2 (same source).
    On separable data that product stays near 1 however small the decrement becomes.
    """
    decrement = solve(fit.lower, fit.gradient, fit.step)
    invert_lower(fit.lower, fit.inverse)
    leverages(cells.x, fit.inverse, n, cells.work, cells.step_margin)
    return decrement * largest_size(cells.step_margin, n) <= 0.25

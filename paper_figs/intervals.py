"""Point-wise 95 % intervals from independent replicates."""

import math

import numpy as np
from scipy.special import digamma, stdtrit

from ..theory.checks import Floats

LEVEL = 0.95


def _quantile(replicates: int) -> float:
    return float(stdtrit(replicates - 1, (1 + LEVEL) / 2))


def mean_interval(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, low, high (...) over the first axis (R, ...), by Student's t; NaN where a value is NaN.

    >>> [x.item() for x in mean_interval(np.array([1.0, 1.0]))]
    [1.0, 1.0, 1.0]
    """
    replicates = len(values)
    mean = values.mean(axis=0)
    half = _quantile(replicates) * values.std(axis=0, ddof=1) / math.sqrt(replicates)
    return mean, mean - half, mean + half


def generalized_variance(errors: Floats) -> tuple[float, float, float]:
    """det(MSE)^(1/d) with its interval, MSE = E[e e'] from errors (R, d) about the truth.

    log det(MSE) / d less its Wishart bias; standard error by the delta method on the log scale,
    each replicate's influence being e' MSE^-1 e / d - 1. NaN where any error is not finite: a
    replicate without an estimate is a failure of the method and cannot be left out.

    >>> e = np.random.default_rng(0).standard_normal((4000, 2)) * [1.0, 3.0]    # det^(1/2) = 3
    >>> value, low, high = generalized_variance(e)
    >>> low < 3 < high, high - low < 0.25
    (True, True)
    """
    replicates, d = errors.shape
    if not np.isfinite(errors).all():
        return math.nan, math.nan, math.nan
    mse = errors.T @ errors / replicates
    bias = sum(float(digamma((replicates - k) / 2)) for k in range(d)) + d * math.log(
        2 / replicates
    )
    value = (float(np.linalg.slogdet(mse)[1]) - bias) / d
    influence = np.einsum("ri,ij,rj->r", errors, np.linalg.inv(mse), errors) / d - 1
    half = _quantile(replicates) * float(influence.std(ddof=1)) / math.sqrt(replicates)
    return math.exp(value), math.exp(value - half), math.exp(value + half)

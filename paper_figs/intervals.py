"""Point-wise 95 % intervals from independent replicates."""

import math

import numpy as np
from scipy.special import digamma, stdtrit

from ..theory.checks import Floats

LEVEL = 0.95
FEWEST = 10  # clusters, for the interval of a share


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


def share_interval(part: Floats, whole: Floats) -> tuple[Floats, Floats, Floats]:
    """sum(part) / sum(whole) over independent clusters (W, ...) with its interval, within [0, 1].

    Student's t on the linearised ratio, over the clusters with whole > 0; NaN where there are none,
    and for the interval where there are fewer than ``FEWEST``.

    >>> value, low, high = share_interval(np.tile([1.0, 3.0], 50), np.tile([2.0, 4.0], 50))
    >>> value.item(), low.item() < 4 / 6 < high.item()
    (0.6666666666666666, True)
    """
    clusters = (whole > 0).sum(axis=0)
    total = np.where(clusters > 0, whole.sum(axis=0), np.nan)
    share = part.sum(axis=0) / total
    n = np.where(clusters >= FEWEST, clusters, np.nan)
    residual = ((part - share * whole) ** 2).sum(axis=0) * n / (n - 1)
    half = stdtrit(n - 1, (1 + LEVEL) / 2) * np.sqrt(residual) / total
    return share, np.maximum(share - half, 0), np.minimum(share + half, 1)


def generalized_variance(errors: Floats) -> tuple[float, float, float]:
    """det(MSE)^(1/d) with its interval, MSE = E[e e'] from errors (R, d) about the truth.

    log det(MSE) / d less its Wishart bias; standard error by the jackknife on the log scale:
    leaving out e adds log(1 - h) to log det(R MSE), h = e' (R MSE)^-1 e. NaN where any error is not
    finite: a replicate without an estimate is a failure of the method and cannot be left out.

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
    leverage = np.einsum("ri,ij,rj->r", errors, np.linalg.inv(mse), errors) / replicates
    left_out = np.log1p(-leverage) / d
    half = _quantile(replicates) * float(left_out.std()) * math.sqrt(replicates - 1)
    return math.exp(value), math.exp(value - half), math.exp(value + half)

"""Confidence radii: how far the estimate may lie from the truth, in units of an ellipsoid's norm."""

import math

from numpy.typing import ArrayLike
from scipy.special import gammainccinv

from .checks import positive_number, probability, real_array, whole_number


def asymptotic_radius(dim: int, delta: float) -> float:
    """Radius whose ellipsoid covers theta* with probability 1 - delta as labels grow.

    sqrt(chi2_{d, 1 - delta}), for the distance ``ellipsoid_distance(theta_hat, theta*, H)`` with the
    Fisher information H: H^{1/2} (theta_hat - theta*) -> N(0, I_d).
    ``dim`` d >= 1; ``delta`` in (0, 1), the probability of missing. Raises ``ValueError`` otherwise.

    >>> round(asymptotic_radius(2, 0.05), 6) == round((-2 * math.log(0.05)) ** 0.5, 6)
    True
    """
    d = whole_number("dim", dim, low=1)
    return math.sqrt(2 * float(gammainccinv(d / 2, probability("delta", delta))))


def finite_sample_radius(
    count: int, dim: int, *, ridge: float, norm_bound: float, feature_bound: float, delta: float
) -> float:
    """Zhu, Jiao and Jordan's radius: a rate, NOT a certificate (its constant is not stated).

    sqrt((d + log(1/delta)) / (g^2 n) + ridge B^2) with g = 1 / (2 + e^{-LB} + e^{LB}), for the norm
    of (1/n) sum z z' + ridge I.
    ``count`` n >= 1 labels, ``dim`` d, ``ridge`` >= 0, ``norm_bound`` B >= ||theta*||,
    ``feature_bound`` L >= ||z||, ``delta`` in (0, 1). Raises ``ValueError`` otherwise, and where
    L B > 700, at which 1/g leaves double precision.
    Source: arXiv 2301.11270, Lemma 3.1.

    >>> round(finite_sample_radius(1600, 1, ridge=0, norm_bound=1e-9, feature_bound=1,
    ...                            delta=math.exp(-3)), 6)      # sqrt((1 + 3) / (1600 / 16))
    0.2
    """
    n, d = whole_number("count", count, low=1), whole_number("dim", dim, low=1)
    bound = positive_number("norm_bound", norm_bound)
    reach = positive_number("feature_bound", feature_bound) * bound
    if reach > 700:
        raise ValueError(f"feature_bound * norm_bound: found {reach:g}, needed <= 700.")
    inverse_g = 2 + 2 * math.cosh(reach)
    noise = math.sqrt((d - math.log(probability("delta", delta))) / n) * inverse_g
    return math.hypot(noise, math.sqrt(positive_number("ridge", ridge, zero=True)) * bound)


def appo_confidence_radius(
    count: int,
    dim: int,
    *,
    ridge: float,
    kappa: float,
    norm_bound: float,
    feature_bound: float,
    delta: float,
) -> float:
    """APPO's radius: ||theta* - theta_hat||_gram stays below it with probability 1 - delta.

    (1/kappa) (sqrt(ridge) B + sqrt(2 d log((ridge + |C| L^2 / d) / (ridge delta)))), for the norm of
    gram = ridge I + sum z z' over the ``count`` |C| >= 0 queried pairs.
    ``ridge`` > 0; ``kappa`` in (0, 1/4], a lower bound of mu' on the margins; ``norm_bound``
    B >= ||theta*||; ``feature_bound`` L >= ||z||; ``delta`` in (0, 1). Raises ``ValueError`` otherwise.
    Source: RLHF with Active Queries (arXiv 2402.09401), Lemma E.2.

    >>> round(appo_confidence_radius(0, 2, ridge=1, kappa=0.25, norm_bound=1, feature_bound=1,
    ...                              delta=math.exp(-1)), 6)      # 4 (1 + sqrt(2 * 2 * 1))
    12.0
    """
    n, d = whole_number("count", count, low=0), whole_number("dim", dim, low=1)
    ridge, curvature = positive_number("ridge", ridge), positive_number("kappa", kappa)
    if curvature > 0.25:
        raise ValueError(f"kappa: found {curvature:g}, needed <= 0.25, the largest value of mu'.")
    bound = positive_number("norm_bound", norm_bound)
    growth = n * positive_number("feature_bound", feature_bound) ** 2 / (d * ridge)
    log_ratio = math.log1p(growth) - math.log(probability("delta", delta))
    return (math.sqrt(ridge) * bound + math.sqrt(2 * d * log_ratio)) / curvature


def ellipsoid_distance(theta_hat: ArrayLike, theta: ArrayLike, information: ArrayLike) -> float:
    """Distance ||theta_hat - theta||_H = sqrt((theta_hat - theta)' H (theta_hat - theta)).

    ``theta_hat``, ``theta`` (d,); ``information`` H (d, d), positive semi-definite.
    Raises ``ValueError`` on wrong shapes, values that are not finite, or a negative square.

    >>> ellipsoid_distance([3.0, 0.0], [0.0, 2.0], [[1.0, 0.0], [0.0, 4.0]])
    5.0
    """
    a = real_array("theta_hat", theta_hat, (None,))
    difference = a - real_array("theta", theta, (len(a),))
    h = real_array("information", information, (len(a), len(a)))
    square = float(difference @ h @ difference)
    if square < 0:
        raise ValueError(
            f"information: found a negative square {square:g}, needed a positive semi-definite matrix."
        )
    return math.sqrt(square)

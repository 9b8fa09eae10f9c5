"""Theorem 5.1 of APPO as numbers: its constants, its query bounds, and the horizon they ask for.

Source: RLHF with Active Queries (arXiv 2402.09401v2). ``feature_bound`` is its L: ||phi|| <= L/2, so
that ||z|| <= L; ``norm_bound`` is B >= ||theta*||; ``kappa`` a lower bound of mu' on the margins
(rewards in [0, 1]: mu'(1) = 0.19661...). Where the paper's statements differ, the form that its
proofs need is used: Lemma E.3 prints Gamma = kappa gap / (2 d iota1), the theorem and proof F.3 use
sqrt(d), as here.
"""

import math
from typing import NamedTuple

from scipy.special import lambertw

from .checks import positive_number, probability, whole_number


class AppoConstants(NamedTuple):
    """What Theorem 5.1 prescribes; 2 radius uncertainty_threshold < gap holds with room to spare."""

    ridge: float
    uncertainty_threshold: float
    radius: float
    step_size: float
    iota1: float
    iota2: float
    iota3: float


def appo_constants(
    dim: int,
    actions: int,
    gap: float,
    *,
    kappa: float,
    norm_bound: float,
    feature_bound: float,
    delta: float,
) -> AppoConstants:
    """The constants for which Theorem 5.1 promises O~(d^2/gap) regret and O~(d^2/gap^2) queries.

    ridge = B^-2; Gamma = kappa gap / (2 sqrt(d) iota1);
    radius = (1/kappa)(1 + 4 sqrt(d iota2) + sqrt(2 d iota3)); step_size as ``appo_step_size``;
    iota1 = 42 log(126 L B sqrt(d)/(gap kappa)) + sqrt(8 log(1/delta)); iota2 = log(3 L B/Gamma);
    iota3 = log((1 + 16 L^2 B^2 Gamma^-2 iota2)/delta).
    ``dim`` d >= 1; ``actions`` |A| >= 2; ``gap`` in (0, min(1, L B)], the smallest nonzero
    sub-optimality; ``kappa`` in (0, 1/4]; ``delta`` in (0, 1), the probability of failure.
    Raises ``ValueError`` otherwise. Source: arXiv 2402.09401v2, Theorem 5.1.

    >>> c = appo_constants(4, 6, 0.4, kappa=0.19, norm_bound=1, feature_bound=2, delta=0.05)
    >>> f"{c.uncertainty_threshold:.1e}", 2 * c.radius * c.uncertainty_threshold < 0.4
    ('5.1e-05', True)
    """
    d, norm = whole_number("dim", dim, low=1), positive_number("norm_bound", norm_bound)
    curvature, reach = _kappa(kappa), positive_number("feature_bound", feature_bound) * norm
    smallest, level = positive_number("gap", gap), -math.log(probability("delta", delta))
    if smallest > min(1.0, reach):
        raise ValueError(
            f"gap: found {smallest:g}, needed at most {min(1.0, reach):g}: rewards lie in [0, 1] and "
            "differ by at most feature_bound * norm_bound."
        )
    root = math.sqrt(d)
    iota1 = 42 * math.log(126 * reach * root / (smallest * curvature)) + math.sqrt(8 * level)
    threshold = curvature * smallest / (2 * root * iota1)
    iota2 = math.log(3 * reach / threshold)
    iota3 = math.log1p(16 * (reach / threshold) ** 2 * iota2) + level
    return AppoConstants(
        ridge=norm**-2,
        uncertainty_threshold=threshold,
        radius=(1 + 4 * math.sqrt(d * iota2) + math.sqrt(2 * d * iota3)) / curvature,
        step_size=appo_step_size(
            threshold, d, actions, norm_bound=norm, feature_bound=feature_bound
        ),
        iota1=iota1,
        iota2=iota2,
        iota3=iota3,
    )


def appo_step_size(
    uncertainty_threshold: float,
    dim: int,
    actions: int,
    *,
    norm_bound: float,
    feature_bound: float,
) -> float:
    """Theorem 5.1's policy step at a given threshold: sqrt(Gamma^2 log|A| / (32 d log(3 L B/Gamma))).

    ``uncertainty_threshold`` Gamma in (0, 3 L B), where the logarithm is positive; ``dim`` d >= 1;
    ``actions`` |A| >= 2. Raises ``ValueError`` otherwise. Source: arXiv 2402.09401v2, Theorem 5.1.

    >>> step = appo_step_size(3 / math.e, 2, 2, norm_bound=1, feature_bound=1)   # iota2 = 1
    >>> round(step * 8 * math.e / 3, 9) == round(math.log(2) ** 0.5, 9)
    True
    """
    d, a = whole_number("dim", dim, low=1), whole_number("actions", actions, low=2)
    threshold, log_ratio = _threshold(uncertainty_threshold, norm_bound, feature_bound)
    return threshold * math.sqrt(math.log(a) / (32 * d * log_ratio))


def appo_query_bound(
    dim: int, uncertainty_threshold: float, *, norm_bound: float, feature_bound: float
) -> float:
    """Lemma E.1's bound on the number of queries: 16 d Gamma^-2 log(3 L B/Gamma).

    For ridge = B^-2 and Gamma in (0, 3 L B). Its proof counts queried pairs with
    ||z||_{gram^-1} > Gamma; APPO tests one pair and asks about another (y1 is re-sampled), so for
    APPO as printed it is to be checked, for the variant that asks about the tested pair it is proven.
    Raises ``ValueError`` on other thresholds. Source: arXiv 2402.09401v2, Lemma E.1.

    >>> bound = appo_query_bound(2, 3 / math.e, norm_bound=1, feature_bound=1)   # 16 * 2 * 1 / Gamma^2
    >>> round(bound * 9 / math.e**2, 9)
    32.0
    """
    d = whole_number("dim", dim, low=1)
    threshold, log_ratio = _threshold(uncertainty_threshold, norm_bound, feature_bound)
    return 16 * d * log_ratio / threshold**2


def query_ceiling(
    dim: int, uncertainty_threshold: float, *, ridge: float, feature_bound: float
) -> float:
    """Most vectors that can enter gram with ||z||_{gram^-1} >= Gamma each: the potential argument.

    det gram grows by 1 + Gamma^2 or more each time and is at most (ridge + N L^2/d)^d after N, so
    N log(1 + Gamma^2) <= d log(1 + N L^2/(d ridge)); the largest such N, in closed form with
    Lambert's W, and 0 where log(1 + Gamma^2) >= L^2/ridge, so that no z passes even the first time. About 8 times sharper than
    Lemma E.1 (``appo_query_bound``), and for any ridge > 0.
    ``dim`` d >= 1; ``uncertainty_threshold`` Gamma > 0; ``feature_bound`` L >= ||z||. Returns a float,
    rounded down the count itself. Raises ``ValueError`` otherwise. Source: elliptical potential, as
    in arXiv 2402.09401v2, Lemma E.1, with the determinant's bound kept exact.

    >>> n = query_ceiling(3, 0.1, ridge=1, feature_bound=2)
    >>> abs(n * math.log1p(0.01) - 3 * math.log1p(n * 4 / 3)) < 1e-9
    True
    """
    d = whole_number("dim", dim, low=1)
    growth = math.log1p(positive_number("uncertainty_threshold", uncertainty_threshold) ** 2) / d
    spread = positive_number("feature_bound", feature_bound) ** 2
    spread /= d * positive_number("ridge", ridge)
    ratio = growth / spread
    if ratio >= 1:
        return 0.0
    # log(1 + s N) = g N: with u = 1 + s N, -ratio u is Lambert's W_{-1}(-ratio exp(-ratio))
    grown = -float(lambertw(-ratio * math.exp(-ratio), k=-1).real) / ratio
    return max(0.0, (grown - 1) / spread)


def appo_horizon(
    dim: int, uncertainty_threshold: float, *, ridge: float, feature_bound: float
) -> float:
    """Rounds of the shortest run of which at least half must pass unasked: twice ``query_ceiling``.

    The cost model of Theorem 5.1: a run much shorter than this, at the theorem's own threshold, may
    ask in every round, so that nothing of the promised flat curve need show. Divided by a
    simulator's rounds per second it is a time.
    Parameters and errors as in ``query_ceiling``.

    >>> c = appo_constants(4, 6, 0.4, kappa=0.19, norm_bound=1, feature_bound=2, delta=0.05)
    >>> f"{appo_horizon(4, c.uncertainty_threshold, ridge=c.ridge, feature_bound=2):.0e} rounds"
    '8e+10 rounds'
    """
    return 2 * query_ceiling(dim, uncertainty_threshold, ridge=ridge, feature_bound=feature_bound)


def _kappa(kappa: float) -> float:
    curvature = positive_number("kappa", kappa)
    if curvature > 0.25:
        raise ValueError(f"kappa: found {curvature:g}, needed <= 0.25, the largest value of mu'.")
    return curvature


def _threshold(
    uncertainty_threshold: float, norm_bound: float, feature_bound: float
) -> tuple[float, float]:
    """The threshold Gamma and log(3 L B / Gamma) > 0."""
    threshold = positive_number("uncertainty_threshold", uncertainty_threshold)
    reach = positive_number("norm_bound", norm_bound)
    reach *= positive_number("feature_bound", feature_bound)
    if threshold >= 3 * reach:
        raise ValueError(
            f"uncertainty_threshold: found {threshold:g}, needed below 3 L B = {3 * reach:g}, "
            "where log(3 L B / threshold) is positive."
        )
    return threshold, math.log(3 * reach / threshold)

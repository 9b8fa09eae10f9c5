"""Verdicts: a region fixed beforehand, an interval, and whether the one lies inside the other.

Every test has a region R in which its statement is true. The interval is two-sided of level
1 - 2 alpha, so each end errs with probability alpha. SUPPORTED: the interval lies inside R.
NOT SUPPORTED: it lies inside R's complement; for BETTER also when it touches 0 although the
smallest detectable difference is below the stated margin. Otherwise UNDERPOWERED.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from ..theory.checks import positive_number, probability, real_array, whole_number
from .claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED, Statistic, Test

__all__ = [
    "Exact",
    "Frequency",
    "Mean",
    "Normal",
    "Statistic",
    "caught",
    "holm",
    "p_value",
    "refuted",
    "region",
    "replicates_for_frequency",
    "replicates_for_mean",
    "smallest_detectable",
    "verdict",
]

SMALLEST_P = 1e-15  # below this the quantile functions are not trusted
MOST_REPLICATES = 10**6


def _quantile(alpha: float, df: float | None) -> float:
    """The upper ``alpha`` quantile of Student's t with ``df`` degrees of freedom (None: normal)."""
    from scipy.special import ndtri, stdtrit

    probability("alpha", alpha)
    return -float(ndtri(alpha) if df is None else stdtrit(df, alpha))


@dataclass(frozen=True)
class Normal:
    """An estimate with a standard error: interval = estimate -+ quantile x standard error.

    ``df`` None takes the normal law (slopes, delta method), a number Student's t.

    >>> lo, hi = Normal(1.0, 0.5, n=100).interval(0.025)
    >>> round(lo, 3), round(hi, 3)
    (0.02, 1.98)
    """

    estimate: float
    standard_error: float
    n: int
    df: float | None = None

    def __post_init__(self) -> None:
        real_array("estimate", self.estimate, ())
        positive_number("standard_error", self.standard_error, zero=True)
        whole_number("n", self.n, low=1)
        if self.df is not None:
            positive_number("df", self.df)

    def interval(self, alpha: float) -> tuple[float, float]:
        half = _quantile(alpha, self.df) * self.standard_error
        return self.estimate - half, self.estimate + half


class Mean(Normal):
    """The mean of independent values, with Student's t interval.

    Raises ValueError on fewer than two values and on any value that is not finite.

    >>> mean = Mean([1.0, 2.0, 3.0])
    >>> mean.estimate, mean.n, [round(end, 3) for end in mean.interval(0.025)]
    (2.0, 3, [-0.484, 4.484])
    """

    def __init__(self, values: ArrayLike) -> None:
        x = real_array("values", values, (None,))
        if x.size < 2:
            raise ValueError(f"values: found {x.size}, needed at least 2 for an interval.")
        super().__init__(
            float(x.mean()), float(x.std(ddof=1) / math.sqrt(x.size)), x.size, x.size - 1
        )


@dataclass(frozen=True)
class Frequency:
    """A share of successes, with the exact interval of Clopper and Pearson (1934).

    >>> lo, hi = Frequency(0, 20).interval(0.05)     # hi = 1 - 0.05^(1/20)
    >>> lo, round(hi, 4)
    (0.0, 0.1391)
    """

    successes: int
    trials: int

    def __post_init__(self) -> None:
        whole_number("trials", self.trials, low=1)
        whole_number("successes", self.successes, low=0, high=self.trials + 1)

    @property
    def estimate(self) -> float:
        return self.successes / self.trials

    @property
    def n(self) -> int:
        return int(self.trials)

    def interval(self, alpha: float) -> tuple[float, float]:
        from scipy.special import betainccinv, betaincinv

        probability("alpha", alpha)
        k, n = self.successes, self.trials
        lo = float(betaincinv(k, n - k + 1, alpha)) if k > 0 else 0.0
        hi = float(betainccinv(k + 1, n - k, alpha)) if k < n else 1.0
        return lo, hi


@dataclass(frozen=True)
class Exact:
    """Violations of a statement that must hold every time: no statistics.

    >>> Exact(0, 500).interval(0.01)
    (0.0, 0.0)
    """

    violations: int
    checked: int

    def __post_init__(self) -> None:
        whole_number("checked", self.checked, low=0)
        whole_number("violations", self.violations, low=0, high=self.checked + 1)

    @property
    def estimate(self) -> float:
        return float(self.violations)

    @property
    def n(self) -> int:
        return int(self.checked)

    def interval(self, alpha: float) -> tuple[float, float]:
        return self.estimate, self.estimate


def region(test: Test, scale: str) -> tuple[float, float]:
    """R as a closed interval of floats; "> 0" starts at the smallest positive float.

    EQUAL: [target - margin, target + margin]. BOUND: (-inf, target + margin], or
    [target - margin, inf) with side "lower". BETTER: (0, inf). EXACT: {0}. ESTIMATE: everything.
    """
    margin, target = test.margin_at(scale), float(test.target or 0.0)
    if test.kind == "EQUAL":
        return target - margin, target + margin
    if test.kind == "BOUND":
        upper = test.side == "upper"
        return (-math.inf, target + margin) if upper else (target - margin, math.inf)
    if test.kind == "BETTER":
        return math.ulp(0.0), math.inf
    return (0.0, 0.0) if test.kind == "EXACT" else (-math.inf, math.inf)


def _ends(test: Test, statistic: Statistic, alpha: float) -> tuple[float, float]:
    lo, hi = statistic.interval(alpha)
    if not math.isfinite(statistic.estimate) or math.isnan(lo) or math.isnan(hi):
        raise ValueError(
            f"{test.id}: found estimate {statistic.estimate} in [{lo}, {hi}], needed finite numbers; "
            "a claim that meets NaN must say what it means."
        )
    return lo, hi


def refuted(test: Test, statistic: Statistic, alpha: float, scale: str) -> bool:
    """Whether the whole interval lies in the complement of R (what a sabotage must do)."""
    low, high = region(test, scale)
    lo, hi = _ends(test, statistic, alpha)
    return bool(statistic.n > 0 and (hi < low or lo > high))


def verdict(test: Test, statistic: Statistic, alpha: float, scale: str) -> str:
    """SUPPORTED, NOT SUPPORTED or UNDERPOWERED, by the rule at the head of this file."""
    low, high = region(test, scale)
    lo, hi = _ends(test, statistic, alpha)
    if test.kind == "ESTIMATE":
        return test.kind
    if statistic.n == 0:
        return UNDERPOWERED
    if lo >= low and hi <= high:
        return SUPPORTED
    if refuted(test, statistic, alpha, scale):
        return NOT_SUPPORTED
    detectable = smallest_detectable(statistic, alpha, test.power)
    if test.kind == "BETTER" and detectable < test.margin_at(scale):
        return NOT_SUPPORTED
    return UNDERPOWERED


def smallest_detectable(statistic: Statistic, alpha: float, power: float) -> float:
    """The distance from R's edge at which the test still has ``power``, about
    (z_alpha + z_power) x standard error: the sum of two half-widths of the interval.

    >>> round(smallest_detectable(Normal(0.0, 1.0, n=100), 0.025, 0.9), 3)     # 1.960 + 1.282
    3.242
    """

    def half_width(tail: float) -> float:
        lo, hi = statistic.interval(tail)
        return max(statistic.estimate - lo, hi - statistic.estimate)

    return half_width(alpha) + half_width(1 - power)


def p_value(test: Test, statistic: Statistic, scale: str) -> float | None:
    """The smallest alpha at which the interval still lies inside R; None without statistics.

    Bisection on the logarithm of alpha; not below 1e-15.

    >>> test = Test("t", "", "BETTER", "", 0, 1.0, "", 0.9, {}, None)
    >>> round(p_value(test, Normal(1.959964, 1.0, n=100), "smoke"), 4)
    0.025
    """
    if test.kind in ("EXACT", "ESTIMATE"):
        return None
    low, high = region(test, scale)

    def inside(log_alpha: float) -> bool:
        lo, hi = statistic.interval(math.exp(log_alpha))
        return lo >= low and hi <= high

    fails, holds = math.log(SMALLEST_P), math.log1p(-1e-12)
    if inside(fails):
        return SMALLEST_P
    if not inside(holds):
        return 1.0
    while holds - fails > 1e-9:
        middle = (fails + holds) / 2
        fails, holds = (fails, middle) if inside(middle) else (middle, holds)
    return math.exp(holds)


def holm(p_values: Mapping[str, float | None], tests: int) -> dict[str, float]:
    """Holm's adjusted p-values among ``tests`` tests; those without a p-value are left out.

    Tests that were not run count as if their p-values were larger, which is conservative.
    Source: Holm (1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": None}, tests=3)
    {'a': 0.03, 'b': 0.08}
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted, highest = {}, 0.0
    for rank, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, p * (tests - rank)))
        adjusted[name] = highest
    return adjusted


def caught(true_verdict: str, expected: str, sabotage_refuted: bool) -> bool | None:
    """Whether the check tells the sabotage from the truth; None where it had nothing to prove.

    >>> caught("SUPPORTED", "SUPPORTED", True), caught("UNDERPOWERED", "SUPPORTED", True)
    (True, False)
    >>> caught("UNDERPOWERED", "UNDERPOWERED", True) is None
    True
    """
    if true_verdict == SUPPORTED:
        return sabotage_refuted
    return False if expected == SUPPORTED else None


def replicates_for_mean(
    sd: float, margin: float, alpha: float, power: float, *, two_sided: bool = False
) -> int:
    """Replicates after which a mean ``margin`` away from R's edge is SUPPORTED with ``power``.

    The smallest n with (t_alpha + t_power) sd / sqrt(n) <= margin, t with n - 1 degrees of freedom.
    ``two_sided`` is for EQUAL with the truth on the target: both ends must fit, so each may fail
    with (1 - power) / 2 only.

    >>> replicates_for_mean(1.0, 0.5, 0.025, 0.9)     # the noncentral t says 44
    45
    """
    positive_number("sd", sd), positive_number("margin", margin)
    probability("power", power)
    miss = (1 - power) / 2 if two_sided else 1 - power

    def enough(n: int) -> bool:
        width = _quantile(alpha, n - 1) + _quantile(miss, n - 1)
        return width * sd <= margin * math.sqrt(n)

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_REPLICATES:
            raise ValueError(f"margin: found {margin:g}, too small for sd {sd:g}; widen it.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def replicates_for_frequency(p: float, bound: float, alpha: float, power: float) -> int:
    """The smallest n at which a true frequency ``p`` is SUPPORTED below (or above) ``bound``.

    With p < bound the exact interval's upper end must be <= bound with probability ``power``;
    with p > bound its lower end >= bound. Exact binomial sums, no approximation; because these
    rise and fall with n, a larger n may miss the power by a little.

    >>> replicates_for_frequency(0.0, 0.05, 0.05, 0.9)     # 0.95^n <= 0.05
    59
    """
    from scipy.special import bdtr

    probability("bound", bound), probability("alpha", alpha), probability("power", power)
    if not 0 <= p <= 1 or p == bound:
        raise ValueError(
            f"p: found {p}, needed a frequency in [0, 1] other than the bound {bound}."
        )
    if p > bound:
        p, bound = 1 - p, 1 - bound
    most = -1  # the largest count of failures whose interval ends below the bound
    for n in range(1, MOST_REPLICATES + 1):
        while bdtr(most + 1, n, bound) <= alpha:
            most += 1
        if most >= 0 and bdtr(most, n, p) >= power:
            return n
    raise ValueError(
        f"p {p:g} is too close to the bound {bound:g}: more than a million replicates."
    )

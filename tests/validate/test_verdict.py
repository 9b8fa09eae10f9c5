"""Verdicts: by hand, against scipy's own tests, and by simulating their error rates.

Simulations: seeds fixed, never tuned. A count of errors is compared with the 1 - 1e-6 quantile of
the binomial law at the promised rate, so each such test fails a correct program once in a million.
"""

import math

import numpy as np
import pytest
from scipy import stats

from activeduel.validate.claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED, Test
from activeduel.validate.verdict import (
    Exact,
    Frequency,
    Mean,
    Normal,
    caught,
    holm,
    p_value,
    refuted,
    replicates_for_frequency,
    replicates_for_mean,
    smallest_detectable,
    verdict,
)

ALPHA = 0.05
RUNS = 1500


def a_test(kind, target=None, margin=0.1, **parts):
    return Test("t", "", kind, "", target, margin, "", 0.9, {}, None, **parts)


def judged(test, statistic, alpha=0.025):
    return verdict(test, statistic, alpha, "smoke")


def between(lo, hi):
    """A statistic whose interval at alpha = 0.025 is [lo, hi]."""
    return Normal((lo + hi) / 2, (hi - lo) / 2 / 1.959963984540054, n=100)


class TestRegions:
    @pytest.mark.parametrize(
        "interval, expected",
        [
            ((0.95, 1.05), SUPPORTED),
            ((0.85, 1.05), UNDERPOWERED),
            ((0.5, 1.5), UNDERPOWERED),
            ((1.15, 1.2), NOT_SUPPORTED),
            ((0.5, 0.85), NOT_SUPPORTED),
        ],
    )
    def test_equal_needs_the_interval_inside_target_and_margin(self, interval, expected):
        assert judged(a_test("EQUAL", 1.0), between(*interval)) == expected

    @pytest.mark.parametrize(
        "side, interval, expected",
        [
            ("upper", (0.0, 1.05), SUPPORTED),
            ("upper", (1.0, 1.2), UNDERPOWERED),
            ("upper", (1.15, 1.2), NOT_SUPPORTED),
            ("lower", (0.95, 7.0), SUPPORTED),
            ("lower", (0.8, 0.95), UNDERPOWERED),
            ("lower", (0.5, 0.85), NOT_SUPPORTED),
        ],
    )
    def test_bound_has_one_side_and_its_margin(self, side, interval, expected):
        assert judged(a_test("BOUND", 1.0, side=side), between(*interval)) == expected

    @pytest.mark.parametrize(
        "interval, margin, expected",
        [
            ((0.01, 0.5), 0.1, SUPPORTED),
            ((-0.5, -0.01), 0.1, NOT_SUPPORTED),
            ((-0.4, 0.5), 0.1, UNDERPOWERED),
            ((-0.01, 0.02), 0.1, NOT_SUPPORTED),  # 0.1 would have been found: it is not there
        ],
    )
    def test_better_is_strict_and_gives_up_where_power_sufficed(self, interval, margin, expected):
        assert judged(a_test("BETTER", margin=margin), between(*interval)) == expected

    def test_a_difference_of_exactly_zero_is_not_better(self):
        assert judged(a_test("BETTER"), Mean(np.zeros(50))) == NOT_SUPPORTED

    def test_exact_counts_violations_and_proves_nothing_unchecked(self):
        test = a_test("EXACT", margin=0.0)
        assert judged(test, Exact(0, 10)) == SUPPORTED
        assert judged(test, Exact(1, 10)) == NOT_SUPPORTED
        assert judged(test, Exact(0, 0)) == UNDERPOWERED
        assert not refuted(test, Exact(0, 0), 0.01, "smoke")

    def test_an_estimate_has_no_verdict_but_itself(self):
        assert judged(a_test("ESTIMATE"), Mean([0.0, 5.0])) == "ESTIMATE"

    def test_the_margin_may_depend_on_the_scale(self):
        test = a_test("EQUAL", 0.0, {"smoke": 1.0, "quick": 0.1})
        assert verdict(test, between(-0.5, 0.5), 0.025, "smoke") == SUPPORTED
        assert verdict(test, between(-0.5, 0.5), 0.025, "quick") == UNDERPOWERED


class TestIntervals:
    def test_mean_is_students_interval(self):
        x = np.random.default_rng(1).normal(3, 2, 17)
        expected = stats.ttest_1samp(x, 0).confidence_interval(0.98)
        assert Mean(x).interval(0.01) == pytest.approx(tuple(expected))

    @pytest.mark.parametrize("k, n", [(0, 20), (3, 20), (20, 20), (190, 400)])
    def test_frequency_is_clopper_and_pearsons(self, k, n):
        expected = stats.binomtest(k, n).proportion_ci(0.99, method="exact")
        assert Frequency(k, n).interval(0.005) == pytest.approx(tuple(expected), abs=1e-12)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_nan_and_infinity_never_vanish(self, bad):
        with pytest.raises(ValueError, match="not finite"):
            Mean([1.0, bad, 2.0])
        with pytest.raises(ValueError, match="not finite"):
            Normal(bad, 1.0, n=3)

    def test_one_value_has_no_interval(self):
        with pytest.raises(ValueError, match="at least 2"):
            Mean([1.0])

    @pytest.mark.parametrize("k, n", [(-1, 5), (6, 5), (0, 0), (1.5, 5)])
    def test_impossible_counts_are_refused(self, k, n):
        with pytest.raises(ValueError):
            Frequency(k, n)

    def test_a_statistic_that_yields_nan_is_refused_by_name(self):
        class Broken:
            estimate, n = math.nan, 5

            def interval(self, alpha):
                return math.nan, math.nan

        with pytest.raises(ValueError, match="^t: found estimate nan"):
            judged(a_test("EQUAL", 0.0), Broken())


class TestPValues:
    def test_of_a_difference_is_the_one_sided_t_test(self):
        x = np.random.default_rng(2).normal(0.3, 1, 40)
        expected = stats.ttest_1samp(x, 0, alternative="greater").pvalue
        assert p_value(a_test("BETTER"), Mean(x), "smoke") == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("k", [2, 30])
    def test_of_a_frequency_is_the_exact_binomial_test(self, k):
        expected = stats.binomtest(k, 200, 0.06, alternative="less").pvalue
        found = p_value(a_test("BOUND", 0.05, 0.01), Frequency(k, 200), "smoke")
        assert found == pytest.approx(expected, rel=1e-6)

    def test_of_an_equality_is_the_larger_of_two(self):
        x = np.random.default_rng(3).normal(0.02, 0.1, 30)
        both = [
            stats.ttest_1samp(x, edge, alternative=side).pvalue
            for edge, side in ((-0.1, "greater"), (0.1, "less"))
        ]
        assert p_value(a_test("EQUAL", 0.0), Mean(x), "smoke") == pytest.approx(max(both), rel=1e-6)

    def test_agrees_with_the_verdict_on_either_side(self):
        test, mean = a_test("BETTER", margin=0.01), Mean([1.0, 2.0, 0.5, 1.5, -0.2])
        p = p_value(test, mean, "smoke")
        assert verdict(test, mean, p * 1.001, "smoke") == SUPPORTED
        assert verdict(test, mean, p * 0.999, "smoke") == UNDERPOWERED

    def test_ends_of_the_scale(self):
        assert p_value(a_test("BETTER"), Normal(1.0, 0.0, n=9), "smoke") == 1e-15
        assert p_value(a_test("BETTER"), Normal(0.0, 0.0, n=9), "smoke") == 1.0
        assert p_value(a_test("EXACT"), Exact(0, 9), "smoke") is None

    def test_holm_against_statsmodels(self):
        from statsmodels.stats.multitest import multipletests

        p = [0.001, 0.2, 0.012, 0.04, 0.04]
        expected = multipletests(p, method="holm")[1]
        found = holm(dict(zip("abcde", p, strict=True)), tests=5)
        assert [found[name] for name in "abcde"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "true, expected, broken, answer",
    [
        (SUPPORTED, SUPPORTED, True, True),
        (SUPPORTED, SUPPORTED, False, False),
        (UNDERPOWERED, SUPPORTED, True, False),
        (NOT_SUPPORTED, UNDERPOWERED, True, None),
        (SUPPORTED, UNDERPOWERED, False, False),
    ],
)
def test_caught_needs_a_supported_truth_and_a_refuted_sabotage(true, expected, broken, answer):
    assert caught(true, expected, broken) is answer


def test_an_underpowered_sabotage_is_not_refuted():
    test = a_test("BETTER")
    assert judged(test, between(-0.01, 0.02)) == NOT_SUPPORTED  # enough to refuse the truth,
    assert not refuted(test, between(-0.01, 0.02), 0.025, "smoke")  # not enough to convict


def at_most(count, runs, rate):
    assert count <= stats.binom.ppf(1 - 1e-6, runs, rate), f"{count} of {runs} at rate {rate}"


def at_least(count, runs, rate):
    assert count >= stats.binom.ppf(1e-6, runs, rate), f"{count} of {runs} at rate {rate}"


class TestErrorRates:
    """Truths on the edge of R, the worst case: neither verdict may err more often than alpha."""

    @pytest.mark.parametrize(
        "test, edge",
        [
            (a_test("EQUAL", 0.0, 0.5), 0.5),
            (a_test("EQUAL", 0.0, 0.5), -0.5),
            (a_test("BOUND", 0.0, 0.5), 0.5),
            (a_test("BETTER"), 0.0),
        ],
    )
    def test_means(self, test, edge):
        x = np.random.default_rng(4).normal(edge, 1, (RUNS, 25))
        found = [verdict(test, Mean(row), ALPHA, "smoke") for row in x]
        at_most(found.count(SUPPORTED), RUNS, ALPHA)
        at_most(sum(refuted(test, Mean(row), ALPHA, "smoke") for row in x), RUNS, ALPHA)

    @pytest.mark.parametrize("n", [60, 400])
    def test_frequencies(self, n):
        test = a_test("BOUND", 0.05, 0.03)
        counts = np.random.default_rng(5).binomial(n, 0.08, RUNS)
        found = [verdict(test, Frequency(int(k), n), ALPHA, "smoke") for k in counts]
        at_most(found.count(SUPPORTED), RUNS, ALPHA)
        at_most(found.count(NOT_SUPPORTED), RUNS, ALPHA)

    def test_a_better_one_as_large_as_the_margin_is_rarely_denied(self):
        """Denied by power: the difference is the margin, the interval still touches 0."""
        n = replicates_for_mean(1.0, 0.5, ALPHA, 0.9)
        x = np.random.default_rng(6).normal(0.5, 1, (RUNS, n))
        found = [verdict(a_test("BETTER", margin=0.5), Mean(row), ALPHA, "smoke") for row in x]
        at_most(found.count(NOT_SUPPORTED), RUNS, 0.1)

    def test_negative_control_an_interval_that_is_too_short_errs_too_often(self):
        x = np.random.default_rng(4).normal(0.0, 1, (RUNS, 25))
        found = [
            verdict(a_test("BETTER"), Normal(row.mean(), row.std() / 10, n=25), ALPHA, "smoke")
            for row in x
        ]
        with pytest.raises(AssertionError):
            at_most(found.count(SUPPORTED), RUNS, ALPHA)


class TestPower:
    @pytest.mark.parametrize("alpha", [0.05, 0.0005])
    def test_of_a_difference(self, alpha):
        n = replicates_for_mean(2.0, 1.0, alpha, 0.9)
        x = np.random.default_rng(7).normal(1.0, 2.0, (RUNS, n))
        found = [verdict(a_test("BETTER"), Mean(row), alpha, "smoke") for row in x]
        at_least(found.count(SUPPORTED), RUNS, 0.9)

    def test_of_an_equality(self):
        n = replicates_for_mean(2.0, 1.0, ALPHA, 0.9, two_sided=True)
        x = np.random.default_rng(8).normal(0.0, 2.0, (RUNS, n))
        found = [verdict(a_test("EQUAL", 0.0, 1.0), Mean(row), ALPHA, "smoke") for row in x]
        at_least(found.count(SUPPORTED), RUNS, 0.9)

    @pytest.mark.parametrize("p, bound", [(0.02, 0.09), (0.05, 0.07), (0.99, 0.95)])
    def test_of_a_frequency_is_the_first_n_that_suffices(self, p, bound):
        alpha, power = 0.01, 0.9
        side = "upper" if p < bound else "lower"
        test = a_test("BOUND", bound, 0.0, side=side)

        def power_at(n):
            good = [
                k
                for k in range(n + 1)
                if verdict(test, Frequency(k, n), alpha, "smoke") == SUPPORTED
            ]
            return stats.binom.pmf(good, n, p).sum() if good else 0.0

        n = replicates_for_frequency(p, bound, alpha, power)
        assert power_at(n) >= power
        assert all(power_at(smaller) < power for smaller in range(max(1, n - 12), n))

    def test_smallest_detectable_at_the_derived_n_is_the_margin(self):
        n = replicates_for_mean(1.0, 0.2, 0.001, 0.9)
        found = smallest_detectable(Normal(0.0, 1 / math.sqrt(n), n, df=n - 1), 0.001, 0.9)
        assert 0.199 < found <= 0.2

    @pytest.mark.parametrize("p", [0.05, -0.1, 1.2])
    def test_impossible_frequencies_are_refused(self, p):
        with pytest.raises(ValueError, match="^p: found"):
            replicates_for_frequency(p, 0.05, 0.01, 0.9)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "SIMILAR"}, "kind"),
        ({"target": None}, "target"),
        ({"margin": -1.0}, "margin"),
        ({"margin": {"smoke": math.nan}}, "margin"),
        ({"power": 0.4}, "power"),
        ({"expected": {"smoke": "TRUE"}}, "verdict at smoke"),
        ({"expected": {"huge": SUPPORTED}}, "scale"),
        ({"kind": "BETTER", "target": 1.0}, "target"),
        ({"kind": "ESTIMATE", "target": None, "sabotage": "x"}, "sabotage"),
    ],
)
def test_a_test_that_does_not_fit_together_is_refused(changes, message):
    parts = {"id": "t", "statement": "", "kind": "EQUAL", "unit": "", "target": 1.0, "margin": 0.1}
    parts |= {"margin_reason": "", "power": 0.9, "expected": {}, "sabotage": None}
    with pytest.raises(ValueError, match=message):
        Test(**{**parts, **changes})

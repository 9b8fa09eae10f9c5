"""The bands: 95 % intervals hold the truth in 95 % of independent repetitions.

Repetitions are 1500, so a coverage of exactly 95 % is seen outside 95 % +- 2.3 % with probability
below 1e-4.
"""

import numpy as np
import pytest
from scipy.stats import t as student

from activeduel.paper_figs.intervals import generalized_variance, mean_interval, share_interval

REPETITIONS, SLACK = 1500, 0.023


def test_a_mean_is_students_interval():
    values = np.random.default_rng(1).standard_normal((7, 3))
    mean, low, high = mean_interval(values)
    expected = student.interval(0.95, 6, loc=values.mean(0), scale=values.std(0, ddof=1) / 7**0.5)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose([low, high], expected, rtol=1e-9)


def test_a_mean_with_a_missing_value_is_missing():
    values = np.array([[1.0, 1.0], [np.nan, 2.0]])
    assert [np.isnan(x).tolist() for x in mean_interval(values)] == [[True, False]] * 3


@pytest.mark.parametrize("replicates, d", [(40, 3), (60, 5)])
def test_the_generalized_variance_is_unbiased_on_the_log_scale_and_covered(replicates, d):
    rng = np.random.default_rng(2)
    mix = rng.standard_normal((d, d))
    truth = abs(np.linalg.det(mix)) ** (2 / d)
    found = [
        generalized_variance(rng.standard_normal((replicates, d)) @ mix) for _ in range(REPETITIONS)
    ]
    value, low, high = np.array(found).T
    inside = np.mean((low < truth) & (truth < high))
    assert abs(inside - 0.95) < SLACK
    error = np.log(value / truth)
    assert abs(error.mean()) < 4 * error.std() / REPETITIONS**0.5


def test_one_failed_replicate_leaves_no_generalized_variance():
    errors = np.random.default_rng(3).standard_normal((20, 2))
    errors[4, 1] = np.nan
    assert np.isnan(generalized_variance(errors)).all()


def test_the_jackknife_is_the_one_that_leaves_replicates_out():
    errors = np.random.default_rng(4).standard_normal((15, 2))
    value, low, high = generalized_variance(errors)
    left = [
        np.linalg.slogdet(np.delete(errors, r, 0).T @ np.delete(errors, r, 0) / 14)[1] / 2
        for r in range(15)
    ]
    half = student.ppf(0.975, 14) * np.sqrt(14 / 15 * np.sum((left - np.mean(left)) ** 2))
    np.testing.assert_allclose([low, high], value * np.exp([-half, half]), rtol=1e-9)


def test_a_share_over_clusters_is_covered():
    """40 clusters of about 20 labels, whose own shares scatter widely around a half."""
    rng = np.random.default_rng(5)
    whole = rng.poisson(20, (40, REPETITIONS)).astype(float)
    part = rng.binomial(whole.astype(int), rng.beta(3, 3, whole.shape)).astype(float)
    _, low, high = share_interval(part, whole)
    assert abs(np.mean((low < 0.5) & (high > 0.5)) - 0.95) < SLACK
    naive = 1.96 * np.sqrt(0.25 / whole.sum(axis=0))  # labels taken for independent: too narrow
    assert np.mean(np.abs(part.sum(0) / whole.sum(0) - 0.5) < naive) < 0.8


def test_few_clusters_have_a_share_without_an_interval_and_none_have_no_share():
    whole = np.zeros((12, 3))
    whole[:9, 0], whole[:, 1] = 2, 2
    share, low, high = share_interval(whole / 2, whole)
    np.testing.assert_array_equal(share, [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(low, [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(high, [np.nan, 0.5, np.nan])

"""Bradley-Terry with rationality against its closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom

from activeduel.theory.preference import fisher_weight, log_likelihood, win_probability

reals = st.floats(-1e3, 1e3)


def test_odds_are_the_exponential_of_the_reward_difference():
    z, theta = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([0.3, 0.4])
    p = win_probability(z, theta, 2.0)
    np.testing.assert_allclose(p / (1 - p), np.exp(2.0 * z @ theta), rtol=1e-14)


@given(margin=reals, b=reals)
def test_swapping_the_responses_swaps_the_answers(margin, b):
    p, q = win_probability([[margin], [-margin]], [1.0], b)
    assert 0 <= p <= 1 and p + q == pytest.approx(1, abs=1e-15)


def test_rationality_zero_is_a_coin_and_a_negative_one_prefers_the_worse():
    p = win_probability([[1.0]] * 3, [2.0], [0.0, -1.0, 1.0])
    assert p[0] == 0.5 and p[1] == pytest.approx(1 - p[2])


@pytest.mark.parametrize("b", [-1.5, 0.3, 2.0])
@pytest.mark.parametrize("margin", [-2.0, 0.0, 0.7])
def test_weight_is_the_fisher_information_of_one_answer(margin, b):
    """(dp/dm)^2 / (p (1 - p)), the derivative taken numerically."""
    h = 1e-5
    low, p, high = win_probability([[margin - h], [margin], [margin + h]], [1.0], b)
    assert fisher_weight(margin, b) == pytest.approx(
        ((high - low) / (2 * h)) ** 2 / (p * (1 - p)), rel=1e-8
    )


def test_weight_at_margin_zero_is_a_quarter_of_the_squared_rationality():
    np.testing.assert_allclose(fisher_weight(0.0, [0.5, 1.0, 3.0]), [0.0625, 0.25, 2.25])


def test_the_most_informative_rationality_is_at_the_known_product():
    """Over b the weight peaks where |b m| = u*, the root of u tanh(u/2) = 2: u* = 2.3994."""
    root = brentq(lambda u: u * np.tanh(u / 2) - 2, 1, 4, xtol=1e-14)
    assert root == pytest.approx(2.3994, abs=5e-5)
    for margin in (0.5, 3.0):
        peak = minimize_scalar(
            lambda b, m=margin: -float(fisher_weight(m, b)), bounds=(0, 20), method="bounded"
        )
        assert peak.x * margin == pytest.approx(root, abs=1e-3)


@given(margin=st.floats(-1e6, 1e6), b=st.floats(-1e3, 1e3))
def test_weight_neither_overflows_nor_turns_negative(margin, b):
    w = float(fisher_weight(margin, b))
    assert 0 <= w <= b * b / 4 * (1 + 1e-15)
    assert w == float(fisher_weight(-margin, b)) == float(fisher_weight(margin, -b))


def test_weight_broadcasts_pairs_against_teachers():
    w = fisher_weight(np.array([[0.0], [1.0]]), np.array([[1.0, 2.0, 3.0]]))
    assert w.shape == (2, 3) and w[1, 2] == fisher_weight(1.0, 3.0)


def test_likelihood_is_the_binomial_without_its_constant():
    rng = np.random.default_rng(0)
    z, theta, b = rng.standard_normal((20, 3)), rng.standard_normal(3), rng.uniform(-2, 2, 20)
    trials = rng.integers(1, 9, 20)
    wins = rng.integers(0, trials + 1)
    p = win_probability(z, theta, b)
    constant = binom.logpmf(wins, trials, 0.5) + trials * np.log(2)
    expected = (binom.logpmf(wins, trials, p) - constant).sum()
    assert log_likelihood(z, wins, theta, trials, b) == pytest.approx(expected, rel=1e-12)


def test_a_tie_counts_half_to_both_sides():
    tie = log_likelihood([[1.0]], [0.5], [0.8])
    one, other = log_likelihood([[1.0]], [1.0], [0.8]), log_likelihood([[1.0]], [0.0], [0.8])
    assert tie == pytest.approx((one + other) / 2)


def test_likelihood_of_certain_answers_stays_finite():
    assert log_likelihood([[1e5]], [0.0], [1.0]) == -1e5
    assert log_likelihood([[1e5]], [1.0], [1.0]) == 0.0

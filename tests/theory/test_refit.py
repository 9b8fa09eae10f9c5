"""What is known after some labels: rationalities on their own scale, information with its ridge."""

import numpy as np
import pytest

from activeduel.theory.preference import fisher_weight, win_probability
from activeduel.theory.refit import MOST_TEACHERS, estimate_rationality, information_and_gram

RNG = np.random.default_rng(1)
THETA = np.array([0.25, -0.2, 0.1])


def labels(rationality, each, seed=0):
    """z, wins, trials, teacher: ``each`` labels of every teacher."""
    rng = np.random.default_rng(seed)
    teacher = np.repeat(np.arange(len(rationality)), each)
    z = 4.6 * rng.standard_normal((len(teacher), 3))
    wins = (rng.random(len(z)) < win_probability(z, THETA, rationality[teacher])).astype(float)
    return z, wins, np.ones(len(z), dtype=np.int64), teacher


def test_the_scale_is_a_root_mean_square_and_the_sign_is_the_majoritys():
    """1200 labels a teacher: each estimate is within 0.15 of 1.5, 1, -0.5 over their scale (5 sd)."""
    true = np.array([1.5, 1.0, -0.5])
    found = estimate_rationality(*labels(true, 1200), 3)
    assert np.mean(found**2) == pytest.approx(1.0)
    assert np.allclose(found, true / np.sqrt(np.mean(true**2)), atol=0.15)
    turned = estimate_rationality(*labels(-true, 1200), 3)
    assert turned.sum() > 0 and turned[2] < 0  # the reward turns, not the teachers


def test_a_teacher_without_labels_gets_the_mean_of_the_others():
    z, wins, trials, teacher = labels(np.array([1.5, 0.5]), 300)
    found = estimate_rationality(z, wins, trials, 2 * teacher, 4)  # 1 and 3 were never asked
    assert found[1] == found[3] == pytest.approx((found[0] + found[2]) / 2)


def test_many_teachers_share_the_last_seat():
    z, wins, trials, teacher = labels(np.ones(MOST_TEACHERS + 20), 2)
    found = estimate_rationality(z, wins, trials, teacher, MOST_TEACHERS + 20)
    assert np.unique(found).size <= MOST_TEACHERS + 1
    assert np.unique(found[MOST_TEACHERS:]).size == 1


def test_information_is_a_sum_over_labels():
    z, b = RNG.standard_normal((5, 3)), np.array([1.0, 2.0, 0.0, -1.0, 1.0])
    trials = np.array([1, 3, 1, 2, 1])
    information, gram = information_and_gram(z, trials, THETA, b, 0.5)
    summed = 0.5 * np.eye(3)
    for row, k, r in zip(z, trials, b, strict=True):
        summed += k * fisher_weight(row @ THETA, r) * np.outer(row, row)
    assert np.allclose(information, summed)
    assert np.allclose(gram, 0.5 * np.eye(3) + (z * trials[:, None]).T @ z)
    nothing = information_and_gram(z[:0], trials[:0], THETA, b[:0], 0.5)
    assert np.array_equal(nothing[0], 0.5 * np.eye(3))

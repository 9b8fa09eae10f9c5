"""Named draws: the laws they should have, and the same value whenever a name is used."""

import math

import numpy as np
import pytest
from scipy import stats

from activeduel.sim.draws import Draws
from activeduel.sim.kernels.random import CounterRng

DRAWS = Draws(seed=7, replicate=3, round_=11)


def test_a_name_gives_what_the_counter_based_generator_gives():
    rng = CounterRng(7, 3, 11, 2)
    assert [DRAWS.uniform(2, i) for i in range(5)] == rng.random(5).tolist()
    assert DRAWS.below(2, 5, 100) == rng.integers(100)


def test_nothing_is_consumed():
    late = DRAWS.uniform(1, 4)
    DRAWS.normals(1, 0, 9)
    assert DRAWS.uniform(1, 4) == late


def test_normals_are_box_and_muller_of_the_named_uniforms():
    u, v = DRAWS.uniform(3, 6), DRAWS.uniform(3, 7)
    length, angle = math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v
    both = [length * math.cos(angle), length * math.sin(angle)]
    np.testing.assert_allclose(DRAWS.normals(3, 6, 2), both, rtol=1e-12)
    np.testing.assert_array_equal(DRAWS.normals(3, 4, 5)[2:4], DRAWS.normals(3, 6, 2))
    assert len(DRAWS.normals(3, 0, 1)) == 1


@pytest.mark.parametrize(
    ("law", "sample"),
    [
        (stats.norm, lambda t: DRAWS._replace(round_=t).normals(0, 0, 2)),
        (stats.gumbel_r, lambda t: [DRAWS._replace(round_=t).gumbel(0, i) for i in range(2)]),
    ],
)
def test_draws_follow_their_law(law, sample):
    """Kolmogorov-Smirnov on 4,000 draws; false alarm 1e-6."""
    values = np.concatenate([sample(t) for t in range(2000)])
    assert stats.kstest(values, law.cdf).pvalue > 1e-6


def test_weighted_draws_follow_their_weights():
    """Within 5 standard errors of softmax, 4,000 draws; a weight of e^-800 is never drawn."""
    log_weights = np.array([900.0, 901.0, 100.0, 899.5])
    picks = [DRAWS._replace(round_=t).weighted(0, 0, log_weights) for t in range(4000)]
    share = np.bincount(picks, minlength=4) / 4000
    p = np.exp(log_weights - 901) / np.exp(log_weights - 901).sum()
    assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / 4000)).all()


def test_weighted_is_the_inverse_of_the_cumulative_weights():
    u = DRAWS.uniform(0, 0)
    weights = np.array([u, 1 - u]) * [0.999, 1.0]
    assert DRAWS.weighted(0, 0, np.log(weights)) == 1
    weights = np.array([u, 1 - u]) * [1.001, 1.0]
    assert DRAWS.weighted(0, 0, np.log(weights)) == 0

"""The peers are what they say: against closed forms, brute force and each other."""

import itertools
import math

import numpy as np
import pytest
from design_points import full_quadratic, tournament

from activeduel.benchmarks.peers.cvxpy_dual import cvxpy_dual
from activeduel.benchmarks.peers.eager_greedy import eager_greedy
from activeduel.benchmarks.peers.frank_wolfe import frank_wolfe
from activeduel.benchmarks.peers.plain_pass import plain_pass
from activeduel.benchmarks.selection import gaussian_pool
from activeduel.theory import SELECTORS


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def polynomial(degree, roots):
    """Powers on a grid of [-1, 1] that holds the roots of (1 - x^2) P'_m."""
    grid = np.union1d(np.linspace(-1, 1, 101), [*roots, *(-r for r in roots)])
    return np.vander(grid, degree + 1)


CLOSED_FORMS = {
    "a quadratic": (polynomial(2, [0.0]), math.log(4 / 27)),
    "a cubic": (polynomial(3, [5**-0.5]), math.log(0.00512)),
    "a quartic": (polynomial(4, [0.0, (3 / 7) ** 0.5]), math.log(4.297218238756e-5)),
    "full quadratic, 2": (full_quadratic(2), -4.4717764193),
    "full quadratic, 3": (full_quadratic(3), -7.4553959088),
    "basis vectors": (np.eye(5), -5 * math.log(5)),
    "signs": (np.array(list(itertools.product((-1.0, 1.0), repeat=4))), 0.0),
    "a tournament": (tournament(8), 7 * math.log(2 / 56) + 6 * math.log(8)),
    "200 Gaussians": (gaussian(200, 5), 3.938950115263),
    "1000 Gaussians": (gaussian(1000, 10), 7.740136015571),
}


def largest_gap(points, weights):
    """max x' M^-1 x / d - 1, the slow obvious way."""
    inverse = np.linalg.inv(points.T @ np.diag(weights) @ points)
    return max(x @ inverse @ x for x in points) / points.shape[1] - 1


def log_det(points, weights):
    return np.linalg.slogdet(points.T @ (points * weights[:, None]))[1]


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_frank_wolfe_reaches_closed_forms(name):
    points, optimum = CLOSED_FORMS[name]
    found = frank_wolfe(points, 1e-6)
    d = points.shape[1]
    assert found.finished and found.gap <= 1e-6
    assert found.weights.min() >= 0 and found.weights.sum() == pytest.approx(1, abs=1e-12)
    assert largest_gap(points, found.weights) == pytest.approx(found.gap, abs=1e-10)
    assert optimum - d * 1e-6 <= log_det(points, found.weights) + 1e-9
    assert log_det(points, found.weights) <= optimum + 1e-9


def test_frank_wolfe_that_runs_out_of_time_says_so():
    points = gaussian(200, 5)
    found = frank_wolfe(points, 1e-6, seconds=0.0)
    assert not found.finished and found.gap > 1e-6
    assert found.gap == pytest.approx(largest_gap(points, found.weights))


def test_frank_wolfe_makes_away_steps():
    """Without them the points of the start keep weight that belongs elsewhere."""
    points, _ = CLOSED_FORMS["a cubic"]
    start, end = frank_wolfe(points, seconds=0.0).weights, frank_wolfe(points).weights
    assert ((start > 0) & (end == 0)).any()


@pytest.mark.parametrize("name", ["a cubic", "full quadratic, 2", "200 Gaussians"])
def test_cvxpy_reaches_closed_forms(name):
    points, optimum = CLOSED_FORMS[name]
    found = cvxpy_dual(points)
    assert largest_gap(points, found.weights) < 1e-6
    assert log_det(points, found.weights) == pytest.approx(optimum, abs=1e-6)
    assert found.solver_seconds > 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_plain_pass_is_every_variance(threads):
    points = gaussian(5000, 3)  # more than one chunk
    matrix = np.linalg.inv(points.T @ points)
    expected = [x @ matrix @ x for x in points]
    np.testing.assert_allclose(plain_pass(points, matrix, threads), expected, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_eager_greedy_picks_what_the_dual_rule_picks(threads):
    """One Gaussian pool in float32, 20 picks: no two scores are as close as a tie."""
    problem = gaussian_pool(pairs=80, dim=6, batch=20)
    eager = eager_greedy(problem.pool, problem.belief, 20, threads)
    picks = SELECTORS["dual"](problem.pool, problem.belief, 20.0, np.random.default_rng(0))
    assert eager.pair == picks.pair.tolist() and eager.teacher == picks.teacher.tolist()
    np.testing.assert_allclose(eager.score, picks.score, rtol=1e-4)
    assert len(set(zip(eager.pair, eager.teacher, strict=True))) == 20  # each is asked once

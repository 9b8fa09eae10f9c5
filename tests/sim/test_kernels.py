"""The kernels' mathematics against NumPy, their refit against ``fit_preferences``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from activeduel.sim import PairPool, Teachers, simulate
from activeduel.sim.kernels.functions import (
    answer_probability,
    exp_negative,
    fisher_weight,
    sigmoid,
)
from activeduel.sim.kernels.labelling import _replicate
from activeduel.sim.kernels.linear_algebra import (
    cholesky,
    first_at_least,
    invert_lower,
    largest,
    leverages,
    products,
    solve,
    weighted_gram,
)
from activeduel.sim.kernels.refit import (
    NEAR,
    certainly_exists,
    evaluate,
    learn,
    maximise,
    new_cells,
    new_fit,
)
from activeduel.theory import fisher_weight as plain_weight
from activeduel.theory import fit_preferences


@given(st.floats(-700.0, 0.0))
def test_exponential_is_within_two_units_in_the_last_place(x):
    right = np.exp(x)
    assert abs(exp_negative(x) - right) <= 2 * np.spacing(right)


def test_exponential_on_a_fine_grid_and_at_the_ends():
    x = -np.concatenate([np.geomspace(1e-12, 700, 20_000), np.arange(1, 1000) * np.log(2) / 2])
    right = np.exp(x)
    ours = np.array([exp_negative(v) for v in x])
    assert (np.abs(ours - right) <= 2 * np.spacing(right)).all()
    assert exp_negative(0.0) == 1.0
    assert exp_negative(-1e6) == exp_negative(-700.0) < 1e-300


@given(margin=st.floats(-50, 50), b=st.floats(-10, 10))
def test_weights_and_answers_are_the_plain_ones(margin, b):
    assert fisher_weight(margin, b) == pytest.approx(
        float(plain_weight(margin, b)), rel=1e-14, abs=1e-290
    )
    p = answer_probability(margin, b, 0.0, 0.0, 0.0, 0)
    assert p == sigmoid(b * margin) and 0 <= p <= 1


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 7, 10])
def test_linear_algebra_against_numpy(d):
    rng = np.random.default_rng(d)
    x, weight = rng.standard_normal((d, 30)), rng.uniform(0.1, 2, 30)
    n, work, out = 25, np.empty(30), np.empty((d, d))  # the last five columns are not used
    weighted_gram(x, weight, n, 0.5, work, out)
    right = (x[:, :n] * weight[:n]) @ x[:, :n].T + 0.5 * np.eye(d)
    np.testing.assert_allclose(np.tril(out), np.tril(right), rtol=1e-12, atol=1e-12)
    lower, inverse = np.zeros((d, d)), np.zeros((d, d))
    assert cholesky(out, lower)
    np.testing.assert_allclose(np.tril(lower), np.linalg.cholesky(right), rtol=1e-10, atol=1e-12)
    invert_lower(lower, inverse)
    g, step, v = rng.standard_normal(d), np.empty(d), np.full(30, np.nan)
    products(x, g, n, v)
    np.testing.assert_allclose(v[:n], g @ x[:, :n], rtol=1e-12)
    assert np.isnan(v[n:]).all()
    square = solve(lower, g, step)
    np.testing.assert_allclose(step, np.linalg.solve(right, g), rtol=1e-9)
    assert square == pytest.approx(g @ np.linalg.solve(right, g))
    leverages(x, inverse, n, work, v)
    np.testing.assert_allclose(
        v[:n], np.einsum("in,in->n", x[:, :n], np.linalg.solve(right, x[:, :n])), rtol=1e-9
    )


def test_cholesky_says_where_a_matrix_is_singular():
    for matrix in (
        np.zeros((2, 2)),
        np.ones((2, 2)),
        np.diag([1.0, -1.0]),
        np.full((2, 2), np.nan),
    ):
        assert not cholesky(matrix, np.zeros((2, 2)))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 63, 64, 65, 200])
def test_largest_and_the_first_place_that_reaches_a_floor(size):
    rng = np.random.default_rng(size)
    for values in (rng.standard_normal(size), np.full(size, -np.inf), np.sort(rng.random(size))):
        assert largest(values) == values.max()
        for floor in (values[size // 2], values.max(), values.max() + 1.0):
            reached = np.flatnonzero(values >= floor)
            assert first_at_least(values, size, floor) == (reached[0] if reached.size else size)


@njit
def cold(cells, n, ridge, fit):
    evaluate(cells, n, ridge, fit)
    return maximise(cells, n, ridge, fit)


def refit(points, wins, trials, ridge, start=None):
    """The kernel's estimator on rows ``points`` (n, d), spread over cells with room to spare."""
    n, d = points.shape
    cells, fit = new_cells(d, n + 3), new_fit(d)
    cells.x[:, :n], cells.wins[:n], cells.trials[:n] = points.T, wins, trials
    cells.x[:, n:] = np.nan  # room that must not be read
    fit.theta[:] = 0.0 if start is None else start
    return cold(cells, n, ridge, fit), cells, fit


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_refit_is_the_plain_estimate(seed, ridge):
    rng = np.random.default_rng(seed)
    d, n = 4, 60
    z, b = rng.standard_normal((n, d)), rng.choice([-1.0, 0.5, 2.0], n)
    trials = rng.integers(1, 6, n)
    wins = rng.binomial(trials, 1 / (1 + np.exp(-b * (z @ rng.standard_normal(d)))))
    plain = fit_preferences(z, wins, trials, b, ridge=ridge)
    for start in (None, plain.theta, -3 * plain.theta):
        done, cells, fit = refit(b[:, None] * z, wins, trials, ridge, start)
        assert done
        np.testing.assert_allclose(fit.theta, plain.theta, rtol=1e-9, atol=1e-11)
        information = np.tril(plain.information + ridge * np.eye(d))
        np.testing.assert_allclose(np.tril(fit.information), information, rtol=1e-8)
        assert ridge > 0 or certainly_exists(cells, n, fit)


@pytest.mark.parametrize("seed", range(20))
def test_no_estimate_is_certified_on_separable_labels(seed):
    """All labels agree with one theta: the plain fit proves it, the kernel must not claim success."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((12, 3))
    wins = (z @ rng.standard_normal(3) > 0).astype(float)
    assert fit_preferences(z, wins).status == "separable"
    done, cells, fit = refit(z, wins, np.ones(12), 0.0)
    assert not (done and certainly_exists(cells, 12, fit))


def test_refit_of_labels_that_do_not_span_says_no():
    z = np.array([[1.0, 1.0], [2.0, 2.0]])
    assert not refit(z, np.array([1.0, 1.0]), np.array([2.0, 3.0]), 0.0)[0]


@pytest.mark.parametrize("answers", [1, 3, 40])
def test_learning_answers_one_by_one_is_a_refit_from_nothing(answers):
    rng = np.random.default_rng(answers)
    n, d, ridge = 30, 4, 0.01
    z, trials = rng.standard_normal((n, d)), np.full(n, 2.0)
    wins = rng.binomial(2, 1 / (1 + np.exp(-z[:, 0]))).astype(float)
    _, cells, fit = refit(z, wins, trials, ridge)
    for cell, label in zip(rng.integers(n, size=answers), rng.random(answers) < 0.5, strict=True):
        cells.trials[cell] += 1.0
        cells.wins[cell] += label
        learn(cells.x, cell, label, fit)
    anew = new_fit(d)
    assert maximise(cells, n, ridge, fit) and cold(cells, n, ridge, anew)
    away = np.linalg.cholesky(anew.information).T @ (fit.theta - anew.theta)
    assert away @ away <= NEAR  # in units of the standard error, squared
    np.testing.assert_allclose(np.tril(fit.information), np.tril(anew.information), rtol=1e-8)


def test_one_compilation_serves_every_pool():
    """Read-only or strided arrays would each cost another twenty seconds of compilation."""
    rng = np.random.default_rng(0)
    for m, d in ((1, 1), (1, 3), (3, 1), (3, 2)):
        pool = PairPool.synthetic(9, d, 1, Teachers(np.ones((m, 1))), rng)
        for world in (pool, pool.with_available(np.full((9, m), 5))):
            simulate("dual", world, horizon=9, replicates=1, seed=0)
    assert len(_replicate.signatures) == 1

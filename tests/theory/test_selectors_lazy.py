"""Lazy greedy picks what plain greedy picks, looks at few rows, and needs little memory."""

import tracemalloc

import naive
import numpy as np
import pytest
from selector_pools import OnlyTwoDraws, a_wide_pool, pairs_and_teachers

from activeduel.theory import SELECTORS
from activeduel.theory.selectors import lazy
from activeduel.theory.selectors.batch import Batch, Leverages
from activeduel.theory.selectors.dual import fill
from activeduel.theory.selectors.leverages import inverse_cholesky

FLOAT32 = 1e-3  # what ``Leverages`` promises for float32


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 rows instead of 32,768 numbers: these pools are of many blocks."""
    monkeypatch.setattr(lazy, "block_size", lambda z: 16)


def picks_of(pool, belief, budget):
    return pairs_and_teachers(SELECTORS["dual"](pool, belief, budget, OnlyTwoDraws(0)))


# --- the picks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"prices": True}, {"stock": True}, {"prices": 1, "stock": 1}])
@pytest.mark.parametrize("seed", range(3))
def test_dual_picks_what_plain_greedy_picks(seed, kind, small_blocks):
    """All 400 leverages from scratch, in float64, before each of at least 60 picks."""
    pool, belief = a_wide_pool(seed, 400, 24, labelled=100, **kind)
    picks = picks_of(pool, belief, 60.0)
    assert len(picks) >= 60
    assert naive.shortfalls(pool, belief, picks, 60.0).max() <= lazy.TIE


@pytest.mark.parametrize("name", list(SELECTORS))
@pytest.mark.parametrize("kind", [{}, {"prices": 1, "stock": 1}])
def test_every_rule_picks_the_same_lazily_and_at_once(name, kind, monkeypatch):
    """150 labels: more than are held before the matrix is factorised anew."""
    pool, belief = a_wide_pool(3, 300, 12, labelled=40, **kind)
    at_once = SELECTORS[name](pool, belief, 150.0, OnlyTwoDraws(1))
    monkeypatch.setattr(lazy, "block_size", lambda z: 16)
    lazily = SELECTORS[name](pool, belief, 150.0, OnlyTwoDraws(1))
    assert pairs_and_teachers(at_once) == pairs_and_teachers(lazily)
    np.testing.assert_allclose(at_once.score, lazily.score, rtol=1e-9, atol=1e-12)


def test_accepting_a_stale_best_is_caught(small_blocks, monkeypatch):
    """The sabotage: rows are never brought up to date. The first pick is right, later ones not."""
    monkeypatch.setattr(Leverages, "refresh", lambda self, rows: lazy.at(self.bounds, rows))
    pool, belief = a_wide_pool(0, 400, 24, labelled=100)
    short = naive.shortfalls(pool, belief, picks_of(pool, belief, 60.0), 60.0)
    assert short[0] <= lazy.TIE and short.max() > 0.5


def test_few_rows_are_looked_at(small_blocks):
    """Fewer than a tenth of plain greedy's 2,000 rows a pick."""
    pool, belief = a_wide_pool(0, 2000, 24, labelled=500)
    batch = Batch(pool, belief, 100)
    leverages = Leverages(pool.z, belief.information)
    fill(batch, leverages)
    assert pairs_and_teachers(batch.picks()) == picks_of(pool, belief, 100)
    assert 99 <= leverages.evaluations < 0.1 * 2000 * 100


def test_bounds_are_bounds_and_values_are_exact():
    pool, belief = a_wide_pool(5, 200, 8, labelled=30)
    leverages, information = Leverages(pool.z, belief.information), belief.information.copy()
    for pair in range(0, 200, 20):
        leverages.add(pair, 0.3)
        leverages.refresh(np.array([pair, 3, 7]))
        information += 0.3 * np.outer(pool.z[pair], pool.z[pair])
        exact = np.einsum("nd,dn->n", pool.z, np.linalg.solve(information, pool.z.T))
        assert (leverages.bounds >= exact * (1 - 1e-12)).all()
        np.testing.assert_allclose(leverages.bounds[[pair, 3, 7]], exact[[pair, 3, 7]], rtol=1e-10)
    np.testing.assert_allclose(leverages.values, exact, rtol=1e-10)
    np.testing.assert_allclose(
        leverages.solve(pool.z[0]), np.linalg.solve(information, pool.z[0]), rtol=1e-9
    )


# --- numbers ---------------------------------------------------------------------------------------

HARD = {
    "ill-conditioned": {"labelled": 1000, "decay": 4.0},  # condition above 1e6
    "nothing known": {"labelled": 0, "decay": 0.0},
    "nothing known, some directions": {"labelled": 0, "decay": 1.0},
    "nothing known, few directions": {"labelled": 0, "decay": 3.0},
}


@pytest.mark.parametrize("world", HARD)
@pytest.mark.parametrize(("dtype", "promise"), [(np.float64, lazy.TIE), (np.float32, FLOAT32)])
def test_every_pick_is_a_best_one_in_exact_arithmetic(world, dtype, promise, small_blocks):
    """As float64 sees the given numbers from scratch, whatever the ridge of 0.01 does to them."""
    pool, belief = a_wide_pool(1, 1200, 60, dtype=dtype, **HARD[world])
    if world == "ill-conditioned":
        assert np.linalg.cond(belief.information.astype(float)) > 1e6
    picks = picks_of(pool, belief, 120.0)
    assert naive.shortfalls(pool, belief, picks, 120.0).max() <= promise


def test_float32_needs_the_matrix_factorised_anew(small_blocks, monkeypatch):
    """The negative control: rounding in the first leverages outlives the leverages."""
    world = HARD["nothing known, some directions"]
    pool, belief = a_wide_pool(1, 1200, 60, dtype=np.float32, **world)
    monkeypatch.setattr(Leverages, "reliable", lambda self, row: True)
    picks = picks_of(pool, belief, 63.0)
    assert naive.shortfalls(pool, belief, picks, 63.0).max() > 0.5


@pytest.mark.parametrize("d", [1, 2, 255, 257, 700])
def test_inverse_cholesky_against_numpy(d):
    rng = np.random.default_rng(d)
    root = rng.standard_normal((d, 2 * d))
    matrix = root @ root.T
    before = matrix.copy()
    inverse = inverse_cholesky(np, matrix, np.float64)
    np.testing.assert_allclose(inverse @ matrix @ inverse.T, np.eye(d), atol=1e-9)
    np.testing.assert_allclose(inverse, np.tril(inverse), atol=1e-12)
    np.testing.assert_array_equal(matrix, before)
    assert inverse_cholesky(np, matrix, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="positive definite"):
        inverse_cholesky(np, matrix - np.linalg.eigvalsh(matrix)[0] * 1.01 * np.eye(d), np.float64)


# --- memory ----------------------------------------------------------------------------------------


def peak(name, pool, belief, budget):
    """Bytes at the worst moment of the selector, beside its input."""
    tracemalloc.start()
    try:
        SELECTORS[name](pool, belief, budget, np.random.default_rng(0))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def allowed(pool, belief):
    """Two information matrices, and a tenth of these and the input."""
    two = 2 * belief.information.nbytes
    given = sum(np.asarray(a).nbytes for a in (*pool, *belief))
    return two + 0.1 * (given + two)


@pytest.fixture(scope="module")
def large():
    """20 MB of pairs: every array of that size is seen at once."""
    return a_wide_pool(0, 20_000, 256, m=2, labelled=2000, dtype=np.float32)


@pytest.mark.parametrize("name", list(SELECTORS))
def test_memory_stays_within_two_matrices_and_a_tenth(name, large):
    assert peak(name, *large, 40.0) <= allowed(*large)


def test_the_memory_test_sees_an_array_of_the_pools_size(large, monkeypatch):
    monkeypatch.setattr(lazy, "largest_block", lambda z: z.shape[0])
    assert peak("dual", *large, 1.0) > allowed(*large)

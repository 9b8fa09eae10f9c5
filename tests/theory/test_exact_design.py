"""Whole numbers of labels against brute force, and D-efficiency by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activeduel.theory.design import d_optimal
from activeduel.theory.exact_design import d_efficiency, efficient_rounding, exact_design


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def information(points, counts):
    return points.T @ (points * np.asarray(counts, float)[:, None])


def best_by_brute_force(points, labels):
    """The largest det over all multisets of ``labels`` points."""
    chosen = itertools.combinations_with_replacement(range(len(points)), labels)
    return max(np.linalg.det(points[list(c)].T @ points[list(c)]) for c in chosen)


def best_after_a_swap(points, counts):
    n = len(points)
    swaps = [(i, j) for i in np.flatnonzero(counts) for j in range(n)]
    return max(
        np.linalg.det(information(points, counts - np.eye(n)[i] + np.eye(n)[j])) for i, j in swaps
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n, d, labels", [(6, 2, 3), (7, 2, 5), (7, 3, 4), (6, 3, 6)])
def test_close_to_the_best_of_all_exact_designs(n, d, labels, seed):
    """An exchange ends in a local optimum: here never below 95 % of the best (a stated slack)."""
    points = gaussian(n, d, seed)
    counts = exact_design(d_optimal(points).weights, labels, points=points)
    reached = np.linalg.det(information(points, counts))
    best = best_by_brute_force(points, labels)
    assert reached <= best * (1 + 1e-9)
    assert (reached / best) ** (1 / d) >= 0.95


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 12), st.integers(0, 15), st.integers(0, 10**6))
def test_no_swap_improves_and_the_efficiency_is_at_most_one(d, more, extra, seed):
    points, labels = gaussian(d + more, d, seed), d + extra
    design = d_optimal(points)
    counts = exact_design(design.weights, labels, points=points)
    assert counts.dtype == np.int64 and counts.min() >= 0 and counts.sum() == labels
    reached = np.linalg.det(information(points, counts))
    assert best_after_a_swap(points, counts) <= reached * (1 + 1e-8)
    assert 0 < d_efficiency(information(points, counts), design.log_det, labels) <= 1


def test_many_labels_reach_the_optimum():
    points = gaussian(300, 5)
    design = d_optimal(points)
    efficiency = [
        d_efficiency(
            information(points, exact_design(design.weights, k, points=points)), design.log_det, k
        )
        for k in (5, 50, 500, 5000)
    ]
    assert np.all(np.diff(efficiency) > 0) and efficiency[-1] > 1 - 1e-5


def test_efficient_rounding_by_hand():
    """Pukelsheim and Rieder (1992): ceil((N - s/2) w), then the discrepancy is removed."""
    assert efficient_rounding(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert efficient_rounding(np.array([1.0, 1.0, 1.0]), 7).tolist() == [3, 2, 2]
    assert efficient_rounding(np.array([0.6, 0.0, 0.3, 0.1]), 2).tolist() == [1, 0, 1, 0]
    counts = efficient_rounding(np.array([0.97, 0.01, 0.01, 0.01]), 50)
    assert counts.sum() == 50 and counts.min() >= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 100), st.integers(0, 10**6))
def test_rounding_keeps_every_share_within_one_label(n, labels, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(n))
    counts = efficient_rounding(weights, labels)
    assert counts.sum() == labels and counts.min() >= 0
    if labels >= n:
        assert counts.min() >= 1  # an efficient rounding drops no support point


def test_weights_that_do_not_span_and_few_labels_still_give_a_nonsingular_design():
    points = gaussian(12, 4)
    counts = exact_design(np.eye(12)[0], 4, points=points)
    assert counts.sum() == 4 and np.linalg.matrix_rank(points[counts > 0]) == 4
    counts = exact_design(np.eye(12)[0], 9, points=points)
    assert counts.sum() == 9 and np.linalg.matrix_rank(points[counts > 0]) == 4


def test_scale_of_columns_does_not_matter():
    points = gaussian(40, 4)
    weights = d_optimal(points).weights
    plain = exact_design(weights, 11, points=points)
    scaled = exact_design(weights, 11, points=points * [1e8, 1e-8, 1.0, 1e5])
    assert plain.tolist() == scaled.tolist()


def test_refusals_of_exact_design():
    points = np.eye(3)
    with pytest.raises(ValueError, match="found 2, needed at least 3"):
        exact_design([1, 1, 1], 2, points=points)
    with pytest.raises(ValueError, match="rank 2, needed rank 3"):
        exact_design([1, 1], 5, points=points[:2])
    with pytest.raises(ValueError, match="weights"):
        exact_design([1, -1, 1], 5, points=points)
    with pytest.raises(ValueError, match="weights"):
        exact_design([0, 0, 0], 5, points=points)
    with pytest.raises(ValueError, match="shape"):
        exact_design([1, 1], 5, points=points)
    with pytest.raises(ValueError, match="labels"):
        exact_design([1, 1, 1], 5.5, points=points)


# -------------------------------------------------------------------------------- d_efficiency


def test_d_efficiency_by_hand():
    assert d_efficiency(25 * np.eye(2), np.log(0.25), 50) == pytest.approx(1.0)
    assert d_efficiency(25 * np.eye(2), np.log(0.25), 100) == pytest.approx(0.5)
    graded = np.diag([1e200, 1e-200])
    assert d_efficiency(graded, 0.0, 1) == pytest.approx(1.0, abs=1e-12)


def test_solver_tolerance_above_one_is_clamped_and_more_is_refused():
    assert d_efficiency(np.eye(3), -1e-9, 1) == 1.0
    with pytest.raises(ValueError, match="log det of the optimal design"):
        d_efficiency(np.eye(3), -1e-4, 1)


def test_refusals_of_d_efficiency():
    with pytest.raises(ValueError, match="singular"):
        d_efficiency([[1, 1], [1, 1]], 0.0, 1)
    with pytest.raises(ValueError, match="singular"):
        d_efficiency([[1, 0], [0, 0]], 0.0, 1)
    with pytest.raises(ValueError, match="singular"):
        d_efficiency([[1, 0], [0, -1]], 0.0, 1)
    with pytest.raises(ValueError, match="asymmetric"):
        d_efficiency([[1, 0.5], [0, 1]], 0.0, 1)
    with pytest.raises(ValueError, match="labels"):
        d_efficiency(np.eye(2), 0.0, 0)
    for wrong in (np.ones((2, 3)), np.ones(3), [[np.nan]], np.ones((0, 0))):
        with pytest.raises(ValueError, match="information"):
            d_efficiency(wrong, 0.0, 1)

"""Continuous D-optimal designs against closed forms, a second solver, and the equivalence theorem."""

import itertools
import math

import naive
import numpy as np
import pytest
from design_points import full_quadratic, tournament
from hypothesis import given, settings
from hypothesis import strategies as st

from activeduel.theory.design import d_optimal
from activeduel.theory.interior_point import information_root, newton_solver, variances
from activeduel.theory.whitening import whiten


def gap_by_hand(points, weights):
    """max x' M^-1 x / d - 1, the slow obvious way."""
    points = np.asarray(points, dtype=np.float64)
    inverse = np.linalg.inv(points.T @ np.diag(weights) @ points)
    return max(x @ inverse @ x for x in points) / points.shape[1] - 1


def log_det_by_hand(points, weights):
    return np.linalg.slogdet(points.T @ (points * weights[:, None]))[1]


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


# ------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    "roots, det",
    [
        ([0.0], 4 / 27),
        ([5**-0.5], 0.00512),
        ([0.0, (3 / 7) ** 0.5], 4.297218238756e-5),
        ([math.sqrt((7 - 28**0.5) / 21), math.sqrt((7 + 28**0.5) / 21)], 8.873497113894e-8),
    ],
)
def test_polynomial_regression_puts_equal_weight_on_the_roots(roots, det):
    """Degree m on [-1, 1]: the m + 1 roots of (1 - x^2) P'_m (Guest 1958)."""
    expected = np.unique([1.0, -1.0, *roots, *(-r for r in roots)])
    degree = len(expected) - 1
    grid = np.union1d(np.linspace(-1, 1, 201), expected)
    design = d_optimal(np.vander(grid, degree + 1), tol=1e-9)
    at_roots = design.weights[np.searchsorted(grid, expected)]
    np.testing.assert_allclose(at_roots, 1 / (degree + 1), atol=1e-5)
    assert design.log_det == pytest.approx(math.log(det), abs=1e-8)


@pytest.mark.parametrize(
    "k, log_det", [(2, -4.4717764193), (3, -7.4553959088), (4, -10.7440987177)]
)
def test_full_quadratic_on_the_cube(k, log_det):
    assert d_optimal(full_quadratic(k)).log_det == pytest.approx(log_det, abs=1e-7)


def test_basis_vectors_and_the_sphere_give_minus_d_log_d():
    assert d_optimal(np.eye(7)).log_det == pytest.approx(-7 * math.log(7))
    sphere = gaussian(3000, 6)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    assert d_optimal(sphere).log_det == pytest.approx(-6 * math.log(6), abs=1e-5)


def test_sign_vectors_with_intercept_give_zero():
    cube = np.array(list(itertools.product((-1.0, 1.0), repeat=5)))
    assert d_optimal(np.column_stack([np.ones(32), cube])).log_det == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("k", [2, 3, 8, 40])
def test_a_tournament_of_equals_asks_every_pair_equally(k):
    design = d_optimal(tournament(k))
    pairs = k * (k - 1) / 2
    expected = -(k - 1) * math.log(pairs) + (k - 2) * math.log(k)
    assert design.log_det == pytest.approx(expected, abs=1e-6)
    assert len(design.support) == pairs
    np.testing.assert_allclose(design.weights, 1 / pairs, rtol=1e-4)


@pytest.mark.parametrize(
    "n, d, log_det",
    [
        (200, 5, 3.938950115263),
        (1000, 10, 7.740136015571),
        (2000, 20, 10.455809831999),
        (5000, 20, 12.025229647326),
    ],
)
def test_reference_optima_of_gaussian_points(n, d, log_det):
    design = d_optimal(gaussian(n, d))
    assert design.gap <= 1e-6
    assert log_det - d * 1e-6 <= design.log_det <= log_det + 1e-9
    tight = d_optimal(gaussian(n, d), tol=1e-10)
    assert tight.log_det == pytest.approx(log_det, abs=1e-9)


# ----------------------------------------------------------------------- certificate and theory


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 10**6))
def test_the_certificate_holds_on_all_points(d, more, seed):
    points = gaussian(d + more, d, seed)
    design = d_optimal(points)
    assert design.weights.min() >= 0 and design.weights.sum() == pytest.approx(1, abs=1e-12)
    assert design.support.tolist() == np.flatnonzero(design.weights).tolist()
    assert max(gap_by_hand(points, design.weights), 0) == pytest.approx(design.gap, abs=1e-8)
    assert design.gap <= 1e-6
    assert design.log_det == pytest.approx(log_det_by_hand(points, design.weights), abs=1e-8)


def test_variances_average_to_d_and_the_gap_bounds_what_is_lost():
    """log det* - log det(w) <= d log(1 + gap); efficiency >= exp(-gap) for any w (Kiefer 1961)."""
    points, best = gaussian(60, 4), d_optimal(gaussian(60, 4)).log_det
    for seed in range(20):
        weights = np.random.default_rng(seed).dirichlet(np.full(60, 0.3))
        gap, lost = gap_by_hand(points, weights), best - log_det_by_hand(points, weights)
        root, _ = information_root(points, weights)
        assert weights @ variances(points, root) == pytest.approx(4)
        assert -1e-9 <= lost <= 4 * math.log(1 + gap) + 1e-9
        assert math.exp(-lost / 4) >= math.exp(-gap) - 1e-9


def test_points_below_the_harman_pronzato_bound_are_in_no_optimal_design():
    points, d = gaussian(400, 4), 4
    rough, exact = d_optimal(points, tol=0.02).weights, d_optimal(points, tol=1e-10)
    root, _ = information_root(points, rough)
    v = variances(points, root)
    e = v.max() - d
    bound = d * (1 + e / 2 - math.sqrt(e * (4 + e - 4 / d)) / 2)
    assert (v < bound).sum() > 100
    assert v[exact.weights > 1e-8].min() >= bound


@pytest.mark.parametrize("n, d", [(12, 2), (40, 3), (150, 5)])
def test_cvxpy_agrees(n, d):
    points = gaussian(n, d, seed=7)
    ours, oracle = d_optimal(points), d_optimal(points, method="cvxpy")
    assert oracle.gap < 1e-5
    assert ours.log_det == pytest.approx(oracle.log_det, abs=d * 1e-5)
    np.testing.assert_allclose(ours.weights, oracle.weights, atol=1e-3)


def test_a_warm_start_gives_the_same_answer():
    points = gaussian(800, 6)
    cold = d_optimal(points, tol=1e-9)
    moved = points + 0.01 * gaussian(800, 6, seed=1)
    for start in (cold.weights, np.ones(800), np.eye(800)[3]):
        np.testing.assert_allclose(
            d_optimal(points, tol=1e-9, start=start).weights, cold.weights, atol=1e-5
        )
    warm, fresh = d_optimal(moved, start=cold.weights), d_optimal(moved)
    assert warm.log_det == pytest.approx(fresh.log_det, abs=6e-6)
    assert d_optimal(points, start=cold.weights).iterations < cold.iterations


# ------------------------------------------------------------------------------ awkward points


def test_scales_of_columns_do_not_matter():
    points = gaussian(300, 6)
    plain = d_optimal(points, tol=1e-9)
    scale = np.array([1e8, 1e-8, 1.0, 1e8, 1e-3, 1e-8])
    scaled = d_optimal(points * scale, tol=1e-9)
    np.testing.assert_allclose(scaled.weights, plain.weights, atol=1e-6)
    assert scaled.log_det == pytest.approx(plain.log_det + 2 * np.log(scale).sum(), abs=1e-7)


@pytest.mark.parametrize("factor", [1e-300, 1e-8, 1e8, 1e300])
def test_a_common_scale_only_shifts_the_log_det(factor):
    plain, scaled = d_optimal(gaussian(50, 3)), d_optimal(gaussian(50, 3) * factor)
    assert scaled.log_det == pytest.approx(plain.log_det + 6 * math.log(factor), rel=1e-9)


def test_rows_of_very_different_length():
    rows = gaussian(200, 4) * 10.0 ** np.random.default_rng(1).uniform(-8, 8, (200, 1))
    design = d_optimal(rows)
    assert design.gap <= 1e-6
    longest = np.argsort(-np.linalg.norm(rows, axis=1))[:20]
    assert set(design.support) <= set(longest)


def test_duplicates_share_what_one_would_get():
    points = gaussian(30, 3)
    once, often = d_optimal(points, tol=1e-9), d_optimal(np.repeat(points, 20, axis=0), tol=1e-9)
    shared = often.weights.reshape(30, 20).sum(axis=1)
    np.testing.assert_allclose(shared, once.weights, atol=1e-6)


@pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-9, 1e-12])
def test_nearly_parallel_points(angle):
    design = d_optimal([[1.0, 0.0], [1.0, angle]])
    np.testing.assert_allclose(design.weights, 0.5)
    assert design.log_det == pytest.approx(2 * math.log(angle / 2), rel=1e-9)
    bundle = np.array([1.0, 2.0, 3.0]) + angle * gaussian(100, 3)
    design = d_optimal(bundle)
    assert naive.certified_gap(bundle, design.weights)[0] <= design.gap + 1e-9
    assert design.gap <= max(1e-6, 1e-14 / angle)


def test_one_dimension_takes_the_longest_and_n_equal_d_is_uniform():
    assert d_optimal([[1.0], [-3.0], [2.0]]).weights.tolist() == [0, 1, 0]
    design = d_optimal(gaussian(9, 9))
    np.testing.assert_allclose(design.weights, 1 / 9)


@pytest.mark.parametrize("seed", range(40))
def test_columns_that_all_but_depend_on_each_other(seed):
    """Singular values over six decades: working sets used to drop and add the same points for ever."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(20, 200)), int(rng.integers(8, 13))
    thin = rng.standard_normal((n, d)) @ np.diag(10.0 ** -rng.uniform(0, 6, d))
    points = thin @ rng.standard_normal((d, d))
    design = d_optimal(points)
    gap, log_det = naive.certified_gap(points, design.weights)
    assert gap <= design.gap + 1e-8 <= 1.1e-6
    assert log_det == pytest.approx(design.log_det, abs=1e-7)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e5, 1e6])
def test_the_gap_includes_what_rounding_may_hide(offset):
    """A parabola far from the origin: its columns agree in all but the last digits."""
    points = np.vander(offset + np.linspace(0, 1, 50), 3)
    design = d_optimal(points)
    gap, _ = naive.certified_gap(points, design.weights)
    assert gap <= design.gap + 1e-9
    assert design.gap <= 1e-6 if offset < 1e4 else design.gap < 0.2


@pytest.mark.parametrize("size", [1e3, 1e5, 1e7, 1e8])
@pytest.mark.parametrize("seed", range(3))
def test_a_start_from_before_a_point_moved_far_certifies_what_is_true(size, seed):
    points = gaussian(500, 5, seed)
    before = d_optimal(points).weights
    points[7] *= size
    design = d_optimal(points, start=before)
    gap, log_det = naive.certified_gap(points, design.weights)
    assert gap <= design.gap + 1e-9 <= 1.1e-6
    assert log_det == pytest.approx(design.log_det, abs=1e-7)


@pytest.mark.parametrize("seed", range(40))
def test_long_points_that_are_nearly_parallel_among_short_ones(seed):
    """A rounding of the long ones is as large as the short ones: their coordinates are put right."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((400, 4))
    along = rng.standard_normal(4)
    points[:6] = 1e6 * along * (1 + 1e-5 * rng.standard_normal((6, 4)))
    points = points @ rng.standard_normal((4, 4))
    design = d_optimal(points, tol=1e-8)
    gap, _ = naive.certified_gap(points, design.weights)
    assert gap <= design.gap + 1e-10 and design.gap <= 1e-8


@pytest.mark.parametrize("seed", range(5))
def test_as_many_points_as_dimensions_however_long(seed):
    """A basis alone: its own coordinates are exact."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((20, 20)) * 10.0 ** rng.uniform(-6, 6, (20, 1))
    design = d_optimal(points, tol=1e-10)
    np.testing.assert_allclose(design.weights, 1 / 20)
    assert design.gap <= 1e-10


def test_starts_that_are_no_help_do_no_harm():
    points = gaussian(20_000, 5)
    best = d_optimal(points).log_det
    rng = np.random.default_rng(5)
    for start in (np.ones(20_000), 10.0 ** rng.uniform(-300, 0, 20_000), np.eye(20_000)[4]):
        design = d_optimal(points, start=start)
        assert design.gap <= 1e-6 and design.log_det == pytest.approx(best, abs=1e-5)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        few = d_optimal(gaussian(60, 3, seed), start=10.0 ** rng.uniform(-300, 0, 60))
        assert few.gap <= 1e-6


def test_zero_rows_carry_no_weight():
    points = gaussian(40, 3)
    points[::2] = 0
    design = d_optimal(points)
    assert (design.support % 2 == 1).all() and design.gap <= 1e-6


def test_float32_points_and_lists():
    points = gaussian(100, 4).astype(np.float32)
    design = d_optimal(points)
    assert design.weights.dtype == np.float64
    assert design.log_det == d_optimal(points.astype(np.float64)).log_det
    assert design.log_det == d_optimal(points.astype(np.float64).tolist()).log_det


def test_ten_thousand_grid_points():
    """Neighbours that are all but equal: first-order methods need millions of steps here."""
    grid = np.linspace(-1, 1, 10_001)
    design = d_optimal(np.polynomial.chebyshev.chebvander(grid, 9))
    assert design.gap <= 1e-6 and design.log_det == pytest.approx(-5.0004548, abs=1e-5)


@pytest.mark.parametrize("n", [16, 46, 60, 174, 738])
@pytest.mark.parametrize("d", [3, 5])
def test_neighbours_that_straddle_an_optimal_point(n, d):
    """An even grid misses 0: two all but parallel points share its weight; steps used to cycle."""
    design = d_optimal(np.vander(np.linspace(-1, 1, n), d), tol=1e-8)
    assert design.gap <= 1e-8
    np.testing.assert_allclose(design.weights, design.weights[::-1], atol=1e-3)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8, 1e-10])
def test_every_tolerance_is_reached(tol):
    for points in (gaussian(500, 8), full_quadratic(3), np.vander(np.linspace(0, 1, 500), 9)):
        assert d_optimal(points, tol=tol).gap <= tol


# --------------------------------------------------------------------------------- refusals


def test_points_that_do_not_span_name_the_rank_and_the_columns():
    points = gaussian(20, 4)
    points[:, 2] = points[:, 0] - 3 * points[:, 3]
    with pytest.raises(
        ValueError, match=r"found 20 points of rank 3, needed rank 4.*drop them"
    ) as e:
        d_optimal(points)
    named = int(str(e.value).split("Columns [")[1].split("]")[0])
    assert d_optimal(np.delete(points, named, axis=1)).gap <= 1e-6  # the advice works
    assert named in (0, 2, 3)


def test_more_refusals_of_points():
    with pytest.raises(ValueError, match="found 2 points of rank 2, needed rank 3"):
        d_optimal(np.eye(3)[:2])
    with pytest.raises(ValueError, match="All points are zero"):
        d_optimal(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"Columns \[1\]"):
        d_optimal([[1.0, 0.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match="rank 1"):  # float32 cannot tell these apart
        d_optimal(np.array([[1, 0.1], [3, 0.3]], dtype=np.float32))
    with pytest.raises(ValueError, match="not finite"):
        d_optimal([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="shape"):
        d_optimal([1.0, 2.0])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "simplex"}, "needed one of auto, cvxpy, plain"),
        ({"tol": 0.0}, "tol"),
        ({"tol": 1e-13}, "float64 can certify"),
        ({"tol": 1.0}, "float64 can certify"),
        ({"start": [1.0, 2.0]}, "shape"),
        ({"start": [1.0, -1.0, 1.0]}, "negative"),
        ({"start": [0.0, 0.0, 0.0]}, "zeros"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        d_optimal(np.eye(3), **options)


# ------------------------------------------------------------------------------ building blocks


@pytest.mark.parametrize("k", [5, 12, 13, 40])  # dense below k = d (d + 1) = 12, Woodbury above
def test_newton_solver_solves(k):
    y, diagonal = gaussian(k, 3), np.random.default_rng(1).uniform(1e-3, 1, k)
    x = newton_solver(y, diagonal)(np.arange(k, dtype=float))
    np.testing.assert_allclose(((y @ y.T) ** 2 + np.diag(diagonal)) @ x, np.arange(k), atol=1e-8)


def test_whitening_keeps_the_geometry():
    points = gaussian(50, 4) * [1e6, 1.0, 1e-6, 3.0]
    whitened = whiten("points", points)
    np.testing.assert_array_equal(whitened.points[whitened.basis], np.eye(4))
    back = whitened.points @ points[whitened.basis]
    np.testing.assert_allclose(back / [1e6, 1, 1e-6, 3], points / [1e6, 1, 1e-6, 3], atol=1e-12)
    volume = 2 * np.linalg.slogdet(points[whitened.basis])[1]
    assert whitened.log_volume == pytest.approx(volume)

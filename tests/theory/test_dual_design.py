"""The optimal design over (pair, teacher): logistic closed forms, brute force, stocks of labels."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activeduel.theory.design import d_optimal
from activeduel.theory.dual_design import dual_design
from activeduel.theory.pool import Pool
from activeduel.theory.preference import fisher_weight

U_STAR = 2.3993572805154675  # u tanh(u/2) = 2: the margin at which one logit label teaches most


def pool_of(z, rationality=((1.0,),), context=None, available=None):
    z, rationality = np.asarray(z, float), np.asarray(rationality, float)
    context = np.zeros(len(z), int) if context is None else context
    shape = (len(z), len(rationality))
    available = np.full(shape, -1) if available is None else np.asarray(available)
    return Pool(z, context, rationality, np.ones(len(rationality)), available)


def random_pool(n, m, d, seed, low=-1, high=0):
    rng = np.random.default_rng(seed)
    return Pool(
        z=rng.standard_normal((n, d)),
        context=rng.integers(0, 2, n),
        rationality=rng.uniform(-0.5, 3, (m, 2)),
        cost=np.ones(m),
        available=rng.integers(low, high, (n, m)),
    ), rng.standard_normal(d)


def fisher_table(pool, theta):
    """w_ij, one cell at a time."""
    return np.array(
        [[fisher_weight(z @ theta, b[c]).item() for b in pool.rationality]
         for z, c in zip(pool.z, pool.context, strict=True)]
    )  # fmt: skip


def information(pool, theta, weights):
    return np.einsum("ij,ij,ia,ib->ab", weights, fisher_table(pool, theta), pool.z, pool.z)


# ------------------------------------------------------------------------------- closed forms


def test_two_parameter_logistic():
    """Intercept and slope: half the labels at each of +-c, c tanh(c/2) = 1 (Ford et al. 1992)."""
    c = 1.5434046384182083
    x = np.union1d(np.linspace(-6, 6, 1201), [-c, c])
    design = dual_design(pool_of(np.column_stack([np.ones_like(x), x])), [0.0, 1.0], tol=1e-9)
    assert np.exp(design.log_det) == pytest.approx(0.0501184943375, rel=3e-9)  # d tol
    np.testing.assert_allclose(design.weights[np.isin(x, [-c, c]), 0], 0.5, atol=1e-5)


def test_one_direction_asks_at_the_margin_u_star():
    x = np.union1d(np.linspace(0, 6, 601), [U_STAR])
    design = dual_design(pool_of(x[:, None]), [1.0])
    assert x[design.support[:, 0]].tolist() == [U_STAR]
    assert np.exp(design.log_det) == pytest.approx(0.4392288399, rel=1e-9)


@pytest.mark.parametrize("ratio, switch", [(2, 1.662886), (3, 1.316958), (4, 1.106717)])
def test_below_the_switch_the_sharper_teacher_above_it_the_duller(ratio, switch):
    for margin, teacher in ((switch - 1e-5, 1), (switch + 1e-5, 0)):
        design = dual_design(pool_of([[margin]], [[1.0], [ratio]]), [1.0])
        assert design.support.tolist() == [[0, teacher]]
    assert switch < U_STAR < ratio * switch


# ------------------------------------------------------------------------------ without a stock


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 20), st.integers(0, 10**6))
def test_the_best_teacher_of_each_pair_is_enough(d, m, more, seed):
    """The design over ALL (pair, teacher) candidates is no better."""
    pool, theta = random_pool(d + more, m, d, seed)
    pool = pool._replace(available=np.full((d + more, m), -1))
    design = dual_design(pool, theta)
    table = fisher_table(pool, theta)
    every = (np.sqrt(table)[:, :, None] * pool.z[:, None, :]).reshape(-1, d)
    assert design.log_det == pytest.approx(d_optimal(every).log_det, abs=d * 1e-6)
    inverse = np.linalg.inv(information(pool, theta, design.weights))
    v = table * np.einsum("ia,ab,ib->i", pool.z, inverse, pool.z)[:, None]
    assert v.max() / d - 1 <= 1e-6 + 1e-8
    assert design.weights.shape == (d + more, m) and design.weights.sum() == pytest.approx(1)
    assert design.support.tolist() == np.argwhere(design.weights).tolist()


def test_unavailable_cells_get_nothing_and_ties_go_to_the_lowest_index():
    z = np.eye(3)
    tied = pool_of(z, [[1.0], [2.0], [-2.0], [2.0]])
    assert dual_design(tied, np.zeros(3)).support.tolist() == [[0, 1], [1, 1], [2, 1]]
    available = np.full((3, 4), -1)
    available[1, 1:3] = 0
    gone = dual_design(tied._replace(available=available), np.zeros(3))
    assert gone.support.tolist() == [[0, 1], [1, 3], [2, 1]]
    design = dual_design(pool_of(np.vstack([z, 9 * z]), available=[[-1]] * 3 + [[0]] * 3), [0] * 3)
    assert design.support[:, 0].tolist() == [0, 1, 2]


def test_a_stock_that_cannot_bind_changes_nothing():
    pool, theta = random_pool(30, 3, 3, seed=2, low=50, high=60)
    free = dual_design(pool._replace(available=np.full((30, 3), -1)), theta)
    np.testing.assert_array_equal(dual_design(pool, theta, labels=50).weights, free.weights)


# --------------------------------------------------------------------------------- with a stock


def capped_by_cvxpy(points, upper):
    w = cp.Variable(len(points))
    cells = [cp.sum(w) == 1, w >= 0] + [w[i] <= u for i, u in enumerate(upper) if np.isfinite(u)]
    cp.Problem(cp.Maximize(cp.log_det(points.T @ cp.diag(w) @ points)), cells).solve(cp.CLARABEL)
    return np.asarray(w.value)


@pytest.mark.parametrize(
    "n, m, d, low, high, labels",
    [(12, 2, 2, 0, 3, 9), (20, 2, 3, 1, 2, 10), (20, 2, 3, 1, 2, 39), (15, 3, 3, -1, 4, 12),
     (10, 1, 4, 1, 3, 6)],
)  # fmt: skip
def test_capped_designs_agree_with_cvxpy(n, m, d, low, high, labels):
    pool, theta = random_pool(n, m, d, seed=3, low=low, high=high)
    design = dual_design(pool, theta, labels=labels, tol=1e-8)
    available = pool.available
    upper = np.where(available < 0, np.inf, available / labels)
    assert (design.weights <= upper).all() and design.weights.min() >= 0
    assert design.weights.sum() == pytest.approx(1, abs=1e-12) and design.gap <= 1e-8
    pair, teacher = np.nonzero(available)
    points = np.sqrt(fisher_table(pool, theta)[pair, teacher])[:, None] * pool.z[pair]
    w = capped_by_cvxpy(points, upper[pair, teacher])
    oracle = np.linalg.slogdet(points.T @ (points * w[:, None]))[1]
    assert design.log_det == pytest.approx(oracle, abs=1e-5)


def test_the_capped_certificate_is_the_best_feasible_mean():
    """max over feasible xi of sum xi v / d - 1, by linear programming."""
    from scipy.optimize import linprog

    pool, theta = random_pool(40, 3, 3, seed=5, low=1, high=3)
    design = dual_design(pool, theta, labels=30, tol=1e-3)
    inverse = np.linalg.inv(information(pool, theta, design.weights))
    quadratic = np.einsum("ia,ab,ib->i", pool.z, inverse, pool.z)
    v = (fisher_table(pool, theta) * quadratic[:, None]).ravel()
    bounds = [(0, a / 30) for a in pool.available.ravel()]
    best = -linprog(-v, A_eq=np.ones((1, v.size)), b_eq=[1.0], bounds=bounds).fun
    assert design.gap == pytest.approx(best / 3 - 1, abs=1e-9)
    tight = dual_design(pool, theta, labels=30, tol=1e-9)
    assert 0 <= tight.log_det - design.log_det <= 3 * design.gap + 1e-9


def test_a_stock_binds_and_costs_information():
    pool, theta = random_pool(60, 2, 4, seed=1, low=1, high=2)
    values = [dual_design(pool, theta, labels=k).log_det for k in (5, 20, 60, 110, 120)]
    assert (np.diff(values) < 0).all()
    everything = dual_design(pool, theta, labels=120)
    np.testing.assert_allclose(everything.weights, 1 / 120)
    assert everything.gap <= 1e-12


@pytest.mark.parametrize("labels", [50, 400, 2000, 2499])
def test_two_and_a_half_thousand_cells_reach_the_tolerance(labels):
    pool, theta = random_pool(500, 5, 10, seed=0, low=1, high=2)
    design = dual_design(pool, theta / 2, labels=labels)
    assert design.gap <= 1e-6
    assert (design.weights <= 1 / labels).all()


@pytest.mark.parametrize("seed", range(6))
def test_heavy_tails_under_a_large_order(seed):
    """A few pairs carry nearly all information, so most bounds are slack by many decades."""
    rng = np.random.default_rng(seed)
    z = rng.standard_t(1.5, (500, 4))
    pool = pool_of(z, [[1.0], [2.5]], available=rng.integers(0, 3, (500, 2)))
    labels = int(rng.integers(10, pool.available.sum()))
    design = dual_design(pool, rng.standard_normal(4) / np.abs(z).max(axis=0), labels=labels)
    assert design.gap <= 1e-6
    assert (design.weights * labels <= pool.available * (1 + 1e-12)).all()


def test_cells_that_teach_nothing_may_still_have_to_be_bought():
    """Rationality 0 carries no information; its labels are bought only when nothing else is left."""
    pool = pool_of(np.eye(2), [[1.0], [0.0]], available=[[3, 9], [3, 9]])
    np.testing.assert_allclose(
        dual_design(pool, [0, 0], labels=6).weights, [[0.5, 0], [0.5, 0]], atol=1e-6
    )
    late = dual_design(pool, [0, 0], labels=12)
    np.testing.assert_allclose(late.weights[:, 0], 0.25, atol=1e-6)
    assert late.gap <= 1e-6 and late.weights.sum() == pytest.approx(1)


# ------------------------------------------------------------------------------------ refusals


def test_refusals():
    limited = pool_of(np.eye(2), available=[[3], [4]])
    with pytest.raises(ValueError, match="2 .* cells have a finite number of labels; pass labels"):
        dual_design(limited, [0, 0])
    with pytest.raises(ValueError, match="found 8, but only 7 labels are available"):
        dual_design(limited, [0, 0], labels=8)
    with pytest.raises(ValueError, match="labels"):
        dual_design(limited, [0, 0], labels=0)
    with pytest.raises(ValueError, match="rank 1, needed rank 2"):
        dual_design(limited._replace(available=np.array([[3], [0]])), [0, 0], labels=2)
    with pytest.raises(ValueError, match="theta"):
        dual_design(limited, [0, 0, 0], labels=2)
    with pytest.raises(ValueError, match="pool.context"):
        dual_design(limited._replace(context=np.array([0, 1])), [0, 0], labels=2)
    with pytest.raises(ValueError, match="pool.available"):
        dual_design(limited._replace(available=np.array([[-2], [0]])), [0, 0], labels=2)
    with pytest.raises(ValueError, match="zero"):
        dual_design(pool_of(np.eye(2), available=[[0], [0]]), [0, 0])

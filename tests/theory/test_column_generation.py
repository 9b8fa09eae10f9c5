"""One loop, three engines: compiled, plain, and plain on torch tensors; and what its bounds promise."""

import os
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

from activeduel.theory import cholesky, d_optimal
from activeduel.theory.blas import on_one_blas_thread
from activeduel.theory.column_generation import COMPILED, PLAIN, Solution, diverse, generate
from activeduel.theory.interior_point import interior_point, newton_on_support, variances
from activeduel.theory.kernels import newton, passes
from activeduel.theory.points import PointCandidates, _Anchor
from activeduel.theory.variances import largest
from activeduel.theory.variances import variances as variances_of
from activeduel.theory.whitening import whiten_by_moment


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def heavy(n, d, seed=0):
    """Rows of very different length: few of them matter."""
    return gaussian(n, d, seed) * np.random.default_rng(seed + 1).pareto(2.0, (n, 1))


def grid(n, d):
    return np.vander(np.linspace(-1, 1, n), d)


def gap_by_hand(points, weights):
    inverse = np.linalg.inv(points.T @ (points * weights[:, None]))
    return np.einsum("ij,jk,ik->i", points, inverse, points).max() / points.shape[1] - 1


PROBLEMS = {
    "few": gaussian(40, 3),
    "many": gaussian(30_000, 3, seed=1),
    "heavy tails": heavy(20_000, 4),
    "a grid": grid(3001, 5),
    "ill scaled": gaussian(900, 4) * [1e6, 1.0, 1e-6, 1.0],
}


@pytest.fixture(params=PROBLEMS)
def points(request):
    return PROBLEMS[request.param]


# ------------------------------------------------------------------------------- the same result


def test_the_compiled_twin_finds_what_the_plain_version_finds(points):
    fast, plain = d_optimal(points, tol=1e-9), d_optimal(points, tol=1e-9, method="plain")
    assert fast.gap <= 1e-9 and plain.gap <= 1e-9
    assert fast.log_det == pytest.approx(plain.log_det, abs=1e-8)
    np.testing.assert_allclose(
        fast.weights @ points**2, plain.weights @ points**2, rtol=1e-4
    )  # the moments are unique, the weights need not be


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_torch_tensors_stay_torch_tensors(points, kind):
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra 'torch' has it")
    tensor = torch.asarray(points).to(getattr(torch, kind))
    design = d_optimal(tensor, tol=1e-8)
    assert design.weights.dtype == torch.float64 and design.support.dtype == torch.int64
    assert design.weights.device == tensor.device
    there = d_optimal(tensor.numpy(), tol=1e-8)
    assert design.gap <= 1e-8
    assert design.log_det == pytest.approx(there.log_det, abs=1e-7)
    again = d_optimal(tensor, tol=1e-8, start=design.weights)
    assert again.iterations <= design.iterations


def test_torch_refusals_are_numpys():
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra 'torch' has it")
    with pytest.raises(ValueError, match="rank 1, needed rank 3"):
        d_optimal(torch.ones((9, 3)) * torch.arange(9)[:, None])
    with pytest.raises(ValueError, match=r"not finite at index \(4, 1\)"):
        bad = torch.asarray(gaussian(9, 3))
        bad[4, 1] = torch.inf
        d_optimal(bad)
    with pytest.raises(ValueError, match="shape"):
        d_optimal(torch.ones(3))


# ------------------------------------------------------------------------------------ the bounds


@pytest.mark.parametrize("name", ["many", "heavy tails", "a grid"])
@pytest.mark.parametrize("tol", [1e-2, 1e-6])
def test_the_gap_holds_for_the_points_never_looked_at(name, tol):
    design = d_optimal(PROBLEMS[name], tol=tol)
    assert design.gap <= tol
    assert gap_by_hand(PROBLEMS[name], design.weights) == pytest.approx(design.gap, abs=1e-9)


def test_most_points_are_looked_at_once(monkeypatch):
    looked = []
    all_of, some_of = passes.variances, passes.variances_of
    monkeypatch.setattr(passes, "variances", lambda x, *r: (looked.append(len(x)), all_of(x, *r)))
    monkeypatch.setattr(
        passes, "variances_of", lambda x, i, *r: (looked.append(len(i)), some_of(x, i, *r))
    )
    d_optimal(PROBLEMS["many"])
    assert sum(looked) < 2 * len(PROBLEMS["many"])


def worst_look(seed):
    """Looks at designs near the optimum and at narrow ones: the largest error of what they report."""
    points = gaussian(20_000, 4, seed)
    whitened, known = whiten_by_moment(points, 2.2e-16, compiled=True, design=None)
    candidates = PointCandidates(whitened, known, COMPILED)
    best, rng = d_optimal(points).weights, np.random.default_rng(seed)
    errors = []
    for share in (0.5, 0.0, 0.9, 0.99, 0.1, 0.999):
        working = np.union1d(np.flatnonzero(best), rng.integers(20_000, size=4))
        w = (1 - share) * best[working] + share * rng.dirichlet(np.ones(len(working)))
        root, _ = COMPILED.root(candidates.rows(working), w)
        exact = variances(points @ whitened.map, root).max()
        errors.append(abs(candidates.look(root, working, 5).largest / exact - 1))
    return max(errors)


def test_a_look_sees_the_largest_variance_of_all_whatever_it_skips(monkeypatch):
    """And the sabotage: rho taken as 1, as if the design had not changed since the anchor."""
    assert max(worst_look(seed) for seed in range(5)) < 1e-9
    monkeypatch.setattr(_Anchor, "rho", lambda self, root: 1.0)
    assert max(worst_look(seed) for seed in range(5)) > 1e-3


def test_a_look_that_finds_nothing_is_rounding(monkeypatch):
    """Some variance is at least d; coordinates in which none is are given up for better ones."""
    points = gaussian(500, 3)
    whitened, known = whiten_by_moment(points, 2.2e-16, compiled=True, design=None)
    candidates = PointCandidates(whitened, known, COMPILED)
    monkeypatch.setattr(_Anchor, "rho", lambda self, root: 0.0)
    with pytest.raises(np.linalg.LinAlgError, match="rounding"):
        candidates.look(np.eye(3), np.arange(3), 5)
    design = d_optimal(points)
    assert gap_by_hand(points, design.weights) <= 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_rho_bounds_every_ratio_of_variances_and_not_by_much(seed):
    """Against the largest eigenvalue, for designs near and far."""
    points, rng = gaussian(300, 6, seed), np.random.default_rng(seed)
    for spread in (100.0, 1.0, 0.1):
        here, there = (rng.dirichlet(np.full(300, spread)) for _ in range(2))
        root, _ = COMPILED.root(points, here)
        anchor = _Anchor(None, np.zeros(300), points.T @ (points * there[:, None]), np.inf)
        exact = np.linalg.eigvalsh(root.T @ anchor.moment @ root)
        assert exact[-1] <= anchor.rho(root)
        widest = np.abs(exact - exact.mean()).max()
        assert anchor.rho(root) - exact.mean() <= 6**0.125 * widest + 1e-8


def test_what_float64_cannot_certify_is_said():
    def solution(root):
        return Solution(np.arange(3), np.full(3, 1 / 3), 0.0, 0.0, 1, root)

    assert solution(np.diag([1.0, 900.0, 1.0])).certifiable()  # its traces alone would not say so
    assert not solution(np.diag([1.0, 1100.0, 1.0])).certifiable()


def test_a_start_from_close_by_costs_one_look_at_all_points(monkeypatch):
    points = gaussian(20_000, 6)
    before = d_optimal(points * (1 + 1e-3 * gaussian(20_000, 6, seed=1))).weights
    cold, looked, pass_ = d_optimal(points), [], passes.variances
    monkeypatch.setattr(passes, "variances", lambda *a: (looked.append(1), pass_(*a)))
    warm = d_optimal(points, start=before)
    assert len(looked) == 1 and warm.gap <= 1e-6
    assert warm.iterations <= cold.iterations / 2
    assert warm.log_det == pytest.approx(cold.log_det, abs=1e-5)


# ------------------------------------------------------------------------------- the compiled parts


@pytest.mark.parametrize("k, d", [(1, 1), (6, 6), (30, 5), (300, 20)])
def test_compiled_roots_and_variances(k, d):
    a, w = gaussian(k, d), np.random.default_rng(1).dirichlet(np.ones(k))
    root, expected = np.empty((d, d)), cholesky.inverse_root((a * w[:, None]).T @ a)
    log_det = newton.information_root(a, w, root)
    np.testing.assert_allclose(root, expected[0], rtol=1e-8, atol=1e-10)
    assert log_det == pytest.approx(expected[1])
    v, some = np.empty(k), np.arange(0, k, 2)
    passes.variances(a, root, v)
    np.testing.assert_allclose(v, variances(a, root))
    v_some = np.empty(len(some))
    passes.variances_of(a, some, root, v_some)
    np.testing.assert_allclose(v_some, v[some])


def test_a_singular_matrix_is_seen_by_both():
    a, w = np.ones((4, 2)), np.full(4, 0.25)
    assert np.isnan(newton.information_root(a, w, np.empty((2, 2))))
    with pytest.raises(np.linalg.LinAlgError):
        cholesky.inverse_root((a * w[:, None]).T @ a)
    assert cholesky.solver(np.array([[1.0, 2.0], [2.0, 1.0]])) is None


@pytest.mark.parametrize("k, d", [(6, 6), (40, 4), (150, 10)])
def test_compiled_interior_point(k, d):
    a, start = gaussian(k, d), np.full(k, 1 / k)
    fast, _ = newton.interior_point(a, start, 1e-9)
    plain, _ = interior_point(a, np.full(k, np.inf), start, 1e-9)
    np.testing.assert_allclose(fast, plain, atol=1e-5)
    assert fast.sum() == pytest.approx(1) and gap_by_hand(a, fast) <= 1e-9
    np.testing.assert_array_equal(start, 1 / k)  # what came in is not changed


@pytest.mark.parametrize("n, d", [(40, 4), (150, 10), (400, 3)])
def test_newton_on_the_support_from_near_the_optimum(n, d):
    """Both engines; away from it, or with a singular start, both say that they failed."""
    a = gaussian(n, d)
    best = d_optimal(a, tol=1e-10).weights
    near = 0.999 * best + 0.001 / n
    for tol in (1e-3, 1e-9):
        fast, steps, done = newton.newton_on_support(a, near, tol)
        plain, plain_steps, plain_done = newton_on_support(a, near, tol)
        assert done and plain_done and steps == plain_steps <= 4
        np.testing.assert_allclose(fast, plain, atol=1e-7)
        assert fast.sum() == pytest.approx(1) and gap_by_hand(a, fast) <= tol
    np.testing.assert_array_equal(fast > 0, best > 0)
    np.testing.assert_array_equal(near, 0.999 * best + 0.001 / n)  # what came in is not changed
    for start in (1 / n + 0.9 * (np.eye(n)[0] - 1 / n), np.eye(n)[0]):
        assert not newton.newton_on_support(a, start, 1e-9)[2]
        assert not newton_on_support(a, start, 1e-9)[2]


@pytest.mark.parametrize("copies", [2, 9])
def test_newton_leaves_duplicates_even(copies):
    """The Newton matrix is singular there: what v does not determine stays as it was."""
    few = gaussian(30, 3)
    even = np.repeat(d_optimal(few, tol=1e-3).weights + 1e-4, copies)
    for solve in (newton.newton_on_support, newton_on_support):
        w, _, done = solve(np.repeat(few, copies, axis=0), even / even.sum(), 1e-9)
        assert done
        shares = w.reshape(30, copies)
        np.testing.assert_allclose(shares - shares[:, :1], 0, atol=1e-6)


def test_neighbours_that_are_all_but_parallel_are_left_to_the_interior_point():
    a = grid(46, 5)
    start = d_optimal(a, tol=1e-2).weights + 1e-3
    w = start / start.sum()
    assert not newton.newton_on_support(a, w, 1e-8)[2] and not newton_on_support(a, w, 1e-8)[2]
    assert gap_by_hand(a, newton.interior_point(a, w, 1e-8)[0]) <= 1e-8


def test_diverse_rows_are_the_first_of_each_bundle():
    y = np.array([[2.0, 0.0], [-1.9, 0.01], [1.0, 1.0], [0.9, 0.91], [0.0, 0.5], [0.0, 0.0]])
    assert diverse(y, 9).tolist() == [0, 2, 4]
    assert diverse(y, 2).tolist() == [0, 2]


@pytest.mark.parametrize("n, most", [(5, 9), (100, 9), (50_000, 100)])
def test_the_largest_are_sorted_and_about_as_many_as_wanted(n, most):
    v = np.random.default_rng(0).exponential(size=n)
    index = largest(v, most)
    assert (np.diff(v[index]) <= 0).all()
    assert len(index) == min(most, n)
    np.testing.assert_array_equal(v[index], np.sort(v)[::-1][: len(index)])


def test_largest_of_equals():
    assert len(largest(np.ones(30_000), 50)) == 50


def test_the_engines_agree_on_a_warm_start():
    points = gaussian(2000, 5)
    whitened, known = whiten_by_moment(points, 2.2e-16, compiled=True, design=None)
    start = (np.arange(0, 2000, 40), np.full(50, 0.02))
    for small in (COMPILED, PLAIN):
        candidates = PointCandidates(whitened, known, small)
        found = generate(candidates, small, 1e-9, candidates.again(*start))
        assert found.gap <= 1e-9
        assert found.log_det + whitened.log_volume == pytest.approx(
            d_optimal(points, tol=1e-9).log_det, abs=1e-8
        )


def test_blas_works_on_one_thread_meanwhile_and_then_as_before():
    controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
    with controller.limit(limits=2):
        before = [library["num_threads"] for library in controller.info()]
        seen = on_one_blas_thread(lambda: [b["num_threads"] for b in controller.info()])()
        assert seen and set(seen) == {1}
        assert [library["num_threads"] for library in controller.info()] == before


def test_a_pass_on_several_threads_is_the_pass_on_one(monkeypatch):
    x, to = gaussian(3000, 4), gaussian(4, 4, seed=1)
    some = np.arange(0, 3000, 3)
    alone = variances_of(x, to, None, compiled=True), variances_of(x, to, some, compiled=True)
    monkeypatch.setattr("activeduel.theory.variances._A_THREAD", 1000)
    np.testing.assert_array_equal(variances_of(x, to, None, compiled=True), alone[0])
    np.testing.assert_array_equal(variances_of(x, to, some, compiled=True), alone[1])


OVERLAP = """
import threading, threadpoolctl
from concurrent.futures import ThreadPoolExecutor
from activeduel.theory.blas import on_one_blas_thread
controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
threads = lambda: {library["num_threads"] for library in controller.info()}
meet, before = threading.Barrier(4), threads()
inside = on_one_blas_thread(lambda _: (meet.wait(), threads(), meet.wait())[1])
with ThreadPoolExecutor(4) as pool:
    seen = list(pool.map(inside, range(8)))
print(before == threads() == {2} and all(s == {1} for s in seen[:4]))
"""


def test_overlapping_callers_leave_blas_as_it_was():
    """In a child process of its own: the test run itself may be held to one thread."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    child = [sys.executable, "-c", OVERLAP]
    out = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    assert out.stdout == "True\n"


def test_a_tensor_is_never_turned_into_a_numpy_array_as_a_whole(monkeypatch):
    """A CUDA tensor refuses that; here one on the CPU stands in for it."""
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra 'torch' has it")
    tensor, plain = torch.asarray(gaussian(4000, 3)), torch.Tensor.__array__

    def refuse(self, *words, **options):
        assert self.numel() < tensor.numel() / 2
        return plain(self, *words, **options)

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    assert d_optimal(tensor).gap <= 1e-6
    monkeypatch.undo()
    assert d_optimal(tensor.requires_grad_()).gap <= 1e-6
    tensor = tensor.detach()
    with pytest.raises(ValueError, match="real numbers"):
        d_optimal(tensor * 1j)

"""simulate: kernels pick what the plain loop picks; workers, slices and checkpoints change nothing.

A new algorithm is held by the tests over ``LABELLING``.
"""

import numpy as np
import pytest

from activeduel.sim import LABELLING, PairPool, Teachers, simulate
from activeduel.sim.algorithms import Labelling
from activeduel.theory import SELECTORS, fisher_weight, fit_preferences

NAMES = list(LABELLING)
DIM, HORIZON = 3, 60


def a_pool(kind="plain", n=40, seed=0):
    """40 pairs, 3 teachers (two of them alike in one context), 2 context types."""
    rng = np.random.default_rng(seed)
    cost = {"costs": [1.0, 0.4, 2.5], "both": [2.0, 1.0, 0.5]}.get(kind)
    teachers = Teachers([[2.0, 0.5], [2.0, 1.5], [0.7, 1.0]], cost)
    pool = PairPool.synthetic(n, DIM, 2, teachers, rng)
    if kind in ("finite", "both"):
        return pool.with_available(rng.integers(0, 3, (n, 3)))
    return pool


def run(name, pool, **changes):
    options = {"horizon": HORIZON, "replicates": 3, "seed": 5, "checkpoints": [6, 20, HORIZON]}
    return simulate(name, pool, **{**options, **changes})


def assert_same_picks(one, other):
    for what in ("pair", "teacher", "label", "rounds", "queries"):
        np.testing.assert_array_equal(getattr(one, what), getattr(other, what), err_msg=what)


def assert_identical(one, other):
    assert_same_picks(one, other)
    for what in ("theta_path", "information_path", "spent"):
        np.testing.assert_array_equal(getattr(one, what), getattr(other, what), err_msg=what)


# --- the conformance test: what every algorithm promises -----------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("kind", ["plain", "costs", "finite", "both"])
def test_kernel_and_plain_loop_agree(name, kind, batch):
    """Same picks and labels; estimates to 1e-9; NaN at the same checkpoints."""
    pool = a_pool(kind)
    small = {"horizon": 32, "replicates": 2, "checkpoints": [4, 16, 32], "batch": batch}
    kernel = run(name, pool, **small)
    plain = run(name, pool, engine="plain", **small)
    assert_same_picks(kernel, plain)
    np.testing.assert_array_equal(np.isnan(kernel.theta_path), np.isnan(plain.theta_path))
    np.testing.assert_allclose(kernel.theta_path, plain.theta_path, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        kernel.information_path, plain.information_path, rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(kernel.spent, plain.spent, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_workers_and_slices_change_nothing(name):
    pool = a_pool("costs")
    whole = run(name, pool, replicates=8)
    assert_identical(whole, run(name, pool, replicates=8, workers=2))
    tail = run(name, pool, replicates=3, first_replicate=5)
    np.testing.assert_array_equal(whole.picks[5:], tail.picks)
    np.testing.assert_array_equal(whole.theta_path[5:], tail.theta_path)


@pytest.mark.parametrize("name", NAMES)
def test_looking_does_not_disturb(name):
    """Checkpoints refit with another ridge; the picks between them must not notice."""
    pool = a_pool()
    rare = run(name, pool, checkpoints=[HORIZON])
    often = run(name, pool, checkpoints=np.arange(1, HORIZON + 1))
    np.testing.assert_array_equal(rare.picks, often.picks)
    np.testing.assert_array_equal(rare.label, often.label)
    np.testing.assert_allclose(rare.theta, often.theta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_labels(name):
    assert (run(name, a_pool()).label != run(name, a_pool(), seed=6).label).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_finite_stock_is_never_overdrawn_and_can_be_emptied(name):
    pool = a_pool("both", n=12)
    stock = int(pool.available.sum())
    out = run(name, pool, horizon=stock, checkpoints=[stock], batch=5)
    for pair, teacher in zip(out.pair, out.teacher, strict=True):
        taken = np.zeros_like(pool.available)
        np.add.at(taken, (pair, teacher), 1)
        np.testing.assert_array_equal(taken, pool.available)


# --- what is reported ------------------------------------------------------------------------------


def test_checkpoints_report_the_estimate_and_information_of_the_labels_so_far():
    pool = a_pool("costs")
    out = run("dual", pool, checkpoints=[2, 30, HORIZON])
    assert np.isnan(out.theta_path[:, 0]).all()  # two labels in three dimensions: no estimate
    for r in range(3):
        for c, t in enumerate(out.rounds):
            pair, teacher = out.pair[r, :t], out.teacher[r, :t]
            b = pool.teachers.rationality[teacher, pool.context[pair]]
            z = pool.z[pair]
            fit = fit_preferences(z, out.label[r, :t], 1, b)
            theta = fit.theta if fit.status == "converged" else np.full(DIM, np.nan)
            np.testing.assert_allclose(out.theta_path[r, c], theta, rtol=1e-9, atol=1e-9)
            truth = (z.T * fisher_weight(z @ pool.theta, b)) @ z
            np.testing.assert_allclose(out.information_path[r, c], truth, rtol=1e-10, atol=1e-12)
            assert out.spent[r, c] == pytest.approx(pool.teachers.cost[teacher].sum())
    np.testing.assert_array_equal(out.queries, np.tile([2, 30, HORIZON], (3, 1)))
    np.testing.assert_array_equal(out.theta, out.theta_path[:, -1])
    np.testing.assert_array_equal(out.information, out.information_path[:, -1])
    assert out.picks.shape == (3, HORIZON, 2)


def test_final_ridge_reports_a_finite_estimate_from_the_first_label():
    out = run("dual", a_pool(), checkpoints=[1, HORIZON], final_ridge=0.1)
    assert np.isfinite(out.theta_path).all()


def test_estimates_approach_the_truth():
    """Median squared error over 20 replicates falls by more than half from 250 to 1,000 labels."""
    out = run("dual", a_pool(), horizon=1000, replicates=20, checkpoints=[250, 1000])
    error = np.nanmedian(((out.theta_path - a_pool().theta) ** 2).sum(axis=2), axis=0)
    assert error[1] < error[0] / 2 and error[1] < 0.1


def test_warm_up_labels_are_the_same_for_every_algorithm():
    pool = a_pool()
    first = [run(name, pool, warm_up=15).picks[:, :15] for name in NAMES]
    assert all((f == first[0]).all() for f in first)


def test_belief_about_teachers_changes_the_estimate_and_the_picks():
    pool = a_pool()
    ones = np.ones((3, 2))
    truth, assumed = run("dual", pool), run("dual", pool, assumed_rationality=ones)
    seen = run("dual", pool, selector_rationality=ones)
    assert (truth.picks != assumed.picks).any()
    np.testing.assert_array_equal(assumed.picks[:, :12], truth.picks[:, :12])  # the warm-up
    assert (seen.picks != truth.picks).any()
    for changed in ({"assumed_rationality": ones}, {"selector_rationality": ones}):
        assert_same_picks(
            run("dual", pool, **changed), run("dual", pool, engine="plain", **changed)
        )


def test_stress_tests_reach_the_labels_alone():
    """Lapsing, biased, drifting teachers: kernel and plain loop still agree."""
    honest = a_pool()
    t = honest.teachers
    odd = Teachers(
        t.rationality, t.cost, lapse=[0.2, 0, 0.1], bias=[0, 1, -1], drift=[-0.01, 0, 0.02]
    )
    pool = PairPool(honest.z, honest.context, honest.theta, odd)
    kernel, plain = run("dual", pool), run("dual", pool, engine="plain")
    assert_same_picks(kernel, plain)
    assert (kernel.label != run("dual", honest).label).any()


def test_a_selector_of_ones_own_runs_in_the_plain_loop():
    mine = Labelling("mine", SELECTORS["dual"])
    assert_same_picks(run(mine, a_pool()), run("dual", a_pool()))


def test_progress_counts_every_replicate_once():
    for workers in (1, 2):
        done = []
        run("random", a_pool(), replicates=11, workers=workers, progress=done.append)
        assert sum(done) == 11


def test_to_frame_has_a_row_a_checkpoint():
    out = run("dual", a_pool())
    frame = out.to_frame()
    assert list(frame.columns[:4]) == ["replicate", "round", "queries", "spent"]
    assert len(frame) == 9 and frame["replicate"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    np.testing.assert_array_equal(
        frame["theta_1"].to_numpy().reshape(3, 3), out.theta_path[:, :, 1]
    )


def test_a_pool_has_no_regret():
    with pytest.raises(AttributeError, match="a PairPool has no regret"):
        _ = run("random", a_pool()).regret


# --- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"horizon": 0}, "horizon: found 0"),
        ({"horizon": 10.0}, "horizon: found 10.0"),
        ({"replicates": 0}, "replicates: found 0"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 2**64}, "seed"),
        ({"seed": None}, "seed"),
        ({"workers": 0}, "workers: found 0"),
        ({"device": "tpu"}, "device: found 'tpu'"),
        ({"checkpoints": []}, "checkpoints"),
        ({"checkpoints": [0]}, "checkpoints: found 0"),
        ({"checkpoints": [HORIZON + 1]}, "checkpoints: found 61"),
        ({"checkpoints": [1.5]}, "checkpoints"),
        ({"batch": 0}, "batch: found 0"),
        ({"warm_up": -1}, "warm_up: found -1"),
        ({"warm_up": HORIZON + 1}, "warm_up: found 61"),
        ({"ridge": -1.0}, "ridge: found -1"),
        ({"final_ridge": np.nan}, "final_ridge"),
        ({"assumed_rationality": np.ones((2, 2))}, "assumed_rationality: found shape"),
        ({"selector_rationality": np.full((3, 2), np.nan)}, "selector_rationality"),
        ({"engine": "gpu"}, "engine: found 'gpu'"),
        ({"first_replicate": -1}, "first_replicate"),
        ({"stepsize": 1.0}, "option: found 'stepsize', needed one of .*batch"),
    ],
)
def test_refuses_by_name(changes, says):
    with pytest.raises(ValueError, match=says):
        run("dual", a_pool(), **changes)


def test_refuses_unknown_algorithms_worlds_and_more_labels_than_there_are():
    with pytest.raises(ValueError, match="algorithm: found 'duel', needed one of .*dual"):
        run("duel", a_pool())
    with pytest.raises(ValueError, match="world: found list, needed a PairPool"):
        run("dual", [1, 2])
    pool = a_pool("finite")
    with pytest.raises(ValueError, match="only .* labels can be bought"):
        run("dual", pool, horizon=int(pool.available.sum()) + 1, checkpoints=[1])


@pytest.mark.parametrize("engine", ["kernel", "plain"])
def test_without_ridge_and_warm_up_the_first_information_is_singular(engine):
    with pytest.raises(ValueError, match="positive definite.*ridge"):
        run("dual", a_pool(), ridge=0.0, warm_up=0, engine=engine)

"""simulate on dueling worlds: kernels do what the plain loop does; workers, slices, records.

A new algorithm is held by the tests over ``DUELING``; its options stand in ``OPTIONS``.
"""

import numpy as np
import pytest

from activeduel.sim import DUELING, DuelingWorld, PairPool, StreamingWorld, Teachers, simulate
from activeduel.sim.kernels.dueling import _play

WORLD = DuelingWorld.with_gap(5, 4, 3, 0.3, np.random.default_rng(3))
STREAM = StreamingWorld([0.8, -0.6, 0.5], 4)
OPTIONS = {  # options on a finite world, further ones on a stream
    "appo": ({"radius": 2.0}, {"uncertainty_threshold": 0.3, "step_size": 0.1}),
    "oppo": ({"radius": 2.0}, {}),
    "random_query": ({"probability": 0.3, "budget": 30}, {}),
}
VARIANTS = [(name, {}) for name in DUELING] + [
    ("appo", {"tested_pair": True}),
    ("appo", {"update_gram": False}),
    ("random_query", {"budget": None}),
]
EXACT = (
    "rounds", "queries", "costly_unasked", "costly_inside", "last_query", "below_threshold",
    "query_round", "queried", "label",
)  # fmt: skip
CLOSE = ("regret", "regret_both", "largest_distance", "late_regret", "theta_path",
         "information_path", "norm")  # fmt: skip


def run(name, world=WORLD, **changes):
    own, more = OPTIONS.get(name, ({}, {}))
    options = {**own, **(more if world is STREAM else {}), **changes}
    common = {"horizon": 150, "replicates": 3, "seed": 7, "record": 150}
    return simulate(name, world, **{**common, **options})


def assert_identical(one, other, what=(*EXACT, *CLOSE)):
    for field in what:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


@pytest.mark.parametrize("world", [WORLD, STREAM], ids=["finite", "stream"])
@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_kernel_and_plain_loop_agree(name, changes, world):
    if world is STREAM and "tested_pair" in changes:
        changes = {**changes, "step_size": None}  # a policy that is never played has none
    kernel = run(name, world, **changes)
    plain = run(name, world, engine="plain", **changes)
    assert_identical(kernel, plain, EXACT)
    for field in CLOSE:
        one, other = getattr(kernel, field), getattr(plain, field)
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8, err_msg=field)


@pytest.mark.parametrize("name", DUELING)
def test_workers_slices_and_records_change_nothing(name):
    whole = run(name, replicates=8)
    assert_identical(whole, run(name, replicates=8, workers=2))
    tail = run(name, replicates=3, first_replicate=5)
    np.testing.assert_array_equal(whole.regret[5:], tail.regret)
    np.testing.assert_array_equal(whole.queried[5:], tail.queried)
    brief = run(name, replicates=8, record=2)
    assert brief.queried.shape == (8, 2, 3)
    np.testing.assert_array_equal(whole.queried[:, :2], brief.queried)
    np.testing.assert_array_equal(whole.theta_path, brief.theta_path)


@pytest.mark.parametrize("name", DUELING)
def test_what_is_counted_adds_up(name):
    """Against the records: who was asked when, and the information of what was asked."""
    seen = run(name, checkpoints=[10, 75, 150])
    for r in range(3):
        asked = seen.query_round[r][seen.query_round[r] >= 0]
        assert (np.diff(asked) > 0).all()
        np.testing.assert_array_equal(seen.queries[r], [(asked < t).sum() for t in seen.rounds])
        assert seen.last_query[r] == (asked[-1] if asked.size else -1)
        x, first, second = seen.queried[r][: asked.size].T
        z = WORLD.features[x, first] - WORLD.features[x, second]
        u = z @ WORLD.theta
        weight = np.exp(-np.abs(u)) / (1 + np.exp(-np.abs(u))) ** 2
        np.testing.assert_allclose(seen.information[r], (z.T * weight) @ z, rtol=1e-9, atol=1e-12)
    assert (seen.label[seen.query_round < 0] == -1).all()
    assert np.isnan(seen.norm[seen.query_round < 0]).all()


def test_a_growing_determinant_spares_refits_on_a_stream():
    """Theta stands still between refits; at factor 1 it moves after every query."""
    marks = np.arange(1, 151)
    moves = {
        growth: (np.diff(run("greedy", STREAM, checkpoints=marks, refit_growth=growth).theta_path,
                         axis=1) != 0).any(axis=2).mean()
        for growth in (1.0, 1.3)
    }  # fmt: skip
    assert moves[1.0] > 0.95
    assert 0 < moves[1.3] < 0.5


def test_one_compilation_serves_every_world():
    for d in (1, 2):
        run("greedy", DuelingWorld.with_gap(2, 2, d, 0.5, np.random.default_rng(0)))
    run("greedy", StreamingWorld([1.0], 2))
    assert len(_play.signatures) == 1


def test_the_frame_has_a_row_a_replicate_and_checkpoint():
    frame = run("appo", checkpoints=[5, 150]).to_frame()
    assert list(frame.columns[:5]) == ["replicate", "round", "queries", "regret", "regret_both"]
    assert len(frame) == 6 and frame["theta_2"].notna().all()


@pytest.mark.parametrize(
    ("name", "world", "changes", "message"),
    [
        ("dual", WORLD, {}, "needed on a dueling world one of appo"),
        ("nobody", WORLD, {}, "algorithm: found 'nobody'"),
        (
            "appo",
            WORLD,
            {"batch": 3},
            "option: found 'batch'.*radius.*record.*uncertainty_threshold",
        ),
        ("appo", WORLD, {"radius": -1.0}, "radius: found -1"),
        ("appo", WORLD, {"engine": "fast"}, "engine: found 'fast'"),
        ("appo", WORLD, {"record": 151}, "record"),
        ("appo", WORLD, {"horizon": 0}, "horizon"),
        ("appo", WORLD, {"checkpoints": [151]}, "checkpoints"),
        ("appo", WORLD, {"refit_growth": 0.5}, "refit_growth: found 0.5"),
        ("appo", STREAM, {"uncertainty_threshold": None}, "uncertainty_threshold"),
        ("appo", WORLD, {"device": "tpu"}, "device: found 'tpu'"),
    ],
)
def test_bad_input_says_what_is_needed(name, world, changes, message):
    with pytest.raises(ValueError, match=message):
        run(name, world, **changes)


def test_an_algorithm_is_refused_in_the_wrong_world():
    pool = PairPool.synthetic(9, 2, 1, Teachers([[1.0]]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="found 'appo', needed on a PairPool one of"):
        simulate("appo", pool, horizon=5, replicates=1, seed=0, radius=1.0)
    with pytest.raises(ValueError, match="needed a PairPool, DuelingWorld or StreamingWorld"):
        simulate("appo", None, horizon=5, replicates=1, seed=0)

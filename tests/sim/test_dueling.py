"""The plain loop on dueling worlds: what it charges, what it learns, what it reports.

A new algorithm is held by the tests over ``MAKERS``; what each algorithm chooses is checked in
test_dueling_rules.py.
"""

from typing import NamedTuple

import numpy as np
import pytest

from activeduel.sim import DuelingWorld
from activeduel.sim.algorithms.appo import appo
from activeduel.sim.algorithms.colstim import colstim
from activeduel.sim.algorithms.dueling import Duel, lowest_best, plan_rounds, play, prepare
from activeduel.sim.algorithms.greedy import greedy
from activeduel.sim.algorithms.maxinp import maxinp
from activeduel.sim.algorithms.oppo import oppo
from activeduel.sim.algorithms.random_query import random_query
from activeduel.sim.algorithms.thompson import thompson
from activeduel.sim.draws import Draws
from activeduel.sim.stream import StreamingWorld, rounds

WORLD = DuelingWorld.with_gap(6, 4, 3, 0.4, np.random.default_rng(3))
STREAM = StreamingWorld([0.8, -0.6, 0.0], 4)
MAKERS = {  # algorithm: (function, options on a finite world, further options on a stream)
    "appo": (appo, {"radius": 3.0}, {"uncertainty_threshold": 0.2, "step_size": 0.1}),
    "appo, tested pair": (
        appo,
        {"radius": 3.0, "tested_pair": True},
        {"uncertainty_threshold": 0.2},
    ),
    "oppo": (oppo, {"radius": 3.0}, {}),
    "maxinp": (maxinp, {}, {}),
    "colstim": (colstim, {}, {}),
    "thompson": (thompson, {}, {}),
    "random_query": (random_query, {"probability": 0.3}, {}),
    "greedy": (greedy, {}, {}),
}
ON_BOTH = [(name, world) for name in MAKERS for world in (WORLD, STREAM)]


def run(name, world=WORLD, horizon=120, seed=1, replicate=0, checkpoints=None, growth=1.0):
    make, options, more = MAKERS[name]
    if world is STREAM:
        options = {**options, **more}
    plan = plan_rounds(horizon, seed, checkpoints, growth)
    return play(world, prepare(make, world, horizon, options), plan, replicate)


def assert_same(one, other):
    for what, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=what)


class Scripted(NamedTuple):
    """A rule that always does the same: for tests of the loop itself."""

    duel: Duel
    ridge: float = 1.0
    radius: float = 0.0

    def start(self):
        return None

    def choose(self, policy, scene, know, draws):
        return self.duel, None


# --- regret --------------------------------------------------------------------------------------

TWO = DuelingWorld([[[1.0], [0.75], [0.25]]], [1.0])  # one prompt, regrets 0, 1/4, 3/4


@pytest.mark.parametrize(
    ("duel", "first_only", "both"),
    [
        (Duel(1, 2, ask=True), 0.25, 0.5),
        (Duel(2, 1, ask=True), 0.75, 0.5),
        (Duel(1, 2, ask=False), 0.25, 0.25),  # unasked: the second arm is not shown
        (Duel(0, 2, ask=True), 0.0, 0.375),
    ],
)
def test_regret_charges_the_first_arm_only(duel, first_only, both):
    out = play(TWO, Scripted(duel), plan_rounds(10, 0, [1, 4, 10]), 0)
    np.testing.assert_array_equal(out.regret, [first_only, 4 * first_only, 10 * first_only])
    np.testing.assert_array_equal(out.regret_both, [both, 4 * both, 10 * both])
    np.testing.assert_array_equal(out.queries, [1, 4, 10] if duel.ask else [0, 0, 0])
    assert out.late_regret == 5 * first_only
    assert out.costly_unasked == (0 if duel.ask or not first_only else 10)
    assert out.last_query == (9 if duel.ask else -1)


# --- answers and what is learned from them -------------------------------------------------------


def test_answers_are_bradley_terry_with_rationality_1():
    """1,000 answers at margin 3/4: within 5 standard errors of mu(3/4) = 0.6792."""
    out = play(TWO, Scripted(Duel(0, 2, ask=True)), plan_rounds(1000, 4, [1000], 1e300), 0)
    p = 1 / (1 + np.exp(-0.75))
    assert abs(out.label.mean() - p) < 5 * np.sqrt(p * (1 - p) / 1000)


@pytest.mark.parametrize(("name", "world"), ON_BOTH)
def test_the_estimate_solves_the_corrected_equation_on_queried_rounds_only(name, world):
    """ridge theta + sum [mu(theta'z) - o] z = 0: eq. (4.1) with its sign put right."""
    out = run(name, world, checkpoints=[40, 120])
    look = rounds(world)
    for theta, count in zip(out.theta, out.queries, strict=True):
        gradient = 1.0 * theta / (world.theta @ world.theta)
        for t, (_, first, second), label in zip(
            out.query_round[:count], out.queried, out.label, strict=False
        ):
            phi = look(Draws(1, 0, int(t))).features
            z = phi[first] - phi[second]
            gradient = gradient + (1 / (1 + np.exp(-theta @ z)) - label) * z
        np.testing.assert_allclose(gradient, 0, atol=1e-9)


@pytest.mark.parametrize(("name", "world"), ON_BOTH)
def test_queries_are_reported_as_they_happened(name, world):
    out = run(name, world, checkpoints=np.arange(1, 121))
    asked = np.zeros(120, dtype=int)
    asked[out.query_round] = 1
    np.testing.assert_array_equal(out.queries, np.cumsum(asked))
    assert out.last_query == out.query_round[-1]
    look, gram = rounds(world), np.eye(3) / (world.theta @ world.theta)
    for t, (prompt, first, second), norm in zip(
        out.query_round, out.queried, out.norm, strict=True
    ):
        scene = look(Draws(1, 0, int(t)))
        z = scene.features[first] - scene.features[second]
        assert prompt == scene.prompt
        assert norm == pytest.approx(np.sqrt(z @ np.linalg.solve(gram, z)), rel=1e-9, abs=1e-12)
        gram += np.outer(z, z)


@pytest.mark.parametrize(("name", "world"), ON_BOTH)
def test_an_unasked_round_changes_nothing(name, world):
    out = run(name, world, checkpoints=np.arange(1, 121))
    moved = (np.diff(np.vstack([np.zeros(3), out.theta]), axis=0) != 0).any(axis=1)
    assert set(np.flatnonzero(moved)) <= set(out.query_round.tolist())


def test_the_largest_distance_counts_the_start_and_every_query():
    out = run("appo", checkpoints=np.arange(1, 121))
    gram, distances = np.eye(3) / (WORLD.theta @ WORLD.theta), [1.0]  # ||theta*|| sqrt(B^-2)
    for t, (prompt, first, second) in zip(out.query_round, out.queried, strict=True):
        z = WORLD.features[prompt, first] - WORLD.features[prompt, second]
        gram += np.outer(z, z)
        off = out.theta[t] - WORLD.theta
        distances.append(np.sqrt(off @ gram @ off))
    assert out.largest_distance == pytest.approx(max(distances), rel=1e-12)


def test_rarer_refits_stay_near_the_exact_estimate():
    """On a stream, refitting when det gram has grown by a tenth: a fraction of the fits."""
    exact = run("random_query", STREAM, 600, checkpoints=np.arange(1, 601))
    rare = run("random_query", STREAM, 600, checkpoints=np.arange(1, 601), growth=1.1)
    np.testing.assert_array_equal(exact.query_round, rare.query_round)
    fits = [(np.diff(out.theta, axis=0) != 0).any(axis=1).sum() for out in (exact, rare)]
    assert fits[1] < fits[0] / 2
    late = np.linalg.norm(exact.theta - rare.theta, axis=1)[300:]
    assert late.max() < 0.3


# --- one draw, one name --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "world"), ON_BOTH)
def test_same_name_same_result_and_other_names_other_results(name, world):
    out = run(name, world)
    assert_same(out, run(name, world))
    for changes in ({"seed": 2}, {"replicate": 1}):
        other = run(name, world, **changes)
        assert other.queried.tolist() != out.queried.tolist()


@pytest.mark.parametrize(("name", "world"), ON_BOTH)
def test_looking_changes_nothing(name, world):
    rare, often = (run(name, world, checkpoints=c) for c in ([120], np.arange(1, 121)))
    assert_same(rare, often._replace(**{k: v[-1:] for k, v in often._asdict().items() if k in AT}))


AT = ("queries", "regret", "regret_both", "theta", "information")


@pytest.mark.parametrize(
    "name", ["appo", "appo, tested pair", "thompson", "random_query", "greedy"]
)
def test_a_shorter_run_is_the_beginning_of_a_longer_one(name):
    short, long = run(name, horizon=60, checkpoints=[60]), run(name, checkpoints=[60, 120])
    np.testing.assert_array_equal(short.queried, long.queried[: len(short.queried)])
    assert short.regret[0] == long.regret[0]


# --- refused, by name ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("appo", {}, "radius: found nothing"),
        ("appo", {"radius": -1.0}, "radius: found -1"),
        (
            "appo",
            {"radius": 1.0, "uncertainty_threshold": -0.1},
            "uncertainty_threshold: found -0.1",
        ),
        ("appo", {"radius": 1.0, "uncertainty_threshold": np.nan}, "uncertainty_threshold"),
        ("appo", {"radius": 0.0}, r"\.99 gap/\(2 radius\).*found gap 0\.4, radius 0"),
        ("appo", {"radius": 1.0, "uncertainty_threshold": 0.0}, r"step_size: .*\(0, 3 L B\)"),
        ("appo", {"radius": 1.0, "uncertainty_threshold": 99.0}, r"step_size: .*found 99"),
        ("appo", {"radius": 1.0, "uncertainty_threshold": np.inf}, "step_size: .*found inf"),
        ("appo", {"radius": 1.0, "ridge": 0.0}, "ridge: found 0"),
        ("appo", {"radius": 1.0, "step_size": -1.0}, "step_size: found -1"),
        ("appo", {"radius": 1.0, "tested_pair": True, "step_size": 0.1}, "step_size: tested_pair"),
        ("appo", {"radius": 1.0, "Gamma": 0.1}, "option: found 'Gamma', needed one of .*radius"),
        ("oppo", {"radius": 1.0, "uncertainty_threshold": 0.1}, "option: found 'uncertainty"),
        ("oppo", {"radius": np.inf}, "radius"),
        ("maxinp", {"radius": "wide"}, "radius"),
        ("colstim", {"trim": -1.0}, "trim: found -1"),
        ("thompson", {"scale": np.nan}, "scale"),
        ("random_query", {}, "probability: found nothing"),
        ("random_query", {"probability": 1.5}, "probability: found 1.5"),
        ("random_query", {"probability": 0.5, "budget": 1.5}, "budget: found 1.5"),
        ("greedy", {"ridge": -1.0}, "ridge: found -1"),
    ],
)
def test_options_are_refused_by_name(name, options, says):
    with pytest.raises(ValueError, match=says):
        prepare(MAKERS[name][0], WORLD, 100, options)


@pytest.mark.parametrize(
    ("world", "options", "says"),
    [
        (STREAM, {}, "uncertainty_threshold: .*found gap inf"),
        (STREAM, {"uncertainty_threshold": 0.1}, "step_size: .*found a stream"),
        (DuelingWorld(np.ones((2, 3, 1)), [1.0]), {}, "uncertainty_threshold: .*found gap inf"),
        (
            DuelingWorld([[[0.0], [1.5]]], [1.0]),
            {},
            "rewards: found .* 1.5 apart, needed at most 1",
        ),
        (DuelingWorld([[[0.0], [1.5]]], [0.0]), {"uncertainty_threshold": 0.1}, "theta: found all"),
    ],
)
def test_worlds_appo_cannot_take_are_refused(world, options, says):
    options = {"radius": 1.0, "step_size": 0.1, **options} if world is not STREAM else options
    with pytest.raises(ValueError, match=says):
        prepare(appo, world, 100, {"radius": 1.0, **options})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"horizon": 0}, "horizon: found 0"),
        ({"horizon": 2**32}, "horizon"),
        ({"seed": -1}, "seed: found -1"),
        ({"checkpoints": [0]}, "checkpoints: found 0"),
        ({"checkpoints": [101]}, "checkpoints: found 101"),
        ({"refit_growth": 0.9}, "refit_growth: found 0.9, needed at least 1"),
    ],
)
def test_plans_are_refused_by_name(changes, says):
    with pytest.raises(ValueError, match=says):
        plan_rounds(**{"horizon": 100, "seed": 1, **changes})


def test_ties_go_to_the_lowest_index():
    assert lowest_best(np.array([0.0, 1.0, 1.0 + 1e-12, 0.5])) == 1
    assert lowest_best(np.array([0.0, 1.0, 1.0 + 1e-6, 0.5])) == 2
    assert lowest_best(np.zeros(3)) == 0
    assert lowest_best(np.array([-3.0, -1.0, -1.0])) == 1

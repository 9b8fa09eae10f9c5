"""appo/*: the worlds, the radius table, and the judges on observations whose answer is known."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from activeduel.theory.bounds import query_ceiling
from activeduel.validate.claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED, Claim, Run
from activeduel.validate.claims import (
    appo_fewer_queries,
    appo_oppo_rate,
    appo_rates,
    appo_stops,
    appo_threshold,
    appo_worlds,
)
from activeduel.validate.verdict import verdict

ALPHA = 1e-4
RUN = Run("smoke", 0, 1, "cpu", ALPHA, lambda _: None)
CLAIMS: list[Claim] = [
    appo_stops.CLAIM,
    appo_rates.GAP_CLAIM,
    appo_rates.DIM_CLAIM,
    appo_oppo_rate.CLAIM,
    appo_fewer_queries.OPPO,
    appo_fewer_queries.MATCHED,
    appo_threshold.CLAIM,
]


def cells() -> Iterator[tuple[int, float]]:
    """Every (dim, gap) that any claim plays in."""
    yield appo_worlds.DIM, appo_worlds.GAP
    yield appo_fewer_queries.OPPO_DIM, appo_worlds.GAP
    for claim in CLAIMS:
        for settings in claim.settings.values():
            if "dim" in settings:
                yield settings["dim"], appo_worlds.GAP
            yield from (tuple(cell) for cell in settings.get("cells", ()))


@pytest.mark.parametrize(("dim", "gap"), sorted(set(cells())))
def test_a_cell_has_its_exact_gap_and_a_radius(dim: int, gap: float) -> None:
    for replicate in range(5):
        assert appo_worlds.world(dim, gap, replicate).gap == pytest.approx(gap, abs=1e-9)
    threshold = appo_worlds.theory_threshold(dim, gap)
    assert 2 * appo_worlds.RADIUS[dim] * threshold == pytest.approx(0.99 * gap)


def test_worlds_of_different_gaps_share_their_draws_and_replicates_do_not() -> None:
    wide, narrow = appo_worlds.world(4, 0.8, 3), appo_worlds.world(4, 0.2, 3)
    np.testing.assert_array_equal(wide.theta, narrow.theta)
    assert not np.allclose(wide.theta, appo_worlds.world(4, 0.8, 4).theta)


def test_the_horizon_of_the_ceiling_check_is_twice_the_ceiling() -> None:
    for settings in appo_stops.CLAIM.settings.values():
        dim = settings["dim"]
        threshold = appo_worlds.theory_threshold(dim, appo_worlds.GAP)
        assert settings["horizon"] > 2 * query_ceiling(dim, threshold, ridge=1, feature_bound=2)


def test_the_cross_spans_a_factor_four_at_quick() -> None:
    for claim, place in ((appo_rates.GAP_CLAIM, 1), (appo_rates.DIM_CLAIM, 0)):
        along = [cell[place] for cell in claim.settings["quick"]["cells"]]
        assert max(along) / min(along) >= 4


def test_replicates_play_in_their_own_worlds_whatever_the_workers() -> None:
    two = dataclasses.replace(RUN, workers=2)
    one_by_one = appo_worlds.appo(2, 0.8, 300, 3, RUN, 2, radius=8.0)
    at_once = appo_worlds.appo(2, 0.8, 300, 3, two, 2, radius=8.0)
    np.testing.assert_array_equal(one_by_one.rounds, [150, 300])
    np.testing.assert_array_equal(one_by_one.regret, at_once.regret)
    assert len(np.unique(one_by_one.regret[:, -1])) == 3


def test_a_run_that_never_asks_keeps_the_true_step() -> None:
    step = appo_worlds.theory_step(appo_worlds.world(2, 0.8, 0), 0.05)
    assert step > 0
    never = appo_worlds.appo(
        2, 0.8, 300, 2, RUN, radius=8.0, uncertainty_threshold=math.inf, keep_step=0.05
    )
    assert never.queries.max() == 0


def stops(**changed: Any) -> dict[str, Any]:
    """250 clean runs of 100 rounds: 20 queries each, under a ceiling of 40."""
    runs = 250
    clean = {
        "rounds": np.array([50, 100]),
        "distance": np.full(runs, 5.0),
        "radius": np.array(8.0),
        "costly": np.zeros(runs, int),
        "unasked": np.full(runs, 80),
        "late_regret": np.zeros(runs),
        "regret": np.full((runs, 2), 9.0),
        "last_query": np.full(runs, 30),
        "queries": np.full((runs, 2), 20),
        "asked_tested": np.full(runs, 15),
        "ceiling": np.full(runs, 40.0),
    }
    return clean | changed


def verdicts(claim: Claim, observations: dict[str, Any], scale: str = "smoke") -> dict[str, str]:
    found = claim.judge(observations, RUN)
    return {test.id: verdict(test, found[test.id], ALPHA, scale) for test in claim.tests}


def test_clean_runs_support_everything() -> None:
    assert set(verdicts(appo_stops.CLAIM, stops()).values()) == {SUPPORTED}


def first(count: int, bad: float, good: float) -> Any:
    return np.where(np.arange(250) < count, bad, good)


@pytest.mark.parametrize(
    ("identity", "changed", "expected"),
    [
        ("confidence", {"distance": first(200, 9.0, 5.0)}, NOT_SUPPORTED),
        ("confidence", {"distance": first(12, 9.0, 5.0)}, UNDERPOWERED),  # 12/250: near delta
        ("no-query-no-regret", {"costly": first(1, 1, 0).astype(int)}, NOT_SUPPORTED),
        ("constant-regret", {"late_regret": first(200, 1e-3, 0.0)}, NOT_SUPPORTED),
        ("no-late-queries", {"last_query": first(200, 50, 49)}, NOT_SUPPORTED),
        ("no-late-queries", {"last_query": first(250, 49, 49)}, SUPPORTED),
        ("query-ceiling", {"queries": np.full((250, 2), 41)}, NOT_SUPPORTED),
        ("query-ceiling/tested-pair", {"asked_tested": first(1, 41, 15)}, NOT_SUPPORTED),
    ],
)
def test_what_goes_wrong_is_seen(identity: str, changed: dict[str, Any], expected: str) -> None:
    found = verdicts(appo_stops.CLAIM, stops(**changed))
    assert found.pop(f"appo/{identity}") == expected
    assert set(found.values()) == {SUPPORTED}  # and nothing else


def power_law(slope: float, x: list[float], noise: float = 0.02, runs: int = 12) -> Any:
    rng = np.random.default_rng(5)
    world = rng.standard_normal((runs, 1))  # shared by a replicate's cells: it must not matter
    return np.exp(slope * np.log(x) + 3 * world + noise * rng.standard_normal((runs, len(x))))


def test_the_slope_is_found_and_its_error_knows_the_replicates() -> None:
    x = [1.0, 2.0, 4.0]
    exact = appo_rates.log_log_slope(x, power_law(1.7, x, noise=0.0), np.zeros(3))
    assert exact.estimate == pytest.approx(1.7)
    y = power_law(1.7, x)
    noisy = appo_rates.log_log_slope(x, y, np.zeros(3))
    own = np.log(y[:, 2] / y[:, 0]) / math.log(4)  # each replicate's slope, by hand
    assert noisy.estimate == pytest.approx(own.mean())
    assert noisy.fit.standard_error == pytest.approx(own.std(ddof=1) / math.sqrt(12), rel=0.05)
    assert noisy.n == 12


@pytest.mark.parametrize(
    ("late", "open_below", "open_above"),
    [
        ([0, 0, 0.01], False, False),
        ([0, 0, 0.02], False, True),
        ([0, 1, 0], False, False),  # the middle cell has no leverage
        ([1, 0, 0], True, False),
        ([1, 1, 1], True, True),
    ],
)
def test_cells_cut_short_open_the_interval(
    late: list[float], open_below: bool, open_above: bool
) -> None:
    x = [1.0, 2.0, 4.0]
    low, high = appo_rates.log_log_slope(x, power_law(1.7, x), late).interval(ALPHA)
    assert (low == -math.inf, high == math.inf) == (open_below, open_above)


def rates(regret: float, queries: float, last: list[int]) -> dict[str, Any]:
    x = [1.25, 2.5, 5.0]
    return {
        "x": np.array(x),
        "horizon": np.full(3, 100),
        "regret": power_law(regret, x),
        "queries": power_law(queries, x),
        "log_ratio": np.ones((12, 3)),
        "last_query": np.tile(last, (12, 1)),
    }


@pytest.mark.parametrize(
    ("regret", "queries", "last", "expected"),
    [
        (0.8, 1.8, [10, 20, 40], (SUPPORTED, SUPPORTED)),
        (1.3, 3.0, [10, 20, 40], (NOT_SUPPORTED, NOT_SUPPORTED)),
        (0.8, 1.8, [10, 20, 50], (UNDERPOWERED, UNDERPOWERED)),  # asks in the last half
        (1.3, 3.0, [10, 20, 99], (NOT_SUPPORTED, NOT_SUPPORTED)),  # too steep even so
        (1.3, 3.0, [99, 20, 99], (UNDERPOWERED, UNDERPOWERED)),
    ],
)
def test_a_rate_is_supported_only_if_the_queries_have_stopped(
    regret: float, queries: float, last: list[int], expected: tuple[str, str]
) -> None:
    found = verdicts(appo_rates.GAP_CLAIM, rates(regret, queries, last))
    assert (found["appo/regret-gap"], found["appo/query-gap"]) == expected


def test_queries_are_divided_by_their_logarithm() -> None:
    see = rates(0.8, 2.3, [10, 20, 40])
    assert verdicts(appo_rates.GAP_CLAIM, see)["appo/query-gap"] == NOT_SUPPORTED
    see["log_ratio"] = np.tile(see["x"] ** 0.5, (12, 1))
    assert verdicts(appo_rates.GAP_CLAIM, see)["appo/query-gap"] == SUPPORTED


@pytest.mark.parametrize("axis", [appo_rates.GAPS, appo_rates.DIMS], ids=lambda axis: axis.name)
def test_the_broken_threshold_starts_at_theorys_and_asks_for_more(axis: appo_rates.Axis) -> None:
    claim = appo_rates.GAP_CLAIM if axis is appo_rates.GAPS else appo_rates.DIM_CLAIM
    along = [(int(d), float(g)) for d, g in claim.settings["quick"]["cells"]]
    broken = [appo_rates.broken_threshold(axis, along, cell) for cell in along]
    theory = [appo_worlds.theory_threshold(*cell) for cell in along]
    assert broken[0] == pytest.approx(theory[0])
    assert all(b < t for b, t in zip(broken[1:], theory[1:], strict=True))


def test_oppos_rate_is_judged_against_one_half() -> None:
    horizons = [1000.0, 4000.0, 16000.0]
    for slope, expected in ((0.3, SUPPORTED), (1.0, NOT_SUPPORTED)):
        see = {"rounds": np.array(horizons), "regret": power_law(slope, horizons)}
        assert verdicts(appo_oppo_rate.CLAIM, see) == {"appo/oppo-rate": expected}


def duel(appo: float, oppo: float, queries: int) -> dict[str, Any]:
    noise = np.exp(0.03 * np.random.default_rng(6).standard_normal((20, 1)))
    one = {
        "rounds": np.array([1000]),
        "queries": np.full((20, 1), queries),
        "appo": appo * noise,
        "oppo": np.full((20, 1), oppo),
    }
    return {f"{part}_{name}": a for part in appo_fewer_queries.PARTS for name, a in one.items()}


@pytest.mark.parametrize(
    ("appo", "oppo", "queries", "expected"),
    [
        (50.0, 80.0, 400, SUPPORTED),
        (50.0, 50.0, 400, SUPPORTED),  # not inferior
        (80.0, 50.0, 400, NOT_SUPPORTED),
        (50.0, 80.0, 501, NOT_SUPPORTED),  # better, but asks more than half as often
    ],
)
def test_less_regret_counts_only_with_half_the_queries(
    appo: float, oppo: float, queries: int, expected: str
) -> None:
    found = verdicts(appo_fewer_queries.OPPO, duel(appo, oppo, queries))
    assert set(found.values()) == {expected}


def test_the_loss_of_an_estimate_is_what_its_best_actions_lose() -> None:
    worlds = [appo_worlds.world(appo_worlds.DIM, appo_worlds.GAP, r) for r in range(2)]
    truth = np.stack([where.theta for where in worlds])
    np.testing.assert_allclose(appo_fewer_queries.loss_of_estimates(truth), 0, atol=1e-12)
    rewards = worlds[0].rewards
    worst = float((rewards.max(axis=1) - rewards.min(axis=1)).mean())
    assert appo_fewer_queries.loss_of_estimates(-truth)[0] == pytest.approx(worst)


def test_the_best_threshold_is_each_worlds_own() -> None:
    see = {
        "factor": np.array([0.5, 1.0, 2.0]),
        "regret": np.array([[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]]),
        "queries": np.full((2, 3), 10),
        "below": np.array([[0, 2, 5], [0, 4, 5]]),
    }
    found = appo_threshold.CLAIM.judge(see, RUN)
    assert found["appo/threshold"].estimate == pytest.approx(0.5)
    assert found["appo/threshold/below"].estimate == pytest.approx(0.3)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_says_what_to_expect_at_every_scale(claim: Claim) -> None:
    assert set(claim.settings) == {"smoke", "quick", "full"}
    for test in claim.tests:
        assert set(test.pilot or test.expected) == {"smoke", "quick", "full"}
        assert test.kind == "ESTIMATE" or test.sabotage

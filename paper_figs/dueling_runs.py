"""The simulations behind the figures of APPO: duels in finite worlds with an exact gap.

Replicate r plays in world r of its dimension, so intervals speak for such worlds, not for one of
them; worlds of different gaps share their draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sim import DuelingWorld, simulate
from ..sim.threads import in_threads
from ..theory.checks import Ints
from .figure import Arrays, Experiment, Progress, Settings

WORLD_SEED = 20240214  # of the worlds; answers and choices draw from the run's seed
PROMPTS, ACTIONS = 10, 6
DIM, GAP = 4, 0.8  # of all figures but appo_rates, and where its two arms meet

RADIUS = {2: 7.7, 3: 8.4, 4: 8.9, 6: 9.9, 8: 10.6}
"""By dimension: the 97.5 % quantile of sup_t ||theta_hat_t - theta*||_gram, to within 0.1, over 400
runs of appo at gap 0.8 for 20,000 (d = 2) to 120,000 rounds (d = 8) in other worlds with another seed:
the larger of two such pilots, of which the second ran at the first one's quantile."""

TUNED_STEP = 0.512
"""Of 0.002 * 2^k, k = 0..13, the smallest policy step whose mean regret after 60,000 rounds is within
1 % of the least, over 40 runs in other worlds with another seed. Theory's is 0.0023 there."""

PILOT_QUERIES = 3100  # what appo asks on average, in the pilot of the radius
ASKING = 0.25  # random_query's probability: about appo's rate until its last query

APPOS: dict[str, dict[str, Any]] = {
    "appo": {},
    "appo_tuned": {"step_size": TUNED_STEP},
    "appo_tested": {"tested_pair": True},
}
ALWAYS_ASK = ("oppo", "maxinp", "colstim", "thompson", "greedy")


def world(dim: int, gap: float, replicate: int) -> DuelingWorld:
    """10 prompts, 6 actions, rewards in [0, 1], ||theta|| = 1, ||phi|| <= 1, exactly this gap."""
    rng = np.random.default_rng([WORLD_SEED, dim, replicate])
    return DuelingWorld.with_gap(PROMPTS, ACTIONS, dim, gap, rng)


def theory_threshold(dim: int, gap: float) -> float:
    """.99 gap/(2 radius): below it an unasked round inside the confidence set costs nothing."""
    return 0.99 * gap / (2 * RADIUS[dim])


def marks(horizon: int) -> Ints:
    """Up to 31 rounds from 10 to the horizon, by equal factors."""
    return np.unique(np.geomspace(10, horizon, 31).round()).astype(np.int64)


def _play(
    algorithm: str,
    dim: int,
    gap: float,
    rounds: Ints,
    settings: Settings,
    seed: int,
    workers: int,
    progress: Progress,
    **options: Any,
) -> Arrays:
    """``rounds`` (c,); ``regret``, ``queries`` (R, c); (R,) ``last_query``, ``late_regret``,
    ``largest_distance``, ``costly_inside`` (see DuelTrajectories) and ``longest`` 2 max ||phi||."""
    total, done = settings["replicates"], 0
    names = ("last_query", "late_regret", "largest_distance", "costly_inside")
    out: Arrays = {
        "rounds": rounds,
        "regret": np.empty((total, rounds.size)),
        "queries": np.empty((total, rounds.size), np.int64),
        **{name: np.empty(total, np.int64) for name in ("last_query", "costly_inside")},
        **{name: np.empty(total) for name in ("late_regret", "largest_distance", "longest")},
    }

    def work(low: int, high: int) -> None:
        for r in range(low, high):
            where = world(dim, gap, r)
            run = simulate(
                algorithm,
                where,
                horizon=int(rounds[-1]),
                replicates=1,
                first_replicate=r,
                seed=seed,
                checkpoints=rounds,
                **options,
            )
            out["regret"][r], out["queries"][r] = run.regret[0], run.queries[0]
            out["longest"][r] = 2 * np.linalg.norm(where.features, axis=2).max()
            for name in names:
                out[name][r] = getattr(run, name)[0]

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total)

    in_threads(work, total, workers, more)
    return out


def _duels(settings: Settings, part: str, *, seed: int, workers: int, progress: Progress) -> Arrays:
    """What ``_play`` says. Part: an algorithm, and its number behind a slash where it has one: the
    threshold over theory's for appo, the budget for random_query."""
    name, _, number = part.partition("/")
    options: dict[str, Any] = {}
    if name == "oppo":
        options = {"radius": RADIUS[DIM]}
    elif name == "random_query":
        options = {"probability": ASKING, "budget": int(number)}
    elif name in APPOS:
        threshold = float(number) * theory_threshold(DIM, GAP)
        options = {"radius": RADIUS[DIM], "uncertainty_threshold": threshold, **APPOS[name]}
    algorithm = "appo" if name in APPOS else name
    rounds = marks(settings["horizon"])
    return _play(algorithm, DIM, GAP, rounds, settings, seed, workers, progress, **options)


def _cross(settings: Settings, part: str, *, seed: int, workers: int, progress: Progress) -> Arrays:
    """What ``_play`` says, at the horizon only. Part: dimension/gap."""
    dim, gap = int(part.split("/")[0]), float(part.split("/")[1])
    rounds = np.array([settings["horizons"][part]])
    return _play("appo", dim, gap, rounds, settings, seed, workers, progress, radius=RADIUS[dim])


def _radii(settings: Settings, part: str, *, seed: int, workers: int, progress: Progress) -> Arrays:
    """What ``_play`` says, with the radius divided by ``part`` and the threshold tied to it."""
    rounds, radius = marks(settings["horizon"]), RADIUS[DIM] / int(part)
    return _play("appo", DIM, GAP, rounds, settings, seed, workers, progress, radius=radius)


def _duel_parts(settings: Settings) -> list[str]:
    return [
        *(f"{name}/{x:g}" for name in APPOS for x in settings["thresholds"]),
        *(f"random_query/{b}" for b in settings["budgets"]),
        *ALWAYS_ASK,
    ]


_THRESHOLDS = [0.25, 0.5, 1, 2, 4, 8, 16]
_BUDGETS = [50, 100, 200, 500, 1000, PILOT_QUERIES, 10000]

DUELS = Experiment(
    name="duels",
    settings={
        "smoke": {
            "replicates": 8,
            "horizon": 40_000,
            "thresholds": [1, 2, 8],
            "budgets": [100, PILOT_QUERIES],
        },
        "quick": {
            "replicates": 50,
            "horizon": 60_000,
            "thresholds": _THRESHOLDS,
            "budgets": _BUDGETS,
        },
        "full": {
            "replicates": 1000,
            "horizon": 200_000,
            "thresholds": _THRESHOLDS,
            "budgets": _BUDGETS,
        },
    },
    parts=_duel_parts,
    compute=_duels,
)

CROSS = Experiment(
    name="cross",
    settings={
        "smoke": {
            "replicates": 8,
            "horizons": {"4/0.8": 50_000, "4/0.4": 250_000, "2/0.8": 20_000},
        },
        "quick": {
            "replicates": 60,
            "horizons": {
                "4/0.8": 60_000,
                "4/0.57": 120_000,
                "4/0.4": 240_000,
                "4/0.28": 480_000,
                "4/0.2": 960_000,
                "2/0.8": 25_000,
                "3/0.8": 45_000,
                "6/0.8": 90_000,
                "8/0.8": 120_000,
            },
        },
        "full": {
            "replicates": 1000,
            "horizons": {
                "4/0.8": 120_000,
                "4/0.57": 240_000,
                "4/0.4": 480_000,
                "4/0.28": 1_000_000,
                "4/0.2": 2_000_000,
                "4/0.1": 8_000_000,
                "2/0.8": 50_000,
                "3/0.8": 90_000,
                "6/0.8": 180_000,
                "8/0.8": 240_000,
            },
        },
    },
    parts=lambda settings: list(settings["horizons"]),
    compute=_cross,
)

RADII = Experiment(
    name="radii",
    settings={
        "smoke": {"replicates": 20, "horizon": 40_000, "divisors": [1, 2, 4, 8]},
        "quick": {"replicates": 200, "horizon": 60_000, "divisors": [1, 2, 4, 8]},
        "full": {"replicates": 2000, "horizon": 200_000, "divisors": [1, 2, 4, 8]},
    },
    parts=lambda settings: [str(k) for k in settings["divisors"]],
    compute=_radii,
)

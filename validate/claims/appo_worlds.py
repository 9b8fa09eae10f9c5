"""The worlds of paper 2's claims, the practical radius, and one way to play in them."""

from dataclasses import fields
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ...sim import DuelingWorld, DuelTrajectories, simulate
from ...sim.threads import in_threads
from ...theory.bounds import appo_step_size
from ..claim import Run

WORLD_SEED = 20240214  # of the worlds; answers and choices draw from the run's own seed
DELTA = 0.05
PROMPTS, ACTIONS = 10, 6
DIM, GAP = 4, 0.8  # where the two arms of the cross meet

RADIUS = {2: 8.40, 4: 10.20, 8: 10.84}
"""The practical radius of each dimension, fixed before any run.

The upper 99 % confidence limit (order statistic 496 of 500, rounded up) of the 1 - delta/2 quantile of
sup_t ||theta_hat - theta*||_gram over 500 pilot runs, one world each, of APPO at the radius of an earlier
pilot. World seeds = run seeds 901 to 904; 10 prompts, 6 actions; at the smallest gap used in d:

| d | gap | rounds | radius run at -> limit found | and again |
|---|---|---|---|---|
| 2 | 0.8 | 20,000 | 6 -> 7.99 | 7.99 -> 8.40 |
| 4 | 0.8, 0.4, 0.2 | 40,000, 200,000, 800,000 | 8 -> 9.52 (0.8), 9.52 -> 9.18 (0.4) | 9.18 -> 10.20 (0.2) |
| 8 | 0.8 | 160,000 | 11 -> 11.62 | 11.62 -> 10.84 |
"""

CPU_ONLY = "each replicate plays in a world of its own, and a GPU's launch is of one world"


def world(dim: int, gap: float, replicate: int) -> DuelingWorld:
    """Replicate r plays in world r of its dimension; worlds of different gaps share their draws."""
    rng = np.random.default_rng([WORLD_SEED, dim, replicate])
    return DuelingWorld.with_gap(PROMPTS, ACTIONS, dim, gap, rng)


def theory_threshold(dim: int, gap: float) -> float:
    """.99 gap / (2 radius): the largest at which an unasked round inside the set is free, less 1 %."""
    return 0.99 * gap / (2 * RADIUS[dim])


def longest_difference(where: DuelingWorld) -> float:
    """L = 2 max ||phi||, a bound on ||z||."""
    return 2 * float(np.linalg.norm(where.features, axis=2).max())


def theory_step(where: DuelingWorld, threshold: float) -> float:
    """Theorem 5.1's step at ``threshold``, for runs at another one that are to keep it."""
    _, actions, dim = where.features.shape
    return appo_step_size(
        threshold, dim, actions, norm_bound=1, feature_bound=longest_difference(where)
    )


def play(
    algorithm: str,
    dim: int,
    gap: float,
    horizon: int,
    replicates: int,
    run: Run,
    marks: int | tuple[int, ...] = 1,
    **options: Any,
) -> DuelTrajectories:
    """``replicates`` runs, each in its own world, with results at ``marks`` equal parts (or rounds).

    ``keep_step=G`` hands the theorem's step at threshold G to a run with another threshold. Equal
    calls are played once.
    """
    rounds = (
        tuple(range(horizon // marks, horizon + 1, horizon // marks))
        if isinstance(marks, int)
        else marks
    )
    return _play(
        algorithm,
        dim,
        gap,
        horizon,
        replicates,
        run.seed,
        run.workers,
        rounds,
        tuple(sorted(options.items())),
    )


@lru_cache(maxsize=16)
def _play(
    algorithm: str,
    dim: int,
    gap: float,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int,
    rounds: tuple[int, ...],
    options: tuple[tuple[str, Any], ...],
) -> DuelTrajectories:
    found: dict[int, DuelTrajectories] = {}
    given = dict(options)
    kept = given.pop("keep_step", None)

    def work(low: int, high: int) -> None:
        for r in range(low, high):
            where = world(dim, gap, r)
            own = given if kept is None else given | {"step_size": theory_step(where, kept)}
            found[r] = simulate(
                algorithm,
                where,
                horizon=horizon,
                replicates=1,
                first_replicate=r,
                seed=seed,
                checkpoints=rounds,
                **own,
            )

    in_threads(work, replicates, workers, None)
    return side_by_side([found[r] for r in range(replicates)])


def side_by_side(parts: list[DuelTrajectories]) -> DuelTrajectories:
    """Trajectories with the same checkpoints as one."""
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(DuelTrajectories)
        if field.name != "rounds"
    }
    return DuelTrajectories(rounds=parts[0].rounds, **joined)


appo = partial(play, "appo")

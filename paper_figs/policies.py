"""The simulations behind suboptimality and shift_map: what policies on the learned reward lose.

The worlds are those of the claims dual/suboptimality and dual/pessimism.
"""

import numpy as np

from ..sim import simulate
from ..sim.named_worlds import (
    RARE,
    SHIFT_DIM,
    SHIFT_PROMPTS,
    SMOOTH_DIM,
    USUAL,
    behaviour_pool,
    information_at,
    shifted_world,
    smooth_world,
)
from ..theory.checks import Floats
from ..theory.confidence import asymptotic_radius
from ..theory.pessimism import pointwise_bound, pointwise_policy, suboptimality
from .figure import Arrays, Experiment, Progress, Settings

DELTA = 0.05
RIDGE = 0.1  # of the shifted worlds: few labels touch a rare action


def _rates(settings: Settings, part: str, *, seed: int, workers: int, progress: Progress) -> Arrays:
    """Labels (c,), and ``greedy``, ``pessimistic`` losses and ``bound`` (R, c); NaN: no estimate."""
    pool, fresh = smooth_world()
    total = settings["replicates"]
    run = simulate(
        part,
        pool,
        horizon=settings["labels"][-1],
        replicates=total,
        seed=seed,
        workers=workers,
        checkpoints=settings["labels"],
    )
    radius = asymptotic_radius(SMOOTH_DIM, DELTA)
    out = np.full((3, total, run.rounds.size), np.nan)
    for c, labels in enumerate(run.rounds):
        known = np.isfinite(run.theta_path[:, c]).all(axis=1)
        if known.any():
            theta = run.theta_path[known, c]
            h = information_at(pool, run.pair[known, :labels], run.teacher[known, :labels], theta)
            out[:2, known, c] = _losses(fresh, pool.theta, theta, h, radius)
            out[2, known, c] = pointwise_bound(h, fresh, pool.theta, radius)
        progress((c + 1) / run.rounds.size)
    return {"labels": run.rounds, "greedy": out[0], "pessimistic": out[1], "bound": out[2]}


def _losses(
    phi: Floats,
    truth: Floats,
    theta: Floats,
    h: Floats,
    radius: float,
    reference: Floats | None = None,
) -> Floats:
    """(2, R) sub-optimality of the greedy and of the pessimistic policy."""
    policies = [pointwise_policy(theta, h, phi, r, reference=reference) for r in (0.0, radius)]
    return np.stack([suboptimality(phi, truth, policy) for policy in policies])


def _shifts(
    settings: Settings, part: str, *, seed: int, workers: int, progress: Progress
) -> Arrays:
    """Shift levels (q,), labels (c,), and losses ``greedy``, ``pessimistic`` (q, R, c)."""
    levels, labels, total = settings["rare_best"], settings["labels"], settings["replicates"]
    radius = asymptotic_radius(SHIFT_DIM, DELTA)
    behaviour = np.tile(np.repeat([1.0 / USUAL, 0.0], [USUAL, RARE]), (SHIFT_PROMPTS, 1))
    out = np.empty((2, len(levels), total, len(labels)))
    for q, level in enumerate(levels):
        world = shifted_world(level)
        pool = behaviour_pool(world, float(part))
        run = simulate(
            "random",
            pool,
            horizon=labels[-1],
            replicates=total,
            seed=seed,
            workers=workers,
            checkpoints=labels,
            batch=labels[-1],  # random draws need no refit
            warm_up=0,
            ridge=RIDGE,
            final_ridge=RIDGE,
        )
        for c, t in enumerate(labels):
            theta = run.theta_path[:, c]
            h = information_at(pool, run.pair[:, :t], run.teacher[:, :t], theta)
            h += RIDGE * np.eye(SHIFT_DIM)
            out[:, q, :, c] = _losses(world.features, world.theta, theta, h, radius, behaviour)
        progress((q + 1) / len(levels))
    return {
        "rare_best": np.array(levels),
        "labels": np.array(labels),
        "greedy": out[0],
        "pessimistic": out[1],
    }


RATES = Experiment(
    name="rates",
    settings={
        "smoke": {
            "selectors": ["dual", "random"],
            "replicates": 60,
            "labels": [100, 200, 400, 800, 1600],
        },
        "quick": {
            "selectors": ["dual", "random"],
            "replicates": 400,
            "labels": [100, 200, 400, 800, 1600, 3200],
        },
        "full": {
            "selectors": ["dual", "random"],
            "replicates": 2000,
            "labels": [100, 200, 400, 800, 1600, 3200, 6400, 12800],
        },
    },
    parts=lambda settings: settings["selectors"],
    compute=_rates,
)

SHIFTS = Experiment(
    name="shifts",
    settings={
        "smoke": {
            "rare_shares": [0.03, 0.3],
            "rare_best": [0.0, 0.5, 1.0],
            "labels": [100, 400, 1600],
            "replicates": 100,
        },
        "quick": {
            "rare_shares": [0.03, 0.3],
            "rare_best": [0.0, 0.25, 0.5, 0.75, 1.0],
            "labels": [50, 100, 200, 400, 800, 1600, 3200],
            "replicates": 300,
        },
        "full": {
            "rare_shares": [0.03, 0.3],
            "rare_best": [k / 8 for k in range(9)],
            "labels": [50, 100, 200, 400, 800, 1600, 3200, 6400, 12800],
            "replicates": 2000,
        },
    },
    parts=lambda settings: [f"{share:g}" for share in settings["rare_shares"]],
    compute=_shifts,
)

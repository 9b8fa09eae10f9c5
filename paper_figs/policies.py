"""The simulations behind suboptimality and shift_map: what policies on the learned reward lose.

The worlds are those of the claims dual/suboptimality and dual/pessimism.
"""

from functools import lru_cache

import numpy as np

from ..sim import DuelingWorld, PairPool, Teachers, simulate
from ..theory.checks import Floats, Ints
from ..theory.confidence import asymptotic_radius
from ..theory.pessimism import pointwise_bound, pointwise_policy, suboptimality
from ..theory.preference import fisher_weight
from .figure import Arrays, Experiment, Progress, Settings

WORLD_SEED = 20241002
DELTA = 0.05
SMOOTH_DIM, LABELLED, FRESH, ACTIONS = 4, 20, 300, 4
SHIFT_PROMPTS, USUAL, RARE, HALF, SHIFT_PAIRS = 40, 3, 3, 3, 400
RIDGE = 0.1  # of the shifted worlds: few labels touch a rare action


@lru_cache(maxsize=1)
def smooth_world() -> tuple[PairPool, Floats]:
    """The pool of all pairs of 20 prompts x 4 Gaussian actions, and features (300, 4, d) of others."""
    rng = np.random.default_rng([WORLD_SEED, 1])
    theta = rng.standard_normal(SMOOTH_DIM)
    theta /= np.linalg.norm(theta)
    phi = rng.standard_normal((LABELLED + FRESH, ACTIONS, SMOOTH_DIM))
    teachers = Teachers([[0.5, 1, 2], [2, 0.5, 1], [1, 2, 0.5]])
    world = DuelingWorld(phi[:LABELLED], theta)
    return world.pairs(teachers, rng.integers(3, size=LABELLED)), phi[LABELLED:]


def shifted_world(rare_best: float) -> DuelingWorld:
    """40 prompts, 3 usual and 3 rare actions; in a share ``rare_best`` of them a rare one is best.

    theta has length 1 in each half of the coordinates, and usual actions are 0 in the second half.
    A rare action's reward is 0.2 to 1.5 below the prompt's best usual one, or, for the first rare
    action of the share, 0.2 to 1.5 above: moved there along the second half of theta.
    """
    rng = np.random.default_rng([WORLD_SEED, 2])
    halves = rng.standard_normal((2, HALF))
    halves /= np.linalg.norm(halves, axis=1, keepdims=True)
    theta = halves.ravel()
    phi = rng.standard_normal((SHIFT_PROMPTS, USUAL + RARE, 2 * HALF))
    phi[:, :USUAL, HALF:] = 0.0
    rewards = phi @ theta
    best = rewards[:, :USUAL].max(axis=1)
    wanted = best[:, None] - rng.uniform(0.2, 1.5, (SHIFT_PROMPTS, RARE))
    above = rng.uniform(0.2, 1.5, SHIFT_PROMPTS)
    chosen = rng.permutation(SHIFT_PROMPTS) < round(rare_best * SHIFT_PROMPTS)
    wanted[chosen, 0] = (best + above)[chosen]
    phi[:, USUAL:, HALF:] += (wanted - rewards[:, USUAL:])[..., None] * halves[1]
    return DuelingWorld(phi, theta)


def behaviour_pool(world: DuelingWorld, share: float) -> PairPool:
    """400 pairs of two usual actions or, in a ``share`` of them, of a usual and a rare one."""
    rng = np.random.default_rng([WORLD_SEED, 3])
    prompt = rng.integers(SHIFT_PROMPTS, size=SHIFT_PAIRS)
    pair = rng.permuted(np.tile(np.arange(USUAL), (SHIFT_PAIRS, 1)), axis=1)[:, :2]
    rare = np.arange(SHIFT_PAIRS) < round(share * SHIFT_PAIRS)
    pair[rare, 1] = USUAL + rng.integers(RARE, size=int(rare.sum()))
    z = world.features[prompt, pair[:, 0]] - world.features[prompt, pair[:, 1]]
    teachers = Teachers([[0.5], [1.0], [2.0]])
    return PairPool(z, np.zeros(SHIFT_PAIRS, dtype=np.int64), world.theta, teachers)


def information_at(pool: PairPool, pair: Ints, teacher: Ints, theta: Floats) -> Floats:
    """H(theta) (R, d, d) of the labels ``pair``, ``teacher`` (R, T) at estimates ``theta`` (R, d)."""
    (replicates, d), (n, m) = theta.shape, pool.available.shape
    cell = pair.astype(np.int64) * m + teacher
    counts = np.stack([np.bincount(row, minlength=n * m) for row in cell])
    weight = fisher_weight(
        (theta @ pool.z.T)[..., None], pool.teachers.rationality[:, pool.context].T
    )
    squares = (pool.z[:, :, None] * pool.z[:, None]).reshape(n, d * d)
    total = (counts.reshape(replicates, n, m) * weight).sum(axis=2) @ squares
    return np.asarray(total.reshape(replicates, d, d))


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
    radius = asymptotic_radius(2 * HALF, DELTA)
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
            h += RIDGE * np.eye(2 * HALF)
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

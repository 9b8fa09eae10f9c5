"""The named worlds of paper 1: where its claims are checked and its figures drawn.

Each is one fixed world: replicates draw from the run's own seed, never from the world's.
"""

from functools import lru_cache

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.preference import fisher_weight
from .teachers import Teachers
from .world import DuelingWorld, PairPool

RIVALS = (
    "random",
    "random_best_teacher",
    "conversation_only",
    "conversation_only_best_teacher",
    "teacher_only",
    "apo",
    "apo_best_teacher",
    "practical_apo",
    "practical_apo_best_teacher",
    "uncertainty",
    "uncertainty_best_teacher",
)
"""What dual is held against in these worlds, by claims and figures: fixed, whatever rules there are."""

WORLD_SEED = 20241002
SMOOTH_DIM, LABELLED, FRESH, SMOOTH_ACTIONS = 4, 20, 300, 4
SHIFT_PROMPTS, SHIFT_PAIRS = 40, 400
USUAL, RARE = 3, 3  # actions a prompt: the behaviour's usual ones, and rare ones
HALF = 3  # the rare actions' features have 3 coordinates of their own, the usual ones' lack
SHIFT_DIM = 2 * HALF


def default_pool() -> PairPool:
    """300 Gaussian pairs, d = 5, 3 context types, 4 teachers with rationality in {0.5, 1, 2}."""
    teachers = Teachers([[0.5, 1.0, 2.0], [2.0, 0.5, 1.0], [1.0, 2.0, 0.5], [1.0, 1.0, 1.0]])
    return PairPool.synthetic(300, 5, 3, teachers, np.random.default_rng(WORLD_SEED))


def hard_margin_pool() -> PairPool:
    """As the default, but every |theta'z| in [1.5, 4]: the sharpest teacher is often the wrong one."""
    teachers = Teachers([[0.5, 1.0, 2.0], [2.0, 0.5, 1.0], [1.0, 2.0, 0.5], [0.25, 0.25, 0.25]])
    rng = np.random.default_rng(WORLD_SEED)
    return PairPool.synthetic(300, 5, 3, teachers, rng, margins=(1.5, 4))


def sharp_pool() -> PairPool:
    """Every rationality above 1, so that a forgotten rationality^2 shows; |theta'z| below 1/2."""
    teachers = Teachers([[1.25, 1.5, 2.0], [2.0, 1.25, 1.5], [1.5, 2.0, 1.25], [1.5, 1.5, 1.5]])
    rng = np.random.default_rng(WORLD_SEED)
    return PairPool.synthetic(300, 5, 3, teachers, rng, margins=(0, 0.5))


@lru_cache(maxsize=1)
def smooth_world() -> tuple[PairPool, Floats]:
    """The pool of all pairs of 20 labelled prompts, and features (300, 4, d) of fresh prompts."""
    rng = np.random.default_rng([WORLD_SEED, 1])
    theta = rng.standard_normal(SMOOTH_DIM)
    theta /= np.linalg.norm(theta)
    phi = rng.standard_normal((LABELLED + FRESH, SMOOTH_ACTIONS, SMOOTH_DIM))
    teachers = Teachers([[0.5, 1, 2], [2, 0.5, 1], [1, 2, 0.5]])
    world = DuelingWorld(phi[:LABELLED], theta)
    return world.pairs(teachers, rng.integers(3, size=LABELLED)), phi[LABELLED:]


@lru_cache(maxsize=8)
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
    phi = rng.standard_normal((SHIFT_PROMPTS, USUAL + RARE, SHIFT_DIM))
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
    """400 pairs as the behaviour policy makes them: two usual actions, or, in a share of them, a
    usual and a rare one."""
    rng = np.random.default_rng([WORLD_SEED, 3])
    prompt = rng.integers(SHIFT_PROMPTS, size=SHIFT_PAIRS)
    pair = rng.permuted(np.tile(np.arange(USUAL), (SHIFT_PAIRS, 1)), axis=1)[:, :2]
    rare = np.arange(SHIFT_PAIRS) < round(share * SHIFT_PAIRS)
    pair[rare, 1] = USUAL + rng.integers(RARE, size=int(rare.sum()))
    phi = world.features
    z = phi[prompt, pair[:, 0]] - phi[prompt, pair[:, 1]]
    teachers = Teachers([[0.5], [1.0], [2.0]])
    return PairPool(z, np.zeros(SHIFT_PAIRS, dtype=np.int64), world.theta, teachers)


def information_at(pool: PairPool, pair: Ints, teacher: Ints, theta: Floats) -> Floats:
    """H(theta) (R, d, d) of the labels ``pair``, ``teacher`` (R, T) at estimates ``theta`` (R, d)."""
    replicates, d = theta.shape
    n, m = pool.z.shape[0], pool.teachers.count
    cell = pair.astype(np.int64) * m + teacher
    counts = np.stack([np.bincount(row, minlength=n * m) for row in cell])
    b = pool.teachers.rationality[:, pool.context].T
    weight = fisher_weight((theta @ pool.z.T)[:, :, None], b)
    squares = (pool.z[:, :, None] * pool.z[:, None]).reshape(n, d * d)
    total = (counts.reshape(replicates, n, m) * weight).sum(axis=2) @ squares
    return np.asarray(total.reshape(replicates, d, d))

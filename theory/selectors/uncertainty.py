"""Uncertainty sampling: the pair whose answer is hardest to foresee."""

from collections.abc import Callable

from ..pool import Belief, Picks, Pool
from .batch import Batch, Rng, first_best


def uncertainty(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmin_i |theta'z_i|, then a uniformly random available teacher; the score is -|theta'z_i|.

    The rule does not look at what was asked: while theta stands still it repeats its pair as long
    as labels of it are available.
    """
    batch = Batch(pool, belief, budget)
    return _uncertainty(batch, batch.random_teacher, rng)


def uncertainty_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmin_i |theta'z_i|, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _uncertainty(batch, batch.best_teacher, rng)


def _uncertainty(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    score = -batch.xp.abs(batch.pool.z @ batch.belief.theta)
    while batch.more:
        pair = first_best(batch.xp, score, batch.open_pairs)
        batch.take(pair, ask(pair, rng), float(score[pair]))
    return batch.picks()

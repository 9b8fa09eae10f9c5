"""Practical APO: the pair least explored by the unweighted Gram matrix."""

from collections.abc import Callable

from ..pool import Belief, Picks, Pool
from .batch import Batch, Leverages, Ranking, Rng, at


def practical_apo(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i ||z_i||_{gram^-1}, then a uniformly random available teacher.

    Source: the practical variant of Active Preference Optimization (arXiv 2402.10500).
    """
    batch = Batch(pool, belief, budget)
    return _practical_apo(batch, batch.random_teacher, rng)


def practical_apo_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i ||z_i||_{gram^-1}, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _practical_apo(batch, batch.best_teacher, rng)


def _practical_apo(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    xp, leverages = batch.xp, Leverages(batch.pool.z, batch.belief.gram)
    ranking = Ranking(leverages, lambda v, rows: xp.where(at(batch.open_pairs, rows), v, -xp.inf))
    while batch.more:
        pair, _ = ranking.best()
        batch.take(pair, ask(pair, rng), float(leverages.bounds[pair]) ** 0.5)
        leverages.add(pair, 1.0)
    return batch.picks()

"""APO: the pair whose feature difference is least explored, by the logistic Hessian."""

from collections.abc import Callable

from ..pool import Belief, Picks, Pool
from .batch import Batch, Leverages, Ranking, Rng, at, fisher_weights


def apo(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i ||z_i||_{H^-1}, then a uniformly random available teacher.

    Source: Active Preference Optimization (arXiv 2402.10500), H at the current estimate.
    """
    batch = Batch(pool, belief, budget)
    return _apo(batch, batch.random_teacher, rng)


def apo_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i ||z_i||_{H^-1}, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _apo(batch, batch.best_teacher, rng)


def _apo(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    xp, weights = batch.xp, fisher_weights(batch.pool, batch.belief.theta)
    leverages = Leverages(batch.pool.z, batch.belief.information)
    ranking = Ranking(leverages, lambda v, rows: xp.where(at(batch.open_pairs, rows), v, -xp.inf))
    while batch.more:
        pair, _ = ranking.best()
        teacher = ask(pair, rng)
        batch.take(pair, teacher, float(leverages.bounds[pair]) ** 0.5)
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()

"""Random selection: the baseline every active rule has to beat."""

from collections.abc import Callable

from ..pool import Belief, Picks, Pool
from .batch import Batch, Rng, random_pair


def random(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """A uniformly random pair, then a uniformly random available teacher; the score is 0."""
    batch = Batch(pool, belief, budget)
    return _random(batch, batch.random_teacher, rng)


def random_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """A uniformly random pair, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _random(batch, batch.best_teacher, rng)


def _random(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    while batch.more:
        pair = random_pair(batch, rng)
        batch.take(pair, ask(pair, rng), 0.0)
    return batch.picks()

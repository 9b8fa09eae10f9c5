"""Predictive entropy: the pair whose answer is hardest to foresee, theta's own error included."""

import math
from collections.abc import Callable

from ..pool import Array, Belief, Picks, Pool
from .batch import Batch, Leverages, Ranking, Rng, Rows, at, fisher_weights


def entropy(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i of the entropy of the answer to pair i, then a uniformly random available teacher.

    Under theta ~ N(theta_hat, H^-1) an answer of rationality 1 is yes with probability about
    mu(m / sqrt(1 + pi v / 8)), m = theta_hat'z, v = z'H^-1 z; the score is its entropy in nats.
    Why the posterior: at the point estimate the entropy is ``uncertainty``, which repeats its pair
    while theta stands; here v falls with every label asked. Why not over teachers too: a noisier
    teacher's answer always has the larger entropy, and teaches less. At theta_hat = 0 every answer
    is open alike, and the first pair is taken.
    Source: MacKay (1992), "The evidence framework applied to classification networks".
    """
    batch = Batch(pool, belief, budget)
    return _entropy(batch, batch.random_teacher, rng)


def entropy_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """The pair of ``entropy``, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _entropy(batch, batch.best_teacher, rng)


def _entropy(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    xp, weights = batch.xp, fisher_weights(batch.pool, batch.belief.theta)
    margin = xp.abs(batch.pool.z @ batch.belief.theta)
    leverages = Leverages(batch.pool.z, batch.belief.information)

    def openness(v: Array, rows: Rows) -> Array:
        """Minus the logit: in the order of the entropy, which itself is flat near its maximum."""
        logit = at(margin, rows) / xp.sqrt(1 + math.pi / 8 * v)
        return xp.where(at(batch.open_pairs, rows), -logit, -xp.inf)

    ranking = Ranking(leverages, openness)
    while batch.more:
        pair, _ = ranking.best()
        v = float(leverages.bounds[pair])
        logit = float(margin[pair]) / math.sqrt(1 + math.pi / 8 * v)
        odds = math.exp(-logit)
        teacher = ask(pair, rng)
        batch.take(pair, teacher, math.log1p(odds) + logit * odds / (1 + odds))
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()

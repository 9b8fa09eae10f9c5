"""Dual active selection: the pair and the teacher together, by D-optimality."""

import math

from ..pool import Array, Belief, Picks, Pool
from .batch import Batch, Leverages, Ranking, Rng, Rows, at, fisher_weights, over_teachers


def dual(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax over (i, j) of log det(H + w_ij z_i z_i') - log det H, per price.

    By the matrix determinant lemma the gain is log(1 + w_ij z_i' H^-1 z_i), with
    w_ij = b^2 mu'(b theta'z_i), b the rationality of teacher j in the context of pair i.
    H takes w z z' after each pick, theta stays until the batch is labelled (the batch rule is ours).
    With one teacher this is past-aware D-optimality (arXiv 2502.04354), pick by pick.
    Source: Dual Active Learning for RLHF (arXiv 2410.02504). ``rng`` is not used.
    Raises ``ValueError`` as ``Batch`` and ``Leverages`` say.
    """
    batch = Batch(pool, belief, budget)
    fill(batch, Leverages(batch.pool.z, batch.belief.information))
    return batch.picks()


def fill(batch: Batch, leverages: Leverages) -> None:
    """Take what ``dual`` takes; ``leverages.evaluations`` then says how many rows it looked at."""
    xp, cost, weights = batch.xp, batch.pool.cost, fisher_weights(batch.pool, batch.belief.theta)
    prices = cost.tolist()

    def best_gain(v: Array, rows: Rows) -> Array:
        gain = xp.log1p(at(weights, rows) * v[:, None]) / cost
        return over_teachers(xp.maximum, xp.where(at(batch.open, rows), gain, -xp.inf))

    ranking = Ranking(leverages, best_gain)
    while batch.more:
        pair, floor = ranking.best()
        weight, v = weights[pair, :].tolist(), float(leverages.bounds[pair])
        gain = [math.log1p(w * v) / price for w, price in zip(weight, prices, strict=True)]
        willing = [j for j, is_open in enumerate(batch.open[pair, :].tolist()) if is_open]
        floor = min(floor, max(gain[j] for j in willing))
        teacher = next(j for j in willing if gain[j] >= floor)
        batch.take(pair, teacher, gain[teacher])
        leverages.add(pair, weight[teacher])

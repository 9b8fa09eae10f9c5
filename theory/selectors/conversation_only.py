"""Conversation-only selection: D-optimal in the pair, the teacher not chosen by what they teach."""

from ..pool import Array, Belief, Picks, Pool
from .batch import Batch, Leverages, Ranking, Rng, Rows, at, fisher_weights, nth_true


def conversation_only(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """A uniformly random available teacher j first, then argmax_i of w_ij z_i' H^-1 z_i.

    Source: the ablation of arXiv 2410.02504 that drops the choice of the teacher.
    """
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(batch.pool, batch.belief.theta)
    leverages = Leverages(batch.pool.z, batch.belief.information)
    j = 0

    def gain(v: Array, rows: Rows) -> Array:
        return xp.where(at(batch.open[:, j], rows), at(weights[:, j], rows) * v, -xp.inf)

    while batch.more:
        teachers = xp.any(batch.open, axis=0)
        j = nth_true(xp, teachers, int(rng.integers(int(xp.count_nonzero(teachers)))))
        pair, _ = Ranking(leverages, gain).best()
        weight = float(weights[pair, j])
        batch.take(pair, j, weight * float(leverages.bounds[pair]))
        leverages.add(pair, weight)
    return batch.picks()


def conversation_only_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i of w_ij z_i' H^-1 z_i, where j is the most rational available teacher of pair i.

    With one teacher these are ``dual``'s picks, and the past-aware D-optimal rule for reward models
    (arXiv 2502.04354): H holds the past labels at the current theta. That paper's code takes a batch
    from one ranking; here H takes each pick before the next.
    """
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(batch.pool, batch.belief.theta)
    leverages = Leverages(batch.pool.z, batch.belief.information)
    b = xp.take(batch.pool.rationality, batch.pool.context, axis=1).T

    def gain(v: Array, rows: Rows) -> Array:
        sharpest = xp.argmax(xp.where(at(batch.open, rows), at(b, rows), -xp.inf), axis=1)
        weight = xp.take_along_axis(at(weights, rows), sharpest[:, None], axis=1)[:, 0]
        return xp.where(at(batch.open_pairs, rows), weight * v, -xp.inf)

    ranking = Ranking(leverages, gain)
    while batch.more:
        pair, _ = ranking.best()
        teacher, affordable = batch.best_teacher(pair), batch.affordable
        weight = float(weights[pair, teacher])
        batch.take(pair, teacher, weight * float(leverages.bounds[pair]))
        leverages.add(pair, weight)
        # A less rational teacher may teach more: with the sharpest gone a gain can rise.
        ranking.again(slice(pair, pair + 1) if batch.affordable == affordable else None)
    return batch.picks()

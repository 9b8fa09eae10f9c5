"""Conversation-only selection: D-optimal in the pair, the teacher not chosen by what they teach."""

from ..pool import Belief, Picks, Pool
from .batch import Batch, Leverages, Rng, first_best, fisher_weights, nth_true


def conversation_only(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """A uniformly random available teacher j first, then argmax_i of w_ij z_i' H^-1 z_i.

    Source: the ablation of arXiv 2410.02504 that drops the choice of the teacher.
    """
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(pool, belief.theta)
    leverages = Leverages(pool.z, belief.information)
    while batch.more:
        flags = xp.any(batch.open, axis=0)
        teacher = nth_true(xp, flags, int(rng.integers(int(xp.count_nonzero(flags)))))
        gain = weights[:, teacher] * leverages.values
        pair = first_best(xp, gain, batch.open[:, teacher])
        batch.take(pair, teacher, float(gain[pair]))
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()


def conversation_only_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i of w_ij z_i' H^-1 z_i, where j is the most rational available teacher of pair i."""
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(pool, belief.theta)
    leverages = Leverages(pool.z, belief.information)
    b = xp.take(pool.rationality, pool.context, axis=1).T
    while batch.more:
        sharpest = xp.argmax(xp.where(batch.open, b, -xp.inf), axis=1)
        weight = xp.take_along_axis(weights, sharpest[:, None], axis=1)[:, 0]
        gain = weight * leverages.values
        pair = first_best(xp, gain, batch.open_pairs)
        batch.take(pair, int(sharpest[pair]), float(gain[pair]))
        leverages.add(pair, float(weight[pair]))
    return batch.picks()

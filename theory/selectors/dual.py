"""Dual active selection: the pair and the teacher together, by D-optimality."""

from ..pool import Belief, Picks, Pool
from .batch import Batch, Leverages, Rng, first_best, fisher_weights


def dual(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax over (i, j) of log det(H + w_ij z_i z_i') - log det H, per price.

    By the matrix determinant lemma the gain is log(1 + w_ij z_i' H^-1 z_i), with
    w_ij = b^2 mu'(b theta'z_i), b the rationality of teacher j in the context of pair i.
    H takes w z z' after each pick, theta stays until the batch is labelled (the batch rule is ours).
    Source: Dual Active Learning for RLHF (arXiv 2410.02504). ``rng`` is not used.
    Raises ``ValueError`` as ``Batch`` and ``Leverages`` say.
    """
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(pool, belief.theta)
    leverages = Leverages(pool.z, belief.information)
    teachers = weights.shape[1]
    while batch.more:
        gain = xp.log1p(weights * leverages.values[:, None]) / pool.cost
        best = first_best(xp, xp.reshape(gain, (-1,)), xp.reshape(batch.open, (-1,)))
        pair, teacher = divmod(best, teachers)
        batch.take(pair, teacher, float(gain[pair, teacher]))
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()

"""Teacher-only selection: a random pair, asked of the teacher who tells most about it."""

from ..pool import Belief, Picks, Pool
from .batch import Batch, Rng, first_best, fisher_weights, random_pair


def teacher_only(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """A uniformly random pair i, then argmax_j of w_ij = b^2 mu'(b theta'z_i).

    Not always the most rational teacher: beyond |b m| = 2.3994 a sharp answer is foreseeable.
    Source: the ablation of arXiv 2410.02504 that drops the choice of the pair.
    """
    batch = Batch(pool, belief, budget)
    xp, weights = batch.xp, fisher_weights(batch.pool, batch.belief.theta)
    while batch.more:
        pair = random_pair(batch, rng)
        teacher = first_best(xp, weights[pair, :], batch.open[pair, :])
        batch.take(pair, teacher, float(weights[pair, teacher]))
    return batch.picks()

"""Deliberately broken selectors: what each check has to catch."""

import numpy as np

from ...sim.algorithms import Labelling
from ...sim.kernels.selection import CHOSEN, GAIN, RANDOM_AFTER, Rule
from ...theory.pool import Belief, Picks, Pool
from ...theory.selectors import Rng
from ...theory.selectors.batch import Batch, Leverages, first_best, fisher_weights


def _least_informative(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    batch = Batch(pool, belief, budget)
    weights, leverages = fisher_weights(pool, belief.theta), Leverages(pool.z, belief.information)
    while batch.more:
        score = -np.log1p(weights * leverages.values[:, None]) / pool.cost
        pair, teacher = divmod(first_best(np, score.ravel(), batch.open.ravel()), score.shape[1])
        batch.take(pair, teacher, float(score[pair, teacher]))
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()


def _random_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    batch = Batch(pool, belief, budget)
    weights, leverages = fisher_weights(pool, belief.theta), Leverages(pool.z, belief.information)
    while batch.more:
        score = np.log1p(weights * leverages.values[:, None]) / pool.cost
        pair = first_best(np, score.ravel(), batch.open.ravel()) // score.shape[1]
        teacher = batch.random_teacher(pair, rng)
        batch.take(pair, teacher, float(score[pair, teacher]))
        leverages.add(pair, float(weights[pair, teacher]))
    return batch.picks()


def _top_of_one_ranking(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    batch = Batch(pool, belief, budget)
    weights, leverages = fisher_weights(pool, belief.theta), Leverages(pool.z, belief.information)
    score = np.log1p(weights * leverages.values[:, None]) / pool.cost
    fresh = np.ones(score.shape, dtype=bool)
    while (batch.open & fresh).any():
        best = first_best(np, score.ravel(), (batch.open & fresh).ravel())
        pair, teacher = divmod(best, score.shape[1])
        batch.take(pair, teacher, float(score[pair, teacher]))
        fresh[pair, teacher] = False
    return batch.picks()


LEAST_INFORMATIVE = Labelling("least_informative", _least_informative, Rule(GAIN, CHOSEN, -1, 1))
"""dual's gain negated: the least informative pair and teacher."""

RANDOM_TEACHER = Labelling("dual_random_teacher", _random_teacher, Rule(GAIN, RANDOM_AFTER))
"""The pair by dual, the teacher at random."""

TOP_OF_ONE_RANKING = Labelling("top_of_one_ranking", _top_of_one_ranking, Rule(GAIN, CHOSEN, 1, 0))
"""A batch is the top of one ranking: the information is not updated within it."""

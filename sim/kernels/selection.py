"""Compiled twins of the selectors: one (pair, teacher) at a time, with rank-one updates in a batch.

A selector is a ``Rule``: how the pair is chosen, how the teacher. Ties go to the lowest index, as in
``theory.selectors.batch``.
"""

import math
from collections import namedtuple

import numpy as np

from ...theory.selectors.batch import TIE
from .functions import exp_negative
from .inner import inner
from .linear_algebra import (
    cholesky,
    first_at_least,
    invert_lower,
    largest,
    leverages,
    products,
    scaled_product,
)
from .random import integer_below

# How a pair is chosen: at random; by w v; by v under H; by v under the Gram matrix; by least |margin|.
RANDOM_PAIR, GAIN, LEVERAGE, GRAM_LEVERAGE, MARGIN = range(5)
# How its teacher: at random, at random before the pair, most rational, most informative.
RANDOM_AFTER, RANDOM_FIRST, BEST, CHOSEN = range(4)

Rule = namedtuple("Rule", "pair teacher sign greedy", defaults=(1, 1))
"""sign -1 takes the worst score, greedy 0 the top of one ranking: both only as negative controls."""

RULES = {
    "random": Rule(RANDOM_PAIR, RANDOM_AFTER),
    "random_best_teacher": Rule(RANDOM_PAIR, BEST),
    "dual": Rule(GAIN, CHOSEN),
    "conversation_only": Rule(GAIN, RANDOM_FIRST),
    "conversation_only_best_teacher": Rule(GAIN, BEST),
    "teacher_only": Rule(RANDOM_PAIR, CHOSEN),
    "apo": Rule(LEVERAGE, RANDOM_AFTER),
    "apo_best_teacher": Rule(LEVERAGE, BEST),
    "practical_apo": Rule(GRAM_LEVERAGE, RANDOM_AFTER),
    "practical_apo_best_teacher": Rule(GRAM_LEVERAGE, BEST),
    "uncertainty": Rule(MARGIN, RANDOM_AFTER),
    "uncertainty_best_teacher": Rule(MARGIN, BEST),
}

World = namedtuple(
    "World",
    # zt (d, n); believed (m, n), what the selector takes for each teacher's rationality
    # on each pair; assumed (m, n), what the estimator takes; twin (m, n), the first teacher with the
    # same assumed rationality there; cost (m,); available (m, n), limited: any of it finite
    "zt believed assumed twin cost available limited",
)

Workspace = namedtuple(
    "Workspace",
    # left, taken (m, n): labels obtainable, taken in this batch; counter (4,): the next draw's name;
    # information, of the labels so far at the true theta, gram, lower, inverse, precision (d, d);
    # direction (d,); margin, leverage, work, sharpest (n,); weight, score (m, n); top (m,)
    "left taken counter information gram lower inverse precision direction "
    "margin leverage work sharpest weight score top",
)


def new_workspace(pairs, teachers, dim):
    """Room for one replicate's selections."""
    vectors = ("margin", "leverage", "work", "sharpest")
    matrices = ("information", "gram", "lower", "inverse", "precision")
    return Workspace(
        left=np.zeros((teachers, pairs), np.int64),
        taken=np.zeros((teachers, pairs), np.bool_),
        counter=np.zeros(4, np.int64),
        direction=np.zeros(dim),
        weight=np.zeros((teachers, pairs)),
        score=np.zeros((teachers, pairs)),
        top=np.zeros(teachers),
        **{name: np.zeros(pairs) for name in vectors},
        **{name: np.zeros((dim, dim)) for name in matrices},
    )


@inner
def needs_fit(rule):
    """Whether the rule looks at theta or the information."""
    return (
        rule.teacher == CHOSEN or rule.pair == GAIN or rule.pair == LEVERAGE or rule.pair == MARGIN
    )


@inner
def draw_below(seed, counter, n):
    """Next whole number in 0..n-1; counter = [replicate, round, purpose, index], index advances."""
    k = integer_below(seed, counter[0], counter[1], counter[2], counter[3], n)
    counter[3] += 1
    return k


# Functions called once a pair take arrays, not records: a record's arrays are counted at each call.


@inner
def is_open(left, taken, i, j):
    """Whether teacher j can be asked about pair i."""
    return left[j, i] != 0 and not taken[j, i]


@inner
def pair_open(left, taken, i):
    """Whether anybody can be asked about pair i."""
    for j in range(left.shape[0]):
        if left[j, i] != 0 and not taken[j, i]:
            return True
    return False


@inner
def _teacher_open(left, taken, j):
    for i in range(left.shape[1]):
        if left[j, i] != 0 and not taken[j, i]:
            return True
    return False


@inner
def _random_pair(world, ws, seed, counter):
    n = ws.left.shape[1]
    if not world.limited:
        return draw_below(seed, counter, n)
    count = 0
    for i in range(n):
        count += pair_open(ws.left, ws.taken, i)
    k = draw_below(seed, counter, count)
    for i in range(n):
        if pair_open(ws.left, ws.taken, i):
            if k == 0:
                return i
            k -= 1
    return n - 1


@inner
def open_teachers(left, taken, i):
    """How many teachers can be asked about pair i."""
    count = 0
    for j in range(left.shape[0]):
        count += is_open(left, taken, i, j)
    return count


@inner
def nth_open_teacher(left, taken, i, k):
    """The k-th (from 0) of those teachers; the last teacher where there are fewer."""
    m = left.shape[0]
    for j in range(m):
        if is_open(left, taken, i, j):
            if k == 0:
                return j
            k -= 1
    return m - 1


@inner
def _random_teacher(ws, i, seed, counter):
    k = draw_below(seed, counter, open_teachers(ws.left, ws.taken, i))
    return nth_open_teacher(ws.left, ws.taken, i, k)


@inner
def _random_first_teacher(ws, seed, counter):
    m = ws.left.shape[0]
    count = 0
    for j in range(m):
        count += _teacher_open(ws.left, ws.taken, j)
    k = draw_below(seed, counter, count)
    for j in range(m):
        if _teacher_open(ws.left, ws.taken, j):
            if k == 0:
                return j
            k -= 1
    return m - 1


@inner
def random_cell(world, ws, seed, counter):
    """A uniformly random open (pair, teacher), in (pair, teacher) order: the warm-up."""
    m, n = ws.left.shape
    if not world.limited:
        k = draw_below(seed, counter, n * m)
        return k // m, k % m
    count = 0
    for i in range(n):
        for j in range(m):
            count += is_open(ws.left, ws.taken, i, j)
    k = draw_below(seed, counter, count)
    for i in range(n):
        for j in range(m):
            if is_open(ws.left, ws.taken, i, j):
                if k == 0:
                    return i, j
                k -= 1
    return n - 1, m - 1


@inner
def best_teacher(world, ws, i):
    """The most rational open teacher of pair i (ties to the lowest index), -1 where none is."""
    best = -1
    for j in range(ws.left.shape[0]):
        if is_open(ws.left, ws.taken, i, j) and (
            best < 0 or world.believed[j, i] > world.believed[best, i]
        ):
            best = j
    return best


@inner
def _size(score):
    """Largest |score| among the allowed (> -inf)."""
    best = 0.0
    for i in range(score.size):
        if score[i] > -np.inf and abs(score[i]) > best:
            best = abs(score[i])
    return best


@inner
def _first_best(score):
    floor = largest(score) - TIE * _size(score)
    i = first_at_least(score, score.size, floor)
    return i if i < score.size else 0


@inner
def _jointly_best(world, ws, sign, masked):
    """argmax over (pair, teacher) of sign log(1 + w v) / cost, first in (pair, teacher) order.

    The logarithm is monotone and a price belongs to a teacher: one logarithm a teacher is enough.
    """
    m, n = ws.score.shape
    best, size = -np.inf, 0.0
    for j in range(m):
        gain = ws.score[j]
        scaled_product(sign, ws.weight[j], ws.leverage, gain)
        if masked:
            left, taken = ws.left[j], ws.taken[j]
            for i in range(n):
                if left[i] == 0 or taken[i]:
                    gain[i] = -np.inf
        top = largest(gain)
        ws.top[j] = top
        if top == -np.inf:
            continue
        best = max(best, sign * math.log1p(sign * top) / world.cost[j])
        size = max(size, math.log1p(top if sign > 0 else _size(gain)) / world.cost[j])
    floor = best - TIE * size
    low_pair, low_teacher = n, 0
    for j in range(m):
        need = sign * math.expm1(sign * floor * world.cost[j])
        if ws.top[j] >= need:
            i = first_at_least(ws.score[j], low_pair, need)
            if i < low_pair:
                low_pair, low_teacher = i, j
    return low_pair, low_teacher


@inner
def _score_pairs(world, ws, rule):
    """ws.work: the rule's score of each pair, -inf where nothing can be asked."""
    score, leverage, n = ws.work, ws.leverage, ws.work.size
    if rule.pair == GAIN:  # with the weight of the most rational open teacher
        sharpest = ws.sharpest
        for i in range(n):
            sharpest[i] = score[i] = -np.inf
        for j in range(ws.left.shape[0]):
            left, taken, b, w = ws.left[j], ws.taken[j], world.believed[j], ws.weight[j]
            for i in range(n):
                if left[i] != 0 and not taken[i] and b[i] > sharpest[i]:
                    sharpest[i] = b[i]
                    score[i] = w[i] * leverage[i]
        return
    if rule.pair == MARGIN:
        margin = ws.margin
        for i in range(n):
            score[i] = -abs(margin[i])
    else:
        for i in range(n):
            score[i] = leverage[i]
    if world.limited or rule.greedy == 0:
        left, taken = ws.left, ws.taken
        for i in range(n):
            if not pair_open(left, taken, i):
                score[i] = -np.inf


@inner
def most_informative_teacher(ws, i):
    """The open teacher of pair i with the largest Fisher weight."""
    m = ws.left.shape[0]
    best = -np.inf
    for j in range(m):
        if is_open(ws.left, ws.taken, i, j):
            best = max(best, ws.weight[j, i])
    for j in range(m):
        if is_open(ws.left, ws.taken, i, j) and ws.weight[j, i] >= best - TIE * best:
            return j
    return 0


@inner
def _teacher(world, ws, rule, i, seed, counter):
    if rule.teacher == RANDOM_AFTER:
        return _random_teacher(ws, i, seed, counter)
    if rule.teacher == BEST:
        return best_teacher(world, ws, i)
    return most_informative_teacher(ws, i)


@inner
def choose(world, ws, rule, seed, counter):
    """One (pair, teacher) by the rule, at the prepared weights and leverages."""
    if rule.pair == RANDOM_PAIR:
        i = _random_pair(world, ws, seed, counter)
        return i, _teacher(world, ws, rule, i, seed, counter)
    if rule.pair == GAIN and rule.teacher == RANDOM_FIRST:
        j = _random_first_teacher(ws, seed, counter)
        score, leverage, weight = ws.work, ws.leverage, ws.weight[j]
        left, taken = ws.left[j], ws.taken[j]
        for i in range(score.size):
            score[i] = weight[i] * leverage[i] if left[i] != 0 and not taken[i] else -np.inf
        return _first_best(score), j
    if rule.pair == GAIN and rule.teacher != BEST:
        i, j = _jointly_best(world, ws, rule.sign, world.limited or rule.greedy == 0)
        return i, j if rule.teacher == CHOSEN else _random_teacher(ws, i, seed, counter)
    _score_pairs(world, ws, rule)
    i = _first_best(ws.work)
    return i, _teacher(world, ws, rule, i, seed, counter)


@inner
def _weights(world, ws):
    """ws.weight (m, n): Fisher weights at the believed rationality."""
    m, n = ws.weight.shape
    margin = ws.margin
    for j in range(m):
        w, b = ws.weight[j], world.believed[j]
        for i in range(n):
            e = exp_negative(-abs(b[i] * margin[i]))
            s = 1.0 + e
            w[i] = b[i] * b[i] * e / (s * s)


@inner
def prepare(world, ws, rule, fit):
    """Weights and leverages at the current belief; False where the matrix is singular."""
    n = world.zt.shape[1]
    if needs_fit(rule):
        products(world.zt, fit.theta, n, ws.margin)
        if rule.pair != MARGIN:
            _weights(world, ws)
    if rule.pair == GAIN or rule.pair == LEVERAGE:
        invert_lower(fit.lower, ws.inverse)
    elif rule.pair == GRAM_LEVERAGE:
        if not cholesky(ws.gram, ws.lower):
            return False
        invert_lower(ws.lower, ws.inverse)
    else:
        return True
    leverages(world.zt, ws.inverse, n, ws.work, ws.leverage)
    return True


@inner
def start_batch(ws):
    """ws.precision = inverse' inverse: the explicit inverse that a batch keeps current."""
    d = ws.inverse.shape[0]
    for i in range(d):
        for j in range(d):
            s = 0.0
            for k in range(max(i, j), d):
                s += ws.inverse[k, i] * ws.inverse[k, j]
            ws.precision[i, j] = s


@inner
def absorb(world, ws, rule, i, j):
    """Sherman-Morrison: the leverages after the pick's weight * z_i z_i' joined the matrix."""
    d, n = world.zt.shape
    weight = 1.0 if rule.pair == GRAM_LEVERAGE else ws.weight[j, i]
    g = ws.direction
    own = 0.0
    for k in range(d):
        s = 0.0
        for q in range(d):
            s += ws.precision[k, q] * world.zt[q, i]
        g[k] = s
        own += s * world.zt[k, i]
    scale = weight / (1.0 + weight * own)
    for k in range(d):
        for q in range(d):
            ws.precision[k, q] -= scale * g[k] * g[q]
    products(world.zt, g, n, ws.work)
    for p in range(n):
        ws.leverage[p] -= scale * ws.work[p] * ws.work[p]

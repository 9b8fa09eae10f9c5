"""What each rule does on a prompt: compiled twins of the files in ``sim.algorithms``."""

import math
from collections import namedtuple

import numpy as np

from ...theory.selectors.batch import TIE
from .inner import inner
from .random import PLAY, SELECT, integer_below, uniform

APPO, OPPO, MAXINP, COLSTIM, THOMPSON, RANDOM_QUERY, GREEDY = range(7)
CLIP = 1.0  # of the optimistic advantage
TWO_PI = 2.0 * math.pi

Rule = namedtuple(
    "Rule", "kind radius threshold step_size tested_pair trim scale probability budget"
)
"""What ``sim.algorithms`` calls its options; those that a kind lacks are not read."""


@inner
def normal(seed, replicate, t, purpose, index):
    """Standard normal ``index`` of a stream of them: Box and Muller, as ``sim.draws``."""
    even = index - index % 2
    length = math.sqrt(-2.0 * math.log1p(-uniform(seed, replicate, t, purpose, even)))
    angle = TWO_PI * uniform(seed, replicate, t, purpose, even + 1)
    return length * (math.cos(angle) if index == even else math.sin(angle))


@inner
def look(world, x, theta, state):
    """Estimates and whitened features of prompt x."""
    if state.fresh[x]:
        return
    phi, white = world.features[x], state.white[x]
    for i in range(phi.shape[0]):
        state.estimate[x, i] = whiten(phi, i, theta, state.inverse, white)
    state.fresh[x] = 1


@inner
def whiten(phi, i, theta, inverse, white):
    """Row i of ``white``: gram's inverse factor times phi_i; returns the estimate theta'phi_i."""
    s = 0.0
    for k in range(theta.size):
        s += theta[k] * phi[i, k]
        w = 0.0
        for q in range(k + 1):
            w += inverse[k, q] * phi[i, q]
        white[i, k] = w
    return s


@inner
def length(white, i, j):
    """||phi_i - phi_j||_{gram^-1}."""
    s = 0.0
    for k in range(white.shape[1]):
        a = white[i, k] - white[j, k]
        s += a * a
    return math.sqrt(s)


@inner
def lowest_best(score):
    """Index of the largest score; of ties (within ``TIE`` of the largest |score|) the lowest."""
    best, size = -np.inf, 0.0
    for i in range(score.size):
        best, size = max(best, score[i]), max(size, abs(score[i]))
    for i in range(score.size):
        if score[i] >= best - TIE * size:
            return i
    return 0


@inner
def advantage(white, estimate, y, second, radius):
    """min(theta_hat'z + radius ||z||_{gram^-1}, 1) of arm y against ``second``."""
    return min(estimate[y] - estimate[second] + radius * length(white, y, second), CLIP)


@inner
def _advantages(x, second, radius, state):
    """state.score: the advantage of every arm against ``second``."""
    white, estimate = state.white[x], state.estimate[x]
    for y in range(estimate.size):
        state.score[y] = advantage(white, estimate, y, second, radius)


@inner
def fill_table(world, rule, x, theta, state):
    """What APPO does on prompt x against each second arm."""
    look(world, x, theta, state)
    for second in range(state.score.size):
        _advantages(x, second, rule.radius, state)
        first = lowest_best(state.score)
        state.first[x, second] = first
        state.ask[x, second] = length(state.white[x], first, second) > rule.threshold
    state.table[x] = 1


@inner
def improve(world, rule, second, theta, state):
    """pi(y|x) exp(step_size Dhat(x, y)) for every prompt."""
    if rule.step_size == 0.0:
        return
    for x in range(state.fresh.size):
        look(world, x, theta, state)
        _advantages(x, second, rule.radius, state)
        for y in range(state.score.size):
            state.log_weights[x, y] += rule.step_size * state.score[y]


@inner
def draw_weighted(weights, u, score):
    """The first arm whose cumulative weight exceeds u times the sum."""
    top, total = -np.inf, 0.0
    for y in range(weights.size):
        top = max(top, weights[y])
    for y in range(weights.size):
        total += math.exp(weights[y] - top)
        score[y] = total
    for y in range(weights.size):
        if u * total < score[y]:
            return y
    return 0


@inner
def choose(world, rule, seed, replicate, t, x, asked, theta, root, state):
    """Every rule but APPO: first arm, second arm, whether to ask; ``root`` factors the information."""
    a = state.score.size
    look(world, x, theta, state)
    if rule.kind == OPPO:
        second = integer_below(seed, replicate, t, SELECT, 0, a)
        u = uniform(seed, replicate, t, PLAY, 0)
        return draw_weighted(state.log_weights[x], u, state.score), second, True
    if rule.kind == MAXINP:
        first, second = _most_informative(x, rule.radius, state)
        return first, second, True
    if rule.kind == COLSTIM:
        return _contest(seed, replicate, t, x, rule, state)
    if rule.kind == THOMPSON:
        d = theta.size
        first = _sampled_best(
            world.features[x], seed, replicate, t, 0, rule.scale, theta, root, state
        )
        second = _sampled_best(
            world.features[x], seed, replicate, t, d + d % 2, rule.scale, theta, root, state
        )
        return first, second, True
    first = lowest_best(state.estimate[x])
    if rule.kind == RANDOM_QUERY:
        second = integer_below(seed, replicate, t, SELECT, 0, a - 1)
        second += second >= first
        ask = uniform(seed, replicate, t, SELECT, 1) < rule.probability and asked < rule.budget
        return first, second, ask
    return first, runner_up(state.estimate[x], first), True


@inner
def runner_up(score, first):
    """The best arm but one."""
    best, size = -np.inf, 0.0
    for i in range(score.size):
        if i != first:
            best, size = max(best, score[i]), max(size, abs(score[i]))
    for i in range(score.size):
        if i != first and score[i] >= best - TIE * size:
            return i
    return first


@inner
def _most_informative(x, radius, state):
    """MaxInP: of the arms that no other surely beats, the pair farthest apart; the better one first."""
    white, estimate, chance = state.white[x], state.estimate[x], state.chance
    a, size = estimate.size, 0.0
    for i in range(a):
        for j in range(a):
            chance[i, j] = estimate[i] - estimate[j] + radius * length(white, i, j)
            size = max(size, abs(chance[i, j]))
    alive, last = 0, 0
    for i in range(a):
        good = True
        for j in range(a):
            good &= chance[i, j] >= -TIE * size
        state.score[i] = good
        if good:
            alive, last = alive + 1, i
    if alive < 2:
        return last, last
    far = 0.0
    for i in range(a):
        for j in range(i + 1, a):
            if state.score[i] and state.score[j]:
                far = max(far, length(white, i, j))
    for i in range(a):
        for j in range(i + 1, a):
            if state.score[i] and state.score[j] and length(white, i, j) >= far - TIE * far:
                floor = TIE * max(abs(estimate[i]), abs(estimate[j]))
                return (i, j) if estimate[i] >= estimate[j] - floor else (j, i)
    return last, last


@inner
def _contest(seed, replicate, t, x, rule, state):
    """CoLSTIM: the first arm by perturbed estimates, the second its strongest optimistic rival."""
    white, estimate, score = state.white[x], state.estimate[x], state.score
    for i in range(score.size):
        u = uniform(seed, replicate, t, SELECT, i)
        score[i] = perturbed(white, estimate, i, u, rule.trim)
    first = lowest_best(score)
    for i in range(score.size):
        score[i] = estimate[i] - estimate[first] + rule.radius * length(white, i, first)
    return first, lowest_best(score), True


@inner
def perturbed(white, estimate, i, u, trim):
    """theta_hat'phi_i + g ||phi_i||_{gram^-1}, g a Gumbel variable made of u, cut at +-trim."""
    s = 0.0
    for k in range(white.shape[1]):
        s += white[i, k] * white[i, k]
    noise = min(max(-math.log(-math.log(max(u, 2.0**-54))), -trim), trim)
    return estimate[i] + noise * math.sqrt(s)


@inner
def _sampled_best(phi, seed, replicate, t, start, scale, theta, root, state):
    """The best arm under theta drawn from N(theta_hat, scale^2 H^-1), H = root root'."""
    d, z = theta.size, state.z
    for k in range(d):
        z[k] = normal(seed, replicate, t, SELECT, start + k)
    for k in range(d - 1, -1, -1):
        s = z[k]
        for q in range(k + 1, d):
            s -= root[q, k] * z[q]
        z[k] = s / root[k, k]
    for i in range(phi.shape[0]):
        s = 0.0
        for k in range(d):
            s += phi[i, k] * (theta[k] + scale * z[k])
        state.score[i] = s
    return lowest_best(state.score)

"""The rules of dueling, by a block: twins of ``sim.kernels.duel_rules``.

Arms, pairs of arms or prompts across the threads; what is a few loads an arm (the best of A scores)
every thread does for itself, which is a barrier less than sharing it. appo and random_query know
between two questions what they will do on every prompt, so a block looks at as many rounds at once
as it has threads (``look_ahead``): each thread draws its own round's prompt and second arm and looks
the answer up, and one barrier tells whether anybody needs more than that.
"""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple

from numba import cuda

from ....theory.selectors.batch import TIE
from ..duel_rules import (
    APPO,
    COLSTIM,
    MAXINP,
    OPPO,
    RANDOM_QUERY,
    THOMPSON,
    advantage,
    length,
    lowest_best,
    normal,
    perturbed,
    runner_up,
    whiten,
)
from ..random import CONTEXT, PLAY, SELECT, integer_below, uniform
from .block import COLUMNS, first, forgotten, here, largest

State = namedtuple(
    "State",
    # white (X, A, d): L^-1 phi, gram = L L', and estimate (X, A): theta_hat'phi, of the prompts whose fresh
    # (X,) is the current version; log_weights (X, A); answer (X, A): see below; score, rival (A,),
    # chance (A, A); cell_of (X, A, A) int32; truth (d, d): information at the true theta.
    # Shared memory: gram, inverse (d, d): L^-1; z, half (d,), scratch
    "white estimate log_weights answer fresh score rival chance cell_of truth gram inverse z half "
    "scratch",
)

# answer[x, second] = version << 32 | first << 1 | ask: one word, so that whoever reads it while another
# thread writes the same answer sees all of it or nothing; an older version counts as nothing
_VERSION = 32
_ARM = (1 << 31) - 1


@cuda.jit(device=True)
def _arm(answer):
    return (answer >> 1) & _ARM


@cuda.jit(device=True)
def look(world, x, theta, state):
    """Estimates and whitened features of prompt x, an arm a thread. One barrier."""
    phi, white = world.features[x], state.white[x]
    i, threads = here()
    while i < phi.shape[0]:
        state.estimate[x, i] = whiten(phi, i, theta, state.inverse, white)
        i += threads
    cuda.syncthreads()


@cuda.jit(device=True)
def _estimate(phi, i, theta):
    s = 0.0
    k = 0
    while k < theta.size:
        s += theta[k] * phi[i, k]
        k += 1
    return s


@cuda.jit(device=True)
def _greedy_arm(phi, theta):
    """The arm with the largest estimate, by one thread; the second pass makes the same numbers."""
    best, size = -math.inf, 0.0
    i = 0
    while i < phi.shape[0]:
        s = _estimate(phi, i, theta)
        best, size = max(best, s), max(size, abs(s))
        i += 1
    i = 0
    while i < phi.shape[0]:
        if _estimate(phi, i, theta) >= best - TIE * size:
            return i
        i += 1
    return 0


@cuda.jit(device=True)
def _optimistic_arm(x, second, radius, state):
    """The arm with the largest advantage over ``second``, by one thread, as ``_greedy_arm``."""
    white, estimate = state.white[x], state.estimate[x]
    best, size = -math.inf, 0.0
    y = 0
    while y < estimate.size:
        s = advantage(white, estimate, y, second, radius)
        best, size = max(best, s), max(size, abs(s))
        y += 1
    y = 0
    while y < estimate.size:
        if advantage(white, estimate, y, second, radius) >= best - TIE * size:
            return y
        y += 1
    return 0


@cuda.jit(device=True)
def look_ahead(world, rule, seed, replicate, t, end, version, asked, theta, state):
    """The first round of t..end-1 that asks (``end``: none does), this thread's prompt and first arm.

    This thread's round is t + its number. Where nobody asks and every answer is known: one barrier.
    """
    if rule.kind == APPO:
        return _appo_ahead(world, rule, seed, replicate, t, end, version, theta, state)
    return _random_ahead(world, rule, seed, replicate, t, end, version, asked, theta, state)


@cuda.jit(device=True)
def _appo_ahead(world, rule, seed, replicate, t, end, version, theta, state):
    x, second, answer, stale = 0, 0, 0, False
    mine = t + cuda.threadIdx.x
    if mine < end:
        x = integer_below(forgotten(seed), replicate, mine, CONTEXT, 0, state.answer.shape[0])
        second = integer_below(forgotten(seed), replicate, mine, SELECT, 0, state.answer.shape[1])
        answer = state.answer[x, second]
        stale = answer >> _VERSION != version
    if not cuda.syncthreads_or(1 if stale or answer & 1 else 0):
        return end, x, _arm(answer)
    _look_at_all(world, x if stale and state.fresh[x] != version else -1, theta, state)
    if stale:
        state.fresh[x] = version
        best = _optimistic_arm(x, second, rule.radius, state)
        ask = length(state.white[x], best, second) > rule.threshold
        answer = version << _VERSION | best << 1 | int(ask)
        state.answer[x, second] = answer
    return first(mine if answer & 1 else end, state.scratch), x, _arm(answer)


@cuda.jit(device=True)
def _look_at_all(world, x, theta, state):
    """``look`` at every thread's prompt x (-1: none). Two barriers."""
    t, threads = here()
    scratch = state.scratch
    scratch[t] = x
    cuda.syncthreads()
    i = t // COLUMNS
    while i < threads:
        own = int(scratch[i])
        if own >= 0:
            phi, white = world.features[own], state.white[own]
            a = t % COLUMNS
            while a < phi.shape[0]:
                state.estimate[own, a] = whiten(phi, a, theta, state.inverse, white)
                a += COLUMNS
        i += threads // COLUMNS
    cuda.syncthreads()


@cuda.jit(device=True)
def _random_ahead(world, rule, seed, replicate, t, end, version, asked, theta, state):
    x, answer, ask = 0, 0, False
    mine = t + cuda.threadIdx.x
    if mine < end:
        x = integer_below(forgotten(seed), replicate, mine, CONTEXT, 0, state.answer.shape[0])
        answer = state.answer[x, 0]
        if answer >> _VERSION != version:
            answer = version << _VERSION | _greedy_arm(world.features[x], theta) << 1
            state.answer[x, 0] = answer
        ask = (
            uniform(forgotten(seed), replicate, mine, SELECT, 1) < rule.probability
            and asked < rule.budget
        )
    if not cuda.syncthreads_or(1 if ask else 0):
        return end, x, _arm(answer)
    return first(mine if ask else end, state.scratch), x, _arm(answer)


@cuda.jit(device=True)
def improve(world, rule, second, version, theta, state):
    """pi(y|x) exp(step_size Dhat(x, y)) for every prompt. One barrier."""
    if rule.step_size == 0.0:
        return
    t, threads = here()
    row, rows, column = t // COLUMNS, threads // COLUMNS, t % COLUMNS
    x = row
    while x < state.fresh.size:
        if state.fresh[x] != version:
            phi, white = world.features[x], state.white[x]
            y = column
            while y < phi.shape[0]:
                state.estimate[x, y] = whiten(phi, y, theta, state.inverse, white)
                y += COLUMNS
        x += rows
    cuda.syncthreads()
    x = row
    while x < state.fresh.size:
        white, estimate = state.white[x], state.estimate[x]
        y = column
        while y < estimate.size:
            gain = advantage(white, estimate, y, second, rule.radius)
            state.log_weights[x, y] += rule.step_size * gain
            y += COLUMNS
        x += rows


@cuda.jit(device=True)
def draw_weighted(weights, u, score):
    """The first arm whose cumulative weight exceeds u times the sum. One barrier."""
    top = -math.inf
    y = 0
    while y < weights.size:
        top = max(top, weights[y])
        y += 1
    y, threads = here()
    while y < weights.size:
        score[y] = math.exp(weights[y] - top)
        y += threads
    cuda.syncthreads()
    total, so_far = 0.0, 0.0
    y = 0
    while y < weights.size:
        total += score[y]
        y += 1
    y = 0
    while y < weights.size:
        so_far += score[y]
        if u * total < so_far:
            return y
        y += 1
    return 0


@cuda.jit(device=True)
def choose(world, rule, seed, replicate, t, x, asked, theta, root, state):
    """First arm, second arm, whether to ask. ``root``: inverse factor of the information."""
    a = state.score.size
    if rule.kind == APPO or rule.kind == OPPO:
        second = integer_below(forgotten(seed), replicate, t, SELECT, 0, a)
        if rule.tested_pair:
            return _arm(state.answer[x, second]), second, True
        u = uniform(forgotten(seed), replicate, t, PLAY, 0)
        return draw_weighted(state.log_weights[x], u, state.score), second, True
    if rule.kind == MAXINP:
        look(world, x, theta, state)
        one, other = _most_informative(x, rule.radius, state)
        return one, other, True
    if rule.kind == COLSTIM:
        look(world, x, theta, state)
        return _contest(seed, replicate, t, x, rule, state)
    if rule.kind == THOMPSON:
        return _thompson(world.features[x], seed, replicate, t, rule, theta, root, state)
    i, threads = here()
    while i < a:
        state.score[i] = _estimate(world.features[x], i, theta)
        i += threads
    cuda.syncthreads()
    best = lowest_best(state.score)
    if rule.kind == RANDOM_QUERY:
        second = integer_below(forgotten(seed), replicate, t, SELECT, 0, a - 1)
        second += second >= best
        ask = (
            uniform(forgotten(seed), replicate, t, SELECT, 1) < rule.probability
            and asked < rule.budget
        )
        return best, second, ask
    return best, runner_up(state.score, best), True


@cuda.jit(device=True)
def _most_informative(x, radius, state):
    """MaxInP: of the arms that no other surely beats, the pair farthest apart; the better one first."""
    white, estimate, chance = state.white[x], state.estimate[x], state.chance
    t, threads = here()
    a, size = state.score.size, 0.0
    row, rows, column = t // COLUMNS, threads // COLUMNS, t % COLUMNS
    i = row
    while i < a:
        j = column
        while j < a:
            chance[i, j] = estimate[i] - estimate[j] + radius * length(white, i, j)
            size = max(size, abs(chance[i, j]))
            j += COLUMNS
        i += rows
    size = largest(size, state.scratch)
    i = t
    while i < a:
        good = True
        j = 0
        while j < a:
            good &= chance[i, j] >= -TIE * size
            j += 1
        state.score[i] = good
        i += threads
    cuda.syncthreads()
    alive, last, far = 0, 0, 0.0
    i = 0
    while i < a:
        if state.score[i]:
            alive, last = alive + 1, i
        i += 1
    if alive < 2:
        return last, last
    i = row
    while i < a:
        j = column
        while j < a:
            chance[i, j] = -1.0
            if i < j and state.score[i] and state.score[j]:
                chance[i, j] = length(white, i, j)
                far = max(far, chance[i, j])
            j += COLUMNS
        i += rows
    far = largest(far, state.scratch)
    found = a * a
    i = row
    while i < a:
        j = column
        while j < a:
            if i < j and chance[i, j] >= far - TIE * far:
                found = min(found, i * a + j)
            j += COLUMNS
        i += rows
    found = first(found, state.scratch)
    i = found // a
    j = found - i * a
    floor = TIE * max(abs(estimate[i]), abs(estimate[j]))
    return (i, j) if estimate[i] >= estimate[j] - floor else (j, i)


@cuda.jit(device=True)
def _contest(seed, replicate, t, x, rule, state):
    """CoLSTIM: the first arm by perturbed estimates, the second its strongest optimistic rival."""
    white, estimate, score, rival = state.white[x], state.estimate[x], state.score, state.rival
    i, threads = here()
    while i < score.size:
        u = uniform(forgotten(seed), replicate, t, SELECT, i)
        score[i] = perturbed(white, estimate, i, u, rule.trim)
        i += threads
    cuda.syncthreads()
    best = lowest_best(score)
    i, threads = here()
    while i < score.size:
        rival[i] = estimate[i] - estimate[best] + rule.radius * length(white, i, best)
        i += threads
    cuda.syncthreads()
    return best, lowest_best(rival), True


@cuda.jit(device=True)
def _thompson(phi, seed, replicate, t, rule, theta, root, state):
    """The best arms under two draws from N(theta_hat, scale^2 H^-1), H^-1 = root' root."""
    d = theta.size
    _sampled(phi, seed, replicate, t, 0, rule.scale, theta, root, state, state.score)
    _sampled(phi, seed, replicate, t, d + d % 2, rule.scale, theta, root, state, state.rival)
    return lowest_best(state.score), lowest_best(state.rival), True


@cuda.jit(device=True)
def _sampled(phi, seed, replicate, t, start, scale, theta, root, state, score):
    """Every arm's reward under theta + scale root' normals. Three barriers."""
    d, own, draws = theta.size, state.z, state.scratch
    k, threads = here()
    while k < d:
        draws[k] = normal(forgotten(seed), replicate, t, SELECT, start + k)
        k += threads
    cuda.syncthreads()
    k, threads = here()
    while k < d:
        s = 0.0
        q = k
        while q < d:
            s += root[q, k] * draws[q]
            q += 1
        own[k] = theta[k] + scale * s
        k += threads
    cuda.syncthreads()
    i, threads = here()
    while i < phi.shape[0]:
        score[i] = _estimate(phi, i, own)
        i += threads
    cuda.syncthreads()

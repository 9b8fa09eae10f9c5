"""The selectors, by a block: twins of ``sim.kernels.selection``, pairs across the threads.

What a choice costs with n pairs, m teachers, d features over the threads: n m Fisher weights and
n d (d + 1) / 2 multiply-adds for the leverages in ``prepare``; for dual n m products, twice, and five
barriers in ``choose``. A limited pool's random draws cost four barriers more. What one thread can do
in a few loads (the m teachers of a pair, a draw) every thread does.
"""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple

from numba import cuda

from ....theory.selectors.batch import TIE
from ..functions import fisher_weight
from ..random import integer_below
from ..selection import (
    BEST,
    CHOSEN,
    GAIN,
    GRAM_LEVERAGE,
    LEVERAGE,
    MARGIN,
    RANDOM_FIRST,
    RANDOM_PAIR,
    best_teacher,
    is_open,
    most_informative_teacher,
    needs_fit,
    nth_open_teacher,
    open_teachers,
    pair_open,
)
from .block import (
    LANES,
    count_before,
    first,
    forgotten,
    here,
    invert_factor,
    largest_two,
    leverage,
    product,
    share_of,
)

Workspace = namedtuple(
    "Workspace",
    # left (m, n) int32, taken (m, n): labels obtainable, taken in this batch; gram (d, d); leverage, score (n,); weight (m, n); top (2, m).
    # Shared memory: inverse (padded(d), d), precision (d, d), direction (d,), scratch. share: Share
    "left taken gram leverage score weight top inverse precision direction scratch share",
)

Share = namedtuple("Share", "teacher part parts slots")
"""Of the (teacher, pair) cells this thread has the teachers teacher, teacher + slots ... and of each
the pairs part, part + parts ...; neighbouring threads have neighbouring pairs."""

Name = namedtuple("Name", "seed replicate round purpose")
"""What the draws of one selection have in common; they differ in their index."""


@cuda.jit(device=True)
def share_cells(teachers):
    """This thread's share of the cells of so many teachers."""
    t, threads = here()
    slots = min(teachers, threads)
    parts = threads // slots
    teacher = t // parts
    if teacher >= slots:
        return Share(teachers, 0, parts, slots)  # left over
    return Share(teacher, t - teacher * parts, parts, slots)


@cuda.jit(device=True)
def _below(name, index, n):
    return integer_below(forgotten(name.seed), name.replicate, name.round, name.purpose, index, n)


@cuda.jit(device=True)
def _random_pair(world, ws, name, drawn):
    n = ws.left.shape[1]
    if not world.limited:
        return _below(name, drawn, n)
    low, high = share_of(n)
    own = 0
    i = low
    while i < high:
        own += pair_open(ws.left, ws.taken, i)
        i += 1
    before, everything = count_before(own, ws.scratch)
    k = _below(name, drawn, everything) - before
    found = n - 1 if everything == 0 else n
    if 0 <= k < own:
        i = low
        while i < high:
            if pair_open(ws.left, ws.taken, i):
                if k == 0:
                    found = i
                    break
                k -= 1
            i += 1
    return first(found, ws.scratch)


@cuda.jit(device=True)
def random_cell(world, ws, name):
    """A uniformly random open (pair, teacher), in (pair, teacher) order: the warm-up."""
    m, n = ws.left.shape
    if not world.limited:
        k = _below(name, 0, n * m)
        i = k // m
        return i, k - i * m
    low, high = share_of(n)
    own = 0
    i = low
    while i < high:
        own += open_teachers(ws.left, ws.taken, i)
        i += 1
    before, everything = count_before(own, ws.scratch)
    k = _below(name, 0, everything) - before
    found = n
    if 0 <= k < own:
        i = low
        while i < high:
            here = open_teachers(ws.left, ws.taken, i)
            if k < here:
                found = i
                break
            k -= here
            i += 1
    pair = first(found, ws.scratch)
    # the thread that has the pair knows which of its teachers
    teacher = nth_open_teacher(ws.left, ws.taken, pair, k) if pair == found else m
    return pair, first(teacher, ws.scratch)


@cuda.jit(device=True)
def _random_teacher(ws, i, name, drawn):
    k = _below(name, drawn, open_teachers(ws.left, ws.taken, i))
    return nth_open_teacher(ws.left, ws.taken, i, k)


@cuda.jit(device=True)
def _random_first_teacher(ws, name, drawn):
    """A random teacher among those with an open pair; ws.top[0, j] tells who has one."""
    t, threads = here()
    m, n = ws.left.shape
    count = 0
    j = 0
    while j < m:
        mine = 0
        i = t
        while i < n:
            if is_open(ws.left, ws.taken, i, j):
                mine = 1
                break
            i += threads
        if cuda.syncthreads_or(mine):
            count += 1
            if t == 0:
                ws.top[0, j] = 1.0
        elif t == 0:
            ws.top[0, j] = 0.0
        j += 1
    cuda.syncthreads()
    k = _below(name, drawn, count)
    j = 0
    while j < m:
        if ws.top[0, j] > 0.0:
            if k == 0:
                return j
            k -= 1
        j += 1
    return m - 1


@cuda.jit(device=True)
def _first_best(ws):
    """The first pair whose score is within a tie of the best; each thread reads what it wrote."""
    t, threads = here()
    n = ws.score.size
    best, size = -math.inf, 0.0
    i = t
    while i < n:
        s = ws.score[i]
        best = max(best, s)
        if s > -math.inf:
            size = max(size, abs(s))
        i += threads
    best, size = largest_two(best, size, ws.scratch)
    floor, found = best - TIE * size, n
    i = t
    while i < n:
        if ws.score[i] >= floor:
            found = i
            break
        i += threads
    found = first(found, ws.scratch)
    return found if found < n else 0


@cuda.jit(device=True)
def _jointly_best(world, ws, sign, masked):
    """argmax over (pair, teacher) of sign log(1 + w v) / cost, first in (pair, teacher) order.

    A thread keeps to one teacher (or a few, where they outnumber the threads), so that one logarithm
    a teacher is enough.
    """
    m, n = ws.left.shape
    share, top = ws.share, ws.top
    _tops(ws, sign, masked)
    j, threads = here()
    while j < m:
        high, wide = top[0, j], top[1, j]
        if high > -math.inf:
            top[0, j] = sign * math.log1p(sign * high) / world.cost[j]
            top[1, j] = math.log1p(high if sign > 0 else wide) / world.cost[j]
        j += threads
    cuda.syncthreads()
    best, size = -math.inf, 0.0
    j = 0
    while j < m:
        best, size = max(best, top[0, j]), max(size, top[1, j])
        j += 1
    floor, low = best - TIE * size, n * m
    j = share.teacher
    while j < m:
        need = sign * math.expm1(sign * floor * world.cost[j])
        i = share.part
        while i < n:
            gain = sign * ws.weight[j, i] * ws.leverage[i]
            if gain >= need and (not masked or is_open(ws.left, ws.taken, i, j)):
                low = min(low, i * m + j)
                break
            i += share.parts
        j += share.slots
    low = first(low, ws.scratch)
    pair = low // m
    return pair, low - pair * m


@cuda.jit(device=True)
def _tops(ws, sign, masked):
    """ws.top: each teacher's largest sign w v, and largest w v, among the open; -inf and 0 if none."""
    t, threads = here()
    n = ws.left.shape[1]
    m, share, scratch, second = ws.left.shape[0], ws.share, ws.scratch, threads + LANES
    j = share.teacher
    while j < m:
        high, wide = -math.inf, 0.0
        i = share.part
        while i < n:
            if not masked or is_open(ws.left, ws.taken, i, j):
                gain = ws.weight[j, i] * ws.leverage[i]
                high, wide = max(high, sign * gain), max(wide, gain)
            i += share.parts
        if share.parts == 1:
            ws.top[0, j], ws.top[1, j] = high, wide
        else:
            scratch[t], scratch[second + t] = high, wide
        j += share.slots
    cuda.syncthreads()
    if share.parts > 1:
        if t < m:
            high, wide = -math.inf, 0.0
            i = t * share.parts
            while i < (t + 1) * share.parts:
                high, wide = max(high, scratch[i]), max(wide, scratch[second + i])
                i += 1
            ws.top[0, t], ws.top[1, t] = high, wide
        cuda.syncthreads()


@cuda.jit(device=True)
def _score_pairs(world, ws, rule):
    """ws.score: the rule's score of each pair, -inf where nothing can be asked."""
    masked = world.limited or rule.greedy == 0
    i, threads = here()
    while i < ws.score.size:
        score = -math.inf
        if rule.pair == GAIN:  # with the weight of the most rational open teacher
            j = best_teacher(world, ws, i)
            if j >= 0:
                score = ws.weight[j, i] * ws.leverage[i]
        elif not masked or pair_open(ws.left, ws.taken, i):
            score = -abs(ws.leverage[i]) if rule.pair == MARGIN else ws.leverage[i]
        ws.score[i] = score
        i += threads


@cuda.jit(device=True)
def _teacher(world, ws, rule, i, name, drawn):
    if rule.teacher == BEST:
        return best_teacher(world, ws, i)
    if rule.teacher == CHOSEN:
        return most_informative_teacher(ws, i)
    return _random_teacher(ws, i, name, drawn)


@cuda.jit(device=True)
def choose(world, ws, rule, name, drawn):
    """One (pair, teacher) by the rule, and the number of draws used up so far in this selection."""
    if rule.pair == RANDOM_PAIR:
        i = _random_pair(world, ws, name, drawn)
        draws = 1 if rule.teacher == BEST or rule.teacher == CHOSEN else 2
        return i, _teacher(world, ws, rule, i, name, drawn + 1), drawn + draws
    if rule.pair == GAIN and rule.teacher == RANDOM_FIRST:
        j = _random_first_teacher(ws, name, drawn)
        i, threads = here()
        while i < ws.score.size:
            can = is_open(ws.left, ws.taken, i, j)
            ws.score[i] = ws.weight[j, i] * ws.leverage[i] if can else -math.inf
            i += threads
        return _first_best(ws), j, drawn + 1
    if rule.pair == GAIN and rule.teacher != BEST:
        i, j = _jointly_best(world, ws, rule.sign, world.limited or rule.greedy == 0)
        if rule.teacher != CHOSEN:
            j = _random_teacher(ws, i, name, drawn)
        return i, j, drawn + 1
    _score_pairs(world, ws, rule)
    i = _first_best(ws)
    return i, _teacher(world, ws, rule, i, name, drawn), drawn + 1


@cuda.jit(device=True)
def prepare(world, ws, rule, theta):
    """Weights and leverages at the current belief; False where the matrix is singular.

    After ``maximise`` ws.inverse is the information's. For MARGIN ws.leverage holds the margins.
    """
    d, n = world.zt.shape
    if rule.pair == GRAM_LEVERAGE and not invert_factor(ws.gram, ws.precision, ws.inverse):
        return False
    weights = needs_fit(rule) and rule.pair != MARGIN
    leverages = rule.pair == GAIN or rule.pair == LEVERAGE or rule.pair == GRAM_LEVERAGE
    i, threads = here()
    while i < n:
        if needs_fit(rule):
            margin = product(world.zt, i, theta)
            if rule.pair == MARGIN:
                ws.leverage[i] = margin
            j = 0
            while j < world.cost.size if weights else 0:
                ws.weight[j, i] = fisher_weight(margin, world.believed[j, i])
                j += 1
        if leverages:
            ws.leverage[i] = leverage(world.zt, i, d, ws.inverse)
        i += threads
    cuda.syncthreads()
    return True


@cuda.jit(device=True)
def start_batch(ws):
    """ws.precision = inverse' inverse: the explicit inverse that a batch keeps current."""
    d = ws.precision.shape[0]
    i, threads = here()
    while i < d:
        j = 0
        while j < d:
            s = 0.0
            k = max(i, j)
            while k < d:
                s += ws.inverse[k, i] * ws.inverse[k, j]
                k += 1
            ws.precision[i, j] = s
            j += 1
        i += threads
    cuda.syncthreads()


@cuda.jit(device=True)
def absorb(world, ws, rule, i, j):
    """Sherman-Morrison: the leverages after the pick's weight * z_i z_i' joined the matrix."""
    t, threads = here()
    d, n = world.zt.shape
    weight = 1.0 if rule.pair == GRAM_LEVERAGE else ws.weight[j, i]
    g = ws.direction
    k = t
    while k < d:
        s = 0.0
        q = 0
        while q < d:
            s += ws.precision[k, q] * world.zt[q, i]
            q += 1
        g[k] = s
        k += threads
    cuda.syncthreads()
    own = product(world.zt, i, g)
    scale = weight / (1.0 + weight * own)
    k = t
    while k < d:
        q = 0
        while q < d:
            ws.precision[k, q] -= scale * g[k] * g[q]
            q += 1
        k += threads
    p = t
    while p < n:
        u = product(world.zt, p, g)
        ws.leverage[p] -= scale * u * u
        p += threads
    cuda.syncthreads()

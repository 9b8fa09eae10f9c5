"""One question, by a block: ask, enter the answer, and know better. See ``dueling``."""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple

import numpy as np
from numba import cuda

from ..duel_rules import THOMPSON
from ..functions import fisher_weight, sigmoid
from ..random import LABEL, uniform
from .block import COLUMNS, forgotten, here, invert_factor
from .duel_rules import State
from .refit import Cells, Fit, learn, maximise

Near = namedtuple(
    "Near", "place gram inverse information root factor theta gradient step half z scratch tally"
)
"""A block's shared memory. place: block and row; inverse, root: of the factors of gram and of the
information; factor: room to make them in; tally (5, T): a thread's share of what it
charges, see ``dueling``."""

Book = namedtuple("Book", "asked cells version fitted_at distance")
"""The same in every thread: questions, cells, estimates so far + 1, log det gram at the last fit (NaN: a
matrix is singular), ||theta_hat - theta*||_gram."""


# A block's own views are made where they are used, from ``near.place``, which the compiler has to
# read again behind every barrier: made once, their addresses would stay in registers all the time.


@cuda.jit(device=True)
def state_of(room, near):
    b = near.place[0]
    return State(
        room.white[b],
        room.estimate[b],
        room.log_weights[b],
        room.answer[b],
        room.fresh[b],
        room.score[b],
        room.rival[b],
        room.chance[b],
        room.cell_of[b],
        room.truth[b],
        near.gram,
        near.inverse,
        near.z,
        near.half,
        near.scratch,
    )


@cuda.jit(device=True)
def cells_of(room, near):
    b = near.place[0]
    return Cells(
        room.x[b], room.rows[b], room.trials[b], room.wins[b], room.residual[b], room.weight[b]
    )


@cuda.jit(device=True)
def fit_of(near):
    return Fit(
        near.theta,
        near.gradient,
        near.information,
        near.step,
        near.half,
        near.factor,
        near.root,
        near.scratch,
    )


@cuda.jit(device=True)
def ask_and_learn(world, rule, plan, replicate, t, x, first, second, book, room, out, near):
    """Ask, write the question down, and learn from the answer."""
    margin = world.rewards[x, first] - world.rewards[x, second]
    norm = _difference(world.features, x, first, second, state_of(room, near))
    draw = uniform(forgotten(plan.seed), replicate, t, LABEL, 0)
    label = 1.0 if draw < sigmoid(margin) else 0.0
    q = book.asked
    if cuda.threadIdx.x == 0:
        row = near.place[1]
        if q < plan.record:
            out.query_round[row, q], out.label[row, q], out.norm[row, q] = t, int(label), norm
            out.queried[row, q, 0] = t if world.streaming else x
            out.queried[row, q, 1], out.queried[row, q, 2] = first, second
        out.facts[row, 2] = t
        out.facts[row, 3] += 1 if norm <= rule.threshold else 0
    count, version, fitted_at, distance = book.cells, book.version, book.fitted_at, book.distance
    if first != second:
        sign = 1.0
        if first > second and not world.streaming:
            sign, label = -1.0, 1.0 - label
        cells, state = cells_of(room, near), state_of(room, near)
        count = _enter(world, x, first, second, sign, label, count, cells, state)
        learn(sign, near.z, label, fit_of(near))
        _add_outers(plan.update_gram, fisher_weight(margin, 1.0), state)
        fitted_at = _understand(rule, plan, count, fitted_at, room, near)
        distance = distance_of(near.gram, near.theta, world.theta, near.half)
        version += 1
        if cuda.threadIdx.x == 0:
            row = near.place[1]
            out.distance[row, 0] = max(out.distance[row, 0], distance)
    return Book(q + 1, count, version, fitted_at, distance)


@cuda.jit(device=True)
def _difference(features, x, first, second, state):
    """state.z: the queried pair's feature difference; its length before it is learnt. Two barriers."""
    own, threads = here()
    d = state.z.size
    k = own
    while k < d:
        state.z[k] = features[x, first, k] - features[x, second, k]
        k += threads
    cuda.syncthreads()
    k = own
    while k < d:
        w = 0.0
        q = 0
        while q < k + 1:
            w += state.inverse[k, q] * state.z[q]
            q += 1
        state.half[k] = w
        k += threads
    cuda.syncthreads()
    s = 0.0
    k = 0
    while k < d:
        s += state.half[k] * state.half[k]
        k += 1
    return math.sqrt(s)


@cuda.jit(device=True)
def _enter(world, x, first, second, sign, label, count, cells, state):
    """The answer joins the cell of its comparison; the number of cells. One barrier."""
    own, threads = here()
    cell = np.int64(-1)
    low, high = min(first, second), max(first, second)
    if not world.streaming:
        cell = np.int64(state.cell_of[x, low, high])
    cuda.syncthreads()  # all have read the cell's number
    new = cell < 0
    if new:
        cell = count
        count += 1
        k = own
        while k < state.z.size:
            cells.x[k, cell] = sign * state.z[k]
            cells.rows[cell, k] = sign * state.z[k]
            k += threads
    if own == 0:
        if not world.streaming:
            state.cell_of[x, low, high] = cell
        cells.trials[cell] = 1.0 if new else cells.trials[cell] + 1.0
        cells.wins[cell] = label if new else cells.wins[cell] + label
    return count


@cuda.jit(device=True)
def _add_outers(counts, weight, state):
    """gram += z z' where it counts, truth += weight z z' (lower halves). One barrier."""
    own, threads = here()
    rows, z = threads // COLUMNS, state.z
    i = own // COLUMNS
    while i < z.size:
        j = own % COLUMNS
        while j < i + 1:
            state.truth[i, j] += weight * z[i] * z[j]
            if counts:
                state.gram[i, j] += z[i] * z[j]
            j += COLUMNS
        i += rows
    cuda.syncthreads()


@cuda.jit(device=True)
def _understand(rule, plan, count, fitted_at, room, near):
    """gram's factor, theta and information; where theta was fitted last (NaN: a matrix is singular)."""
    if plan.update_gram and not invert_factor(near.gram, near.factor, near.inverse):
        return math.nan
    if plan.refit_growth != 1.0:
        log_det = _log_det(near.inverse)
        if log_det < fitted_at + math.log(plan.refit_growth):
            # nobody but thompson reads the information's factor before the next fit
            if rule.kind == THOMPSON and not invert_factor(
                near.information, near.factor, near.root
            ):
                return math.nan
            return fitted_at
        fitted_at = log_det
    done = maximise(cells_of(room, near), count, plan.ridge, fit_of(near), False)
    return fitted_at if done else math.nan


@cuda.jit(device=True)
def _log_det(inverse):
    """log det of gram from the inverse of its factor, in every thread."""
    s = 0.0
    k = 0
    while k < inverse.shape[0]:
        s += math.log(inverse[k, k])
        k += 1
    return -2.0 * s


@cuda.jit(device=True)
def distance_of(gram, theta, truth, half):
    """||theta - truth||_gram; gram's lower half is read. One barrier."""
    i, threads = here()
    while i < theta.size:
        a = theta[i] - truth[i]
        s = gram[i, i] * a
        j = 0
        while j < i:
            s += 2.0 * gram[i, j] * (theta[j] - truth[j])
            j += 1
        half[i] = s * a
        i += threads
    cuda.syncthreads()
    s = 0.0
    i = 0
    while i < theta.size:
        s += half[i]
        i += 1
    return math.sqrt(max(s, 0.0))

"""Compiled twin of ``sim.algorithms.labelling``: buy labels from a pool, refit after every batch.

One call runs a range of replicates on one core, without the interpreter's lock. What a label costs,
with n pairs, m teachers, d features and c distinct cells labelled so far: n m Fisher weights,
n d^2 / 2 multiply-adds for the leverages, and a refit of 2 to 4 gradients (c (2 d + exp)) and one
information matrix (c d^2 / 2).
"""

from collections import namedtuple
from typing import Any

import numpy as np
from numba import njit

from .functions import answer_probability
from .inner import inner
from .linear_algebra import add_outer, fill, identity
from .random import LABEL, SELECT, WARM_UP, uniform
from .refit import certainly_exists, evaluate, learn, maximise, new_cells, new_fit
from .selection import (
    GAIN,
    GRAM_LEVERAGE,
    LEVERAGE,
    absorb,
    choose,
    needs_fit,
    new_workspace,
    prepare,
    random_cell,
    start_batch,
)

Truth = namedtuple("Truth", "margin rationality lapse bias drift weight")
"""margin (n,) true theta'z; rationality (m, n); lapse, bias, drift (m,); weight (m, n) at the truth."""

Plan = namedtuple("Plan", "seed horizon warm_up batch ridge final_ridge checkpoints")

Output = namedtuple("Output", "pair teacher label theta information settled")
"""(R, T) pair, teacher, label; (R, c, d) theta; (R, c, d, d) information at the true theta;
(R, c) settled: True where theta is final, False where the plain estimator has to decide."""

SINGULAR = (
    "the information (or Gram) matrix is not positive definite while selecting; "
    "pass a ridge > 0 or a longer warm_up."
)


def new_output(replicates: int, plan: Any, dim: int) -> Output:
    """Room for the results of ``replicates`` runs."""
    c = len(plan.checkpoints)
    return Output(
        np.zeros((replicates, plan.horizon), np.int32),
        np.zeros((replicates, plan.horizon), np.int16),
        np.zeros((replicates, plan.horizon), np.int8),
        np.full((replicates, c, dim), np.nan),
        np.zeros((replicates, c, dim, dim)),
        np.zeros((replicates, c), np.bool_),
    )


def run(
    world: Any,
    truth: Any,
    rule: Any,
    plan: Any,
    first_replicate: int,
    out: Output,
    low: int,
    high: int,
) -> None:
    """Fill rows low..high-1 of ``out`` with replicates first_replicate + row."""
    (d, n), m = world.zt.shape, world.cost.size
    ws, cells = new_workspace(n, m, d), new_cells(d, min(plan.horizon, n * m))
    cell_of = np.empty((m, n), np.int32)
    for row in range(low, high):
        ws.left[:] = world.available
        cell_of[:] = -1
        own = Output(*(array[row] for array in out))
        fits = new_fit(d), new_fit(d)
        if not _replicate(
            world, truth, rule, plan, first_replicate + row, own, ws, cells, cell_of, *fits
        ):
            raise ValueError(SINGULAR)


@njit(nogil=True, cache=True, error_model="numpy")
def _replicate(world, truth, rule, plan, replicate, out, ws, cells, cell_of, fit, final):
    """One replicate, into one row of the output; False where a matrix is singular."""
    counter = ws.counter
    identity(plan.ridge, ws.gram)
    identity(0.0, ws.information)
    # typed zeros: a literal 0 would be compiled into copies of every function it is passed to
    count, bought, mark, fitted = np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
    while bought < plan.horizon:
        size = min(plan.batch, plan.horizon - bought)
        counter[0], counter[1], counter[2], counter[3] = replicate, bought, SELECT, 0
        if bought < plan.warm_up:
            size = 1
            counter[2] = WARM_UP
            i, j = random_cell(world, ws, plan.seed, counter)
            _take(ws, i, j, out, bought)
        else:
            if needs_fit(rule) and fitted != bought:
                if fitted < 0:
                    evaluate(cells, count, plan.ridge, fit)
                if not maximise(cells, count, plan.ridge, fit):
                    return False
                fitted = bought
            if not _select(world, ws, rule, plan.seed, fit, out, bought, size):
                return False
        for t in range(bought, bought + size):
            cell, count = _label(
                world, truth, plan.seed, replicate, t, out, ws, cells, cell_of, count
            )
            if fitted >= 0:
                learn(cells.x, cell, out.label[t], fit)
            if mark < plan.checkpoints.size and t + 1 == plan.checkpoints[mark]:
                _checkpoint(plan, rule, cells, count, fit, final, ws, out, mark)
                mark += 1
        bought += size
    return True


@inner
def _take(ws, i, j, out, t):
    """Question t goes to teacher j on pair i."""
    out.pair[t], out.teacher[t] = i, j
    if ws.left[j, i] > 0:
        ws.left[j, i] -= 1


@inner
def _select(world, ws, rule, seed, fit, out, bought, size):
    """Pick ``size`` questions while theta stands still; False where a matrix is singular."""
    if not prepare(world, ws, rule, fit):
        return False
    leveraged = rule.pair == GAIN or rule.pair == LEVERAGE or rule.pair == GRAM_LEVERAGE
    updates = leveraged and rule.greedy == 1 and size > 1
    if updates:
        start_batch(ws)
    for t in range(bought, bought + size):
        i, j = choose(world, ws, rule, seed, ws.counter)
        _take(ws, i, j, out, t)
        if rule.greedy == 0:
            ws.taken[j, i] = True
        elif updates:
            absorb(world, ws, rule, i, j)
    if rule.greedy == 0:
        fill(False, ws.taken)
    return True


@inner
def _label(world, truth, seed, replicate, t, out, ws, cells, cell_of, count):
    """Ask label t, add it to the sufficient counts and the matrices; its cell, and their number."""
    i, j = out.pair[t], out.teacher[t]
    p = answer_probability(
        truth.margin[i], truth.rationality[j, i], truth.lapse[j], truth.bias[j], truth.drift[j], t
    )
    label = uniform(seed, replicate, t, LABEL, 0) < p
    out.label[t] = label
    z = ws.direction
    for k in range(z.size):
        z[k] = world.zt[k, i]
    add_outer(ws.gram, 1.0, z)
    add_outer(ws.information, truth.weight[j, i], z)
    twin = world.twin[j, i]
    cell = cell_of[twin, i]
    if cell < 0:
        cell = count
        cell_of[twin, i] = cell
        for k in range(z.size):
            cells.x[k, cell] = world.assumed[j, i] * z[k]
        cells.trials[cell] = 0.0
        cells.wins[cell] = 0.0
        count += 1
    cells.trials[cell] += 1.0
    cells.wins[cell] += label
    return cell, count


@inner
def _checkpoint(plan, rule, cells, count, fit, final, ws, out, mark):
    """The estimate reported at a checkpoint, with its own ridge, started from the selector's."""
    d = fit.theta.size
    for k in range(d):
        if needs_fit(rule):
            final.theta[k] = fit.theta[k]
        for q in range(d):
            out.information[mark, k, q] = ws.information[max(k, q), min(k, q)]
    evaluate(cells, count, plan.final_ridge, final)
    out.settled[mark] = maximise(cells, count, plan.final_ridge, final) and (
        plan.final_ridge > 0.0 or certainly_exists(cells, count, final)
    )
    for k in range(d):
        if out.settled[mark]:
            out.theta[mark, k] = final.theta[k]
        else:
            final.theta[k] = 0.0

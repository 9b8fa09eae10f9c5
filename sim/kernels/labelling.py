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
from .linear_algebra import add_outer, identity
from .random import LABEL, SELECT, WARM_UP, uniform
from .refit import certainly_exists, maximise, new_cells, new_fit
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
    capacity = min(plan.horizon, n * m)
    room = (new_workspace(n, m, d), new_cells(d, capacity), new_fit(d), new_fit(d))
    code = _run(world, truth, rule, plan, first_replicate, out, low, high, *room)
    if code:
        raise ValueError(
            "the information (or Gram) matrix is not positive definite while selecting; "
            "pass a ridge > 0 or a longer warm_up."
        )


@njit(nogil=True, error_model="numpy")
def _run(world, truth, rule, plan, first_replicate, out, low, high, ws, cells, fit, final):
    for row in range(low, high):
        code = _replicate(
            world, truth, rule, plan, first_replicate + row, out, row, ws, cells, fit, final
        )
        if code != 0:
            return code
    return 0


@njit(error_model="numpy")
def _replicate(world, truth, rule, plan, replicate, out, row, ws, cells, fit, final):
    d = world.zt.shape[0]
    ws.left[:] = world.available
    identity(plan.ridge, ws.gram)
    fit.theta[:] = 0.0
    final.theta[:] = 0.0
    information = np.zeros((d, d))
    cell_of = np.full(ws.left.shape, -1, np.int32)
    counter = np.zeros(4, np.int64)
    count, bought, mark, fitted = 0, 0, 0, -1
    while bought < plan.horizon:
        size = min(plan.batch, plan.horizon - bought)
        counter[0], counter[1], counter[2], counter[3] = replicate, bought, SELECT, 0
        if bought < plan.warm_up:
            size = 1
            counter[2] = WARM_UP
            i, j = random_cell(world, ws, plan.seed, counter)
            out.pair[row, bought], out.teacher[row, bought] = i, j
            if ws.left[j, i] > 0:
                ws.left[j, i] -= 1
        else:
            if needs_fit(rule) and fitted != bought:
                if not maximise(cells, count, plan.ridge, fit):
                    return 1
                fitted = bought
            if not _select(world, ws, rule, plan.seed, counter, fit, out, row, bought, size):
                return 1
        for t in range(bought, bought + size):
            count = _label(
                world, truth, plan.seed, replicate, t, out, row, ws, cells, cell_of, count
            )
            i, j = out.pair[row, t], out.teacher[row, t]
            add_outer(information, truth.weight[j, i], world.zt[:, i])
            if mark < plan.checkpoints.size and t + 1 == plan.checkpoints[mark]:
                _checkpoint(plan, rule, cells, count, fit, final, out, row, mark)
                out.information[row, mark] = information
                mark += 1
        bought += size
    return 0


@njit(error_model="numpy")
def _select(world, ws, rule, seed, counter, fit, out, row, bought, size):
    """Pick ``size`` questions while theta stands still; False where a matrix is singular."""
    if not prepare(world, ws, rule, fit):
        return False
    leveraged = rule.pair == GAIN or rule.pair == LEVERAGE or rule.pair == GRAM_LEVERAGE
    updates = leveraged and rule.greedy == 1 and size > 1
    if updates:
        start_batch(ws)
    for t in range(bought, bought + size):
        i, j = choose(world, ws, rule, seed, counter)
        out.pair[row, t], out.teacher[row, t] = i, j
        if ws.left[j, i] > 0:
            ws.left[j, i] -= 1
        if rule.greedy == 0:
            ws.taken[j, i] = True
        elif updates:
            absorb(world, ws, rule, i, j)
    if rule.greedy == 0:
        ws.taken[:] = False
    return True


@njit(error_model="numpy")
def _label(world, truth, seed, replicate, t, out, row, ws, cells, cell_of, count):
    """Ask label t, add it to the sufficient counts and the Gram matrix; the number of cells."""
    i, j = out.pair[row, t], out.teacher[row, t]
    p = answer_probability(
        truth.margin[i], truth.rationality[j, i], truth.lapse[j], truth.bias[j], truth.drift[j], t
    )
    label = uniform(seed, replicate, t, LABEL, 0) < p
    out.label[row, t] = label
    add_outer(ws.gram, 1.0, world.zt[:, i])
    twin = world.twin[j, i]
    cell = cell_of[twin, i]
    if cell < 0:
        cell = count
        cell_of[twin, i] = cell
        for k in range(world.zt.shape[0]):
            cells.x[k, cell] = world.assumed[j, i] * world.zt[k, i]
        cells.trials[cell] = 0.0
        cells.wins[cell] = 0.0
        count += 1
    cells.trials[cell] += 1.0
    cells.wins[cell] += label
    return count


@njit(error_model="numpy")
def _checkpoint(plan, rule, cells, count, fit, final, out, row, mark):
    """The estimate reported at a checkpoint, with its own ridge, started from the selector's."""
    if needs_fit(rule):
        final.theta[:] = fit.theta
    if maximise(cells, count, plan.final_ridge, final) and (
        plan.final_ridge > 0.0 or certainly_exists(cells, count, final)
    ):
        out.theta[row, mark] = final.theta
        out.settled[row, mark] = True
    else:
        final.theta[:] = 0.0

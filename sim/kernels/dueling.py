"""Compiled twin of ``sim.algorithms.dueling`` and of every rule beside it.

One call runs a range of replicates on one core, without the interpreter's lock. On a finite world
nothing changes between two queries, so what a rule would do on a prompt is worked out once a query
and prompt and looked up afterwards: a round without a question costs its draws and a few loads. A
query costs the policy on every prompt (X A (d^2/2 + d) multiply-adds), one row of the table and a
refit over the distinct cells (prompt, arm, arm).
"""

import math
from collections import namedtuple
from typing import Any

import numpy as np
from numba import njit

from .duel_rules import APPO, OPPO, choose, draw_weighted, fill_table, improve, normal
from .functions import fisher_weight, sigmoid
from .inner import inner
from .linear_algebra import add_outer, cholesky, identity, invert_lower
from .random import CONTEXT, LABEL, PLAY, SELECT, integer_below, uniform
from .refit import learn, maximise, new_cells, new_fit

SINGULAR = "the Gram matrix stopped being positive definite; pass a larger ridge."

World = namedtuple("World", "features rewards regret theta streaming")
"""features (X, A, d), rewards and regret (X, A) of a finite world; on a stream one prompt of zeros,
filled anew every round."""

Plan = namedtuple("Plan", "seed horizon ridge refit_growth update_gram checkpoints record")
"""record: how many queries are written down in full."""

Output = namedtuple(
    "Output",
    "queries regret regret_both theta information query_round queried label norm facts distance",
)
"""(R, c) queries, regret, regret_both; (R, c, d) theta; (R, c, d, d) information at the true theta; (R, record) query_round, label, norm and
(R, record, 3) queried; (R, 5) facts: unasked rounds with regret, those inside the confidence set, last
query, queries with ||z|| at most the threshold, all queries; (R, 2) distance: largest
||theta_hat - theta*||_gram, regret of the last half."""

State = namedtuple(
    "State",
    # gram, its factor lower and inverse, information at the true theta (d, d); white (X, A, d): L^-1 phi, and estimate (X, A): theta_hat'phi, of
    # the prompts whose fresh (X,) is 1; first, ask (X, A): what APPO does against each second arm;
    # table (X,): 1 where they are worked out; log_weights (X, A); score, chance (A,); z (d,)
    "gram lower inverse information white estimate fresh first ask table log_weights score chance z cell_of",
)


def new_output(replicates: int, c: int, q: int, dim: int) -> Output:
    """Room for ``replicates`` plays at ``c`` checkpoints, with ``q`` queries each written down."""
    return Output(
        queries=np.zeros((replicates, c), np.int64),
        regret=np.zeros((replicates, c)),
        regret_both=np.zeros((replicates, c)),
        theta=np.zeros((replicates, c, dim)),
        information=np.zeros((replicates, c, dim, dim)),
        query_round=np.zeros((replicates, q), np.int64),
        queried=np.zeros((replicates, q, 3), np.int64),
        label=np.zeros((replicates, q), np.int64),
        norm=np.zeros((replicates, q)),
        facts=np.zeros((replicates, 5), np.int64),
        distance=np.zeros((replicates, 2)),
    )


def _new_state(x: int, a: int, d: int) -> State:
    return State(
        **{name: np.zeros((d, d)) for name in ("gram", "lower", "inverse", "information")},
        white=np.zeros((x, a, d)),
        fresh=np.zeros(x, np.int8),
        table=np.zeros(x, np.int8),
        **{name: np.zeros((x, a)) for name in ("estimate", "log_weights")},
        first=np.zeros((x, a), np.int64),
        ask=np.zeros((x, a), np.int8),
        score=np.zeros(a),
        chance=np.zeros((a, a)),
        z=np.zeros(d),
        cell_of=np.full((x, a, a), -1, np.int64),
    )


def run(
    world: Any, rule: Any, plan: Any, first_replicate: int, out: Output, low: int, high: int
) -> None:
    """Fill rows low..high-1 of ``out`` with replicates first_replicate + row."""
    x, a, d = world.features.shape
    capacity = plan.horizon if world.streaming else min(plan.horizon, x * a * (a - 1) // 2)
    cells = new_cells(d, capacity)
    features = world.features.copy()  # a stream writes here
    for row in range(low, high):
        own = Output(*(array[row] for array in out))
        here = world._replace(features=features)
        state, fit = _new_state(x, a, d), new_fit(d)
        if not _play(here, rule, plan, first_replicate + row, own, state, cells, fit):
            raise ValueError(SINGULAR)


@njit(nogil=True, cache=True, error_model="numpy")
def _play(world, rule, plan, replicate, out, state, cells, fit):
    """One replicate, into one row of the output; False where the Gram matrix is singular."""
    prompts, actions = world.rewards.shape
    identity(plan.ridge, state.gram)
    identity(plan.ridge, fit.information)
    if not _renew(state) or not cholesky(fit.information, fit.lower):
        return False
    fitted_at = _log_det(state.lower)
    off = _distance(state.gram, fit.theta, world.theta)
    widest, regret, both, late = off, 0.0, 0.0, 0.0
    count, asked, mark, x = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    table, answer, uncertain, losses = state.table, state.first, state.ask, world.regret
    out.facts[2] = -1
    for t in range(plan.horizon):
        if world.streaming:
            _new_prompt(world, state, plan.seed, replicate, t)
        else:
            x = integer_below(plan.seed, replicate, t, CONTEXT, 0, prompts)
        if (
            rule.kind == APPO
        ):  # looked up here: handing a record to a function costs more than a round
            second = integer_below(plan.seed, replicate, t, SELECT, 0, actions)
            if not table[x]:
                fill_table(world, rule, x, fit.theta, state)
            first, ask = answer[x, second], uncertain[x, second] != 0
            if ask and not rule.tested_pair:
                u = uniform(plan.seed, replicate, t, PLAY, 0)
                first = draw_weighted(state.log_weights[x], u, state.score)
        else:
            first, second, ask = choose(
                world, rule, plan.seed, replicate, t, x, asked, fit.theta, fit.lower, state
            )
        lost = losses[x, first]
        regret += lost
        if t >= plan.horizon // 2:
            late += lost
        if ask:
            both += 0.5 * (lost + world.regret[x, second])
            if rule.kind == APPO or rule.kind == OPPO:
                improve(world, rule, second, fit.theta, state)
            norm, label = _ask(world, plan.seed, replicate, t, x, first, second, state)
            if asked < plan.record:
                out.query_round[asked], out.label[asked], out.norm[asked] = t, label, norm
                out.queried[asked, 0] = t if world.streaming else x
                out.queried[asked, 1], out.queried[asked, 2] = first, second
            asked += 1
            out.facts[2] = t
            out.facts[3] += norm <= rule.threshold
            if first != second:
                cell, label = _cell(world, x, first, second, label, count, cells, state)
                count = max(count, cell + 1)
                if not _learn(cells, cell, label, plan, count, fitted_at, fit, state):
                    return False
                if _grown(plan, fitted_at, state):
                    fitted_at = _log_det(state.lower)
            off = _distance(state.gram, fit.theta, world.theta)
            widest = max(widest, off)
        else:
            both += lost
            if lost > 0.0:
                out.facts[0] += 1
                out.facts[1] += off <= rule.radius
        if mark < plan.checkpoints.size and t + 1 == plan.checkpoints[mark]:
            out.queries[mark], out.regret[mark], out.regret_both[mark] = asked, regret, both
            for k in range(fit.theta.size):
                out.theta[mark, k] = fit.theta[k]
                for q in range(fit.theta.size):
                    out.information[mark, k, q] = state.information[max(k, q), min(k, q)]
            mark += 1
    out.facts[4] = asked
    out.distance[0], out.distance[1] = widest, late
    return True


@inner
def _renew(state):
    """Factor of gram and its inverse; what was worked out before is stale."""
    if not cholesky(state.gram, state.lower):
        return False
    invert_lower(state.lower, state.inverse)
    for x in range(state.fresh.size):
        state.fresh[x] = 0
        state.table[x] = 0
    return True


@inner
def _log_det(lower):
    s = 0.0
    for k in range(lower.shape[0]):
        s += math.log(lower[k, k])
    return 2.0 * s


@inner
def _grown(plan, fitted_at, state):
    """Whether theta is to be fitted again."""
    return plan.refit_growth == 1.0 or _log_det(state.lower) >= fitted_at + math.log(
        plan.refit_growth
    )


@inner
def _distance(gram, theta, truth):
    """||theta - truth||_gram; gram's lower half is read."""
    s = 0.0
    for i in range(theta.size):
        a = theta[i] - truth[i]
        s += gram[i, i] * a * a
        for j in range(i):
            s += 2.0 * gram[i, j] * a * (theta[j] - truth[j])
    return math.sqrt(max(s, 0.0))


@inner
def _new_prompt(world, state, seed, replicate, t):
    """The stream's features of round t, action by action, and their rewards and regrets."""
    a, d = world.features.shape[1], world.features.shape[2]
    best, size = -np.inf, 1.0
    for i in range(a):
        reward = 0.0
        for k in range(d):
            value = normal(seed, replicate, t, CONTEXT, i * d + k) / math.sqrt(d)
            world.features[0, i, k] = value
            reward += value * world.theta[k]
        world.rewards[0, i] = reward
        best = max(best, reward)
        size = max(size, abs(reward))
    for i in range(a):
        short = best - world.rewards[0, i]
        world.regret[0, i] = short if short > 1e-12 * size else 0.0
    state.fresh[0] = 0
    state.table[0] = 0


@inner
def _ask(world, seed, replicate, t, x, first, second, state):
    """state.z: the queried pair's feature difference; its length before it is learnt, and the answer."""
    for k in range(state.z.size):
        state.z[k] = world.features[x, first, k] - world.features[x, second, k]
    s = 0.0
    for k in range(state.z.size):
        w = 0.0
        for q in range(k + 1):
            w += state.inverse[k, q] * state.z[q]
        s += w * w
    margin = world.rewards[x, first] - world.rewards[x, second]
    label = np.int64(uniform(seed, replicate, t, LABEL, 0) < sigmoid(margin))
    add_outer(state.information, fisher_weight(margin, 1.0), state.z)
    return math.sqrt(s), label


@inner
def _cell(world, x, first, second, label, count, cells, state):
    """The cell of this comparison, counted; and the answer as seen from the cell's side."""
    low, high = min(first, second), max(first, second)
    sign = 1.0
    if world.streaming:
        cell = count
    else:
        cell = state.cell_of[x, low, high]
        if first > second:
            sign, label = -1.0, 1 - label
    if cell < 0 or world.streaming:
        cell = count
        state.cell_of[x, low, high] = cell
        for k in range(state.z.size):
            cells.x[k, cell] = sign * state.z[k]
        cells.trials[cell] = 0.0
        cells.wins[cell] = 0.0
    cells.trials[cell] += 1.0
    cells.wins[cell] += label
    return cell, label


@inner
def _learn(cells, cell, label, plan, count, fitted_at, fit, state):
    """Gram, estimate and information after one more answer; False where a matrix is singular."""
    if plan.update_gram:
        add_outer(state.gram, 1.0, state.z)
    if not _renew(state):
        return False
    learn(cells.x, cell, label, fit)
    if _grown(plan, fitted_at, state):
        return maximise(cells, count, plan.ridge, fit)
    return cholesky(fit.information, fit.lower)

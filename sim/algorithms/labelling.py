"""Active labelling of a pool (paper 1's loop): fit, select, ask, repeat. The plain truth.

The estimator and every matrix are computed anew from the whole history each time; the kernels are
tested against this file.
"""

from typing import Any, NamedTuple

import numpy as np

from ...theory.checks import Floats, Ints
from ...theory.estimate import fit_preferences
from ...theory.pool import Belief, Pool
from ...theory.preference import fisher_weight
from ...theory.selectors import Select
from ..kernels.functions import answer_probability
from ..kernels.random import LABEL, SELECT, WARM_UP, CounterRng
from ..world import PairPool


class Labelling(NamedTuple):
    """An algorithm on a pool: its name, its selector, and the kernel's rule where it has a twin."""

    name: str
    select: Select
    rule: Any | None = None


class Plan(NamedTuple):
    """How a pool is labelled. ``horizon`` counts labels, the warm-up's included."""

    seed: int
    horizon: int
    warm_up: int
    batch: int
    ridge: float
    final_ridge: float
    checkpoints: Ints  # (c,) labels after which theta is reported
    assumed: Floats  # (m, K) rationality in the estimator
    believed: Floats  # (m, K) rationality in the selector


class History(NamedTuple):
    """One replicate: (T,) pair, teacher, label; (c, d) theta; (c, d, d) information at the truth."""

    pair: Ints
    teacher: Ints
    label: Ints
    theta: Floats
    information: Floats


def label_pool(world: PairPool, select: Select, plan: Plan, replicate: int) -> History:
    """Run one replicate with the counter-based draws of (plan.seed, replicate)."""
    pair, teacher = (np.zeros(plan.horizon, dtype=np.int64) for _ in range(2))
    label = np.zeros(plan.horizon, dtype=np.int64)
    left = world.available.copy()
    bought = 0
    while bought < plan.horizon:
        if bought < plan.warm_up:
            cells = np.flatnonzero(left != 0)
            rng = CounterRng(plan.seed, replicate, bought, WARM_UP)
            picks = [divmod(int(cells[rng.integers(len(cells))]), left.shape[1])]
        else:
            size = min(plan.batch, plan.horizon - bought)
            picks = _choose(
                world, select, plan, replicate, pair, teacher, label, bought, left, size
            )
        for i, j in picks:
            pair[bought], teacher[bought] = i, j
            label[bought] = _ask(world, plan.seed, replicate, i, j, bought)
            left[i, j] -= left[i, j] > 0
            bought += 1
    theta = [
        final_estimate(world, plan, pair[:t], teacher[:t], label[:t]) for t in plan.checkpoints
    ]
    truth = world.teachers.rationality
    information = [
        _information(world, truth, world.theta, pair[:t], teacher[:t]) for t in plan.checkpoints
    ]
    return History(pair, teacher, label, np.array(theta), np.array(information))


def _choose(
    world: PairPool,
    select: Select,
    plan: Plan,
    replicate: int,
    pair: Ints,
    teacher: Ints,
    label: Ints,
    bought: int,
    left: Ints,
    size: int,
) -> list[tuple[int, int]]:
    """The next ``size`` questions, theta frozen."""
    pair, teacher, label = pair[:bought], teacher[:bought], label[:bought]
    d, ridge = world.theta.size, plan.ridge * np.eye(world.theta.size)
    theta = np.zeros(d)
    if bought:
        b = plan.assumed[teacher, world.context[pair]]
        theta = fit_preferences(world.z[pair], label, 1, b, ridge=plan.ridge).theta
    z, counts = world.z[pair], np.zeros(left.shape, dtype=np.int64)
    np.add.at(counts, (pair, teacher), 1)
    belief = Belief(
        theta=theta,
        information=_information(world, plan.assumed, theta, pair, teacher) + ridge,
        gram=z.T @ z + ridge,
        counts=counts,
        ridge=plan.ridge,
    )
    cost = world.teachers.cost
    everything = np.inf if (left < 0).any() else float((left * cost).sum())
    budget = min(size * float(cost.max()), everything)
    pool = Pool(world.z, world.context, plan.believed, cost, left)
    picks = select(pool, belief, budget, CounterRng(plan.seed, replicate, bought, SELECT))
    return list(zip(picks.pair[:size].tolist(), picks.teacher[:size].tolist(), strict=True))


def _ask(world: PairPool, seed: int, replicate: int, i: int, j: int, t: int) -> bool:
    who = world.teachers
    p = answer_probability(
        float(world.z[i] @ world.theta),
        who.rationality[j, world.context[i]],
        who.lapse[j],
        who.bias[j],
        who.drift[j],
        t,
    )
    return bool(CounterRng(seed, replicate, t, LABEL).random() < p)


def _information(
    world: PairPool, rationality: Floats, theta: Floats, pair: Ints, teacher: Ints
) -> Floats:
    """sum of rationality^2 mu' z z' over the labels, at theta, without ridge."""
    z = world.z[pair]
    w = fisher_weight(z @ theta, rationality[teacher, world.context[pair]]) if len(z) else 0.0
    return np.asarray((z.T * w) @ z)


def final_estimate(world: PairPool, plan: Plan, pair: Ints, teacher: Ints, label: Ints) -> Floats:
    """The estimate reported at a checkpoint: NaN where no finite optimum was found."""
    b = plan.assumed[teacher, world.context[pair]]
    fit = fit_preferences(world.z[pair], label, 1, b, ridge=plan.final_ridge)
    return fit.theta if fit.status == "converged" else np.full(world.theta.size, np.nan)

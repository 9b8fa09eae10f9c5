"""The walk of an arm: round after round, choose, ask, refit, evaluate, until the budget is spent.

Every draw is named by what it is for, and every answer comes through the ledger: a run that was
broken walks the same rounds again, finds them answered, and goes on where the answers end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..theory.checks import Ints
from ..theory.selectors import SELECTORS, Rng
from .arm import Arm, Labels, State, generator
from .head import Fit, belief
from .ledger import Asked
from .stages import stage

WARM_UP_SHARE = 1 / 6  # of the budget, spent at random before anyone chooses


def walk(
    arm: Arm,
    base: State,
    retrain: Callable[[Arm, int, Labels], State | None] = lambda arm, number, labels: None,
) -> State:
    """Buy until the budget is spent; the last state.

    ``retrain(arm, round, labels)`` may return a new model state after a round. Raises ``Waiting``
    where people have to answer first; the next call goes on from there.
    """
    state, number = base, 0
    labels = arm.labels([])
    fit = arm.fit(state, labels)
    arm.ledger.record(str(arm.name), 0, "split", arm.split_facts())
    known = {r for _, r, _, _ in arm.ledger.records(str(arm.name), "evaluation")}
    while rows := _questions(arm, state, fit, labels, number):
        with stage(arm.ledger, str(arm.name), number, "ask"):
            arm.ask(rows, _numbers(arm, labels, rows))
        labels = arm.labels(arm.ledger.rows(str(arm.name), upto_round=number))
        with stage(arm.ledger, str(arm.name), number, "refit"):
            fit = arm.fit(state, labels)
        if number not in known:
            with stage(arm.ledger, str(arm.name), number, "evaluate"):
                facts = arm.evaluation(state, fit, labels)
            arm.ledger.record(str(arm.name), number, "evaluation", facts)
        new = retrain(arm, number, labels)
        if new is not None:
            state, fit = new, arm.fit(new, labels)
        number += 1
        arm.say(f"{arm.name}: budget", round(labels.money), round(arm.config.selection.budget))
    spent = {"asked": len(labels.pair), "money": labels.money}
    arm.ledger.record(str(arm.name), max(number - 1, 0), "finished", spent)
    return state


def _questions(arm: Arm, state: State, fit: Fit, labels: Labels, number: int) -> list[Asked]:
    """The questions of a round: as the ledger has them, else as they are chosen now; none: all spent."""
    name = str(arm.name)
    asked = [row for row in arm.ledger.rows(name, upto_round=number) if row.round == number]
    if asked:
        return [row.asked for row in asked]
    with stage(arm.ledger, name, number, "select"):
        picks = choose(arm, state, fit, labels, number)
    out, teachers, counts = [], list(arm.teachers), arm.counts(labels)
    for position, (row, j, score) in enumerate(picks):
        pair_id, teacher = arm.pool.pair_ids[arm.train[row]], teachers[j]
        key = arm.ledger.key(name, pair_id, teacher, int(counts[row, j]))
        counts[row, j] += 1
        price = float(arm.cost[j])
        out.append(Asked(key, name, number, position, pair_id, teacher, price, score, state.id))
    return out


def _numbers(arm: Arm, labels: Labels, rows: Sequence[Asked]) -> list[int]:
    """How many labels of the same teacher on the same pair come before each of these."""
    counts, teachers, out = arm.counts(labels), list(arm.teachers), []
    for asked in rows:
        cell = np.searchsorted(arm.train, arm.place[asked.pair_id]), teachers.index(asked.teacher)
        out.append(int(counts[cell]))
        counts[cell] += 1
    return out


Pick = tuple[int, int, float]  # row of the training pairs, teacher, score


def choose(arm: Arm, state: State, fit: Fit, labels: Labels, number: int) -> list[Pick]:
    """What to ask in a round: round 0 is the warm-up, every later one the selector's."""
    options, counts = arm.config.selection, arm.counts(labels)
    left = options.budget - labels.money
    if number == 0:
        warm_up = options.budget * WARM_UP_SHARE if options.warm_up is None else options.warm_up
        shared = _shared(arm, min(warm_up, left))
        for row, j, _ in shared:
            counts[row, j] += 1
        rest = min(warm_up, left) - sum(float(arm.cost[j]) for _, j, _ in shared)
        # named alike in all arms of a replicate, so that they start from the same labels
        rng = generator(options.seed, arm.name.replicate, "warm-up", 0)
        picks = [*shared, *_select(arm, state, fit, counts, "random", rest, rng)]
        if picks:
            return picks
    rule = arm.name.selector
    rng = generator(options.seed, arm.name.replicate, rule, number)
    buyable = ((arm.capacity < 0) | (counts < arm.capacity)).any(axis=0)
    one_label = float(arm.cost[buyable].min(initial=math.inf))  # a batch affords it at least
    money = min(max(options.label_batch, one_label), left)
    return _select(arm, state, fit, counts, rule, money, rng)


def _select(
    arm: Arm, state: State, fit: Fit, counts: Ints, rule: str, money: float, rng: Rng
) -> list[Pick]:
    context = arm.pool.context[arm.train]
    pool, known = belief(state.z, context, fit, arm.cost, arm.capacity, counts)
    open_ = pool.available != 0
    if not open_.any() or money < arm.cost[open_.any(axis=0)].min():
        return []
    if (pool.available >= 0).all():
        money = min(money, float((pool.available * arm.cost).sum()))
    picks = SELECTORS[rule](pool, known, money, rng)
    return [
        (int(i), int(j), float(score))
        for i, j, score in zip(picks.pair, picks.teacher, picks.score, strict=True)
    ]


def _shared(arm: Arm, money: float) -> list[Pick]:
    """Random training pairs that every teacher answers, so that teachers can be compared."""
    wanted = arm.config.selection.shared_pairs
    if not wanted:
        return []
    price = wanted * float(arm.cost.sum())
    able = np.flatnonzero((arm.capacity != 0).all(axis=1))
    if price > money or len(able) < wanted:
        raise ValueError(
            f"shared_pairs: found {wanted}, which cost {price:g} with every teacher; needed at most "
            f"the warm-up's {money:g}, and pairs that every teacher can answer ({len(able)}). Ask for "
            "fewer, or raise warm_up."
        )
    rng = generator(arm.config.selection.seed, arm.name.replicate, "shared", 0)
    rows = able[np.argsort(rng.random(len(able)), kind="stable")[:wanted]]
    return [(int(row), j, float("nan")) for row in rows for j in range(len(arm.teachers))]

"""Replay: would active selection have saved labels on judgements that were already bought?

Each split offers the recorded answers of its training pairs as a pool with capacity: a (pair,
annotator) cell holds as many labels as were recorded, each is sold once. After a random warm-up
that all share, every selector buys until the budget is spent; after each batch the reward is
refitted and its agreement with the held-out judgements noted. One context type.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints, one_of, whole_number
from ..theory.pool import Belief
from ..theory.refit import MEAN_SQUARE, RIDGE, dimensions
from ..theory.selectors import SELECTORS
from .kernels.random import CounterRng
from .recorded import Recorded
from .recorded_pool import Cells, HeldOut, hold_out, make_cells, offer, pool_of, sell
from .refit import Fit, blank, matrices, refit
from .splits import Split, Splits, divide, reduce_features, reduced

DEFAULT_SELECTORS = (
    "random",
    "dual",
    "conversation_only",
    "teacher_only",
    "apo",
    "uncertainty",
    "random_best_teacher",
)
WARM_UP_SHARE = 1 / 6  # of the budget, bought at random before anyone chooses
TWIN = "random, second run"  # independent of the first; the yardstick for savings


@dataclass(frozen=True)
class Plan:
    """What to replay: whole numbers; ``selectors`` always hold ``random``, first."""

    budget: int
    batch: int
    warm_up: int
    selectors: tuple[str, ...]
    group: str | None
    splits: int
    seed: int

    @property
    def labels(self) -> Ints:
        """(c,) labels bought at each checkpoint: the warm-up, then after each batch."""
        return np.append(np.arange(self.warm_up, self.budget, self.batch), self.budget)


class Replay(NamedTuple):
    """Outcome for J splits, S selectors, c checkpoints, m annotators."""

    plan: Plan
    splits: Splits
    agreement: dict[str, Floats]  # selector (and TWIN) -> (J, c) held-out agreement
    best_feature: Floats  # (J, c) of the best single feature by random's labels
    bought: dict[str, Floats]  # selector -> (J, m) labels bought from each annotator
    ceiling: (
        Floats  # (J, 2) held-out agreement of all training labels, and of each pair's own majority
    )
    dimensions: list[int]  # feature dimensions used in each split
    kept_share: list[float]  # of the scaled variance
    sizes: Floats  # (J, 2) judgements to buy, and decided held-out judgements
    unfinished: int  # fits that did not converge; the estimate before was kept


def plan_replay(
    recorded: Recorded,
    *,
    group: str | None = None,
    budget: int | None = None,
    batch: int | None = None,
    selectors: Sequence[str] = DEFAULT_SELECTORS,
    splits: int = 20,
    seed: int = 0,
) -> tuple[Plan, Splits]:
    """The checked plan with its splits.

    Defaults: ``budget`` the smaller of 600 and a third of the smallest training side; ``batch`` a
    30th of the budget. Raises ``ValueError`` on an unknown selector, a budget that the smallest
    training side cannot meet, and what ``divide`` says.
    """
    names = [one_of("selectors", name, list(SELECTORS)) for name in selectors]
    divided = divide(recorded, group, whole_number("splits", splits, low=2), seed)
    per_pair = np.bincount(recorded.pair, minlength=len(recorded.pair_ids))
    capacity = min(int(per_pair[split.train].sum()) for split in divided.splits)
    if budget is None:
        budget = max(2, min(600, capacity // 3))
    if whole_number("budget", budget, low=2) > capacity:
        raise ValueError(
            f"budget: found {budget}, but the smallest training side holds {capacity} judgements; "
            f"needed at most that. Lower the budget."
        )
    batch = whole_number("batch", batch if batch is not None else -(-budget // 30), low=1)
    warm_up = max(1, round(budget * WARM_UP_SHARE))
    ordered = tuple(dict.fromkeys(["random", *names]))
    return Plan(budget, batch, warm_up, ordered, group, len(divided.splits), seed), divided


def replay(
    recorded: Recorded,
    plan: Plan,
    splits: Splits,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Every selector on every split; ``progress(done, total)`` is called after each split."""
    outcomes = []
    for j, split in enumerate(splits.splits):
        outcomes.append(_replay_split(recorded, plan, split, j))
        progress(j + 1, len(splits.splits))
    names = [*plan.selectors, TWIN]
    return Replay(
        plan,
        splits,
        {name: np.array([o.agreement[name] for o in outcomes]) for name in names},
        np.array([o.best_feature for o in outcomes]),
        {name: np.array([o.bought[name] for o in outcomes]) for name in names},
        np.array([o.ceiling for o in outcomes]),
        [o.dimensions for o in outcomes],
        [o.kept_share for o in outcomes],
        np.array([o.sizes for o in outcomes]),
        sum(o.unfinished for o in outcomes),
    )


class _Outcome(NamedTuple):
    agreement: dict[str, Floats]
    best_feature: Floats
    bought: dict[str, Floats]
    ceiling: tuple[float, float]
    dimensions: int
    kept_share: float
    sizes: tuple[float, float]
    unfinished: int


def _replay_split(recorded: Recorded, plan: Plan, split: Split, replicate: int) -> _Outcome:
    most = dimensions(plan.budget)
    rng = _rng(plan, replicate, "features")
    reduction = reduce_features(recorded, split.train, most, MEAN_SQUARE, rng)
    z = reduced(recorded, reduction, split.train)
    cells = make_cells(recorded, split.train, z, _rng(plan, replicate, "answers"))
    held = hold_out(recorded, split.held_out, reduced(recorded, reduction, split.held_out))
    start = _buy(
        cells, np.zeros_like(cells.size), blank(cells), plan.warm_up, "random", plan, replicate, 0
    )
    warm = refit(cells, start, blank(cells))
    agreement: dict[str, Floats] = {}
    bought: dict[str, Floats] = {}
    unfinished = 0
    best_feature = np.empty(0)
    for name in [*plan.selectors, TWIN]:
        path = _run(cells, start, warm, name, plan, replicate)
        agreement[name] = np.array([held.agreement(held.z @ fit.theta) for _, fit in path])
        final = path[-1][0]
        bought[name] = np.zeros(cells.teachers)
        np.add.at(bought[name], cells.teacher, final)
        unfinished += path[-1][1].unfinished
        if name == "random":
            stages = [stage for stage, _ in path]
            best_feature = _best_feature(recorded, split, cells, held, stages)
    everything = refit(cells, cells.size, blank(cells))
    return _Outcome(
        agreement,
        best_feature,
        bought,
        (held.agreement(held.z @ everything.theta), held.majority()),
        z.shape[1],
        reduction.kept_share,
        (float(cells.size.sum()), float((held.first + held.second).sum())),
        unfinished,
    )


def _rng(plan: Plan, replicate: int, purpose: str, round_: int = 0) -> CounterRng:
    """Draws named by what they are for, so that they depend on no list and no order."""
    return CounterRng(plan.seed, replicate, round_, zlib.crc32(purpose.encode()))


def _run(
    cells: Cells, start: Ints, warm: Fit, name: str, plan: Plan, replicate: int
) -> list[tuple[Ints, Fit]]:
    """What ``name`` had bought and knew at each checkpoint."""
    bought, fit = start, warm
    path = [(bought, fit)]
    for step, labels in enumerate(np.diff(plan.labels), start=1):
        bought = _buy(cells, bought, fit, int(labels), name, plan, replicate, step)
        fit = refit(cells, bought, fit)
        path.append((bought, fit))
    return path


def _buy(
    cells: Cells,
    bought: Ints,
    fit: Fit,
    labels: int,
    name: str,
    plan: Plan,
    replicate: int,
    step: int,
) -> Ints:
    """``bought`` after ``labels`` more, chosen by selector ``name``."""
    pairs, teachers = offer(cells, bought, labels, _rng(plan, replicate, "offer", step))
    pool, counts = pool_of(cells, bought, fit.rationality, pairs, teachers)
    information, gram = matrices(cells, bought, fit)
    belief = Belief(fit.theta, information, gram, counts, RIDGE)
    select = SELECTORS["random" if name == TWIN else name]
    picks = select(pool, belief, labels, _rng(plan, replicate, name, step))
    return sell(cells, bought, pairs[picks.pair], teachers[picks.teacher])


def _best_feature(
    recorded: Recorded, split: Split, cells: Cells, held: HeldOut, stages: list[Ints]
) -> Floats:
    """(c,) held-out agreement of the one feature, with its sign, that the labels bought favour."""
    rows = np.flatnonzero(stages[-1])
    sides = np.sign(recorded.differences(split.train[cells.pair[rows]]))
    out = []
    for bought in stages:
        lead = 2 * cells.wins(bought)[rows] - bought[rows]
        score = lead @ sides
        column = int(np.argmax(np.abs(score)))
        margin = recorded.differences(held.pairs, column) * np.sign(score[column])
        out.append(held.agreement(margin))
    return np.array(out)

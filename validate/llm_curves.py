"""Accuracy against labels and money: arms that pay different prices, on one grid.

Between two evaluations an arm has the reward of the earlier one (steps), and no arm is carried
beyond what it bought. In money, an arm that has spent its budget but for less than the dearest label
costs keeps its last reward up to the budget, because that is what it has for that money.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..theory.checks import Floats
from .llm_facts import Arm, Facts
from .replay_intervals import Interval, end_of, resampled_interval

AXES = {"labels": "asked", "money": "money"}
MOST_POINTS = 200  # of one curve on the page
LENGTH = "length only"


class Exactness(NamedTuple):
    """How far a mean over replicates can be trusted."""

    ratio: float  # held out over training, in pairs or prompts, whichever is larger
    step: float  # smallest difference of two accuracies: one held-out pair


def exactness(facts: Facts) -> Exactness:
    """Of this run's splits; from the configured share where no split is recorded yet."""
    arms = [arm for family in facts.families.values() for arm in family.values()]
    splits = [arm.split for arm in arms if arm.split]
    share = facts.config.data.test_fraction
    if not splits:
        return Exactness(share / (1 - share), 0.0)
    ratios = [
        np.mean([s[f"test_{unit}"] / max(s[f"train_{unit}"], 1) for s in splits])
        for unit in ("pairs", "prompts")
        if all(f"test_{unit}" in s and f"train_{unit}" in s for s in splits)
    ] or [share / (1 - share)]
    decided = np.mean([s.get("decided_test_pairs") or 0 for s in splits])
    return Exactness(float(max(ratios)), float(1 / decided) if decided else 0.0)


def interval(values: Floats, exact: Exactness, least: float = 0.0) -> Interval:
    """Mean over replicates with its interval, cut at what is possible: [least, 1]; half its width, uncut."""
    found = resampled_interval(values, *exact)
    cut = {k: None if v is None else min(max(v, least), 1.0) for k, v in found.items()}
    half = None if found["high"] is None else end_of(found, "high") - end_of(found, "estimate")
    return {**cut, "half": half}


def optional_mean(
    values: Iterable[float | None], exact: Exactness, least: float = 0.0
) -> Interval | None:
    """Mean and interval of what is known, None where nothing is."""
    known = np.array([v for v in values if v is not None], dtype=np.float64)
    return interval(known, exact, least) if len(known) else None


def cut_band(curves: Floats, exact: Exactness, least: float = 0.0) -> dict[str, list[float | None]]:
    """The same at each point of the curves (J, c)."""
    found = [interval(column, exact, least) for column in curves.T]
    return {key: [i[key] for i in found] for key in ("estimate", "low", "high")}


def steps(x: Floats, y: Floats, grid: Floats) -> Floats:
    """The value of the last x that is not above each point of the grid; nothing is extrapolated.

    >>> steps(np.array([1.0, 3.0]), np.array([0.5, 0.7]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.5, 0.5, 0.7]
    """
    assert len(grid) == 0 or (grid[0] >= x[0] and grid[-1] <= x[-1])
    return np.asarray(y[np.searchsorted(x, grid, side="right") - 1])


def common_grid(xs: Sequence[Floats], most: int | None = None) -> Floats:
    """Every x that lies within the reach of all of them, thinned to at most ``most``, ends kept.

    >>> common_grid([np.array([1.0, 3.0, 5.0]), np.array([2.0, 4.0])]).tolist()
    [2.0, 3.0, 4.0]
    """
    low, high = max(x[0] for x in xs), min(x[-1] for x in xs)
    every = np.unique(np.concatenate(xs))
    grid = np.asarray(every[(every >= low) & (every <= high)])
    if most is None or len(grid) <= most:
        return grid
    kept = np.linspace(0, len(grid) - 1, most).round().astype(int)
    return np.asarray(grid[np.unique(kept)])


def drawn_grid(xs: Sequence[Floats]) -> Floats:
    """As many points as one arm has: more would only show whose turn it was."""
    return common_grid(xs, min(max(len(x) for x in xs), MOST_POINTS))


def curve(arm: Arm, axis: str, budget: float, key: str = "accuracy") -> tuple[Floats, Floats]:
    """(x, y) of one arm, x in labels bought or money spent, increasing."""
    found = {round(float(e[AXES[axis]]), 9): float(e[key]) for e in arm.evaluations}
    if axis == "money" and arm.finished:
        found.setdefault(max(budget, *found), list(found.values())[-1])
    x = np.array(sorted(found))
    return x, np.array([found[at] for at in x])


def compared(facts: Facts, family: str) -> list[Arm]:
    """Whose mean is drawn: the arms that have finished, before that all that have begun."""
    begun = list(facts.begun(family).values())
    return [arm for arm in begun if arm.finished] or begun


def mean_curve(
    arms: Sequence[Arm], axis: str, budget: float, exact: Exactness, key: str = "accuracy"
) -> dict[str, Any]:
    """Mean over arms with its interval, on their common grid."""
    found = [curve(arm, axis, budget, key) for arm in arms]
    grid = drawn_grid([x for x, _ in found]) if found else np.empty(0)
    if not len(grid):
        return {}
    values = np.array([steps(x, y, grid) for x, y in found])
    return {"x": grid.tolist(), "replicates": len(arms), **cut_band(values, exact)}


def curves(facts: Facts, exact: Exactness) -> dict[str, dict[str, dict[str, Any]]]:
    """axis -> name -> curve, for every selector and the rule that only looks at the length."""
    budget = facts.config.selection.budget
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for axis in AXES:
        drawn = {
            name: mean_curve(compared(facts, name), axis, budget, exact)
            for name in (facts.chosen, *facts.baselines)
        }
        drawn[LENGTH] = mean_curve(length_arms(facts), axis, budget, exact, "length_accuracy")
        out[axis] = {name: found for name, found in drawn.items() if found}
    return out


def length_arms(facts: Facts) -> list[Arm]:
    """Whose labels the length rule learns from: random's, else the chosen selector's."""
    for family in ("random", facts.chosen):
        if family in facts.families:
            arms = with_length(compared(facts, family))
            if arms:
                return arms
    return []


def with_length(arms: Iterable[Arm]) -> list[Arm]:
    """Those whose every evaluation has the accuracy of the length rule."""
    return [
        arm for arm in arms if all(e.get("length_accuracy") is not None for e in arm.evaluations)
    ]


def paired(
    first: Sequence[Arm], second: Sequence[Arm], axis: str, budget: float
) -> tuple[Floats, Floats]:
    """(grid, differences (J, c)) of the first arms minus the second, replicate by replicate."""
    one = [curve(arm, axis, budget) for arm in first]
    two = [curve(arm, axis, budget) for arm in second]
    grid = drawn_grid([x for x, _ in (*one, *two)])
    return grid, np.array(
        [steps(*a, grid) - steps(*b, grid) for a, b in zip(one, two, strict=True)]
    )

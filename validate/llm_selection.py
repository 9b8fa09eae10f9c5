"""What selection gained: the chosen selector against each baseline, in numbers and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..theory.checks import Floats
from .llm_curves import (
    AXES,
    LENGTH,
    Exactness,
    compared,
    curve,
    interval,
    length_arms,
    paired,
    steps,
)
from .llm_curves import common_grid as common
from .llm_facts import Arm, Facts
from .replay_intervals import Interval, end_of, percent, points
from .replay_summary import labels_needed

BETTER, WORSE, NO_BETTER = "better", "worse", "no better"
UNFINISHED, ONE, NOTHING = "unfinished", "one replicate", "nothing yet"


def amount(value: float) -> str:
    """Labels or money, short.

    >>> amount(1234.0), amount(0.1 + 0.2), amount(12.345)
    ('1,234', '0.3', '12.35')
    """
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def share(found: Interval) -> str:
    """An accuracy in % with its found, where it has one."""
    text = f"{100 * end_of(found, 'estimate'):.1f} %"
    if found["low"] is None:
        return text
    low, high = (f"{100 * end_of(found, end):.1f}" for end in ("low", "high"))
    return f"{text} (95 %: {low} to {high})"


def signed(difference: float) -> str:
    """A difference of shares in points, without a sign where it rounds to 0.

    >>> signed(0.0125), signed(-0.0001)
    ('+1.2', '0.0')
    """
    value = round(100 * difference, 1)
    return f"{value:+.1f}" if value else "0.0"


def difference_text(found: Interval) -> str:
    """A difference of accuracies in points, with its interval where it has one."""
    if found["low"] is not None:
        return points(found)
    return f"{signed(end_of(found, 'estimate'))} points"


def compare(facts: Facts, baseline: str, exact: Exactness) -> dict[str, Any]:
    """The chosen selector minus one baseline, replicate by replicate, at the budget.

    Before all arms of both have spent the budget: at the most money that every begun pair of arms
    has spent, and without a verdict.
    """
    mine, theirs = facts.begun(facts.chosen), facts.begun(baseline)
    both = sorted({*mine} & {*theirs})
    expected = facts.config.selection.replicates
    out: dict[str, Any] = {"selector": facts.chosen, "baseline": baseline, "expected": expected}
    if not both:
        out |= {"replicates": 0, "finding": NOTHING, "difference": None}
        return out | {"in_words": _nothing(facts, baseline)}
    complete = [r for r in both if mine[r].finished and theirs[r].finished]
    used = complete or both
    first, second = [mine[r] for r in used], [theirs[r] for r in used]
    out |= {"replicates": len(used), "of": used}
    grid, lead = paired(first, second, "money", facts.config.selection.budget)
    if not len(grid):
        out |= {"finding": UNFINISHED, "difference": None}
        return out | {"in_words": _nothing(facts, baseline)}
    out |= {"money": float(grid[-1]), "per_replicate": lead[:, -1].tolist()}
    out["difference"] = interval(lead[:, -1], exact, -1.0)
    for name, arms in (("selector_end", first), ("baseline_end", second)):
        out[name] = interval(_at(arms, facts, grid[-1]), exact)
    for name, arms in (("selector_labels", first), ("baseline_labels", second)):
        out[name] = float(_at(arms, facts, grid[-1], "asked").mean())
    out["finding"] = _finding(out, len(complete) == expected)
    out["in_words"] = _in_words(out, facts)
    if len(complete) == expected > 1:
        out["baseline_rise"] = rise = interval(_rises(second), exact, -1.0)
        if end_of(rise, "low") > 0:
            out |= needed(first, second, facts, exact)
        out["needed_in_words"] = _needed_in_words(out, facts)
    return out


def _rises(arms: Sequence[Arm]) -> Floats:
    """What each arm gained after the warm-up, which all arms share."""
    ends = [(arm.evaluations[0]["accuracy"], arm.evaluations[-1]["accuracy"]) for arm in arms]
    return np.array([last - first for first, last in ends])


def _at(arms: Sequence[Arm], facts: Facts, money: float, key: str = "accuracy") -> Floats:
    """What each arm had for this money."""
    found = [curve(arm, "money", facts.config.selection.budget, key) for arm in arms]
    return np.array([steps(x, y, np.array([money]))[0] for x, y in found])


def _finding(out: dict[str, Any], finished: bool) -> str:
    difference = out["difference"]
    if not finished:
        return UNFINISHED
    if out["replicates"] == 1:
        return ONE
    if difference["low"] > 0:
        return BETTER
    return WORSE if difference["high"] < 0 else NO_BETTER


def _nothing(facts: Facts, baseline: str) -> str:
    both = [*facts.families[facts.chosen].values(), *facts.families[baseline].values()]
    if not any(arm.bought for arm in both) and all(arm.finished for arm in both):
        return "Nothing can be said: no label was bought. Somebody must be able to answer on training pairs."
    if all(arm.finished for arm in both):
        return (
            "Nothing can be said: no held-out pair has a truth that is known and decided, so there is no "
            "accuracy. Give the pool gold preferences or recorded judgements."
        )
    return (
        f"Nothing can be said yet: no replicate has an accuracy of both {facts.chosen} and {baseline} "
        "for the same money."
    )


def _in_words(out: dict[str, Any], facts: Facts) -> str:
    one, two, budget = out["selector"], out["baseline"], facts.config.selection.budget
    said, count = difference_text(out["difference"]), out["replicates"]
    if out["finding"] == UNFINISHED:
        return (
            f"No verdict on {one} against {two} yet. So far, at {amount(out['money'])} of "
            f"{amount(budget)} spent, {one} minus {two} is {said} in {count} of {out['expected']} "
            "replicates: a look on the way, not a test."
        )
    end = f"in held-out reward accuracy at the budget of {amount(budget)}"
    if out["finding"] == ONE:
        return (
            f"One replicate, so no interval can be given and nothing follows from it: {one} minus {two} is "
            f"{said} {end}. Run more replicates to know whether {one} is better than {two}."
        )
    if out["finding"] == BETTER:
        return f"{one} is better than {two}: {said} {end}, over {count} replicates."
    if out["finding"] == WORSE:
        return f"{one} is worse than {two}: {said} {end}, over {count} replicates."
    return (
        f"{one}: no better than {two}, on this evidence: {said} {end}, over {count} replicates. "
        f"{unseen(out['difference'])}"
    )


def unseen(difference: Interval) -> str:
    """How large a gain would have had to be, to be shown.

    >>> unseen({"half": 0.031}), unseen({"half": 1.4})
    ('A gain below about 3.1 points could not have been told from chance.', 'No gain could have been told from chance.')
    """
    half = end_of(difference, "half")
    if half >= 1:
        return "No gain could have been told from chance."
    return f"A gain below about {100 * half:.1f} points could not have been told from chance."


def needed(
    first: Sequence[Arm], second: Sequence[Arm], facts: Facts, exact: Exactness
) -> dict[str, Any]:
    """Labels and money from which the first arms are level with where the second end."""
    budget = facts.config.selection.budget
    target = _at(second, facts, budget)
    out: dict[str, Any] = {}
    for axis in AXES:
        found = [curve(arm, axis, budget) for arm in first]
        grid = common([x for x, _ in found])
        if not len(grid):
            continue
        lead = np.array([steps(x, y, grid) for x, y in found]) - target[:, None]
        out[f"{axis}_needed"] = labels_needed(lead, grid, *exact)
        out[f"{axis}_seen"] = [float(grid[0]), float(grid[-1])]
    money: Interval = out["money_needed"]
    out["saving"] = {
        here: None if money[there] is None else 1 - end_of(money, there) / budget
        for here, there in (("estimate", "estimate"), ("low", "high"), ("high", "low"))
    }
    return out


def _needed_in_words(out: dict[str, Any], facts: Facts) -> str:
    one, two, budget = out["selector"], out["baseline"], facts.config.selection.budget
    goal = (
        f"what {two} reaches with the whole budget ({100 * out['baseline_end']['estimate']:.1f} %)"
    )
    if "money_needed" not in out:
        return (
            f"Whether {one} saves labels cannot be said: {two} itself is not shown to gain after the warm-up "
            "that both share, and where the curve is flat no saving can be seen."
        )
    money, labels, saved = out["money_needed"], out.get("labels_needed"), out["saving"]
    if money["estimate"] is None:
        words = f"{one} does not reach {goal} within the budget."
    else:
        spent = f"{amount(money['estimate'])} of {amount(budget)} money"
        if labels is not None and labels["estimate"] is not None:
            bought = (
                f"{amount(labels['estimate'])} labels ({two}: {amount(out['baseline_labels'])})"
            )
            same = labels["estimate"] == money["estimate"]  # every label costs 1
            spent = bought if same else f"{bought} and {spent}"
        words = f"{one} reaches {goal} with {spent}"
        words += f", best guess: {percent(saved['estimate'])} saved" * (saved["estimate"] > 0) + "."
    if (saved["low"] or 0.0) > 0:
        words += f" At least {percent(saved['low'])} saved is shown (95 %)."
    else:
        words += " That anything is saved is not shown (95 %)."
    return words


def length_comparison(facts: Facts, exact: Exactness) -> dict[str, Any] | None:
    """The reward learned from the labels minus the rule that only looks at the length."""
    arms = length_arms(facts)
    if not arms:
        return None
    family = arms[0].name.rsplit("/", 1)[0]
    return beside_length(family, [arm.evaluations[-1] for arm in arms], exact)


def beside_length(
    family: str, last: Sequence[Mapping[str, Any]], exact: Exactness
) -> dict[str, Any] | None:
    """A family's accuracies at the end minus those of the lengths; None where they are unknown."""
    if any(e.get(key) is None for e in last for key in ("accuracy", "length_accuracy")):
        return None
    gain = np.array([e["accuracy"] - e["length_accuracy"] for e in last])
    out: dict[str, Any] = {
        "selector": LENGTH,
        "from": family,
        "end": interval(np.array([e["length_accuracy"] for e in last]), exact),
        "reward_minus_length": interval(gain, exact, -1.0),
        "replicates": len(last),
    }
    beaten = len(last) > 1 and end_of(out["reward_minus_length"], "low") > 0
    said = difference_text(out["reward_minus_length"])
    what, whose = ("policy", "ADPO") if family == "adpo" else ("reward", family)
    if len(last) == 1:
        words = f"the {what} is {said} away from it (one replicate: no interval)"
    else:
        words = f"the {what} {'beats it by' if beaten else 'is not shown to beat it:'} {said}"
    rule = f"Longer-or-shorter, learned from {whose}'s labels, orders {share(out['end'])}"
    return out | {"beaten": beaten, "in_words": f"{rule}; {words}."}


def quality(facts: Facts, exact: Exactness) -> dict[str, Any] | None:
    """How good the chosen selector's reward is, beside a coin."""
    arms = compared(facts, facts.chosen)
    if not arms:
        return None
    budget = facts.config.selection.budget
    grid = common([curve(arm, "money", budget)[0] for arm in arms])
    if not len(grid):
        return None
    end = interval(_at(arms, facts, grid[-1]), exact)
    words = (
        f"With {amount(grid[-1])} spent, {facts.chosen}'s reward orders {share(end)} of the held-out pairs as "
        "the truth does."
    )
    coin = len(arms) > 1 and end_of(end, "low") <= 0.5
    if coin:
        words += " That is not shown to beat a coin."
    labels = float(_at(arms, facts, grid[-1], "asked").mean())
    money = float(grid[-1])
    return {"end": end, "money": money, "labels": labels, "coin": coin, "in_words": words}

"""What a replay says: curves with intervals, labels saved, and whether one shared reward is right.

Splits of one set of judgements overlap, so their spread alone is too optimistic. All intervals over
splits are Nadeau and Bengio's corrected resampled t intervals ("Inference for the generalization
error", 2003): mean -+ t_{J-1} sd sqrt(1/J + held-out judgements / training judgements), level 95 %.
"""

import math
from typing import Any

import numpy as np

from ..sim.one_reward import Annotators, Tastes
from ..sim.recorded import Recorded
from ..sim.recorded_pool import LARGEST_OFFER
from ..sim.refit import (
    LABELS_PER_DIMENSION,
    MARGIN_SD,
    MOST_ANNOTATORS,
    MOST_DIMENSIONS,
    RATIONALITY_GROWTH,
    RIDGE,
)
from ..sim.replay import TWIN, Replay
from ..theory.checks import Floats, Ints

BARELY = 0.55  # a reward whose agreement stays below this explains almost nothing
LEVEL = 0.95
Interval = dict[str, float | None]


def resampled_interval(values: Floats, held_per_training: float) -> Interval:
    """Mean of one value a split (J,) with the corrected resampled t interval of level 95 %.

    >>> i = resampled_interval(np.array([0.4, 0.6]), 0.5)      # 0.5 -+ 12.7062 x 0.1414 x 1
    >>> round(i["estimate"], 9), round(i["low"], 3), round(i["high"], 3)
    (0.5, -1.297, 2.297)
    """
    from scipy.special import stdtrit

    count, mean = len(values), float(np.mean(values))
    spread = float(np.std(values, ddof=1)) * math.sqrt(1 / count + held_per_training)
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * spread
    return {"estimate": mean, "low": mean - half, "high": mean + half}


def smoothed(curve: Floats) -> Floats:
    """The closest curve (c,) that never falls: what is learned is not unlearned, up to noise."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(curve).x)


def labels_needed(lead: Floats, labels: Ints, held_per_training: float) -> Interval:
    """Labels from which a selector is level with random's end, given its lead (J, c) over that.

    Estimate: where the smoothed mean lead reaches 0. Interval: the tests of "lead = 0" at each
    checkpoint, inverted. high: going back from the budget, the last checkpoint of the unbroken run
    whose intervals lie above 0 (a fixed sequence of tests, so their number costs nothing); low: the
    first checkpoint whose interval does not lie below 0. None = beyond the budget, not seen.

    >>> lead = np.array([[-0.2, 0.0, 0.3], [-0.2, 0.0, 0.3]])
    >>> labels_needed(lead, np.array([10, 20, 30]), 0.5)
    {'estimate': 20.0, 'low': 20.0, 'high': 30.0}
    """
    bands = [resampled_interval(column, held_per_training) for column in lead.T]
    level = np.flatnonzero(smoothed(lead.mean(axis=0)) >= 0)
    not_below = [i for i, band in enumerate(bands) if _at(band, "high") >= 0]
    above = len(bands)
    while above and _at(bands[above - 1], "low") > 0:
        above -= 1
    return {
        "estimate": float(labels[level[0]]) if len(level) else None,
        "low": float(labels[not_below[0]]) if not_below else None,
        "high": float(labels[above]) if above < len(bands) else None,
    }


def savings(replay: Replay, ratio: float) -> dict[str, dict[str, Any]]:
    """For every selector but random: labels needed for what random reaches with the budget.

    Random's end is the mean of two independent runs, split by split. What is never reached, or
    never shown to be, is None: no number is put in its place.
    """
    budget = float(replay.plan.budget)
    target = (replay.agreement["random"][:, -1] + replay.agreement[TWIN][:, -1]) / 2
    out = {}
    for name in replay.plan.selectors:
        if name == "random":
            continue
        lead = replay.agreement[name] - target[:, None]
        needed = labels_needed(lead, replay.plan.labels, ratio)
        out[name] = {
            "labels_needed": needed,
            "reached_share": float(np.mean([smoothed(row)[-1] >= 0 for row in lead])),
            "saving": {
                here: None if needed[there] is None else 1 - _at(needed, there) / budget
                for here, there in (("estimate", "estimate"), ("low", "high"), ("high", "low"))
            },
        }
    return out


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{round(100 * value)} %"


def in_words(name: str, saving: Interval, random_end: Interval) -> tuple[str, str]:
    """The finding on one selector: saves, worse or no better; and in one sentence."""
    if _at(random_end, "low") <= 0.5:
        return "no better", (
            f"{name}: no better than random. Even with the whole budget random's reward is not shown "
            "to beat a coin, so there is nothing to save."
        )
    estimate, low, high = (_percent(saving[k]) for k in ("estimate", "low", "high"))
    if saving["high"] is None:
        return (
            "worse",
            f"{name} is worse than random: the whole budget does not get it where random ends.",
        )
    if (saving["low"] or 0.0) > 0:
        return "saves", f"{name} saves {estimate} of the labels (95 % interval {low} to {high})."
    best = "no saving" if saving["estimate"] is None else f"best guess {estimate}"
    return "no better", (
        f"{name}: no better than random, on this evidence ({best}; the 95 % interval reaches from no "
        f"saving to {high})."
    )


def _curves(replay: Replay) -> dict[str, Floats]:
    curves = {name: replay.agreement[name] for name in replay.plan.selectors}
    curves["random"] = (replay.agreement["random"] + replay.agreement[TWIN]) / 2
    return curves


def _band(curves: Floats, ratio: float) -> dict[str, list[float | None]]:
    points = [resampled_interval(column, ratio) for column in curves.T]
    return {key: [p[key] for p in points] for key in ("estimate", "low", "high")}


def annotators_interval(values: Floats) -> Interval:
    """Mean of one value an annotator with Student's t interval of level 95 %; NaN = not measured."""
    from scipy.special import stdtrit

    known = values[np.isfinite(values)]
    if len(known) < 2:
        return {
            "estimate": _number(known.mean()) if len(known) else None,
            "low": None,
            "high": None,
        }
    half = stdtrit(len(known) - 1, (1 + LEVEL) / 2) * known.std(ddof=1) / math.sqrt(len(known))
    mean = float(known.mean())
    return {"estimate": mean, "low": float(mean - half), "high": float(mean + half)}


def one_reward(
    replay: Replay, annotators: Annotators, tastes: Tastes, ratio: float
) -> dict[str, Any]:
    """Does one shared reward, up to everybody's rationality, explain the judgements?

    Tastes differ if own rewards foresee an annotator's judgements better than the shared reward
    (mean over annotators, interval above 0), and better than the others' votes on the very same pair,
    or the opposite of them: no shared reward, of whatever form, could do that.
    """
    shared = resampled_interval(replay.ceiling[:, 0], ratio)
    others = np.maximum(annotators.agreement, 1 - annotators.agreement)
    gain = annotators_interval(tastes.own - tastes.shared)
    beyond = annotators_interval(tastes.own - others)
    weak = _at(shared, "low") <= 0.5 or _at(shared, "high") < BARELY
    differ = _at(gain, "low") > 0 and (beyond["estimate"] is None or _at(beyond, "low") > 0)
    verdict = {
        (True, True): "one shared reward is wrong",
        (True, False): "nothing explains the judgements",
        (False, True): "tastes differ, the shared reward still helps",
        (False, False): "no sign against one shared reward",
    }[weak, differ]
    out = {
        "verdict": verdict,
        "shared": shared,
        "majority": resampled_interval(replay.ceiling[:, 1], ratio),
        "own_by_pair": annotators_interval(tastes.own),
        "shared_by_pair": annotators_interval(tastes.shared),
        "others_same_pair": annotators_interval(others),
        "own_minus_shared": gain,
        "own_minus_others": beyond,
        "same_annotator_again": _number(annotators.same_again),
        "another_annotator": _number(annotators.same_other),
    }
    return {**out, "in_words": _one_reward_words(out, weak, differ)}


def _at(interval: Interval, end: str) -> float:
    value = interval[end]
    return -math.inf if value is None else value


def _one_reward_words(out: dict[str, Any], weak: bool, differ: bool) -> str:
    shared, gain = out["shared"], out["own_minus_shared"]
    said = [
        f"With all training labels the shared reward agrees with {_percent(shared['estimate'])} of the "
        f"held-out judgements ({_percent(shared['low'])} to {_percent(shared['high'])}; a coin: 50 %)"
        + (", so it explains almost nothing." if weak else ".")
    ]
    if gain["low"] is not None:
        said.append(
            "On new pairs, everybody's own reward (from their own judgements only) foresees "
            f"{_percent(out['own_by_pair']['estimate'])} of their judgements, the shared reward "
            f"{_percent(out['shared_by_pair']['estimate'])}: {100 * gain['estimate']:+.0f} points "
            f"({100 * gain['low']:+.0f} to {100 * gain['high']:+.0f} over annotators)"
            + (", so tastes differ by more than rationality." if differ else ".")
        )
    again, other = out["same_annotator_again"], out["another_annotator"]
    if again is not None and other is not None:
        said.append(
            f"Asked about a pair again, an annotator repeats the answer {_percent(again)} of the time; "
            f"another annotator gives the same answer {_percent(other)} of the time."
        )
    if weak and differ:
        said.append("Buying labels for one shared reward is the wrong plan here: model the tastes.")
    return " ".join(said)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _annotator_rows(
    recorded: Recorded, replay: Replay, annotators: Annotators
) -> list[dict[str, Any]]:
    counted = "dual" if "dual" in replay.bought else replay.plan.selectors[-1]
    bought = replay.bought[counted].mean(axis=0)
    rows = []
    for j, name in enumerate(recorded.annotators):
        b, half = annotators.rationality[j], 1.959964 * annotators.standard_error[j]
        rows.append(
            {
                "annotator": name,
                "labels": int(annotators.labels[j]),
                "agreement": _number(annotators.agreement[j]),
                "rationality": _number(b),
                "low": _number(b - half),
                "high": _number(b + half),
                "bought": float(bought[j]),
                "bought_by": counted,
            }
        )
    return rows


def summarise(
    recorded: Recorded, replay: Replay, annotators: Annotators, tastes: Tastes
) -> dict[str, Any]:
    """Everything the report shows, as JSON-ready values (None where there is no number)."""
    plan, (training, held) = replay.plan, replay.sizes.mean(axis=0)
    ratio = float(held / training)
    curves, saved = _curves(replay), savings(replay, ratio)
    random_end = resampled_interval(curves["random"][:, -1], ratio)
    rows = []
    for name in plan.selectors:
        end = resampled_interval(curves[name][:, -1], ratio)
        row: dict[str, Any] = {"selector": name, "end": end, **saved.get(name, {})}
        if name != "random":
            row["difference"] = resampled_interval((curves[name] - curves["random"])[:, -1], ratio)
            row["finding"], row["in_words"] = in_words(name, row["saving"], random_end)
        rows.append(row)
    return {
        "command": "replay",
        "labels": plan.labels.tolist(),
        "curves": {name: _band(curve, ratio) for name, curve in curves.items()},
        "differences": {
            name: _band(curve - curves["random"], ratio)
            for name, curve in curves.items()
            if name != "random"
        },
        "best_feature": _band(replay.best_feature, ratio),
        "selectors": rows,
        "answer": _answer(rows),
        "one_reward": one_reward(replay, annotators, tastes, ratio),
        "annotators_note": _annotators_note(recorded, annotators),
        "annotators": _annotator_rows(recorded, replay, annotators),
        "reference": recorded.annotators[annotators.reference],
        "rationality_status": annotators.status,
        "method": _method(recorded, replay, training, held),
    }


def _answer(rows: list[dict[str, Any]]) -> str:
    """The finding on dual, else on the first selector beside random."""
    words = {row["selector"]: row["in_words"] for row in rows if "in_words" in row}
    return words.get("dual") or next(iter(words.values()), "Only random was replayed.")


def _annotators_note(recorded: Recorded, annotators: Annotators) -> str:
    note = (
        "Rationality: how sharply an annotator follows the shared reward (0 = a coin, below 0 = against "
        "it), estimated with the reward from all judgements; "
        f"{recorded.annotators[annotators.reference]}, the one with most judgements (of several the one "
        "closest to the others), is fixed to 1. Agreement: with the sign of the others' summed votes on the "
        "same pair, ties left out."
    )
    if len(recorded.annotators) > MOST_ANNOTATORS:
        note += (
            f" The {MOST_ANNOTATORS} annotators with most judgements are estimated one by one, the others "
            "together as one."
        )
    if annotators.status != "converged":
        note += f" The fit ended as {annotators.status!r}: read the rationalities with caution."
    return note


def _method(recorded: Recorded, replay: Replay, training: float, held: float) -> list[str]:
    plan, splits = replay.plan, replay.splits
    columns, kept = len(recorded.features.names), float(np.mean(replay.kept_share))
    ties = int((recorded.preference == 0.5).sum())
    exist = f"{splits.distinct:,}" if splits.distinct < 10**6 else f"{splits.distinct:.1e}"
    said = [
        (
            f"{len(recorded.pair):,} judgements by {len(recorded.annotators):,} annotators on "
            f"{len(recorded.pair_ids):,} pairs; {ties:,} ties, which count half a win each in every fit and are "
            "left out of agreement."
        ),
        (
            f"{len(splits.splits)} splits, each holding out {splits.held_units:,} of {splits.units:,} "
            f"({splits.unit}); {exist} different ones exist. On average {training:,.0f} judgements to buy from, "
            f"{held:,.0f} decided ones held out."
        ),
        (
            f"Features: {columns} columns, each divided by its root mean square on the training pairs (no "
            "centring: z and -z are one question), turned to principal components; at most budget / "
            f"{LABELS_PER_DIMENSION} and {MOST_DIMENSIONS} are kept: {min(replay.dimensions)} to {max(replay.dimensions)}, "
            f"{_percent(kept)} of the variance."
        ),
        (
            f"{plan.warm_up} labels are bought uniformly at random first, the same for every selector; then "
            f"batches of {plan.batch} up to {plan.budget}. The reward is refitted after each batch; the annotators' "
            f"rationalities whenever the labels have grown by {_percent(RATIONALITY_GROWTH - 1)} (root mean "
            "square 1 over the labels bought)."
        ),
        (
            f"Ridge {RIDGE:g}: a prior standard deviation of {1 / math.sqrt(RIDGE):g} for each rationality about the "
            f"pooled mean, and of {MARGIN_SD:g} log-odds for a typical pair's margin."
        ),
        (
            "Intervals over splits: 95 %, Nadeau and Bengio's corrected resampled t (splits overlap); one "
            "selector at a time, not adjusted for looking at several."
        ),
        (
            "Labels needed for what random reaches with the budget (mean of two independent random runs, "
            "split by split): estimate where the monotone fit of the mean lead over that level reaches 0; "
            "interval by inverting the test at each checkpoint. What is not reached, or not shown to be, "
            "within the budget has no number."
        ),
        (
            "Best single feature: the one column, with its sign, that agrees most with the labels random had "
            "bought."
        ),
    ]
    mixed = [s.mixed for s in splits.splits]
    if max(mixed):
        said.append(
            f"Pairs with one item on each side of a split are dropped: {np.mean(mixed):,.0f} on average."
        )
    if len(recorded.pair_ids) * len(recorded.annotators) > LARGEST_OFFER:
        said.append(
            f"Where pairs x annotators exceed {LARGEST_OFFER:,}, each batch is chosen from a random part of "
            "the pairs of about that size."
        )
    if replay.unfinished:
        said.append(f"{replay.unfinished} fits did not converge; there the one before was kept.")
    return said

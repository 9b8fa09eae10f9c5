"""What a replay says: agreement by labels bought, labels saved, and how it was found."""

import math
from typing import Any

import numpy as np

from ..sim.one_reward import Annotators, Tastes
from ..sim.recorded import Recorded
from ..sim.recorded_pool import LARGEST_OFFER
from ..sim.refit import RATIONALITY_GROWTH
from ..sim.replay import TWIN, Replay
from ..theory.checks import Floats, Ints
from ..theory.refit import LABELS_PER_DIMENSION, MARGIN_SD, MOST_DIMENSIONS, RIDGE
from .replay_annotators import WRONG, annotator_rows, annotators_note, one_reward, worth_asking
from .replay_intervals import Interval, end_of, percent, points, resampled_interval


def smoothed(curve: Floats) -> Floats:
    """The closest curve (c,) that never falls: what is learned is not unlearned, up to noise."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(curve).x)


def labels_needed(
    lead: Floats, labels: Ints | Floats, held_per_training: float, step: float = 0.0
) -> Interval:
    """Labels from which a selector is level with random's end, given its lead (J, c) over that.

    Estimate: where the smoothed mean lead reaches 0. Interval: the tests of "lead = 0" at each
    checkpoint, inverted. high: going back from the budget, the last checkpoint of the unbroken run
    whose intervals lie above 0 (a fixed sequence of tests, so their number costs nothing); low: the
    first checkpoint whose interval does not lie below 0. None = beyond the budget, not seen.
    ``labels`` may as well be money; ``step`` as in ``resampled_interval``.

    >>> lead = np.array([[-0.2, 0.0, 0.3], [-0.2, 0.0, 0.3]])
    >>> labels_needed(lead, np.array([10, 20, 30]), 0.5)
    {'estimate': 20.0, 'low': 20.0, 'high': 30.0}
    """
    bands = [resampled_interval(column, held_per_training, step) for column in lead.T]
    level = np.flatnonzero(smoothed(lead.mean(axis=0)) >= 0)
    not_below = [i for i, band in enumerate(bands) if end_of(band, "high") >= 0]
    above = len(bands)
    while above and end_of(bands[above - 1], "low") > 0:
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
            "saving": {
                here: None if needed[there] is None else 1 - end_of(needed, there) / budget
                for here, there in (("estimate", "estimate"), ("low", "high"), ("high", "low"))
            },
        }
    return out


def in_words(name: str, saving: Interval, random_end: Interval) -> tuple[str, str]:
    """The finding on one selector: saves, worse or no better; and in one sentence."""
    if end_of(random_end, "low") <= 0.5:
        return "no better", (
            f"{name}: no better than random. Even with the whole budget random's reward is not shown "
            "to beat a coin, so there is nothing to save."
        )
    estimate, low, high = (percent(saving[k]) for k in ("estimate", "low", "high"))
    if saving["high"] is None:
        return (
            "worse",
            f"{name} is worse than random: the whole budget does not get it where random ends.",
        )
    if (saving["low"] or 0.0) > 0:
        return "saves", f"{name} saves {estimate} of the labels (95 % interval {low} to {high})."
    best = "no saving" if saving["estimate"] is None else f"saves {estimate}"
    return "no better", (
        f"{name}: no better than random, on this evidence (best guess: {best}; 95 % interval: none to "
        f"{high})."
    )


def room(replay: Replay, ratio: float) -> dict[str, Any]:
    """What there was to save: random's rise from the warm-up to its end, split by split."""
    plan, curve = replay.plan, _curves(replay)["random"]
    rise = resampled_interval(curve[:, -1] - curve[:, 0], ratio)
    first, last, everything = (
        f"{100 * values.mean():.1f} %"
        for values in (curve[:, 0], curve[:, -1], replay.ceiling[:, 0])
    )
    flat = end_of(rise, "low") <= 0
    words = (
        f"What there was to save: random selection rises from {first} held-out agreement after the shared "
        f"warm-up ({plan.warm_up} labels) to {last} with all {plan.budget}, by {points(rise)}; all "
        f"{replay.sizes[:, 0].mean():,.0f} training labels give {everything}."
    )
    most = percent(1 - plan.warm_up / plan.budget)
    words += (
        " That rise is not shown to differ from 0: the curve is too flat for these splits to show a saving, "
        f"either way ({most} is all that comes after the warm-up)."
        if flat
        else f" The warm-up is bought at random by everybody, so no saving above {most} can be seen."
    )
    return {"rise": rise, "flat": flat, "in_words": words}


def _curves(replay: Replay) -> dict[str, Floats]:
    curves = {name: replay.agreement[name] for name in replay.plan.selectors}
    curves["random"] = (replay.agreement["random"] + replay.agreement[TWIN]) / 2
    return curves


def _band(curves: Floats, ratio: float) -> dict[str, list[float | None]]:
    found = [resampled_interval(column, ratio) for column in curves.T]
    return {key: [i[key] for i in found] for key in ("estimate", "low", "high")}


def interval_ratio(replay: Replay) -> float:
    """Held out over training, in judgements or in units held out whole (scenes, items), whichever is larger.

    Judgements of one unit depend on each other, so counting judgements alone may promise too much.
    """
    training, held = replay.sizes.mean(axis=0)
    splits = replay.splits
    return float(max(held / training, splits.held_units / (splits.units - splits.held_units)))


def summarise(
    recorded: Recorded, replay: Replay, annotators: Annotators, tastes: Tastes
) -> dict[str, Any]:
    """Everything the report shows, as JSON-ready values (None where there is no number)."""
    plan, (training, held) = replay.plan, replay.sizes.mean(axis=0)
    ratio = interval_ratio(replay)
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
    judged = one_reward(replay, annotators, tastes, ratio)
    people = annotator_rows(recorded, replay, annotators)
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
        "room": room(replay, ratio),
        "one_reward": judged,
        "worth_asking": worth_asking(people, judged["verdict"] == WRONG),
        "annotators_note": annotators_note(recorded, annotators),
        "annotators": people,
        "rationality_status": annotators.status,
        "method": _method(recorded, replay, training, held),
    }


def _answer(rows: list[dict[str, Any]]) -> str:
    """The finding on dual, else on the first selector beside random."""
    words = {row["selector"]: row["in_words"] for row in rows if "in_words" in row}
    return words.get("dual") or next(iter(words.values()), "Only random was replayed.")


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
            f"{percent(kept)} of the variance."
        ),
        (
            f"{plan.warm_up} labels are bought uniformly at random first, the same for every selector; then "
            f"batches of {plan.batch} up to {plan.budget}. The reward is refitted after each batch; the annotators' "
            f"rationalities whenever the labels have grown by {percent(RATIONALITY_GROWTH - 1)} (root mean "
            "square 1 over the labels bought)."
        ),
        (
            f"Ridge {RIDGE:g}: a prior standard deviation of {1 / math.sqrt(RIDGE):g} for each rationality about the "
            f"pooled mean, and of {MARGIN_SD:g} log-odds for a typical pair's margin."
        ),
        (
            "Splits of the same judgements overlap, so they are no independent repetitions. Intervals over "
            "splits (95 %) therefore are Nadeau and Bengio's corrected resampled t: the variance over splits times "
            f"1/{len(splits.splits)} + {interval_ratio(replay):.2f} (held out over training, in judgements or in "
            f"{splits.unit}s, whichever is larger) instead of 1/{len(splits.splits)}. Differences to random are taken "
            "split by split. One selector at a time, not adjusted for looking at several."
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

"""Is one shared reward right, and whose answers were worth asking? In numbers and in words."""

from typing import Any

import numpy as np

from ..sim.one_reward import Annotators, Tastes
from ..sim.recorded import Recorded
from ..sim.replay import TWIN, Replay
from ..theory.refit import MOST_TEACHERS
from .replay_intervals import (
    annotators_interval,
    end_of,
    number,
    percent,
    points,
    resampled_interval,
)

BARELY = 0.55  # a reward whose agreement stays below this explains almost nothing
WRONG = "one shared reward is wrong"


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
    weak = end_of(shared, "low") <= 0.5 or end_of(shared, "high") < BARELY
    differ = end_of(gain, "low") > 0 and (beyond["estimate"] is None or end_of(beyond, "low") > 0)
    verdict = {
        (True, True): WRONG,
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
        "same_annotator_again": number(annotators.same_again),
        "another_annotator": number(annotators.same_other),
    }
    return {**out, "in_words": _one_reward_words(out, weak, differ)}


def _one_reward_words(out: dict[str, Any], weak: bool, differ: bool) -> str:
    shared, gain = out["shared"], out["own_minus_shared"]
    said = [
        f"With all training labels the shared reward agrees with {percent(shared['estimate'])} of the "
        f"held-out judgements ({percent(shared['low'])} to {percent(shared['high'])}; a coin: 50 %)"
        + (", so it explains almost nothing." if weak else ".")
    ]
    if gain["low"] is not None:
        said.append(
            "On pairs left out, everybody's own reward (from their own judgements only) foresees "
            f"{percent(out['own_by_pair']['estimate'])} of their judgements, the shared reward "
            f"{percent(out['shared_by_pair']['estimate'])}: {points(gain)} over annotators"
            + (", so tastes differ by more than rationality." if differ else ".")
        )
    again, other = out["same_annotator_again"], out["another_annotator"]
    if again is not None and other is not None:
        said.append(
            f"Asked about a pair again, an annotator repeats the answer {percent(again)} of the time; "
            f"another annotator gives the same answer {percent(other)} of the time."
        )
    if weak and differ:
        said.append("Buying labels for one shared reward is the wrong plan here: model the tastes.")
    return " ".join(said)


def annotator_rows(
    recorded: Recorded, replay: Replay, annotators: Annotators
) -> list[dict[str, Any]]:
    counted = "dual" if "dual" in replay.bought else replay.plan.selectors[-1]
    bought = replay.bought[counted].mean(axis=0)
    by_chance = (replay.bought["random"] + replay.bought[TWIN]).mean(axis=0) / 2
    rows = []
    for j, name in enumerate(recorded.annotators):
        b, half = annotators.rationality[j], 1.959964 * annotators.standard_error[j]
        rows.append(
            {
                "annotator": name,
                "labels": int(annotators.labels[j]),
                "agreement": number(annotators.agreement[j]),
                "rationality": number(b),
                "low": number(b - half),
                "high": number(b + half),
                "bought": float(bought[j]),
                "bought_by": counted,
                "bought_by_random": float(by_chance[j]),
            }
        )
    return rows


def worth_asking(rows: list[dict[str, Any]], shared_is_wrong: bool) -> str:
    """The annotators' table in a few sentences."""
    known = [row for row in rows if row["rationality"] is not None and row["low"] is not None]
    if not known:
        return "The rationalities could not be estimated from these judgements."
    sharp = [row for row in known if row["low"] > 1]
    typical = [row for row in known if 0 < row["low"] <= 1 <= row["high"]]
    blunt = [row for row in known if 0 < row["low"] and row["high"] < 1]
    coin = [row for row in known if row["low"] <= 0 <= row["high"]]
    against = [row for row in known if row["high"] < 0]
    said = (
        f"Of {len(known)} annotators {len(sharp)} follow the shared reward more sharply than the typical "
        f"judgement does (rationality's interval above 1), {len(typical)} about as sharply (it holds 1), "
        f"{len(blunt)} less sharply (below 1), {len(coin)} are not told from a coin (it holds 0) and "
        f"{len(against)} go against it (below 0)."
    )
    if sharp:
        bought, chance = (sum(row[k] for row in sharp) for k in ("bought", "bought_by_random"))
        total = sum(row["bought"] for row in rows)
        said += (
            f" {rows[0]['bought_by']} asked the sharp ones for {percent(bought / total)} of its labels, "
            f"random for {percent(chance / total)}."
        )
    if shared_is_wrong:
        said += (
            " Tastes differ here, so this says who shares the fitted taste, not who answers with care: no "
            "ground for dropping anybody."
        )
    return said


def annotators_note(recorded: Recorded, annotators: Annotators) -> str:
    note = (
        "Rationality: how sharply an annotator follows the shared reward (1 = the typical judgement, as the "
        "root mean square over all of them; 0 = a coin; below 0 = against it), estimated with the reward from "
        "all judgements; intervals of level 95 % from the Fisher information, which takes answers for "
        "independent. Agreement: with the sign of the others' summed votes on the same pair, ties left out. "
        "Bought: labels, mean over splits; a selector knows an annotator only by the labels it has bought itself."
    )
    if len(recorded.annotators) > MOST_TEACHERS:
        note += (
            f" The {MOST_TEACHERS} annotators with most judgements are estimated one by one, the others "
            "together as one."
        )
    if annotators.status != "converged":
        note += f" The fit ended as {annotators.status!r}: read the rationalities with caution."
    return note

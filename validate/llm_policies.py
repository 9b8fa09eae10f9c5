"""What ADPO's choice of questions was worth: beside DPO on random labels, and on all labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .llm_curves import AXES, LENGTH, Exactness, interval, mean_curve, optional_mean, with_length
from .llm_facts import Facts
from .llm_selection import (
    BETTER,
    NO_BETTER,
    NOTHING,
    ONE,
    UNFINISHED,
    WORSE,
    beside_length,
    difference_text,
    share,
    unseen,
)
from .llm_tables import frequency
from .replay_intervals import Interval, end_of

ADPO = "adpo"
RIVALS = {"random": "DPO on random pairs for as much money", "dpo": "DPO with all labels"}


def policies(facts: Facts, exact: Exactness) -> dict[str, Any] | None:
    """ADPO beside its rivals, replicate by replicate; None where no policy is trained."""
    if ADPO not in facts.families:
        return None
    rivals = [name for name in RIVALS if name in facts.families]
    rows = [_row(facts, r, rivals) for r in facts.families[ADPO]]
    rows = [row for row in rows if any(row[name] for name in (ADPO, *rivals))]
    own = [row[ADPO] for row in rows if row[ADPO]]
    plain = Exactness(exact.ratio, 0.0)  # shares of other things than held-out pairs
    out: dict[str, Any] = {
        "rows": rows,
        "rivals": rivals,
        "expected": facts.config.selection.replicates,
        "asked_share": optional_mean([p["asked_share"] for p in own], plain),
        "precision": optional_mean([p["precision"]["estimate"] for p in own], plain),
        "ends": {name: _end([row[name] for row in rows if row[name]], exact)
                 for name in (ADPO, *rivals)},
        "against": {name: _against(rows, name, facts, exact) for name in rivals},
        "curves": _curves(facts, exact),
        "length": beside_length(ADPO, own, exact) if own else None,
    }  # fmt: skip
    return out | {"in_words": _in_words(out)}


def _row(facts: Facts, replicate: int, rivals: Sequence[str]) -> dict[str, Any]:
    """What the policies of one replicate came to, None before they are trained."""
    found: dict[str, Any] = {"replicate": replicate}
    for name in (ADPO, *rivals):
        found[name] = facts.families[name][replicate].policy
    if (adpo := found[ADPO]) is not None:
        found[ADPO] = adpo | {
            "asked_share": adpo["asked"] / adpo["pairs"] if adpo["pairs"] else None,
            "precision": frequency(int(adpo["pseudo_right"]), int(adpo["pseudo_known"])),
        }
    return found


def _end(done: Sequence[dict[str, Any]], exact: Exactness) -> dict[str, Any] | None:
    """Means over the replicates that are trained."""
    if not done:
        return None
    means = {axis: float(np.mean([p[key] for p in done])) for axis, key in AXES.items()}
    return {**means, "accuracy": optional_mean([p["accuracy"] for p in done], exact)}


def _curves(facts: Facts, exact: Exactness) -> dict[str, dict[str, Any]]:
    """axis -> name -> mean curve of ADPO on its way, and of the lengths' rule from its labels."""
    arms = [arm for arm in facts.begun(ADPO).values() if arm.finished]
    looked = sum(int(arm.evaluations[-1].get("known", 0)) for arm in arms)
    if looked:  # at fewer pairs than are held out
        exact = exact._replace(step=len(arms) / looked)
    out = {}
    for axis in AXES:
        # nothing is carried beyond what was bought: the threshold ends the asking, not the money
        drawn = {ADPO: mean_curve(arms, axis, 0.0, exact)}
        drawn[LENGTH] = mean_curve(with_length(arms), axis, 0.0, exact, "length_accuracy")
        out[axis] = {name: found for name, found in drawn.items() if found}
    return out


def _against(
    rows: Sequence[dict[str, Any]], rival: str, facts: Facts, exact: Exactness
) -> dict[str, Any]:
    """ADPO minus one rival, and what follows."""
    gaps = np.array([gap for row in rows if (gap := lead(row, rival)) is not None])
    expected = facts.config.selection.replicates
    out: dict[str, Any] = {"rival": rival, "compared": len(gaps), "expected": expected}
    ended = all(row[name] is not None for row in rows for name in (ADPO, rival))
    out["difference"] = difference = interval(gaps, exact, -1.0) if len(gaps) else None
    out["finding"] = _finding(difference, ended and len(rows) == expected, len(gaps), expected)
    return out | {"in_words": _verdict(out)}


def lead(row: dict[str, Any], rival: str) -> float | None:
    """ADPO's accuracy minus a rival's in one replicate, where both are known."""
    both = [row[name] and row[name]["accuracy"] for name in (ADPO, rival)]
    return None if None in both else float(both[0] - both[1])


def _finding(difference: Interval | None, finished: bool, compared: int, expected: int) -> str:
    if not finished:
        return UNFINISHED
    if difference is None or compared < expected:  # those left out are no random ones
        return NOTHING
    if compared == 1:
        return ONE
    if end_of(difference, "low") > 0:
        return BETTER
    return WORSE if (difference["high"] or 0.0) < 0 else NO_BETTER


def _verdict(out: dict[str, Any]) -> str:
    rival, difference = RIVALS[out["rival"]], out["difference"]
    if difference is None:
        if out["finding"] == UNFINISHED:
            return f"ADPO against {rival}: no replicate of both is trained yet."
        return f"ADPO against {rival}: no accuracy of both is known, so nothing can be said."
    said, over = difference_text(difference), f"over {out['compared']} replicates"
    if out["finding"] == NOTHING:
        return (
            f"ADPO against {rival}: only {out['compared']} of {out['expected']} replicates have an accuracy of "
            f"both ({said}), so nothing can be said: where nothing could be trained is no accident."
        )
    if out["finding"] == UNFINISHED:
        return (
            f"No verdict on ADPO against {rival} yet: {said} in {out['compared']} of "
            f"{out['expected']} replicates, so far."
        )
    if out["finding"] == ONE:
        return (
            f"One replicate, so no interval can be given and nothing follows from it: ADPO minus {rival} "
            f"is {said}. Run more replicates to know."
        )
    if out["finding"] == BETTER:
        return f"ADPO is better than {rival}: {said}, {over}."
    if out["finding"] == WORSE:
        return f"ADPO is worse than {rival}: {said}, {over}."
    if out["rival"] == "dpo":  # it has fewer labels: the question is what that costs
        loss = max(0.0, -100 * end_of(difference, "low"))
        rest = f"A loss of up to {loss:.1f} points is not ruled out."
    else:
        rest = unseen(difference)
    return f"ADPO: no better than {rival}, on this evidence: {said}, {over}. {rest}"


def _in_words(out: dict[str, Any]) -> str:
    """What ADPO asked, and what its policy knows."""
    end = out["ends"][ADPO]
    if end is None:
        return "No policy has been trained to its end yet."
    asked = f"{100 * end_of(out['asked_share'], 'estimate'):.0f} %" if out["asked_share"] else "?"
    words = f"ADPO asked for labels on {asked} of its pairs"
    if end["accuracy"] is None:
        return f"{words}. How good its policy is, is unknown: no held-out pair has a decided truth."
    words += f"; its policy orders {share(end['accuracy'])} of the held-out pairs as the truth does"
    unanswered = [row[ADPO].get("unanswered", 0) for row in out["rows"] if row[ADPO]]
    if any(unanswered):
        words += (
            f". {np.mean(unanswered):,.0f} times a replicate it wanted to ask and got no answer (the money was "
            "spent, or the answer could not be read), and learned nothing from the pair"
        )
    if not out["rivals"]:
        words += ". Beside no baseline, what choosing gained is unknown"
    return f"{words}."

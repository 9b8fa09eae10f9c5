"""What the report shows beside the answer: teachers, trainings, stages, the ledger's odds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .llm_curves import Exactness, optional_mean
from .llm_facts import Arm, Facts, Use, people_of
from .llm_selection import amount
from .replay_intervals import Interval, percent
from .verdict import Frequency

NONE = Use(0, 0.0, 0, 0, 0.0, 0, 0)
ALPHA = 0.025  # on each side


def frequency(successes: int, trials: int) -> Interval:
    """A share with Clopper and Pearson's exact 95 % interval; all None without a trial."""
    if not trials:
        return {"estimate": None, "low": None, "high": None}
    found = Frequency(successes, trials)
    low, high = found.interval(ALPHA)
    return {"estimate": found.estimate, "low": low, "high": high}


def teachers(facts: Facts) -> list[dict[str, Any]]:
    """Every teacher, and what each selector and policy had of it (means over its replicates)."""
    types = facts.pool.get("context_types") or ["all"]
    out = []
    for teacher in facts.config.teachers:
        row: dict[str, Any] = {
            "teacher": teacher.name,
            "kind": teacher.kind,
            "price": teacher.cost,
            "stated": dict(zip(types, teacher.rationality_in(types), strict=True)),
            "by": {},
        }
        for family, arms in facts.families.items():
            begun = [arm for arm in arms.values() if arm.uses]
            if begun:
                row["by"][family] = _use(begun, teacher.name)
        out.append(row)
    return out


def _use(arms: Sequence[Arm], teacher: str) -> dict[str, Any]:
    """Totals over the arms; the share is that of all their labels and of all their money."""
    found = [arm.uses.get(teacher, NONE) for arm in arms]
    labels = sum(use.asked for arm in arms for use in arm.uses.values())
    money = sum(use.money for arm in arms for use in arm.uses.values())
    out: dict[str, Any] = {
        "replicates": len(arms),
        **{field: sum(getattr(use, field) for use in found) for field in Use._fields},
    }
    out["share"] = out["asked"] / labels if labels else None
    out["money_share"] = out["money"] / money if money else None
    known, right = (_agreement(arms, teacher, key) for key in ("known", "right"))
    out["agreement_known"] = known
    out["agreement"] = right / known if known else None
    return out


def _agreement(arms: Sequence[Arm], teacher: str, key: str) -> int:
    last = [arm.evaluations[-1] if arm.evaluations else arm.policy or {} for arm in arms]
    return sum(int(e.get("agreement", {}).get(teacher, {}).get(key, 0)) for e in last)


def rationality(facts: Facts) -> dict[str, Any]:
    """Stated and believed rationality at the end, by teacher and context type; spread over arms."""
    arms = list(facts.begun(facts.chosen).values())
    last = [arm.evaluations[-1] for arm in arms]
    estimated = any(e.get("estimated") for e in last)
    rows = []
    for teacher in teachers(facts):
        for context, stated in teacher["stated"].items():
            seen = [e.get("rationality", {}).get(teacher["teacher"], {}).get(context) for e in last]
            known = [float(b) for b in seen if b is not None]
            rows.append(
                {
                    "teacher": teacher["teacher"],
                    "context_type": context,
                    "stated": stated,
                    "believed": float(np.mean(known)) if known else None,
                    "least": min(known, default=None),
                    "most": max(known, default=None),
                    "replicates": len(known),
                }
            )
    return {"estimated": estimated, "rows": rows}


def trainings(facts: Facts, exact: Exactness) -> list[dict[str, Any]]:
    """LoRA reward training: the model's own score and the head on its new features."""
    out = []
    for family, arms in facts.families.items():
        done = [arm.trained for arm in arms.values() if arm.trained]
        for i in range(max(map(len, done), default=0)):
            found = [trained[i] for trained in done if len(trained) > i]
            keys = ("labels", "ties_left_out", "steps", "loss")
            row: dict[str, Any] = {"selector": family, "training": i + 1, "replicates": len(found)}
            for key in keys:
                known = [t[key] for t in found if t.get(key) is not None]
                row[key] = float(np.mean(known)) if known else None
            for key in ("accuracy", "head_accuracy"):
                row[key] = optional_mean([t.get(key) for t in found], exact)
            out.append(row)
    return out


def stages(facts: Facts) -> dict[str, Any]:
    """Seconds and peak memory by stage, in the order in which they first came."""
    rows: dict[str, dict[str, Any]] = {}
    for stage in facts.stages:
        row = rows.setdefault(
            stage.name,
            {"stage": stage.name, "times": 0, "seconds": 0.0, "peak_bytes": 0, "longest": 0.0},
        )
        row["times"] += 1
        row["seconds"] += stage.seconds
        row["longest"] = max(row["longest"], stage.seconds)
        row["peak_bytes"] = max(row["peak_bytes"], stage.peak_bytes)
    seconds = sum(row["seconds"] for row in rows.values())
    for row in rows.values():
        row["share"] = row["seconds"] / seconds if seconds else None
    return {
        "rows": list(rows.values()),
        "seconds": seconds,
        "peak_bytes": max((row["peak_bytes"] for row in rows.values()), default=0),
    }


def ledger_odds(facts: Facts) -> dict[str, Any]:
    """What the ledger holds beside usable answers, over all arms."""
    uses = [
        u for arms in facts.families.values() for arm in arms.values() for u in arm.uses.values()
    ]
    totals = {field: sum(getattr(use, field) for use in uses) for field in Use._fields}
    asked, money = counted(totals["asked"], "label"), amount(totals["money"])
    words = f"{asked} asked in all arms together, for {money}."
    if totals["unparsable"]:
        words += (
            f" {counted(totals['unparsable'], 'answer')} could not be read: charged "
            f"({amount(totals['unparsable_money'])}), recorded, not used."
        )
    elif totals["asked"]:
        words += " Every answer could be read."
    if totals["repeated"]:
        words += (
            f" {counted(totals['repeated'], 'question')} put more than once after a broken run, under the same "
            "key, and charged once."
        )
    if people_of(facts.config):
        words += (
            f" People gave {counted(facts.answers_of_people, 'answer')}: arms that ask the same share it, and "
            "each is charged for it, or they could not be compared."
        )
    if totals["open"]:
        words += (
            f" {counted(totals['open'], 'question')} still open: asked, charged, not answered yet."
        )
    return {**totals, "in_words": words}


def counted(number: int, word: str) -> str:
    """A number and its word.

    >>> counted(1, "label"), counted(1200, "label")
    ('1 label', '1,200 labels')
    """
    return f"{amount(number)} {word}{'s' * (number != 1)}"


def progress(facts: Facts) -> dict[str, Any]:
    """Which arms have not spent their budget."""
    arms = [arm for family in facts.families.values() for arm in family.values()]
    behind = [arm.name for arm in arms if not arm.finished]
    what = "are not trained to their end" if facts.policies else "have not spent their budget"
    words = f"All {len(arms)} arms are finished." if len(arms) > 1 else "The only arm is finished."
    if behind:
        words = f"Unfinished: {len(behind)} of {len(arms)} arms {what}."
    started = any(arm.evaluations or arm.uses or arm.finished for arm in arms)
    return {"arms": len(arms), "unfinished": behind, "started": started, "in_words": words}


def percent_or_none(value: float | None) -> str:
    """A share in per cent, with one decimal below 10; "-" where there is none."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else percent(value)

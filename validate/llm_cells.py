"""The tables of a language-model report: heads and cells, the same on the page and in the terminal."""

from collections.abc import Sequence
from typing import Any

from .llm_curves import AXES, LENGTH
from .llm_selection import amount
from .llm_summary import Summary
from .llm_tables import percent_or_none
from .replay_page import interval_text

Cells = tuple[list[str], list[list[str]]]
POLICIES = {"adpo": "ADPO", "random": "DPO, random pairs", "dpo": "DPO, all labels"}


def cell(
    value: dict[str, float | None] | None,
    form: str = "{:.1f}",
    by: float = 100,
    missing: str = "none",
) -> str:
    """Estimate and interval; the estimate alone where no end of an interval is known."""
    if value is None or (value["estimate"] is None and missing == "none"):
        return "-"
    if value["low"] is None and value["high"] is None:
        estimate = value["estimate"]
        return missing if estimate is None else form.format(by * estimate)
    return interval_text(value, form, by, missing)


def selector_cells(summary: Summary) -> Cells:
    """The chosen selector, each baseline, and the length rule."""
    chosen, quality = summary["run"]["selector"], summary["quality"]
    head = [
        "selector",
        "accuracy, %",
        "labels",
        "money",
        f"{chosen} minus it,\npoints",
        f"labels {chosen} needs\nto reach it",
        "money it\nsaves, %",
    ]
    rows = []
    if quality is not None:
        spent = [amount(quality["labels"]), amount(quality["money"])]
        rows.append([chosen, cell(quality["end"]), *spent, "-", "-", "-"])
    for found in summary["comparisons"]:
        if found["difference"] is None:
            rows.append([found["baseline"], *["-"] * 6])
            continue
        spent = [amount(found["baseline_labels"]), amount(found["money"])]
        labels, gap = found.get("labels_needed"), cell(found["difference"], "{:+.1f}")
        beyond = f">{amount(found['labels_seen'][1])}" if labels is not None else ""
        needs = "-" if labels is None else cell(labels, "{:.0f}", 1, beyond)
        saves = cell(found.get("saving"), "{:.0f}")
        rows.append([found["baseline"], cell(found["baseline_end"]), *spent, gap, needs, saves])
    if summary["length"] is not None:
        length = summary["length"]
        rows.append([LENGTH, cell(length["end"]), *["-"] * 5])
    known = summary["selectors"] and any(c != "-" for row in rows for c in row[1:])
    return head, rows if known else []


def teacher_cells(summary: Summary) -> Cells:
    """Who was asked how much, by whom; means over replicates, shares of all labels or answers."""
    shown = [
        name for name in _families(summary) if any(name in t["by"] for t in summary["teachers"])
    ]
    main = shown[0] if shown else ""
    head = ["teacher", "kind", "price", f"labels,\n{main}", "share of\nlabels", "money"]
    head += [f"labels,\n{name}" for name in shown[1:]]
    head += ["unreadable", "ties", "agrees with\nthe truth"]
    rows = []
    for teacher in summary["teachers"]:
        uses = [teacher["by"].get(name) for name in shown]
        row = [teacher["teacher"], teacher["kind"], amount(teacher["price"])]
        row += _use_cells(uses[0] if uses else None)
        row += ["-" if use is None else _per_arm(use, "asked") for use in uses[1:]]
        rows.append([*row, *_quality_cells(uses[0] if uses else None)])
    return head, rows


def _per_arm(use: dict[str, Any], key: str) -> str:
    return amount(round(use[key] / use["replicates"], 1))


def _use_cells(use: dict[str, Any] | None) -> list[str]:
    if use is None:
        return ["-"] * 3
    return [_per_arm(use, "asked"), percent_or_none(use["share"]), _per_arm(use, "money")]


def _quality_cells(use: dict[str, Any] | None) -> list[str]:
    if use is None or not use["asked"]:
        return ["-"] * 3
    readable = use["asked"] - use["unparsable"] - use["open"]
    return [
        f"{percent_or_none(use['unparsable'] / use['asked'])} ({amount(use['unparsable'])})",
        percent_or_none(use["ties"] / readable) if readable else "-",
        percent_or_none(use["agreement"]),
    ]


def _families(summary: Summary) -> list[str]:
    """The selectors or the policies; DPO with all labels has no choice to compare."""
    policies = summary["policies"]
    return summary["selectors"] if policies is None else ["adpo", *{*policies["rivals"]} - {"dpo"}]


def rationality_cells(summary: Summary) -> Cells:
    """Stated and believed rationality, one row a teacher and context type."""
    if not summary["rationality"]["estimated"]:
        found = summary["rationality"]["rows"]
        rows = [[r["teacher"], r["context_type"], f"{r['stated']:.2f}"] for r in found]
        return ["teacher", "context type", "stated and believed"], rows
    head = [
        "teacher",
        "context type",
        "stated",
        "estimated,\nmean",
        "least to most\nover replicates",
    ]
    rows = []
    for row in summary["rationality"]["rows"]:
        mean = "-" if row["believed"] is None else f"{row['believed']:.2f}"
        spread = "-" if row["least"] is None else f"{row['least']:.2f} to {row['most']:.2f}"
        rows.append([row["teacher"], row["context_type"], f"{row['stated']:.2f}", mean, spread])
    return head, rows


def policy_cells(summary: Summary) -> Cells:
    """ADPO and its rivals: means over the replicates that are trained."""
    head = ["policy", "accuracy, %", "labels", "money", "ADPO minus it,\npoints"]
    head += ["pseudo-\nlabels", "of them\nright, %"]
    found, rows = summary["policies"], []
    for name, end in found["ends"].items():
        row = [POLICIES[name], *["-"] * 6]
        if end is not None:
            row[1:4] = [cell(end["accuracy"]), *(amount(round(end[x], 1)) for x in AXES)]
        if name in found["against"]:
            row[4] = cell(found["against"][name]["difference"], "{:+.1f}")
        elif end is not None:
            own = [r["adpo"] for r in found["rows"] if r["adpo"]]
            row[5] = amount(round(sum(p["pseudo"] for p in own) / len(own), 1))
            row[6] = cell(found["precision"])
        rows.append(row)
    return head, rows


def replicate_cells(summary: Summary) -> Cells:
    """The same replicate by replicate: accuracies in %, and how often pseudo-labels were right."""
    found, rows = summary["policies"], []
    head = ["replicate", "ADPO", *(POLICIES[name] for name in found["rivals"])]
    head += ["asked, of\nits pairs", "pseudo-labels\nright, %"]
    for row in found["rows"]:
        policies = [row[name] for name in found["ends"]]
        known = [p is not None and p["accuracy"] is not None for p in policies]
        cells = [
            f"{100 * p['accuracy']:.1f}" if k else "-" for p, k in zip(policies, known, strict=True)
        ]
        adpo = row["adpo"]
        own = (
            ["-", "-"]
            if adpo is None
            else [percent_or_none(adpo["asked_share"]), cell(adpo["precision"])]
        )
        rows.append([str(row["replicate"]), *cells, *own])
    return head, rows if len(rows) > 1 else []


def training_cells(summary: Summary) -> Cells:
    """The LoRA trainings, means over replicates."""
    head = [
        "selector", "training", "labels", "ties\nleft out", "accuracy of the\nmodel's score, %",
        "of the head on its\nnew features, %", "last loss", "replicates",
    ]  # fmt: skip
    rows = []
    for row in summary["trainings"]:
        counts = ["-" if row[k] is None else amount(row[k]) for k in ("labels", "ties_left_out")]
        loss = "-" if row["loss"] is None else f"{row['loss']:.3f}"
        scores = [cell(row["accuracy"]), cell(row["head_accuracy"])]
        rows.append(
            [row["selector"], str(row["training"]), *counts, *scores, loss, str(row["replicates"])]
        )
    return head, rows


def stage_cells(summary: Summary) -> Cells:
    """Time and memory by stage."""
    found = summary["stages"]
    head = ["stage", "times", "time, all", "share", "longest", "most memory"]
    rows = [
        [
            row["stage"], str(row["times"]), seconds(row["seconds"]), percent_or_none(row["share"]),
            seconds(row["longest"]), memory(row["peak_bytes"]),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    times = str(sum(row["times"] for row in found["rows"]))
    whole = ["all", times, seconds(found["seconds"]), "100 %", "", memory(found["peak_bytes"])]
    return head, [*rows, whole] if rows else rows


def seconds(value: float) -> str:
    """A time at a glance.

    >>> seconds(0.5), seconds(75), seconds(7500)
    ('0.50 s', '75 s', '2.1 h')
    """
    if value < 10:
        return f"{value:.2f} s"
    return (
        f"{value:.0f} s"
        if value < 600
        else (f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h")
    )


def memory(value: int) -> str:
    """Bytes at a glance; "-" where none were noted.

    >>> memory(3 * 2**20), memory(5 * 2**30), memory(0)
    ('3 MiB', '5.0 GiB', '-')
    """
    if not value:
        return "-"
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def _policy_tables(summary: Summary) -> list[tuple[str, Cells]]:
    return [("policies", policy_cells(summary)), ("replicates", replicate_cells(summary))]


def tables(summary: Summary) -> Sequence[tuple[str, Cells]]:
    """(name, cells) of every table that has rows."""
    found = [
        ("selectors", selector_cells(summary)),
        *(_policy_tables(summary) if summary["policies"] is not None else []),
        ("teachers", teacher_cells(summary)),
        ("rationality", rationality_cells(summary)),
        ("trainings", training_cells(summary)),
        ("stages", stage_cells(summary)),
    ]
    return [(name, cells) for name, cells in found if cells[1]]

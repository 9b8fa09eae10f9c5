"""The report in words: numbers with their intervals, the terminal's table, the summary."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED, Test
from .runner import Judged, as_expected

Row = dict[str, Any]
ID_WIDTH = 19  # what 100 columns leave for a test's name
NARROW, WIDE = 100, 152  # columns
STYLES = {SUPPORTED: "green", NOT_SUPPORTED: "bold red", UNDERPOWERED: "yellow", "ESTIMATE": "cyan"}


def number(x: float | None, decimals: int | None = None) -> str:
    """A number as short as it may be; None is "-"; ``decimals`` None means 4 significant digits.

    >>> number(0.123456), number(1200.0), number(0.5, 3), number(None)
    ('0.1235', '1200', '0.500', '-')
    """
    if x is None:
        return "-"
    return f"{x:.4g}" if decimals is None else f"{x:.{decimals}f}"


def with_interval(estimate: float, interval: Sequence[float | None]) -> str:
    """The estimate and its interval, to two significant digits of the interval's half-width.

    >>> with_interval(0.948123, [0.931, 0.9652]), with_interval(3.0, [3.0, 3.0])
    ('0.948 [0.931, 0.965]', '3')
    """
    lo, hi = interval
    if lo == hi == estimate:
        return number(estimate if abs(estimate) > 1e-12 else 0.0)  # rounding is not a finding
    half = max(estimate - lo if lo is not None else 0.0, hi - estimate if hi is not None else 0.0)
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else None
    if decimals is not None and decimals > 6:
        decimals = None
    low, high = (number(end, decimals) for end in interval)
    return f"{number(estimate, decimals)} [{low}, {high}]"


def needed(test: Test, scale: str, ascii_only: bool = False) -> str:
    """The region in words.

    >>> test = Test("t", "", "BOUND", "share", 0.05, 0.01, "", 0.9, {}, None)
    >>> needed(test, "smoke"), needed(test, "smoke", ascii_only=True)
    ('≤ 0.05 + 0.01', '<= 0.05 + 0.01')
    """
    target, margin = number(test.target), number(test.margin_at(scale))
    if test.kind == "EQUAL":
        text = f"{target} ± {margin}"
    elif test.kind == "BOUND":
        sign, add = ("≤", "+") if test.side == "upper" else ("≥", "−")
        text = f"{sign} {target}" + (f" {add} {margin}" if test.margin_at(scale) else "")
    else:
        text = {"BETTER": "> 0", "EXACT": "= 0", "ESTIMATE": "-"}[test.kind]
    if ascii_only:
        for sign, plain in (("±", "+-"), ("≤", "<="), ("≥", ">="), ("−", "-")):
            text = text.replace(sign, plain)
    return text


def sabotage_word(row: Row) -> str:
    """Whether the sabotage was caught, in a word."""
    if row["sabotage"] is None:
        return "-"
    return {True: "caught", False: "NOT CAUGHT", None: "n/a"}[row["sabotage"]["caught"]]


def expectation(row: Row) -> str:
    """What to add to a verdict: that it is open, or that something else was expected."""
    if row.get("open"):
        return "open"
    return "" if row["verdict"] == row["expected"] else f"expected {row['expected']}"


def summary(report: dict[str, Any]) -> str:
    """One or two sentences that say how the run came out."""
    rows = report["claims"]
    if not rows:
        return f"Nothing was tested; {len(report['skipped'])} tests were skipped."
    counts = [
        f"{sum(r['verdict'] == v for r in rows)} {v}"
        for v in STYLES
        if any(r["verdict"] == v for r in rows)
    ]
    decided = [r["sabotage"]["caught"] for r in rows if r["sabotage"] is not None]
    text = f"{len(rows)} test{'s' * (len(rows) != 1)}: {', '.join(counts)}"
    off = [r["id"] for r in rows if r["verdict"] != r["expected"]]
    text += ", all as expected" if not off else f"; {len(off)} not as expected"
    able = [c for c in decided if c is not None]
    if able:
        text += f". Sabotages caught: {sum(able)} of {len(able)}"
    if report["skipped"]:
        text += f". Skipped: {len(report['skipped'])}"
    return text + "."


def in_lines(identity: str, width: int) -> str:
    """A test's id cut after "/" or "_" into lines of at most ``width`` where that is possible.

    >>> in_lines("dual/beats-random_best_teacher/variance", 26)
    'dual/beats-random_best_\\nteacher/variance'
    """
    lines = [""]
    for part in re.findall(r"[^/_]*[/_]?", identity):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def table(report: dict[str, Any], judged: Sequence[Judged], width: int = NARROW) -> Table:
    """The table of verdicts: one line a test from ``WIDE`` columns on, ids in pieces below."""
    wide = width >= WIDE
    scale = report["manifest"]["scale"]
    out = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    out.add_column("test", overflow="fold")
    out.add_column("verdict")
    out.add_column("estimate [interval]", no_wrap=True)
    out.add_column("needed", no_wrap=True)
    out.add_column("n", justify="right", no_wrap=True)
    out.add_column("sabotage", no_wrap=True)
    for done in judged:
        for test, row in zip(done.tests, done.rows, strict=True):
            shown = Text(row["verdict"], style=STYLES[row["verdict"]])
            note = expectation(row)
            if note:
                shown.append(f"{' ' if wide else chr(10)}({note})", style="default")
            word = sabotage_word(row)
            out.add_row(
                Text(
                    row["id"] if wide else in_lines(row["id"], ID_WIDTH),
                    style="default" if as_expected(row) else "bold",
                ),
                shown,
                Text(with_interval(row["estimate"], row["interval"])),
                Text(needed(test, scale, ascii_only=True)),
                Text(str(row["n"])),
                Text(word, style="bold red" if word == "NOT CAUGHT" else "default"),
            )
    return out


def print_table(report: dict[str, Any], judged: Sequence[Judged], folder: Path) -> None:
    """Print the table, the summary and where the report lies."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table(report, judged, console.width))
    for skip in report["skipped"]:
        console.print(Text(f"skipped {skip['id']}: {skip['reason']}"))
    for claim, reason in report["manifest"]["measured_on_cpu"].items():
        console.print(Text(f"{claim} was measured on the CPU: {reason}"))
    console.print(Text(summary(report), style="bold"))
    console.print(Text(f"{folder / 'report.html'}  {folder / 'report.json'}"), soft_wrap=True)

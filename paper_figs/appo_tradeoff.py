"""Final regret against queries: APPO over thresholds, theory's marked, beside its rivals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .appo_look import LOOKS, NEW_WORK
from .dueling_runs import (
    ACTIONS,
    APPOS,
    ASKING,
    DIM,
    DUELS,
    GAP,
    PROMPTS,
    RADIUS,
    TUNED_STEP,
    theory_threshold,
)
from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .look import BLACK, ink, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES = (("queries", "queries"), ("value", "regret"))


def table(observations: Observations, settings: Settings) -> Table:
    """One row a part: the algorithm, its ``setting`` (threshold over theory's, or budget; NaN where
    it has none), mean queries and final regret (``value``) with intervals, and the number of runs
    without regret in the last half."""
    rows = []
    for part, seen in observations.items():
        name, _, setting = part.partition("/")
        row: dict[str, Any] = {"algorithm": name, "setting": float(setting or "nan")}
        row["replicates"] = len(seen["regret"])
        for column, quantity in _AXES:
            for end, x in zip(
                ("", "_low", "_high"), mean_interval(seen[quantity][:, -1]), strict=True
            ):
                row[column + end] = float(x)
        rows.append(row | {"late_zero": int((seen["late_regret"] == 0).sum())})
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    best = {a: _best(found.where(algorithm=a)) for a in APPOS}
    total, ours = settings["replicates"], found.where(algorithm="appo", setting=1.0)
    less = (found["value"] < ours["value"]) & (found["queries"] < ours["queries"])
    rivals = less & ~np.isin(found["algorithm"], list(APPOS))
    return (
        f"Final regret of the first arm against queries after T = {settings['horizon']:,} rounds, log-log. Each APPO "
        "curve runs over its uncertainty threshold, from many queries (low) to few (high); numbers at the printed "
        f"algorithm's: multiples of theory's, .99 gap/(2 radius) = {theory_threshold(DIM, GAP):.3f} (ringed), up to "
        "which an unasked round inside the confidence set costs nothing. The largest threshold shown whose mean regret "
        f"is within 1 % of its curve's least: {best['appo']} (the theorem's step at each threshold), {best['appo_tuned']} "
        f"(tuned step, {TUNED_STEP:g} at all) and {best['appo_tested']} (asking about the tested pair) times theory's. "
        f"{_shrinking(found.where(algorithm='appo'))}Grey: random query, which plays "
        f"the best estimate and asks with probability {ASKING:g} up to a budget that it has to be told. The others "
        f"ask in every round. {_rivals(int(rivals.sum()))} Worlds: {PROMPTS} prompts, {ACTIONS} actions, d = {DIM}, "
        f"gap {GAP:g}, a new one each run; radius {RADIUS[DIM]:g} (pilot). Means of {total} replicates; bars are "
        f"95 % intervals (Student's t), in both directions; cut off where they reach 0. {NEW_WORK}"
    )


def _best(rows: Table) -> str:
    """The largest setting whose mean is within 1 % of the least."""
    return f"{rows['setting'][rows['value'] <= 1.01 * rows['value'].min()].max():g}"


def _shrinking(rows: Table) -> str:
    below, theory = rows["value"][rows["setting"] < 1], rows["value"][rows["setting"] == 1]
    if not (below > theory).any():
        return ""
    return "The printed algorithm's rise below theory's is its step, which shrinks with the threshold. "


def _rivals(count: int) -> str:
    if not count:
        return "No rival has less mean regret and fewer queries than the printed algorithm at theory's."
    return (
        f"{count} of the rivals' points have less mean regret AND fewer queries than the printed algorithm at "
        "theory's threshold: in worlds this easy its caution is dear."
    )


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots()
    logarithmic(axes)
    for name, style in LOOKS.items():
        rows = found.where(algorithm=name)
        if not len(rows):
            continue
        bold = name == "appo"
        _bars(axes, rows, style.colour)
        axes.plot(rows["queries"], rows["value"], linestyle=style.line if len(rows) > 1 else "",
                  marker=style.marker, color=style.colour, linewidth=2.2 if bold else 1.2,
                  markersize=6.5 if bold or len(rows) == 1 else 4.5, markeredgecolor="white",
                  markeredgewidth=0.4, label=style.label)  # fmt: skip
        at = rows.where(setting=1.0) if name in APPOS else rows.where(algorithm="")
        axes.plot(at["queries"], at["value"], "o", markersize=11, markerfacecolor="none",
                  markeredgecolor=BLACK, markeredgewidth=1.1)  # fmt: skip
    rows = found.where(algorithm="appo")
    for x, y, times in zip(rows["queries"], rows["value"], rows["setting"].tolist(), strict=True):
        name = "theory's" if times == 1 else f"\N{MULTIPLICATION SIGN}{_fraction(times)}"
        place, side = ((5, -13), "left") if times <= 1 else ((5, 6), "left")
        if times == 2:
            place, side = (-4, 5), "right"
        axes.annotate(name, (x, y), place, textcoords="offset points", ha=side, fontsize=7,
                      color=ink(LOOKS["appo"].colour),
                      bbox={"color": "white", "pad": 0.3, "alpha": 0.7})  # fmt: skip
    axes.set_ylim(0.5 * float(found["value"].min()), 2 * float(found["value"].max()))
    axes.set_xlabel("queries in T rounds")
    axes.set_ylabel("final regret, first arm (reward)")
    figure.legend(loc="outside right center", handlelength=2.6)


def _bars(axes: Axes, rows: Table, colour: str) -> None:
    low = np.maximum(rows["value_low"], 1e-9)
    axes.vlines(rows["queries"], low, rows["value_high"], color=colour, linewidth=0.9)
    low = np.maximum(rows["queries_low"], 1e-9)
    axes.hlines(rows["value"], low, rows["queries_high"], color=colour, linewidth=0.9)


def _fraction(times: float) -> str:
    return f"1/{1 / times:g}" if times < 1 else f"{times:g}"


FIGURE = PaperFigure("appo_tradeoff", DUELS, (6.4, 3.7), table, caption, draw)

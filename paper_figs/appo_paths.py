"""Regret and queries against rounds: APPO's curve goes flat, exactly, after its last query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .appo_look import LOOKS, NEW_WORK, path, rounds_axis
from .dueling_runs import (
    ACTIONS,
    ALWAYS_ASK,
    APPOS,
    ASKING,
    DIM,
    DUELS,
    GAP,
    PILOT_QUERIES,
    PROMPTS,
    RADIUS,
    TUNED_STEP,
)
from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .look import QUIET, End, ink, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATEST = 95  # % of the runs have asked their last question where it is marked


def table(observations: Observations, settings: Settings) -> Table:
    """One row an (algorithm, round): mean regret (``value``) and queries with their intervals, and
    what its runs did: how many left the confidence set, had no regret in the last half, ..."""
    rows = []
    for name in (*APPOS, "random_query", *ALWAYS_ASK):
        seen = observations[
            {"random_query": f"random_query/{PILOT_QUERIES}"}.get(
                name, f"{name}/1" if name in APPOS else name
            )
        ]
        regret, queries = mean_interval(seen["regret"]), mean_interval(seen["queries"])
        inside = seen["largest_distance"] <= RADIUS[DIM]
        zero = seen["late_regret"] == 0
        for k, t in enumerate(seen["rounds"].tolist()):
            rows.append(
                {
                    "algorithm": name,
                    "rounds": t,
                    "replicates": len(zero),
                    **_three("value", regret, k),
                    **_three("queries", queries, k),
                    "last_query": float(np.percentile(seen["last_query"], LATEST)),
                    "late_zero": int(zero.sum()),
                    "inside": int(inside.sum()),
                    "inside_late_zero": int((inside & zero).sum()),
                    "inside_costly_unasked": int(seen["costly_inside"].sum()),
                }
            )
    return Table.of(rows)


def _three(name: str, found: tuple[np.ndarray, ...], k: int) -> dict[str, float]:
    return {name + end: float(x[k]) for end, x in zip(("", "_low", "_high"), found, strict=True)}


def last(found: Table, algorithm: str, column: str = "value") -> float:
    """A column at the algorithm's last round."""
    return float(found.where(algorithm=algorithm)[column][-1])


def _free(found: Table) -> str:
    """The other algorithms of which no run had regret in the last half."""
    free = [
        LOOKS[a].label
        for a in found.distinct("algorithm")
        if a not in APPOS and last(found, a, "late_zero") == last(found, a, "replicates")
    ]
    return ", ".join(free) or "no other algorithm"


def caption(found: Table, settings: Settings) -> str:
    count = {c: int(last(found, "appo", c)) for c in ("late_zero", "inside", "inside_late_zero")}
    total = settings["replicates"]
    below = [a for a in found.distinct("algorithm") if last(found, a) < last(found, "appo")]
    return (
        "Cumulative regret of the first arm and number of queries against rounds, log-log. Vertical line: by then "
        f"{LATEST} % of APPO's runs have asked for the last time; from there on such a run is exactly flat as long as "
        f"its estimate is in the confidence set. Regret of the last half of the rounds: exactly 0 in "
        f"{count['late_zero']} of {total} runs of APPO, and in "
        f"{count['inside_late_zero']} of the {count['inside']} that never left the set; unasked rounds with regret "
        f"inside it, in all runs: {last(found, 'appo', 'inside_costly_unasked'):.0f}. "
        f"Flat is not low: in these easy worlds {len(below)} of the {len(found.distinct('algorithm')) - 1} other curves "
        f"end below APPO's, and without its guarantee the last half was free in every run of {_free(found)}. "
        f"Worlds: {PROMPTS} prompts, {ACTIONS} actions, d = {DIM}, gap {GAP:g}, a new one each run. "
        f"APPO: radius {RADIUS[DIM]:g} (pilot), threshold .99 gap/(2 radius), the theorem's step; 'tuned': step "
        f"{TUNED_STEP:g}, the best of a pilot; 'tested pair' asks about the pair it tested. OPPO: step sqrt(2 log "
        "6/T); MaxInP, CoLSTIM: radius sqrt(d log T). Random query: plays the best estimate, asks with probability "
        f"{ASKING:g} until it has asked {PILOT_QUERIES:,} times, about as often as APPO. Means of "
        f"{total} replicates; bands are point-wise 95 % intervals (Student's t). {NEW_WORK}"
    )


def draw(figure: Figure, found: Table) -> None:
    left, right = figure.subplots(1, 2)
    names = [n for n in found.distinct("algorithm") if n != "appo"] + ["appo"]
    always = [n for n in names if last(found, n, "queries") == last(found, n, "rounds")]
    ends: list[End | None] = []
    counts: list[End | None] = []
    for name in names:
        rows = found.where(algorithm=name)
        ends.append(path(left, rows, LOOKS[name], bold=name == "appo"))
        if name not in always:
            end = path(right, rows, LOOKS[name], "queries", bold=name == "appo")
            counts.append(end if name in ("appo", "random_query") else None)  # variants lie close
    if always:
        rows = found.where(algorithm=always[0])
        right.plot(rows["rounds"], rows["queries"], "--", color=QUIET, linewidth=1.0)
        text = f"{len(always)} others, always"
        counts.append(End(float(rows["queries"][-1]), text, QUIET))
    for panel, title in ((left, "regret"), (right, "queries")):
        rounds_axis(panel)
        panel.set_title(title)
        panel.axvline(
            last(found, "appo", "last_query"), color=QUIET, linewidth=0.9, linestyle=(0, (5, 2))
        )
    _say(left, right, found)
    left.set_ylim(max(1.0, 0.7 * float(found["value"].min())), 3.5 * float(found["value"].max()))
    left.set_ylabel("cumulative regret, first arm (reward)")
    right.set_ylabel("queries so far")
    label_ends(left, ends, spacing=0.06)
    label_ends(right, counts, spacing=0.075)


def _say(left: Axes, right: Axes, found: Table) -> None:
    """What the vertical line is, and that APPO's curve is exactly flat at its end."""
    zero, runs = (int(last(found, "appo", c)) for c in ("late_zero", "replicates"))
    left.text(0.03, 0.99, f"APPO, last half of the rounds:\nregret exactly 0 in {zero} of {runs} runs",
              fontsize=7.5, va="top", color=ink(LOOKS["appo"].colour), transform=left.transAxes,
              bbox={"color": "white", "pad": 1})  # fmt: skip
    at = last(found, "appo", "last_query")
    right.text(at, 0.02, f"APPO's last query \n({LATEST} % of runs): {at:,.0f} ", fontsize=7,
               color=QUIET, transform=right.get_xaxis_transform(), ha="right")  # fmt: skip


FIGURE = PaperFigure("appo_paths", DUELS, (7.2, 3.6), table, caption, draw)

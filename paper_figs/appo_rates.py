"""Final regret and queries of APPO against 1/gap and d, with fitted slopes and the theorem's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..theory.checks import Floats
from .appo_look import NEW_WORK
from .dueling_runs import ACTIONS, CROSS, DIM, GAP, PROMPTS, RADIUS, theory_threshold
from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .look import BLUE, QUIET, VERMILLION, logarithmic, plain_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROMISED = {
    ("gap", "regret"): 1,
    ("gap", "queries"): 2,
    ("dim", "regret"): 2,
    ("dim", "queries"): 2,
}
_NAMES = {"gap": "1/gap", "dim": "d"}
_SHORT = 0.01  # share of runs that still ask in the last half, above which a cell is too short


def table(observations: Observations, settings: Settings) -> Table:
    """``cell`` rows: geometric mean of the final regret, or of the queries over log(3LB/Gamma), at
    ``x`` = 1/gap or d; ``slope`` and ``last step`` rows: the slope of its logarithm in log x, of all
    cells and of the last two. ``still_asking``: the runs whose last query is later than T/2."""
    rows = []
    for axis in _NAMES:
        cells = [_cell(part, seen) for part, seen in observations.items() if _on(axis, part)]
        cells.sort(key=lambda cell: cell[axis])
        x = np.array([cell[axis] for cell in cells])
        for quantity in ("regret", "queries"):
            logs = np.log([cell[quantity] for cell in cells]).T  # (R, cells)
            found = [*np.exp(mean_interval(logs)).T]
            kinds = [("cell", cell) for cell in cells]
            for kind, first in (("slope", 0), ("last step", -2)):
                found.append(mean_interval(slopes(np.log(x)[first:], logs[:, first:])))
                kinds.append((kind, {"asking": 0, axis: np.nan}))
            for (kind, cell), (value, low, high) in zip(kinds, found, strict=True):
                rows.append(
                    {
                        "kind": kind,
                        "axis": axis,
                        "quantity": quantity,
                        "x": float(cell[axis]),
                        "replicates": len(logs),
                        "still_asking": cell["asking"],
                        "value": float(value),
                        "value_low": float(low),
                        "value_high": float(high),
                    }
                )
    return Table.of(rows)


def _on(axis: str, part: str) -> bool:
    dim, gap = part.split("/")
    return int(dim) == DIM if axis == "gap" else float(gap) == GAP


def _cell(part: str, seen: dict[str, Any]) -> dict[str, Any]:
    dim, gap = int(part.split("/")[0]), float(part.split("/")[1])
    log_ratio = np.log(3 * seen["longest"] / theory_threshold(dim, gap))  # B = ||theta|| = 1
    return {
        "gap": 1 / gap,
        "dim": dim,
        "regret": seen["regret"][:, -1],
        "queries": seen["queries"][:, -1] / log_ratio,
        "asking": int((2 * seen["last_query"] > seen["rounds"][-1]).sum()),
    }


def slopes(x: Floats, y: Floats) -> Floats:
    """(R,) least-squares slope of every replicate's y (R, c) on x (c,): they are independent.

    >>> slopes(np.array([0.0, 1.0, 3.0]), np.array([[5.0, 7.0, 11.0]])).round(9).tolist()
    [2.0]
    """
    off = x - x.mean()
    return np.asarray(y @ off / (off @ off))


def caption(found: Table, settings: Settings) -> str:
    cells = found.where(kind="cell", quantity="queries")
    short = cells["still_asking"] > _SHORT * cells["replicates"]
    above = [
        f"{quantity} in {_NAMES[axis]}"
        for (axis, quantity), most in PROMISED.items()
        if _slope(found, axis, quantity)[1] > most
    ]
    return (
        "APPO's final regret (first arm) and number of queries, the latter over log(3LB/Gamma) as in the theorem's proof, "
        "against 1/gap at d = 4 and against d at gap 0.8, log-log. Solid: least squares of the logarithms, replicate by "
        "replicate, slope with its 95 % interval over replicates (Student's t). Dashed: the theorem's rates, "
        "d^2/gap and d^2/gap^2 up to logarithms, through the first point; they are upper rates, so a flatter line agrees "
        f"with them. Steeper with its whole interval: {', '.join(above) or 'none'}. 'last step': slope between the last two "
        "points; where it is larger, the curve still bends up, and the fit says too little about the far end. Dots: geometric means of "
        f"{settings['replicates']} replicates with point-wise 95 % intervals, mostly smaller than the dots; hollow "
        f"({int(short.sum())} of {len(cells)} cells): more than 1 % of the runs ask after half of the horizon, so that "
        "the cell is too short. Horizons grow with "
        f"the queries, from {min(settings['horizons'].values()):,} to {max(settings['horizons'].values()):,} rounds. "
        f"{PROMPTS} prompts, {ACTIONS} actions, a new world each run. Radius by d, from pilots: "
        f"{', '.join(f'{RADIUS[d]:g} ({d})' for d in _dims(settings))}; it does not change with the gap; threshold "
        f"Gamma = .99 gap/(2 radius), the theorem's step. With these practical constants the slopes say nothing about "
        f"the theorem's own. {NEW_WORK}"
    )


def _dims(settings: Settings) -> list[int]:
    return sorted({int(part.split("/")[0]) for part in settings["horizons"]})


def _slope(found: Table, axis: str, quantity: str, kind: str = "slope") -> list[float]:
    row = found.where(kind=kind, axis=axis, quantity=quantity)
    return [float(row[f"value{end}"][0]) for end in ("", "_low", "_high")]


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for k, (quantity, colour) in enumerate((("regret", VERMILLION), ("queries", BLUE))):
        for j, axis in enumerate(_NAMES):
            _panel(axes[k, j], found, axis, quantity, colour)
        low, high = (
            f(p.dataLim.intervaly[end] for p in axes[k]) for end, f in enumerate((min, max))
        )
        axes[k, 0].set_ylim(0.8 * low, 3 * high)  # room for the legends
    axes[0, 0].set_ylabel("final regret (reward)")
    axes[1, 0].set_ylabel("queries / log(3LB/\N{GREEK CAPITAL LETTER GAMMA})")
    axes[1, 0].set_xlabel("1 / gap   (d = 4)")
    axes[1, 1].set_xlabel("dimension d   (gap 0.8)")


def _panel(panel: Axes, found: Table, axis: str, quantity: str, colour: str) -> None:
    rows = found.where(kind="cell", axis=axis, quantity=quantity)
    x, y = rows["x"], rows["value"]
    slope, low, high = _slope(found, axis, quantity)
    most, step = PROMISED[axis, quantity], _slope(found, axis, quantity, "last step")[0]
    middle = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
    panel.plot(x, middle[1] * (x / middle[0]) ** slope, "-", color=colour, linewidth=1.4,
               label=f"fitted slope {slope:.2f} [{low:.2f}, {high:.2f}]; last step {step:.2f}")  # fmt: skip
    panel.plot(x, y[0] * (x / x[0]) ** most, "--", color=QUIET, linewidth=1.1,
               label=f"theorem's slope {most}")  # fmt: skip
    panel.vlines(x, rows["value_low"], rows["value_high"], color=colour, linewidth=1.2)
    short = rows["still_asking"] > _SHORT * rows["replicates"]
    for these, fill in ((~short, colour), (short, "white")):
        panel.plot(x[these], y[these], "o", color=colour, markersize=5, markerfacecolor=fill)
    logarithmic(panel)
    plain_values(panel)
    panel.set_xticks(x, [f"{value:.3g}" for value in x])
    panel.minorticks_off()
    panel.legend(loc="upper left", title=f"{quantity} against {_NAMES[axis]}",
                 alignment="left", title_fontsize=8)  # fmt: skip


FIGURE = PaperFigure("appo_rates", CROSS, (7.2, 4.8), table, caption, draw)

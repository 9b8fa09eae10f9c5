"""How the figures of APPO look: one colour, marker and line an algorithm, and their drawn paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figure import Table
from .look import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, End, Look, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {
    "appo": Look(VERMILLION, "o", "-", "APPO"),
    "appo_tuned": Look("#8a3c00", "D", "-", "APPO, tuned step"),
    "appo_tested": Look(SKY, "v", "-", "APPO, tested pair"),
    "oppo": Look(BLUE, "^", "--", "OPPO"),
    "maxinp": Look(GREEN, "s", "-.", "MaxInP"),
    "colstim": Look(PURPLE, "P", "--", "CoLSTIM"),
    "thompson": Look(ORANGE, "X", ":", "Thompson"),
    "greedy": Look(BLACK, "*", ":", "greedy"),
    "random_query": Look(GREY, "h", "-.", "random query"),
}
RADIUS_LOOKS = {
    1: Look(VERMILLION, "o", "-", "radius r"),
    2: Look(BLUE, "^", "--", "r / 2"),
    4: Look(GREEN, "s", "-.", "r / 4"),
    8: Look(PURPLE, "P", ":", "r / 8"),
}
NEW_WORK = (
    "Our worlds and no figure of the paper: it has no bandit experiment, so this is new work."
)


def rounds_axis(axes: Axes) -> None:
    """Logarithmic axes with rounds from left to right, named at powers of ten."""
    from matplotlib.ticker import LogLocator

    logarithmic(axes)
    axes.xaxis.set_major_locator(LogLocator())
    axes.set_xlabel("rounds")


def path(axes: Axes, rows: Table, style: Look, value: str = "value", bold: bool = False) -> End:
    """A line over rounds with its interval as a band, and a marker at every fourth checkpoint."""
    x, y = rows["rounds"], rows[value]
    low, high = (rows[f"{value}_{end}"] for end in ("low", "high"))
    axes.fill_between(x, np.maximum(low, 1e-9), high, color=style.colour, alpha=0.14, linewidth=0)
    first = list(LOOKS.values()).index(style) if style in LOOKS.values() else 0
    axes.plot(
        x,
        y,
        style.line,
        marker=style.marker,
        markevery=(first % 4, 4),
        color=style.colour,
        linewidth=2.2 if bold else 1.2,
        markersize=4.6 if bold else 3.8,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=style.label,
    )
    return End(float(y[-1]), style.label, style.colour)

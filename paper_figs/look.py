"""How things look: one colour, marker and line a selector, and labels beside the curves' ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .figure import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart with every common colour blindness
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, QUIET = "#7f7f7f", "#555555"


def ink(colour: str) -> str:
    """A colour darkened by a third, for letters: light hues are hard to read on white.

    >>> ink("#ffffff"), ink(BLACK)
    ('#aaaaaa', '#000000')
    """
    parts = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{2 * part // 3:02x}" for part in parts)


class Look(NamedTuple):
    """Colour, marker, line and name of one curve."""

    colour: str
    marker: str
    line: str
    label: str


LOOKS = {
    "dual": Look(VERMILLION, "o", "-", "dual"),
    "random": Look(GREY, "s", "--", "random"),
    "conversation_only": Look(BLUE, "^", "-", "conversation only"),
    "teacher_only": Look(SKY, "v", "-.", "teacher only"),
    "apo": Look(GREEN, "D", "--", "APO"),
    "practical_apo": Look(PURPLE, "P", "-.", "practical APO"),
    "uncertainty": Look(ORANGE, "X", ":", "uncertainty"),
}
TEACHER_RULES = {
    "own": "rivals draw the teacher at random*",
    "best": "rivals ask the most rational",
}
_SUFFIX = "_best_teacher"


def rule_of(selector: str) -> str:
    """The panel a selector belongs in: "best" for the variants that ask the most rational."""
    return "best" if selector.endswith(_SUFFIX) else "own"


def look(selector: str) -> Look:
    """The look of a selector; a variant shares its base's."""
    return LOOKS[selector.removesuffix(_SUFFIX)]


def shown(table: Table, rule: str) -> list[str]:
    """The selectors of a panel; dual first: its thick line stays visible under an equal rival's."""
    names = [s for s in table.distinct("selector") if s != "dual" and rule_of(s) == rule]
    return ["dual", *names]


class End(NamedTuple):
    """Where a curve ends and what it is called."""

    y: float
    text: str
    colour: str


def curve(axes: Axes, rows: Table, style: Look, value: str = "value") -> End | None:
    """A line with markers and its interval as a band (a bar at a point without neighbours).

    None where nothing can be drawn.
    """
    x, y = rows["labels"], rows[value]
    drawn = np.isfinite(y)
    if not drawn.any():
        return None
    low, high = rows[f"{value}_low"], rows[f"{value}_high"]
    axes.fill_between(x, low, high, where=drawn, color=style.colour, alpha=0.18, linewidth=0)
    alone = drawn & ~np.append(drawn[1:], False) & ~np.append(False, drawn[:-1])
    axes.vlines(x[alone], low[alone], high[alone], color=style.colour, linewidth=1.0)
    bold = style.label.startswith("dual")
    axes.plot(
        x,
        y,
        style.line,
        marker=style.marker,
        color=style.colour,
        linewidth=2.4 if bold else 1.2,
        markersize=5.0 if bold else 3.8,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=style.label,
    )
    return End(float(y[drawn][-1]), style.label, style.colour)


def label_ends(axes: Axes, ends: list[End | None], spacing: float = 0.075) -> None:
    """Names at the right edge, each near its curve's height but never on top of one another.

    Call it when everything is drawn that shares the axes' limits.
    """
    found = sorted((e for e in ends if e is not None), key=lambda e: e.y)
    if not found:
        return
    x = axes.get_xlim()[1]  # settles the limits
    to_axes = axes.transScale + axes.transLimits
    heights = np.array([float(to_axes.transform((x, e.y))[1]) for e in found]).clip(0, 1)
    places = heights.copy()
    for _ in range(200):  # push overlapping neighbours apart, half each
        overlap = np.maximum(spacing - np.diff(places), 0)
        if overlap.max(initial=0.0) < 1e-3:
            break
        places[1:] += overlap / 2
        places[:-1] -= overlap / 2
        places += max(0.0, -0.02 - places[0]) - max(0.0, places[-1] - 0.98)
    for end, height, place in zip(found, heights, places, strict=True):
        axes.annotate(
            end.text,
            xy=(1.0, height),
            xytext=(1.075, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=7.2,
            color=ink(end.colour),
            fontweight="bold" if end.text.startswith("dual") else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "lw": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def logarithmic(axes: Axes, *, y: bool = True) -> None:
    """Log axes: labels at 1, 2, 5 in plain numbers or thousands (2k); values at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else f"{v / 1000:g}k")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    if y:
        axes.set_yscale("log")


def percent_by_error(axes: Axes, ticks: tuple[float, ...]) -> None:
    """A value axis in % whose spacing is the logarithm of what is missing to 100."""
    axes.set_yscale(
        "function",
        functions=(lambda v: -np.log10(np.maximum(100 - v, 0.01)), lambda u: 100 - 10.0**-u),
    )
    axes.set_yticks(ticks, [f"{v:g}" for v in ticks])


def plain_values(axes: Axes) -> None:
    """Plain 1, 2, 5, 10 on a logarithmic value axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())

"""What a radius too small does: regret paths, and how many runs leave the confidence set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from .appo_look import NEW_WORK, RADIUS_LOOKS, path, rounds_axis
from .dueling_runs import ACTIONS, DIM, GAP, PROMPTS, RADII, RADIUS
from .figure import Observations, PaperFigure, Settings, Table
from .intervals import LEVEL, mean_interval
from .look import BLACK, ORANGE, End, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHARES = {
    "left": ("left the confidence set", BLACK, "D", -0.13),
    "late": ("regret in the last half", ORANGE, "o", 0.13),
}


def exact_interval(hits: int, runs: int) -> tuple[float, float, float]:
    """A share with its 95 % interval of Clopper and Pearson.

    >>> [round(x, 4) for x in exact_interval(0, 100)]    # 1 - 0.025^(1/100)
    [0.0, 0.0, 0.0362]
    """
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(hits, runs - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, runs - hits, 1 - tail)) if hits < runs else 1.0
    return hits / runs, low, high


def table(observations: Observations, settings: Settings) -> Table:
    """``regret`` rows: mean regret at a round, by divisor of the radius; ``left`` and ``late`` rows:
    the share of runs that left the confidence set, and that had regret in the last half; both with
    intervals. ``late_median``: median regret of the last half over the runs that had any."""
    rows = []
    for part, seen in observations.items():
        divisor, late = int(part), seen["late_regret"]
        median = float(np.median(late[late > 0])) if (late > 0).any() else 0.0

        def row(kind: str, rounds: int, three: tuple[float, ...], divisor: int = divisor,
                runs: int = len(late), median: float = median) -> None:  # fmt: skip
            value, low, high = three
            rows.append(
                {
                    "kind": kind,
                    "divisor": divisor,
                    "radius": RADIUS[DIM] / divisor,
                    "rounds": rounds,
                    "replicates": runs,
                    "value": value,
                    "value_low": low,
                    "value_high": high,
                    "late_median": median,
                }
            )

        means = np.transpose(mean_interval(seen["regret"]))
        for t, three in zip(seen["rounds"].tolist(), means.tolist(), strict=True):
            row("regret", t, tuple(three))
        left = int((seen["largest_distance"] > RADIUS[DIM] / divisor).sum())
        row("left", settings["horizon"], exact_interval(left, len(late)))
        row("late", settings["horizon"], exact_interval(int((late > 0).sum()), len(late)))
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    shares = [
        f"{100 * float(found.where(kind='left', divisor=k)['value'][0]):.3g} and "
        f"{100 * float(found.where(kind='late', divisor=k)['value'][0]):.3g} %"
        for k in found.distinct("divisor")
    ]
    return (
        f"APPO with the practical radius r = {RADIUS[DIM]:g} (the 97.5 % quantile of ||theta_hat - theta*|| in the norm of "
        "gram, largest over a run, of a pilot) and with parts of it; the threshold follows, .99 gap/(2 radius). "
        "Left: mean cumulative regret of the first arm. Right: share of the runs whose estimate left the "
        f"confidence set at some time, and share with any regret in the last half; for r, r/2, ...: {'; '.join(shares)}. "
        "A smaller radius asks less and is cheaper early; but outside the set the guarantee is gone: "
        "some runs stop asking with a wrong action in front and pay for it in every later round, and few such runs "
        "bend the mean. Leaving the set does not always hurt: it is the condition of the proof, not of the outcome. "
        f"T = {settings['horizon']:,}; {PROMPTS} prompts, {ACTIONS} actions, d = {DIM}, gap {GAP:g}, a new world each run. "
        f"{settings['replicates']} replicates; bands are point-wise 95 % intervals (Student's t), cut off where they "
        f"reach 0, bars 95 % intervals of Clopper and Pearson. {NEW_WORK}"
    )


def draw(figure: Figure, found: Table) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    divisors = found.distinct("divisor")
    paths = found.where(kind="regret")
    ends: list[End | None] = [
        path(left, paths.where(divisor=k), RADIUS_LOOKS[k], bold=k == 1) for k in divisors
    ]
    rounds_axis(left)
    left.set_ylim(max(0.5, 0.5 * paths["value"].min()), 2 * float(paths["value_high"].max()))
    left.set_ylabel("cumulative regret, first arm (reward)")
    left.set_title("mean regret")
    _shares(right, found, divisors)
    label_ends(left, ends)


def _shares(panel: Axes, found: Table, divisors: list[int]) -> None:
    for kind, (name, colour, marker, shift) in _SHARES.items():
        rows = found.where(kind=kind)
        x = np.arange(len(divisors)) + shift
        panel.vlines(x, 100 * rows["value_low"], 100 * rows["value_high"], color=colour)
        panel.plot(x, 100 * rows["value"], marker, color=colour, markersize=6, label=name,
                   markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
    panel.set_xticks(range(len(divisors)), [RADIUS_LOOKS[k].label for k in divisors])
    panel.set_xlim(-0.5, len(divisors) - 0.5)
    panel.set_ylim(-3, 103)
    panel.set_ylabel("share of runs (%)")
    panel.set_title("runs that \N{HORIZONTAL ELLIPSIS}")
    panel.legend(loc=(0.01, 0.55))


FIGURE = PaperFigure("appo_radius", RADII, (7.2, 3.1), table, caption, draw)

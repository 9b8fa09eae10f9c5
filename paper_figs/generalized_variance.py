"""det(MSE)^(1/d) against labels by selector, beside what no design can beat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .figure import Observations, PaperFigure, Settings, Table
from .intervals import generalized_variance
from .labelling_runs import DIM, ESTIMATES
from .look import (
    BLACK,
    QUIET,
    TEACHER_RULES,
    End,
    curve,
    label_ends,
    logarithmic,
    look,
    plain_values,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def table(observations: Observations, settings: Settings) -> Table:
    """One row a (selector, labels): the value, its interval, the bound, and the ratio to it."""
    rows = []
    for selector, seen in observations.items():
        for k, labels in enumerate(seen["labels"].tolist()):
            errors = seen["error"][:, k]
            value, low, high = generalized_variance(errors)
            bound = math.exp(-float(seen["log_det_optimum"]) / DIM) / labels
            rows.append(
                {
                    "selector": selector,
                    "labels": labels,
                    "replicates": len(errors),
                    "without_estimate": int((~np.isfinite(errors).all(axis=1)).sum()),
                    "value": value,
                    "value_low": low,
                    "value_high": high,
                    "bound": bound,
                    "ratio": value / bound,
                    "ratio_low": low / bound,
                    "ratio_high": high / bound,
                }
            )
    return Table.of(rows)


def crossover(found: Table, own: str = "value", other: str = "value") -> int | None:
    """The first number of labels from which on dual's ``own`` is below every rival's ``other``.

    Rivals without an estimate do not count; ``value_high`` against ``value_low`` asks for intervals
    that are apart.
    """
    ahead: int | None = None
    for labels in sorted(found.distinct("labels"), reverse=True):
        at = found.where(labels=labels)
        rivals = at[other][at["selector"] != "dual"]
        if not float(at.where(selector="dual")[own][0]) < np.nanmin(rivals, initial=np.inf):
            break
        ahead = labels
    return ahead


def never_estimated(found: Table, selectors: list[str]) -> list[str]:
    """Names of the selectors without a single point: at every T some replicate has no estimate."""
    empty = [s for s in selectors if np.isnan(found.where(selector=s)["value"]).all()]
    return [look(s).label for s in empty]


def _lead(found: Table) -> str:
    cross, apart = crossover(found), crossover(found, "value_high", "value_low")
    if cross is None:
        return "In this range dual's value is not the lowest up to the end. "
    clear = (
        "though not with its whole interval up to the end"
        if apart is None
        else f"and from {apart:,} on its whole interval lies below all others'"
    )
    return f"From {cross:,} labels on dual's value is the lowest (vertical line), {clear}. "


def caption(found: Table, settings: Settings) -> str:
    replicates = settings["replicates"]
    return (
        "Generalized variance det(MSE)^(1/d) of the maximum-likelihood reward (no ridge) against labels "
        "bought, by selector; below, the same divided by the bound exp(-log det M* / d) / T of the optimal "
        "design over (pair, teacher). A ratio of 2 means: twice the labels are needed. "
        "Hard-margin world: 300 pairs, d = 5, every |margin| in [1.5, 4], 3 context types; 3 teachers whose "
        "rationality is 0.5, 1 or 2 by context and one with 0.25. "
        f"{replicates} replicates; bands are point-wise 95 % intervals (jackknife on the log scale). "
        "A point is drawn only where every replicate has a finite estimate (the CSV counts those without). "
        f"{_lead(found)}"
        "* 'teacher only' chooses the teacher and draws the pair at random. "
        "Our world, not a reproduction of the paper's figure."
    )


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    cross = crossover(found)
    labels: list[tuple[Axes, list[End | None]]] = []
    for column, (rule, title) in enumerate(TEACHER_RULES.items()):
        top, bottom = axes[:, column]
        values, ratios = [], []
        for selector in shown(found, rule):
            rows = found.where(selector=selector)
            values.append(curve(top, rows, look(selector)))
            ratios.append(curve(bottom, rows, look(selector), "ratio"))
        dual = found.where(selector="dual")
        top.plot(dual["labels"], dual["bound"], "--", color=BLACK, linewidth=1.0)
        bottom.axhline(1.0, linestyle="--", color=BLACK, linewidth=1.0)
        for panel in (top, bottom):
            logarithmic(panel)
            if cross:
                panel.axvline(cross, color=QUIET, linewidth=0.7, linestyle=":")
        plain_values(bottom)
        top.set_title(title)
        if never := never_estimated(found, shown(found, rule)):
            text = "no curve: at every T some\nreplicate lacks an estimate:\n"
            top.text(0.99, 0.98, text + "\n".join(never), transform=top.transAxes, fontsize=7,
                     color=QUIET, ha="right", va="top",
                     bbox={"color": "white", "pad": 1})  # fmt: skip
        bottom.set_xlabel("labels bought, T")
        values.append(End(float(dual["bound"][-1]), "design bound", BLACK))
        ratios.append(End(1.0, "design bound", BLACK))
        labels += [(top, values), (bottom, ratios)]
    top, bottom = axes[:, 0]
    if cross:
        bottom.text(cross, 1.0, f" dual lowest from {cross:,}", transform=bottom.get_xaxis_transform(),
                    fontsize=7, color=QUIET, va="top")  # fmt: skip
    top.set_ylabel(r"$\det(\mathrm{MSE})^{1/d}$")
    bottom.set_ylabel("ratio to the bound")
    for panel, ends in labels:
        label_ends(panel, ends, spacing=0.085)


FIGURE = PaperFigure("generalized_variance", ESTIMATES, (7.2, 5.0), table, caption, draw)

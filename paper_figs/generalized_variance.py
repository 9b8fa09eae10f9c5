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


def crossover(found: Table) -> int | None:
    """The first number of labels from which on dual's value is below every other selector's."""
    ahead: int | None = None
    for labels in sorted(found.distinct("labels"), reverse=True):
        at = found.where(labels=labels)
        rivals = at["value"][at["selector"] != "dual"]
        own = float(at.where(selector="dual")["value"][0])
        if not own < np.nanmin(rivals, initial=np.inf):
            break
        ahead = labels
    return ahead


def never_estimated(found: Table, selectors: list[str]) -> list[str]:
    """Names of the selectors without a single point: at every T some replicate has no estimate."""
    empty = [s for s in selectors if np.isnan(found.where(selector=s)["value"]).all()]
    return [look(s).label for s in empty]


def caption(found: Table, settings: Settings) -> str:
    cross, replicates = crossover(found), settings["replicates"]
    return (
        "Generalized variance det(MSE)^(1/d) of the maximum-likelihood reward (no ridge) against labels "
        "bought, by selector; below, the same divided by the bound exp(-log det M* / d) / T of the optimal "
        "design over (pair, teacher). A ratio of 2 means: twice the labels are needed. "
        "Hard-margin world: 300 pairs, d = 5, every |margin| in [1.5, 4], 3 context types; 3 teachers whose "
        "rationality is 0.5, 1 or 2 by context and one with 0.25. "
        f"{replicates} replicates; bands are point-wise 95 % intervals (delta method). "
        "A point is drawn only where every replicate has a finite estimate (the CSV counts those without). "
        + (
            f"From {cross:,} labels on dual is below all others (vertical line). "
            if cross
            else "In this range dual is not below all others. "
        )
        + "* teacher only chooses the teacher and draws the pair. "
        "Our world, not a reproduction of the paper's figure."
    )


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    cross = crossover(found)
    for column, (rule, title) in enumerate(TEACHER_RULES.items()):
        top, bottom = axes[:, column]
        ends: list[End | None] = []
        for selector in shown(found, rule):
            rows = found.where(selector=selector)
            curve(top, rows, look(selector))
            ends.append(curve(bottom, rows, look(selector), "ratio"))
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
            text = "some replicates never have a finite\nestimate: " + ",\n".join(never)
            top.text(0.98, 0.98, text, transform=top.transAxes, fontsize=6.8, color=QUIET, ha="right",
                     va="top")  # fmt: skip
        bottom.set_xlabel("labels bought, T")
        ends.append(End(1.0, "design bound", BLACK))
        figure.canvas.draw()
        label_ends(bottom, ends, spacing=0.085)
    top, bottom = axes[:, 0]
    if cross:
        bottom.text(cross, 1.0, f" dual ahead from {cross:,}", transform=bottom.get_xaxis_transform(),
                    fontsize=7, color=QUIET, va="top")  # fmt: skip
    top.set_ylabel("det(MSE)^(1/d)")
    bottom.set_ylabel("ratio to the bound")


FIGURE = PaperFigure("generalized_variance", ESTIMATES, (7.2, 5.0), table, caption, draw)

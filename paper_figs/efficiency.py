"""D-efficiency against labels by selector: how close the labels' information comes to the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .labelling_runs import ESTIMATES
from .look import TEACHER_RULES, curve, label_ends, logarithmic, look, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(observations: Observations, settings: Settings) -> Table:
    """One row a (selector, labels): the mean D-efficiency and its interval."""
    rows = []
    for selector, seen in observations.items():
        mean, low, high = mean_interval(seen["efficiency"])
        for k, labels in enumerate(seen["labels"].tolist()):
            rows.append(
                {
                    "selector": selector,
                    "labels": labels,
                    "replicates": len(seen["efficiency"]),
                    "value": float(mean[k]),
                    "value_low": float(low[k]),
                    "value_high": float(high[k]),
                }
            )
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    return (
        "D-efficiency (det(H / T) / det M*)^(1/d) of the labels bought against their number T, by selector. "
        "H is the Fisher information of the labels at the true theta, without ridge; M* is the optimal design's "
        "over (pair, teacher). 0.5 means that the same information costs twice the labels. Hard-margin world: 300 "
        "pairs, d = 5, every |margin| in [1.5, 4], 3 context types; 3 teachers whose rationality is 0.5, 1 or 2 by "
        f"context and one with 0.25. Mean of {settings['replicates']} replicates; bands are point-wise 95 % "
        "intervals (Student's t), often thinner than the line. * 'teacher only' chooses the teacher and draws the "
        "pair at random. Our world, not a reproduction of the paper's figure."
    )


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    labels = []
    for panel, (rule, title) in zip(axes, TEACHER_RULES.items(), strict=True):
        ends = [curve(panel, found.where(selector=s), look(s)) for s in shown(found, rule)]
        logarithmic(panel, y=False)
        panel.set_ylim(0, 1)
        panel.set_title(title)
        panel.set_xlabel("labels bought, T")
        labels.append((panel, ends))
    axes[0].set_ylabel("D-efficiency (1 = optimal design)")
    for panel, ends in labels:
        label_ends(panel, ends)


FIGURE = PaperFigure("efficiency", ESTIMATES, (7.2, 2.9), table, caption, draw)

"""Reward accuracy against labels by selector, in a hard-margin and in a Gaussian pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .labelling_runs import ACCURACIES, POOLS
from .look import (
    TEACHER_RULES,
    curve,
    label_ends,
    logarithmic,
    look,
    percent_by_error,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(observations: Observations, settings: Settings) -> Table:
    """One row a (world, selector, labels): mean accuracy in % and its interval."""
    rows = []
    for part, seen in observations.items():
        world, selector = part.split("/")
        mean, low, high = mean_interval(100 * seen["accuracy"])
        for k, labels in enumerate(seen["labels"].tolist()):
            rows.append(
                {
                    "world": world,
                    "selector": selector,
                    "labels": labels,
                    "replicates": len(seen["accuracy"]),
                    "value": float(mean[k]),
                    "value_low": float(low[k]),
                    "value_high": float(high[k]),
                }
            )
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    return (
        "Reward accuracy against labels bought, by selector: the chance that the fitted reward orders a fresh "
        "Gaussian pair as the true one does (1 - angle/pi, a fresh pool of infinite size). Top: labels from the "
        "hard-margin pool (every |margin| in [1.5, 4]; 3 teachers with rationality 0.5, 1 or 2 by context, one with "
        "0.25). Bottom: labels from a pool of Gaussian pairs (the fourth teacher has 1). Both: 300 pairs, d = 5, 3 "
        f"context types, estimates with ridge {settings['ridge']:g}, as few labels can be separable. Mean of "
        f"{settings['replicates']} replicates; bands are point-wise 95 % intervals (Student's t). The vertical axis "
        "is spaced by the logarithm of the error, 100 % less the accuracy. * 'teacher only' chooses the teacher and "
        "draws the pair at random. Our world, not a reproduction of the paper's figure."
    )


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    labels = []
    for row, world in zip(axes, POOLS, strict=True):
        here = found.where(world=world)
        for panel, (rule, title) in zip(row, TEACHER_RULES.items(), strict=True):
            logarithmic(panel, y=False)
            percent_by_error(panel, (60, 70, 80, 85, 90, 95, 98, 99))
            ends = [curve(panel, here.where(selector=s), look(s)) for s in shown(here, rule)]
            labels.append((panel, ends))
            panel.set_title(f"{world} pool; {title}", fontsize=7.5)
        row[0].set_ylabel("reward accuracy (%)")
    for panel in axes[1]:
        panel.set_xlabel("labels bought, T")
    for panel, ends in labels:
        label_ends(panel, ends, spacing=0.085)


FIGURE = PaperFigure("accuracy", ACCURACIES, (7.2, 5.0), table, caption, draw)

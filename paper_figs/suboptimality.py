"""Sub-optimality of the pessimistic and the greedy policy against labels, with slopes to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .look import BLACK, BLUE, QUIET, SKY, VERMILLION, End, Look, curve, label_ends, logarithmic
from .policies import RATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    ("dual", "bound"): Look(BLACK, "s", "--", "bound (dual, pessimistic)"),
    ("random", "pessimistic"): Look(SKY, "v", "--", "random, pessimistic"),
    ("random", "greedy"): Look(BLUE, "^", "--", "random, greedy"),
    ("dual", "pessimistic"): Look(VERMILLION, "o", "-", "dual, pessimistic"),
    ("dual", "greedy"): Look("#8a3c00", "D", "-", "dual, greedy"),
}


def table(observations: Observations, settings: Settings) -> Table:
    """One row a (selector, quantity, labels): the mean loss (or bound) and its interval."""
    rows = []
    for selector, seen in observations.items():
        for quantity in ("pessimistic", "greedy", "bound"):
            losses = seen[quantity]
            mean, low, high = mean_interval(losses)
            for k, labels in enumerate(seen["labels"].tolist()):
                rows.append(
                    {
                        "selector": selector,
                        "quantity": quantity,
                        "labels": labels,
                        "replicates": len(losses),
                        "without_estimate": int(np.isnan(losses[:, k]).sum()),
                        "value": float(mean[k]),
                        "value_low": float(low[k]),
                        "value_high": float(high[k]),
                    }
                )
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    losses = [found.where(quantity=q)["value"] for q in ("greedy", "pessimistic")]
    ahead, compared = (losses[0] < losses[1]).sum(), np.isfinite(losses).all(axis=0).sum()
    return (
        "Mean sub-optimality (reward lost per prompt) of the pessimistic and of the greedy policy against labels "
        "bought, log-log, with the mean of the pessimistic policy's bound, 2 radius E||phi_c(x, pi*(x))|| in the norm "
        "of H^-1, proven where theta lies in the ellipsoid, and guides of slope -1/2 (the paper's rate, an upper one) "
        "and -1 (usual in smooth worlds). 20 prompts with 4 Gaussian "
        "actions are labelled, d = 4, 3 teachers with rationality 0.5, 1 or 2 by context; the policies act on 300 "
        "fresh prompts. Pointwise pessimism, centred at the uniform policy, radius sqrt(chi2) at 95 %, H at "
        f"theta_hat, no ridge. {settings['replicates']} replicates; bands are point-wise 95 % intervals of the mean "
        "(Student's t); a point is drawn only where every replicate has a finite estimate. Here the labels cover "
        f"every direction: greedy loses less than pessimism at {ahead} of {compared} points. "
        "Our world, not a reproduction of the paper's figure."
    )


def _guide(
    axes: Axes, found: Table, slope: float, line: Any, lowered: float, *beside: tuple[str, str]
) -> End | None:
    """A line of a given slope, nowhere above ``lowered`` times the curves' geometric mean."""
    curves = [found.where(selector=s, quantity=q) for s, q in beside]
    drawn = np.all([np.isfinite(c["value"]) for c in curves], axis=0)
    if not drawn.any():
        return None
    labels = curves[0]["labels"][drawn]
    middle = np.exp(np.mean([np.log(c["value"][drawn]) for c in curves], axis=0))
    tilted = (labels / labels[0]) ** slope
    guide = lowered * (middle / tilted).min() * tilted
    axes.plot(labels, guide, linestyle=line, color=QUIET, linewidth=0.9)
    name = "1/2" if slope == -0.5 else f"{-slope:g}"
    return End(float(guide[-1]), f"slope \N{MINUS SIGN}{name}", QUIET)


def draw(figure: Figure, found: Table) -> None:
    axes = figure.subplots()
    logarithmic(axes)
    ends: list[End | None] = []
    for (selector, quantity), style in _LOOKS.items():
        ends.append(curve(axes, found.where(selector=selector, quantity=quantity), style))
    ends += [
        _guide(axes, found, -0.5, (0, (6, 2)), 1.0, ("random", "pessimistic"), ("dual", "bound")),
        _guide(axes, found, -1.0, (0, (1, 1.5)), 0.6, ("dual", "greedy")),
    ]
    axes.set_xlabel("labels bought, T")
    axes.set_ylabel("sub-optimality (reward)")
    label_ends(axes, ends, spacing=0.055)


FIGURE = PaperFigure("suboptimality", RATES, (6.0, 3.6), table, caption, draw)

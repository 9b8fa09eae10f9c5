"""Where pessimism pays: pessimistic less greedy sub-optimality over distribution shift and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .figure import Observations, PaperFigure, Settings, Table
from .intervals import mean_interval
from .look import BLACK
from .policies import RIDGE, SHIFTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def table(observations: Observations, settings: Settings) -> Table:
    """One row a cell: both mean losses, the paired difference and its interval."""
    rows = []
    for share, seen in observations.items():
        for q, level in enumerate(seen["rare_best"].tolist()):
            greedy, pessimistic = seen["greedy"][q], seen["pessimistic"][q]
            mean, low, high = mean_interval(pessimistic - greedy)
            for k, labels in enumerate(seen["labels"].tolist()):
                rows.append(
                    {
                        "rare_label_share": float(share),
                        "rare_best_share": level,
                        "labels": labels,
                        "replicates": len(greedy),
                        "greedy": float(greedy[:, k].mean()),
                        "pessimistic": float(pessimistic[:, k].mean()),
                        "value": float(mean[k]),
                        "value_low": float(low[k]),
                        "value_high": float(high[k]),
                    }
                )
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    helps, hurts = (found["value_high"] < 0).sum(), (found["value_low"] > 0).sum()
    return (
        "The pessimistic policy's mean sub-optimality less the greedy policy's, in reward. Blue: pessimism helps; "
        "orange: it hurts; in brackets: the 95 % interval (paired over replicates, Student's t) contains 0; framed: the "
        "interval is wholly below 0. Up: the "
        "share of prompts whose best action is one that the data hardly cover, which is the shift from the behaviour "
        "to the optimal policy. 40 prompts with 3 usual and 3 rare actions, d = 6; rare actions have 3 coordinates "
        "that usual ones lack. Labels on random pairs out of 400, teachers of rationality 0.5, 1, 2 at random; the "
        f"panels differ in the share of pairs that touch a rare action. Ridge {RIDGE:g}, radius sqrt(chi2) at 95 %, centred at the "
        f"behaviour policy. {settings['replicates']} replicates a cell; pessimism helps in {helps} of {len(found)} "
        f"cells and hurts in {hurts}. Our world, not a reproduction of the paper's figure."
    )


def number(x: float) -> str:
    """A signed number of two digits after the point, three if it is small; without a leading 0.

    >>> number(0.25), number(-0.0018), number(-1.2)
    ('+.25', '\N{MINUS SIGN}.002', '\N{MINUS SIGN}1.20')
    """
    text = f"{x:+.3f}" if abs(x) < 0.005 else f"{x:+.2f}"
    return text.replace("0.", ".", 1 if abs(x) < 1 else 0).replace("-", "\N{MINUS SIGN}")


def frame(panel: Axes, inside: NDArray[np.bool_]) -> None:
    """A black line around the cells that are ``inside`` (rows, columns)."""
    padded = np.pad(inside, 1)
    for q, k in np.argwhere(padded[1:] != padded[:-1]).tolist():
        panel.plot([k - 1.5, k - 0.5], [q - 0.5] * 2, color=BLACK, linewidth=1.6, clip_on=False)
    for q, k in np.argwhere(padded[:, 1:] != padded[:, :-1]).tolist():
        panel.plot([k - 0.5] * 2, [q - 1.5, q - 0.5], color=BLACK, linewidth=1.6, clip_on=False)


def draw(figure: Figure, found: Table) -> None:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colours = LinearSegmentedColormap.from_list(
        "helps", ["#00466f", "#0072B2", "#8cc4e6", "#ffffff", "#f5c69a", "#D55E00", "#7f3700"]
    )
    shares = found.distinct("rare_label_share")
    axes = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    top = float(np.abs(found["value"]).max())
    size = Normalize(-top, top)
    for panel, share in zip(axes, shares, strict=True):
        here = found.where(rare_label_share=share)
        levels, labels = here.distinct("rare_best_share"), here.distinct("labels")
        shape = len(levels), len(labels)
        value, low, high = (here[n].reshape(shape) for n in ("value", "value_low", "value_high"))
        image = panel.imshow(value, cmap=colours, norm=size, origin="lower", aspect="auto")
        for (q, k), x in np.ndenumerate(value):
            sure = low[q, k] > 0 or high[q, k] < 0
            text = number(x)
            panel.text(k, q, text if sure else f"({text})", ha="center", va="center", fontsize=7,
                       color="white" if abs(x) > 0.55 * top else "black")  # fmt: skip
        frame(panel, high < 0)
        panel.set_xticks(range(len(labels)), [f"{t:,}" for t in labels])
        panel.set_yticks(range(len(levels)), [f"{100 * q:g} %" for q in levels])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.grid(False)
        panel.set_title(f"{100 * share:g} % of the pairs touch a rare action")
        panel.set_xlabel("labels bought, T")
    axes[0].set_ylabel("shift: prompts whose best action is rare")
    bar = figure.colorbar(image, ax=list(axes), shrink=0.9, pad=0.02)
    bar.set_label("\N{LEFTWARDS ARROW} pessimism helps    hurts \N{RIGHTWARDS ARROW}")
    bar.outline.set_visible(False)  # type: ignore[operator]


FIGURE = PaperFigure("shift_map", SHIFTS, (7.2, 3.0), table, caption, draw)

"""Whom to ask: a label's information against its margin by teacher, and whom dual really asks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sim import PairPool, Teachers, simulate
from ..theory.preference import fisher_weight
from .figure import Arrays, Experiment, Observations, PaperFigure, Progress, Settings, Table
from .intervals import FEWEST, share_interval
from .look import BLACK, BLUE, GREEN, ORANGE, QUIET, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATIONALITY = (0.5, 1.0, 2.0)
WIDEST, BINS = 6.0, 24
DIM, PAIRS = 3, 60
WORLD_SEED = 20241002
_STYLES = ((GREEN, ":"), (BLUE, "--"), (ORANGE, "-"))


_COLUMNS = ["kind", "rationality", "margin_low", "margin_high", "value", "value_low", "value_high"]
_COLUMNS += ["labels", "pools"]


def switch_margin(duller: float, sharper: float) -> float:
    """The margin above which the duller teacher tells more: b1/cosh(b1 m/2) = b2/cosh(b2 m/2).

    >>> round(switch_margin(1.0, 2.0), 6)    # 2 arccosh((1 + sqrt 3) / 2)
    1.662886
    """
    from scipy.optimize import brentq

    def excess(m: float) -> float:
        log_cosh = [np.logaddexp(b * m / 2, -b * m / 2) for b in (duller, sharper)]
        return float(math.log(sharper / duller) + log_cosh[0] - log_cosh[1])

    return float(brentq(excess, 0.0, 20.0 / duller, xtol=1e-12))


def _asked(settings: Settings, part: str, *, seed: int, workers: int, progress: Progress) -> Arrays:
    """Labels (worlds, bins, teachers) that dual bought in its second half, by the true margin."""
    edges = np.linspace(0, WIDEST, BINS + 1)
    asked = np.zeros((settings["worlds"], BINS, len(RATIONALITY)), dtype=np.int64)
    teachers = Teachers([[b] for b in RATIONALITY])
    for world in range(settings["worlds"]):
        rng = np.random.default_rng([WORLD_SEED, world])
        pool = PairPool.synthetic(PAIRS, DIM, 1, teachers, rng, margins=(0.0, WIDEST))
        run = simulate(
            "dual",
            pool,
            horizon=settings["labels"],
            replicates=settings["replicates"],
            seed=seed,
            workers=workers,
            checkpoints=[settings["labels"]],
            final_ridge=0.01,
            first_replicate=world * settings["replicates"],
        )
        late = slice(settings["labels"] // 2, None)
        margin = np.abs(pool.z @ pool.theta)[run.pair[:, late]].ravel()
        place = np.clip(np.digitize(margin, edges) - 1, 0, BINS - 1)
        np.add.at(asked[world], (place, run.teacher[:, late].ravel()), 1)
        progress((world + 1) / settings["worlds"])
    return {"edges": edges, "asked": asked}


def table(observations: Observations, settings: Settings) -> Table:
    """``weight`` rows: a teacher's Fisher weight at a margin; ``switch`` rows: where two cross;
    ``asked`` rows: labels that dual bought from a teacher in a bin of margins, their share with its
    interval, and the number of pools that had labels in the bin."""
    rows = []

    def row(kind: str, teacher: float, margin: tuple[float, float], value: tuple[float, ...],
            labels: int = 0, pools: int = 0) -> None:  # fmt: skip
        rows.append(
            dict(zip(_COLUMNS, (kind, teacher, *margin, *value, labels, pools), strict=True))
        )

    for b in RATIONALITY:
        for m in np.linspace(0, WIDEST, 241).tolist():
            row("weight", b, (m, m), (float(fisher_weight(m, b)),) * 3)
    for duller, sharper in pairwise(RATIONALITY):
        m = switch_margin(duller, sharper)
        row("switch", sharper, (m, m), (float(fisher_weight(m, sharper)),) * 3)
    asked, edges = observations["dual"]["asked"], observations["dual"]["edges"].tolist()
    total = asked.sum(axis=2)
    pools = (total > 0).sum(axis=0)
    for j, b in enumerate(RATIONALITY):
        share = np.transpose(share_interval(asked[..., j], total))
        count = asked[..., j].sum(axis=0)
        for k, margin in enumerate(pairwise(edges)):
            row("asked", b, margin, tuple(share[k].tolist()), int(count[k]), int(pools[k]))
    return Table.of(rows)


def caption(found: Table, settings: Settings) -> str:
    labels = int(found["labels"].sum())
    return (
        "Top: information of one label, b^2 mu'(b m), against the pair's margin m = theta'z for teachers of "
        "rationality b = 0.5, 1 and 2; the best one to ask changes at the dotted lines, where the curves cross. "
        "The sharpest "
        "teacher is the best only while her answer is still in doubt. Middle: shares of labels that dual really bought from "
        "each teacher, by the true |m| of the pair, theta being estimated all along; bars are 95 % intervals (ratio "
        "over pools, Student's t) where two teachers are asked; bins with labels from fewer than "
        f"{FEWEST} pools are pale and have none; bins without labels stay empty. Bottom: how the labels spread over the margins. "
        f"{settings['worlds']} pools of {PAIRS} pairs, d = {DIM}, |m| uniform on [0, 6], {settings['replicates']} "
        f"replicates each; labels {settings['labels'] // 2 + 1:,} to {settings['labels']:,} of each, {labels:,} in all. Our world, not a reproduction of the paper's figure."
    )


def draw(figure: Figure, found: Table) -> None:
    top, strip, bars = axes = figure.subplots(3, 1, sharex=True, height_ratios=[3.2, 1.3, 0.8])
    switches = sorted(found.where(kind="switch")["margin_low"].tolist())
    ranges = list(pairwise([0.0, *switches, WIDEST]))
    _weights(top, found, switches, ranges)
    _shares(strip, found)
    labels = np.zeros(BINS)
    for b in RATIONALITY:
        rows = found.where(kind="asked", rationality=b)
        labels += rows["labels"]
    left, width = rows["margin_low"], rows["margin_high"] - rows["margin_low"]
    bars.bar(left, labels / labels.sum() * 100, width, align="edge", color=QUIET,
             edgecolor="white", linewidth=0.3)  # fmt: skip
    for panel in axes:
        for m in switches:
            panel.axvline(m, color=BLACK, linewidth=0.9, linestyle=":")
    for b, (low, high) in zip(reversed(RATIONALITY), ranges, strict=True):
        strip.text((low + high) / 2, 0.5, f"b = {b:g}", ha="center", va="center",
                   bbox={"color": "white", "pad": 1.2})  # fmt: skip
    bars.set_ylabel("labels\n(%)")
    bars.set_xlabel("margin |m| = |\N{GREEK SMALL LETTER THETA}'z| of the pair")
    bars.set_xlim(0, WIDEST)
    figure.align_ylabels()


def _weights(top: Axes, found: Table, switches: list[float], ranges: list[Any]) -> None:
    for b, (colour, line) in zip(RATIONALITY, _STYLES, strict=True):
        curve = found.where(kind="weight", rationality=b)
        top.plot(curve["margin_low"], curve["value"], line, color=colour, linewidth=1.8)
        at = {2.0: 0.62, 1.0: 2.35, 0.5: 4.55}[b]
        top.annotate(f"b = {b:g}", (at, float(fisher_weight(at, b))), (5, 4),
                     textcoords="offset points", color=ink(colour), fontweight="bold")  # fmt: skip
    for m in switches:
        top.text(m, 0.97, f" m = {m:.3f}", transform=top.get_xaxis_transform(), va="top",
                 fontsize=7)  # fmt: skip
    for b, (low, high) in zip(reversed(RATIONALITY), ranges, strict=True):
        top.text((low + high) / 2, 1.02, f"best to ask: b = {b:g}", ha="center",
                 transform=top.get_xaxis_transform(), fontsize=7.5, fontweight="bold")  # fmt: skip
    top.set_ylabel("information of a label\nb\N{SUPERSCRIPT TWO} \N{GREEK SMALL LETTER MU}'(b m)")
    top.set_yscale("log")
    top.set_ylim(0.015, 1.5)


def _shares(strip: Axes, found: Table) -> None:
    from matplotlib.patheffects import withStroke

    outline = withStroke(linewidth=2.2, foreground="white")  # type: ignore[no-untyped-call]
    below = np.zeros(BINS)
    for b, (colour, _), hatch in zip(RATIONALITY, _STYLES, ("///", "", "..."), strict=True):
        rows = found.where(kind="asked", rationality=b)
        left, width = rows["margin_low"], rows["margin_high"] - rows["margin_low"]
        share = np.nan_to_num(rows["value"])
        for firm, alpha in ((rows["pools"] >= FEWEST, 1.0), (rows["pools"] < FEWEST, 0.4)):
            strip.bar(left[firm], share[firm], width[firm], below[firm], align="edge", color=colour,
                      edgecolor="white", linewidth=0.3, hatch=hatch, alpha=alpha)  # fmt: skip
        below += share
    # the lowest stack's top edge is its own share, the highest one's bottom edge is 1 - its share
    for b, start in ((RATIONALITY[0], 0.0), (RATIONALITY[-1], 1.0)):
        rows = found.where(kind="asked", rationality=b)
        known = np.isfinite(rows["value_low"]) & (rows["value"] > 0) & (rows["value"] < 1)
        middle = (rows["margin_low"] + rows["margin_high"])[known] / 2
        low, high = (np.abs(start - rows[f"value_{end}"][known]) for end in ("low", "high"))
        strip.vlines(middle, low, high, color=BLACK, linewidth=1.0,
                     path_effects=[outline])  # fmt: skip
    strip.set_ylabel("teacher\ndual asks")
    strip.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    strip.set_ylim(0, 1)


ASKED = Experiment(
    name="asked",
    settings={
        "smoke": {"worlds": 40, "replicates": 4, "labels": 400},
        "quick": {"worlds": 300, "replicates": 8, "labels": 600},
        "full": {"worlds": 2000, "replicates": 16, "labels": 1000},
    },
    parts=lambda settings: ["dual"],
    compute=_asked,
)

FIGURE = PaperFigure("teacher_choice", ASKED, (5.2, 4.6), table, caption, draw)

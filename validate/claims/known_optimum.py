"""dual/known-optimum: sequential choice converges to optimal designs known in closed form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim import PairPool, Teachers, simulate
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGISTIC = 1.5434046384182083  # c tanh(c/2) = 1: weights 1/2 at +c and -c
ONE_DIRECTION = 2.3993572805154675  # u tanh(u/2) = 2: all weight at u
WINDOW = 0.15


def worlds() -> dict[str, PairPool]:
    """Two-parameter logistic on [-4, 4], and one direction on [0, 6]; one teacher, rationality 1."""
    teacher = Teachers([[1.0]])
    slope = np.append(np.linspace(-4, 4, 161), [-LOGISTIC, LOGISTIC])
    line = np.append(np.linspace(0.05, 6, 120), ONE_DIRECTION)
    return {
        "logistic": PairPool(
            np.column_stack([np.ones_like(slope), slope]), np.zeros(slope.size), [0.0, 1.0], teacher
        ),
        "one_direction": PairPool(line[:, None], np.zeros(line.size), [1.0], teacher),
    }


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """Shares (R,) of the later labels within the window of each point, and their histogram."""
    observations: Observations = {}
    for name, pool in worlds().items():
        paths = simulate(
            "practical_apo" if sabotaged else "dual",
            pool,
            horizon=settings["horizon"],
            replicates=settings["replicates"],
            seed=run.seed,
            workers=run.workers,
            device=run.device,
            checkpoints=[settings["horizon"]],
            final_ridge=1.0,  # theta is not looked at
        )
        point = pool.z[:, -1]
        late = paths.pair[:, settings["horizon"] // 2 :]
        position = point[late]
        for label, target in (
            (("plus", LOGISTIC), ("minus", -LOGISTIC))
            if name == "logistic"
            else (("point", ONE_DIRECTION),)
        ):
            observations[label] = (np.abs(position - target) < WINDOW).mean(axis=1)
        observations[f"points_{name}"] = point
        counts = np.bincount(late.ravel(), minlength=point.size)
        observations[f"share_{name}"] = counts / counts.sum()
        run.progress(0.5 if name == "logistic" else 1.0)
    return observations


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Mean shares."""
    return {
        f"dual/known-optimum/{key}": Mean(observations[key.rpartition("/")[2]])
        for key in ("logistic/plus", "logistic/minus", "one-direction/point")
    }


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Share of the labels in windows as wide as the tests', and the optimal design's."""
    panels = figure.subplots(1, 2)
    for axes, name, targets in (
        (panels[0], "logistic", (-LOGISTIC, LOGISTIC)),
        (panels[1], "one_direction", (ONE_DIRECTION,)),
    ):
        point, share = observations[f"points_{name}"], observations[f"share_{name}"]
        side = np.where(point < 0, -1, 1) * targets[-1]  # each half's windows centre at its target
        window = side + np.round((point - side) / (2 * WINDOW)) * 2 * WINDOW
        centers, where = np.unique(window.round(6), return_inverse=True)
        axes.bar(
            centers, np.bincount(where, share), width=2 * WINDOW, color="#56B4E9", label="labels"
        )
        axes.plot(
            targets,
            [1 / len(targets)] * len(targets),
            "D",
            color="#D55E00",
            label="optimal design",
        )
        axes.set(title=name.replace("_", " "), xlabel="point", ylim=(0, 1.08 / len(targets)))
    panels[0].set_ylabel("share of the later labels")
    marks, words = panels[0].get_legend_handles_labels()
    figure.legend(marks, words, frameon=False, loc="outside upper center", ncols=2)


def _test(key: str, target: float, words: str) -> Test:
    return Test(
        id=f"dual/known-optimum/{key}",
        statement=words,
        kind="EQUAL",
        unit="mean share of labels in the window",
        target=target,
        margin={"smoke": 0.12, "quick": 0.06, "full": 0.03},
        margin_reason="while theta is uncertain by 0.05 the best point is too, and a window holds only so much",
        power=0.9,
        expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
        sabotage="selection by the Gram matrix alone, mu' ignored",
    )


CLAIM = Claim(
    id="dual/known-optimum",
    statement="On sets whose optimal design is known the sequential choice converges to it.",
    source="D-optimal designs of logistic models, closed form; arXiv 2410.02504's first experiment",
    how=(
        "One teacher. Logistic with intercept and slope on 163 points of [-4, 4]: half of the labels "
        "at +1.5434, half at -1.5434. One direction on 121 points of (0, 6]: all labels at 2.3994. "
        "Share of the second half of the labels within 0.15 of each support point."
    ),
    tests=(
        _test("logistic/plus", 0.5, "half of the labels go to +1.5434"),
        _test("logistic/minus", 0.5, "half of the labels go to -1.5434"),
        _test("one-direction/point", 1.0, "all labels go to 2.3994"),
    ),
    # Pilot (run seed 914, 60 replicates): shares 0.48, 0.48, 0.94 at T = 4000; 0.50, 0.49, 0.98 (sd
    # 0.02 to 0.09: a few replicates stay long beside the optimum) at 8000; 0.50, 0.50, 1.00 at 24000.
    settings={
        "smoke": {"horizon": 8000, "replicates": 60},
        "quick": {"horizon": 24000, "replicates": 100},
        "full": {"horizon": 60000, "replicates": 500},
    },
    measure=measure,
    judge=judge,
    draw=draw,
)

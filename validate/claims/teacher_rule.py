"""dual/teacher-rule: which of two teachers to ask switches where their Fisher weights cross."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...theory.checks import Floats
from ...theory.pool import Belief, Picks, Pool
from ...theory.selectors import SELECTORS
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Exact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 1e-6  # margins closer than this to a switch (relative) are ties, and left out


def switch(duller: float, sharper: float) -> float:
    """The margin m with b1/cosh(b1 m/2) = b2/cosh(b2 m/2), by bisection.

    >>> round(switch(1.0, 2.0), 6)  # 2 arccosh((1 + sqrt 3) / 2)
    1.662886
    """

    def excess(m: float) -> float:  # log of the sharper teacher's weight over the duller one's
        def log_weight(b: float) -> float:
            return math.log(b) - b * m / 2 - math.log1p(math.exp(-b * m))

        return log_weight(sharper) - log_weight(duller)

    low, high = 0.0, 10.0 / duller
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low


def asked(margin: float, rationality: Floats, sabotaged: bool) -> int:
    """Whom dual asks about one pair with this margin (d = 1, theta = 1)."""
    pool = Pool(
        np.array([[margin]]),
        np.zeros(1, dtype=np.int64),
        rationality[:, None],
        np.ones(2),
        np.full((1, 2), -1),
    )
    if sabotaged:
        return int(rationality.argmax())
    one = np.ones((1, 1))
    belief = Belief(np.ones(1), one, one, np.zeros((1, 2), dtype=np.int64), 1.0)
    picks: Picks = SELECTORS["dual"](pool, belief, 1.0, np.random.default_rng(0))
    return int(picks.teacher[0])


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """Choices over a grid of margins (both signs) and pairs of teachers drawn from the run's seed."""
    rng = np.random.default_rng(run.seed)
    duller, ratio, margin, wanted, chosen = [], [], [], [], []
    for ratios in (2.0, 3.0, 4.0, *rng.uniform(1.05, 10.0, settings["teacher_pairs"])):
        b = float(rng.uniform(0.2, 3.0))
        sharper = b * float(ratios)
        at = switch(b, sharper)
        for m in np.concatenate(
            [rng.uniform(0, 3 * at, settings["margins"]), [0.99 * at, 1.01 * at]]
        ):
            if abs(m / at - 1) < NEAR:
                continue
            sign = -1.0 if rng.random() < 0.5 else 1.0
            duller.append(b)
            ratio.append(sharper / b)
            margin.append(m / at)
            wanted.append(1 if m < at else 0)
            chosen.append(asked(sign * float(m), np.array([b, sharper]), sabotaged))
    run.progress(1.0)
    return {
        "duller": np.array(duller),
        "ratio": np.array(ratio),
        "margin_over_switch": np.array(margin),
        "wanted": np.array(wanted),
        "chosen": np.array(chosen),
    }


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Choices that differ from the closed form."""
    wrong = observations["wanted"] != observations["chosen"]
    return {"dual/teacher-rule": Exact(int(wrong.sum()), wrong.size)}


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Each choice over margin (1 = the switch) and the ratio of the two rationalities."""
    axes = figure.subplots()
    sharp = observations["chosen"] == 1
    for flags, color, marker, name in (
        (sharp, "#0072B2", "o", "the more rational teacher"),
        (~sharp, "#E69F00", "s", "the less rational teacher"),
    ):
        axes.plot(
            observations["margin_over_switch"][flags],
            observations["ratio"][flags],
            marker,
            markersize=3,
            color=color,
            label=name,
        )
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set(xlabel="|margin| / switch margin", ylabel="rationality, sharper / duller")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, title="asked")


CLAIM = Claim(
    id="dual/teacher-rule",
    statement=(
        "Of two teachers b1 < b2 the more rational one is asked below the margin m with "
        "b1/cosh(b1 m/2) = b2/cosh(b2 m/2), and never beyond it."
    ),
    source="Dual Active Learning for RLHF (arXiv 2410.02504), teacher selection; closed form derived",
    how=(
        "The selector itself, on one pair at a time: random pairs of teachers (and the ratios 2, 3, "
        "4), margins of both signs up to three times the switch, and 1 % to either side of it. "
        "Compared with the closed form, solved by bisection; no statistics."
    ),
    tests=(
        Test(
            id="dual/teacher-rule",
            statement="every choice agrees with the closed form",
            kind="EXACT",
            unit="choices that differ",
            target=None,
            margin=0.0,
            margin_reason="exact",
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage="argmax rationality",
        ),
    ),
    settings={
        "smoke": {"teacher_pairs": 20, "margins": 20},
        "quick": {"teacher_pairs": 100, "margins": 40},
        "full": {"teacher_pairs": 1000, "margins": 100},
    },
    measure=measure,
    judge=judge,
    draw=draw,
    cpu_only="it simulates nothing",
)

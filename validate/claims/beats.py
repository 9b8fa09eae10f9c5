"""dual/beats-RIVAL: smaller generalized MSE and more right signs than every rival, equal labels."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim import ALGORITHMS, simulate
from ...sim.algorithms import Labelling
from ...theory.checks import Floats
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Mean, Normal
from .negative_controls import LEAST_INFORMATIVE
from .worlds import hard_margin_pool, log_generalized_mse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIVALS = tuple(name for name in ALGORITHMS if name != "dual")
FRESH_PAIRS = 2000
RIDGE = 1e-2  # in every reported estimate: some rivals leave replicates without a finite optimum


@lru_cache(maxsize=len(RIVALS) + 2)
def _errors(
    algorithm: str | Labelling, horizon: int, replicates: int, seed: int, workers: int
) -> Floats:
    """(R, d) errors; rivals are run once for the true check and its sabotage."""
    pool = hard_margin_pool()
    paths = simulate(
        algorithm,
        pool,
        horizon=horizon,
        replicates=replicates,
        seed=seed,
        workers=workers,
        checkpoints=[horizon],
        final_ridge=RIDGE,
    )
    return np.asarray(paths.theta - pool.theta)


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """Errors (R, d) of dual (or its negation) and of every rival."""
    observations = {}
    for step, name in enumerate(("dual", *RIVALS)):
        algorithm = LEAST_INFORMATIVE if sabotaged and name == "dual" else name
        observations[name] = _errors(
            algorithm, settings["horizon"], settings["replicates"], run.seed, run.workers
        )
        run.progress((step + 1) / (1 + len(RIVALS)))
    return observations


def accuracy(errors: Floats) -> Floats:
    """(R,) share of fresh Gaussian pairs whose sign theta_hat gets right."""
    theta = hard_margin_pool().theta
    fresh = np.random.default_rng(7).standard_normal((FRESH_PAIRS, theta.size))
    right = np.sign(fresh @ (errors + theta).T) == np.sign(fresh @ theta)[:, None]
    return np.asarray(right.mean(axis=0))


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Differences rival - dual (variance) and dual - rival (accuracy), paired by replicate."""
    ours, our_influence = log_generalized_mse(observations["dual"])
    our_accuracy = accuracy(observations["dual"])
    n = len(our_accuracy)
    out: dict[str, Statistic] = {}
    for rival in RIVALS:
        theirs, influence = log_generalized_mse(observations[rival])
        error = float((influence - our_influence).std(ddof=1)) / math.sqrt(n)
        out[f"dual/beats-{rival}/variance"] = Normal(theirs - ours, error, n)
        out[f"dual/beats-{rival}/accuracy"] = Mean(our_accuracy - accuracy(observations[rival]))
    return out


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Both differences with their intervals, one row a rival."""
    statistics = judge(observations, run)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, what, unit in (
        (left, "variance", "log det(MSE)/d, rival less dual"),
        (right, "accuracy", "share of right signs, dual less rival"),
    ):
        for row, rival in enumerate(RIVALS):
            statistic = statistics[f"dual/beats-{rival}/{what}"]
            low, high = statistic.interval(run.alpha)
            axes.plot([low, high], [row, row], color="#0072B2", linewidth=2)
            axes.plot(statistic.estimate, row, "o", color="#0072B2")
        axes.axvline(0, color="0.4", linewidth=1)
        axes.set_xlabel(unit)
    left.set_yticks(range(len(RIVALS)), [rival.replace("_", " ") for rival in RIVALS])
    left.invert_yaxis()


def _variance(rival: str) -> Test:
    return Test(
        id=f"dual/beats-{rival}/variance",
        statement=f"dual has a smaller det(MSE)^(1/d) than {rival} at equal labels",
        kind="BETTER",
        unit=f"log det(MSE)/d, {rival} less dual",
        target=0,
        margin=0.1,
        margin_reason="a tenth of the generalized variance is a tenth of the labels",
        power=0.9,
        expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
        sabotage="dual's gain negated: the least informative pair and teacher",
    )


def _accuracy(rival: str) -> Test:
    return Test(
        id=f"dual/beats-{rival}/accuracy",
        statement=f"dual gets more signs of fresh pairs right than {rival} at equal labels",
        kind="BETTER",
        unit=f"share of right signs, dual less {rival}",
        target=0,
        margin=0.005,
        margin_reason="half a point of accuracy is the least a user would notice",
        power=0.9,
        expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
        sabotage="dual's gain negated: the least informative pair and teacher",
    )


CLAIM = Claim(
    id="dual/beats",
    statement=(
        "At equal labels dual selection estimates the reward better than random, conversation-only, "
        "teacher-only, APO, practical APO and uncertainty sampling, each also with the most rational "
        "teacher."
    ),
    source="Dual Active Learning for RLHF (arXiv 2410.02504), simulations; our world, not theirs",
    how=(
        "Hard-margin world: 300 pairs with |theta'z| in [1.5, 4], d = 5, 3 context types, 4 teachers "
        "with rationality 0.25 to 2. Reported estimates carry ridge 0.01, because some rivals leave "
        "replicates without a finite optimum. Same seeds for every rule; differences paired by "
        "replicate; accuracy on 2000 fresh Gaussian pairs."
    ),
    tests=(*(_variance(rival) for rival in RIVALS), *(_accuracy(rival) for rival in RIVALS)),
    settings={
        "smoke": {"horizon": 1500, "replicates": 150},
        "quick": {"horizon": 2000, "replicates": 400},
        "full": {"horizon": 5000, "replicates": 10000},
    },
    measure=measure,
    judge=judge,
    draw=draw,
)

"""dual/generalized-variance: the estimator attains the minimal generalized variance."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim import simulate
from ...sim.named_worlds import default_pool
from ...theory.dual_design import dual_design
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Normal
from .measures import log_generalized_mse
from .negative_controls import RANDOM_TEACHER

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """(R, d) errors scaled so that their det(MSE)^(1/d) is 1 at the minimum."""
    pool = default_pool()
    best = dual_design(pool.ask(), pool.theta).log_det
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        run.progress(done / settings["replicates"])

    paths = simulate(
        RANDOM_TEACHER if sabotaged else "dual",
        pool,
        horizon=settings["horizon"],
        replicates=settings["replicates"],
        seed=run.seed,
        workers=run.workers,
        device=run.device,
        checkpoints=[settings["horizon"]],
        progress=progress,
    )
    d = pool.theta.size
    scale = math.sqrt(settings["horizon"] * math.exp(best / d))
    return {"error": (paths.theta - pool.theta) * scale}


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """T det(MSE)^(1/d) det(M*)^(1/d), by the delta method on its logarithm."""
    value, influence = log_generalized_mse(observations["error"])
    n = len(influence)
    ratio = math.exp(value)
    error = ratio * float(influence.std(ddof=1)) / math.sqrt(n)
    return {"dual/generalized-variance": Normal(ratio, error, n)}


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """The ratio as replicates come in, with its interval."""
    error = observations["error"]
    sizes = np.unique(np.geomspace(50, len(error), 24).round().astype(int))
    center, low, high = [], [], []
    for n in sizes:
        statistic = judge({"error": error[:n]}, run)["dual/generalized-variance"]
        center.append(statistic.estimate)
        a, b = statistic.interval(run.alpha)
        low.append(a)
        high.append(b)
    axes = figure.subplots()
    axes.fill_between(sizes, low, high, color="#0072B2", alpha=0.25, label="interval")
    axes.plot(sizes, center, "o-", color="#0072B2", markersize=3, label="estimate")
    axes.axhline(1, color="0.3", linewidth=1)
    margin = CLAIM.tests[0].margin_at(run.scale)
    axes.axhspan(1 - margin, 1 + margin, color="#009E73", alpha=0.12, label="region of the claim")
    axes.set(xscale="log", xlabel="replicates", ylabel="generalized variance / minimum")
    axes.set_xticks(sizes[::6], [str(n) for n in sizes[::6]])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="center left" if center[-1] > 1 + 2 * margin else "upper right")


CLAIM = Claim(
    id="dual/generalized-variance",
    statement="T det(MSE)^(1/d) det(M*)^(1/d) -> 1: the minimal generalized variance is attained.",
    source="Dual Active Learning for RLHF (arXiv 2410.02504), generalized variance; derived",
    how=(
        "The world of dual/d-optimality. MSE is the second moment of theta_hat - theta over "
        "replicates (unpenalised estimates; a shrunken estimator gains nothing), the Wishart bias "
        "of its log determinant is removed, the standard error is the delta method's."
    ),
    tests=(
        Test(
            id="dual/generalized-variance",
            statement="the generalized variance is its minimum, up to the margin",
            kind="EQUAL",
            unit="T det(MSE)^(1/d) det(M*)^(1/d)",
            target=1.0,
            margin={"smoke": 0.3, "quick": 0.15, "full": 0.06},
            margin_reason=(
                "about 1 / efficiency - 1 and a finite-T excess of the order of 20 d / T remain; "
                "the rest is sampling: sd sqrt(2 / (d R))"
            ),
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage="the pair by dual, the teacher at random",
        ),
    ),
    # Pilot (other seeds): 1.10 (0.04) at T = 2000. n: (z_alpha + z_power) sqrt(2 / (d R)) < margin - bias.
    settings={
        "smoke": {"horizon": 1500, "replicates": 300},
        "quick": {"horizon": 3000, "replicates": 1400},
        "full": {"horizon": 20000, "replicates": 20000},
    },
    measure=measure,
    judge=judge,
    draw=draw,
)

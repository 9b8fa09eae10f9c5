"""dual/normality: the estimate is asymptotically normal although the data were chosen adaptively."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim import PoolTrajectories, simulate
from ...sim.named_worlds import sharp_pool
from ...theory.preference import fisher_weight
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Frequency, Mean, replicates_for_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.95
SABOTAGE = "Fisher weights without rationality^2"


@lru_cache(maxsize=1)
def _trajectories(
    horizon: int, replicates: int, seed: int, workers: int, device: str
) -> PoolTrajectories:
    """Both sides of the check look at the same runs: only the information matrix differs."""
    pool = sharp_pool()
    return simulate(
        "dual",
        pool,
        horizon=horizon,
        replicates=replicates,
        seed=seed,
        workers=workers,
        device=device,
        checkpoints=[horizon],
    )


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """(R,) the squared distance (theta_hat - theta)' H(theta) (theta_hat - theta)."""
    pool = sharp_pool()
    paths = _trajectories(
        settings["horizon"], settings["replicates"], run.seed, run.workers, run.device
    )
    information = paths.information
    if sabotaged:
        b = pool.teachers.rationality[:, pool.context].T  # (n, m)
        weight = fisher_weight((pool.z @ pool.theta)[:, None], b) / b**2
        information = np.stack(
            [
                (pool.z[i].T * weight[i, j]) @ pool.z[i]
                for i, j in zip(paths.pair, paths.teacher, strict=True)
            ]
        )
    error = paths.theta - pool.theta
    run.progress(1.0)
    return {"squared_distance": np.einsum("ri,rij,rj->r", error, information, error)}


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Coverage of the ellipsoid and the mean squared distance over d."""
    from scipy.stats import chi2

    squared = observations["squared_distance"]
    d = sharp_pool().theta.size
    # a replicate without a finite estimate is not covered, and fails the mean loudly
    inside = int((squared <= chi2.ppf(LEVEL, d)).sum())
    return {
        "dual/normality/coverage": Frequency(inside, len(squared)),
        "dual/normality/mean": Mean(squared / d),
    }


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Observed squared distances against the quantiles of chi-square."""
    from scipy.stats import chi2

    squared = np.sort(observations["squared_distance"])
    d = sharp_pool().theta.size
    quantiles = chi2.ppf((np.arange(squared.size) + 0.5) / squared.size, d)
    axes = figure.subplots()
    top = float(max(quantiles[-1], squared[-1]))
    axes.plot([0, top], [0, top], color="0.5", linewidth=1, label="equal")
    axes.plot(quantiles, squared, ".", markersize=3, color="#0072B2", label="replicates")
    axes.axvline(chi2.ppf(LEVEL, d), color="#D55E00", linestyle="--", label="95 % quantile")
    axes.set_xlabel(f"quantile of chi-square with {d} degrees of freedom")
    axes.set_ylabel("squared distance of the estimate")
    axes.legend(frameon=False)


def _settings(horizon: int, replicates: int) -> dict[str, Any]:
    return {"horizon": horizon, "replicates": replicates}


# Pilots (other seeds, n = 3000): coverage 0.947 and mean 1.024 at T = 800, 0.951 and 1.000 at T = 1600;
# twenty seeds of n = 1060 at T = 800: mean coverage 0.942.
# n makes margin less half a point (smoke: 1) of finite-sample bias detectable with power 0.9.
_SMOKE_N = replicates_for_mean(0.218, 0.030, 2e-4, 0.9, two_sided=True)
_QUICK_N = replicates_for_mean(0.218, 0.015, 2e-4, 0.9, two_sided=True)

CLAIM = Claim(
    id="dual/normality",
    statement=(
        "(theta_hat - theta)' H(theta) (theta_hat - theta) is asymptotically chi-square with d "
        "degrees of freedom, although pairs and teachers were chosen from earlier answers."
    ),
    source="Dual Active Learning for RLHF (arXiv 2410.02504), asymptotic theory; derived",
    how=(
        "300 pairs with |theta'z| below 1/2, d = 5, 3 context types, 4 teachers with rationality "
        "1.25 to 2 (all "
        "above 1, so that a forgotten rationality^2 shows). dual labels one pair at a time; the "
        "estimate is unpenalised, H is at the true theta. One squared distance per replicate."
    ),
    tests=(
        Test(
            id="dual/normality/coverage",
            statement="the 95 % ellipsoid covers the true theta in 95 % of the replicates",
            kind="EQUAL",
            unit="frequency of coverage",
            target=LEVEL,
            margin={"smoke": 0.04, "quick": 0.02, "full": 0.01},
            margin_reason="two points of coverage are what a reader of a 95 % region would forgive",
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage=SABOTAGE,
        ),
        Test(
            id="dual/normality/mean",
            statement="the mean squared distance is d",
            kind="EQUAL",
            unit="mean squared distance / d",
            target=1.0,
            margin={"smoke": 0.15, "quick": 0.08, "full": 0.05},
            margin_reason="of the order of the finite-sample excess, about 4 d / T, plus sampling",
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage=SABOTAGE,
        ),
    ),
    settings={
        "smoke": _settings(1000, _SMOKE_N),
        "quick": _settings(1600, _QUICK_N),
        "full": _settings(6000, 30000),
    },
    measure=measure,
    judge=judge,
    draw=draw,
)

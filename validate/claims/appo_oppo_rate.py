"""appo/oppo-rate: asked in every round, the policy's regret grows no faster than sqrt(T)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import replicates_for_mean
from .appo_rates import log_log_slope, log_ticks
from .appo_worlds import CPU_ONLY, DIM, GAP, RADIUS, play

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """Final ``regret`` (R, c) of separate runs at each horizon ``rounds`` (c,): the step depends on it."""
    options: dict[str, Any] = {"step_size": 0.0} if sabotaged else {}
    horizons, columns = settings["horizons"], []
    for step, horizon in enumerate(horizons):
        paths = play(
            "oppo",
            DIM,
            GAP,
            horizon,
            settings["replicates"],
            run,
            radius=RADIUS[DIM],
            refit_growth=settings["refit_growth"],
            **options,
        )
        columns.append(paths.regret[:, -1])
        run.progress((step + 1) / len(horizons))
    return {"rounds": np.array(horizons), "regret": np.stack(columns, axis=1)}


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """The slope of log regret on log horizon."""
    rounds, regret = observations["rounds"], observations["regret"]
    return {"appo/oppo-rate": log_log_slope(rounds, regret, np.zeros(len(rounds)))}


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Final regret of every run at its horizon, the fitted slope, and slope 1/2."""
    rounds, regret = observations["rounds"], observations["regret"]
    slope = judge(observations, run)["appo/oppo-rate"].estimate
    axes = figure.subplots()
    nudge = np.exp(np.linspace(-0.04, 0.04, len(regret)))[:, None]
    axes.plot(
        (rounds * nudge).ravel(), regret.ravel(), "o", markersize=3, color="#0072B2", alpha=0.6
    )
    middle = np.exp(np.log(regret).mean())
    line = middle * (rounds / np.exp(np.log(rounds).mean())) ** slope
    half = line[0] * np.sqrt(rounds / rounds[0])
    axes.plot(rounds, line, color="#0072B2", label=f"fitted slope {slope:.2f}")
    axes.plot(rounds, half, "--", color="#D55E00", label="theorem at most: 1/2")
    axes.fill_between(rounds, line[0], half, color="#009E73", alpha=0.12, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="horizon T (rounds)", ylabel="final regret")
    log_ticks(axes, rounds)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


# Pilot (world seed 931, 6 runs): regret 273, 370, 526 and 797 at T = 2,000, 8,000, 32,000 and 128,000,
# local slopes .22, .25, .30; a replicate's own slope has sd .02. Uniform play: slope 1.
_N = max(10, replicates_for_mean(0.05, 0.15, 0.01 / 100, 0.9))

CLAIM = Claim(
    id="appo/oppo-rate",
    statement="Asked about in every round, the policy's regret grows no faster than the root of the horizon.",
    source="RLHF with Active Queries (arXiv 2402.09401v2), Gamma = 0: O~(d sqrt T)",
    how=(
        "10 prompts, 6 actions, d = 4, gap 0.8, one world a replicate, the same at all horizons. Separate runs "
        "at each horizon T with step sqrt(2 log A / T), ours. Practical radius. Least squares on "
        "logarithms, with an error that is robust to dependence within a replicate. The "
        "estimate is refitted whenever det gram has grown by the stated factor."
    ),
    tests=(
        Test(
            id="appo/oppo-rate",
            statement="log final regret on log T has slope at most 1/2",
            kind="BOUND",
            unit="log-log slope in T",
            target=0.5,
            margin=0.05,
            margin_reason=(
                "d sqrt(T) hides log T, whose own slope between 4,000 and 64,000 rounds is 0.1; half of it"
            ),
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage="uniform play: the policy never moves",
        ),
    ),
    settings={
        "smoke": {"horizons": [2000, 8000], "replicates": _N, "refit_growth": 1.01},
        "quick": {"horizons": [4000, 16_000, 64_000], "replicates": _N, "refit_growth": 1.01},
        "full": {
            "horizons": [4000, 32_000, 256_000, 2_048_000],
            "replicates": 50,
            "refit_growth": 1.01,
        },
    },
    measure=measure,
    judge=judge,
    draw=draw,
    cpu_only=CPU_ONLY,
)

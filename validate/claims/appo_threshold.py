"""appo/threshold: what fewer questions cost, over uncertainty thresholds, theory's marked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..claim import Claim, Observations, Run, Statistic, Test
from ..verdict import Mean
from .appo_rates import log_ticks
from .appo_worlds import CPU_ONLY, DIM, GAP, RADIUS, appo, theory_threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """Final ``queries`` and ``regret`` (R, c) at each multiple ``factor`` (c,) of theory's threshold,
    and the queries ``below`` (R, c) it of pairs less uncertain than it."""
    factors, paths = settings["factors"], []
    for step, factor in enumerate(factors):
        threshold = factor * theory_threshold(DIM, GAP)
        common = (DIM, GAP, settings["horizon"], settings["replicates"], run)
        paths.append(appo(*common, radius=RADIUS[DIM], uncertainty_threshold=threshold))
        run.progress((step + 1) / len(factors))
    return {
        "factor": np.array(factors, dtype=float),
        "queries": np.stack([p.queries[:, -1] for p in paths], axis=1),
        "regret": np.stack([p.regret[:, -1] for p in paths], axis=1),
        "below": np.stack([p.below_threshold for p in paths], axis=1),
    }


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Each world's threshold of least regret, and the share of queries below theory's threshold."""
    factor, regret = observations["factor"], observations["regret"]
    theory = int(np.flatnonzero(factor == 1)[0])
    share = observations["below"][:, theory] / observations["queries"][:, theory]
    return {
        "appo/threshold": Mean(np.log2(factor[regret.argmin(axis=1)])),
        "appo/threshold/below": Mean(share),
    }


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Final regret against queries, a line a world; thresholds are written beside their mean."""
    see = observations
    axes = figure.subplots()
    axes.plot(see["queries"].T, see["regret"].T, color="0.6", linewidth=0.5)
    at, height = (np.exp(np.log(see[name]).mean(axis=0)) for name in ("queries", "regret"))
    axes.plot(at, height, "-o", color="#0072B2", label="geometric mean over worlds")
    theory = see["factor"] == 1
    axes.plot(
        at[theory], height[theory], "D", markersize=9, color="#D55E00", label="theory's threshold"
    )
    for x, y, factor in zip(at, height, see["factor"], strict=True):
        axes.annotate(f"x {factor:g}", (x, y), (5, 5), textcoords="offset points", fontsize="small")
    axes.set(xscale="log", yscale="log", xlabel="queries", ylabel="final regret")
    log_ticks(axes)
    axes.margins(x=0.1)
    figure.legend(frameon=False, loc="outside upper center", ncols=2, fontsize="small")


def _test(identity: str, statement: str, unit: str) -> Test:
    return Test(
        id=identity,
        statement=statement,
        kind="ESTIMATE",
        unit=unit,
        target=None,
        margin=0.0,
        margin_reason="an estimate has no region",
        power=0.9,
        expected={scale: "ESTIMATE" for scale in ("smoke", "quick", "full")},
        sabotage=None,
    )


_FACTORS = [0.25, 0.5, 0.71, 1, 1.41, 2, 2.83, 4, 8]

CLAIM = Claim(
    id="appo/threshold",
    statement="The trade-off between regret and queries over uncertainty thresholds.",
    source="RLHF with Active Queries (arXiv 2402.09401v2), Algorithm 1; the sweep is ours",
    how=(
        "10 prompts, 6 actions, d = 4, gap 0.8, one world a replicate, the same at all thresholds: multiples of "
        "theory's .99 gap / (2 radius) at the practical radius, each with the theorem's step at that "
        "threshold. Smaller thresholds ask more and move the policy less at a time; much larger ones "
        "leave wrong actions unasked for ever."
    ),
    tests=(
        _test(
            "appo/threshold",
            "the threshold of least final regret, world by world",
            "log2 of its multiple of theory's",
        ),
        _test(
            "appo/threshold/below",
            "at theory's threshold, how many of the queried pairs lie below it (the first arm is drawn again after the test)",
            "share of queries",
        ),
    ),
    settings={
        "smoke": {"horizon": 20_000, "replicates": 6, "factors": [0.5, 1, 2, 4]},
        "quick": {"horizon": 60_000, "replicates": 16, "factors": _FACTORS},
        "full": {"horizon": 400_000, "replicates": 200, "factors": _FACTORS},
    },
    measure=measure,
    judge=judge,
    draw=draw,
    cpu_only=CPU_ONLY,
)

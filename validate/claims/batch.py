"""dual/batch: greedy batches lose little to one-at-a-time, and beat the top of one ranking."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...sim import simulate
from ...sim.algorithms import Labelling
from ...sim.named_worlds import default_pool
from ...theory.checks import Floats
from ...theory.dual_design import dual_design
from ..claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from ..verdict import Mean
from .measures import efficiencies
from .negative_controls import LEAST_INFORMATIVE, TOP_OF_ONE_RANKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@lru_cache(maxsize=8)
def _efficiency(
    algorithm: str | Labelling,
    batch: int,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int,
    device: str,
) -> Floats:
    """(R,) D-efficiency at the horizon."""
    pool = default_pool()
    best = dual_design(pool.ask(), pool.theta).log_det
    paths = simulate(
        algorithm,
        pool,
        horizon=horizon,
        replicates=replicates,
        seed=seed,
        workers=workers,
        device=device,
        batch=batch,
        checkpoints=[horizon],
        final_ridge=1.0,  # theta is not looked at
    )
    return efficiencies(paths.information, best, horizon)


def measure(settings: Mapping[str, Any], run: Run, sabotaged: bool) -> Observations:
    """(R,) efficiencies: one at a time, greedy batches, top of one ranking.

    The sabotage puts the top of one ranking in the place of the greedy batch for the loss, and the
    least informative questions in its place for the comparison.
    """
    common = (settings["horizon"], settings["replicates"], run.seed, run.workers, run.device)
    batch = settings["batch"]
    top = _efficiency(TOP_OF_ONE_RANKING, batch, *common)
    greedy = _efficiency("dual", batch, *common)
    observations = {
        "one_at_a_time": _efficiency("dual", 1, *common),
        "greedy_batch": top if sabotaged else greedy,
        "contender": _efficiency(LEAST_INFORMATIVE, batch, *common) if sabotaged else greedy,
        "top_of_one_ranking": top,
    }
    run.progress(1.0)
    return observations


def judge(observations: Observations, run: Run) -> dict[str, Statistic]:
    """Differences of efficiency, paired by replicate."""
    single, top = observations["one_at_a_time"], observations["top_of_one_ranking"]
    return {
        "dual/batch/loss": Mean(single - observations["greedy_batch"]),
        "dual/batch/beats-top": Mean(observations["contender"] - top),
    }


def draw(figure: "Figure", observations: Observations, run: Run) -> None:
    """Efficiency of each rule, one dot a replicate."""
    axes = figure.subplots()
    shown = dict(observations)
    contender = shown.pop("contender")  # the greedy batch, or what stands in its place
    if not np.array_equal(contender, shown["greedy_batch"]):
        shown["gain_negated"] = contender
    for row, values in enumerate(shown.values()):
        spread = np.linspace(-0.3, 0.3, len(values))
        axes.plot(values, row + spread, ".", markersize=3, color="#0072B2", alpha=0.5)
        axes.plot(values.mean(), row, "|", markersize=24, color="#D55E00")
    axes.set_yticks(range(len(shown)), [name.replace("_", " ") for name in shown])
    axes.set_xlabel("D-efficiency at the horizon (bar: mean)")
    axes.invert_yaxis()


CLAIM = Claim(
    id="dual/batch",
    statement="Greedy batches lose at most two points of D-efficiency, and beat top-B by score.",
    source="Dual Active Learning for RLHF (arXiv 2410.02504), batches; the batch rule is ours",
    how=(
        "The world of dual/d-optimality; batches of B = 50 with theta frozen and the information "
        "updated after each pick, against one label at a time and against the B best scores of one "
        "ranking. Same seeds, differences paired by replicate."
    ),
    tests=(
        Test(
            id="dual/batch/loss",
            statement="a greedy batch loses at most 0.02 of D-efficiency to one at a time",
            kind="BOUND",
            unit="D-efficiency, one at a time less batch",
            target=0.02,
            margin=0.0,
            margin_reason="the stated share is the bound itself",
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage="the batch is the top of one ranking",
        ),
        Test(
            id="dual/batch/beats-top",
            statement="a greedy batch has a higher D-efficiency than the top of one ranking",
            kind="BETTER",
            unit="D-efficiency, greedy batch less top-B",
            target=0,
            margin=0.02,
            margin_reason="two points of efficiency are two labels in a hundred",
            power=0.9,
            expected={"smoke": SUPPORTED, "quick": SUPPORTED, "full": SUPPORTED},
            sabotage="the gain negated within the greedy batch",
        ),
    ),
    settings={
        "smoke": {"horizon": 2500, "replicates": 80, "batch": 50},
        "quick": {"horizon": 3000, "replicates": 100, "batch": 50},
        "full": {"horizon": 10000, "replicates": 1000, "batch": 50},
    },
    measure=measure,
    judge=judge,
    draw=draw,
)

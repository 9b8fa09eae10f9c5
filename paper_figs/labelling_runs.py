"""The simulations behind generalized_variance, efficiency and accuracy: pools labelled by every rule."""

from typing import Any

import numpy as np

from ..sim import PairPool, simulate
from ..sim.named_worlds import RIVALS, default_pool, hard_margin_pool
from ..theory.dual_design import dual_design
from ..theory.exact_design import d_efficiency
from .figure import Arrays, Experiment, Progress, Settings

DIM = 5
_FEW = ["dual", "random", "conversation_only", "teacher_only", "practical_apo"]
_FEW += ["random_best_teacher", "conversation_only_best_teacher"]
_EVERY = sorted(("dual", *RIVALS))


POOLS = {"hard-margin": hard_margin_pool, "Gaussian": default_pool}


def _estimates(
    settings: Settings, part: str, *, seed: int, workers: int, progress: Progress
) -> Arrays:
    """theta (R, c, d) without ridge, D-efficiency (R, c), labels (c,), the optimum's log det."""
    pool = hard_margin_pool()
    run = _run(pool, part, settings, seed, workers, progress)
    optimum = dual_design(pool.ask(), pool.theta).log_det
    efficiency = [
        [d_efficiency(h, optimum, t) for h, t in zip(row, run.rounds.tolist(), strict=True)]
        for row in run.information_path
    ]
    return {
        "labels": run.rounds,
        "error": run.theta_path - pool.theta,
        "efficiency": np.array(efficiency),
        "log_det_optimum": np.array(optimum),
    }


def _agreements(
    settings: Settings, part: str, *, seed: int, workers: int, progress: Progress
) -> Arrays:
    """Labels (c,) and accuracy (R, c): the chance that theta_hat ranks a fresh Gaussian pair rightly.

    For z ~ N(0, I) that is 1 - angle(theta_hat, theta*) / pi: a fresh pool of infinite size.
    """
    world, selector = part.split("/")
    pool = POOLS[world]()
    run = _run(pool, selector, settings, seed, workers, progress, final_ridge=settings["ridge"])
    norm = np.linalg.norm(run.theta_path, axis=2) * np.linalg.norm(pool.theta)
    cosine = (run.theta_path @ pool.theta) / norm
    return {"labels": run.rounds, "accuracy": 1 - np.arccos(cosine.clip(-1, 1)) / np.pi}


def _run(
    pool: PairPool,
    selector: str,
    settings: Settings,
    seed: int,
    workers: int,
    progress: Progress,
    **options: Any,
) -> Any:
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(done / settings["replicates"])

    return simulate(
        selector,
        pool,
        horizon=settings["labels"][-1],
        replicates=settings["replicates"],
        seed=seed,
        workers=workers,
        checkpoints=settings["labels"],
        progress=more,
        **options,
    )


ESTIMATES = Experiment(
    name="estimates",
    settings={
        "smoke": {"selectors": _FEW, "replicates": 60, "labels": [100, 200, 400, 800, 1600]},
        "quick": {
            "selectors": _EVERY,
            "replicates": 300,
            "labels": [60, 100, 160, 250, 400, 630, 1000, 1600, 2500, 4000],
        },
        "full": {
            "selectors": _EVERY,
            "replicates": 2000,
            "labels": [60, 100, 160, 250, 400, 630, 1000, 1600, 2500, 4000, 6300, 10000, 16000],
        },
    },
    parts=lambda settings: settings["selectors"],
    compute=_estimates,
)

ACCURACIES = Experiment(
    name="accuracies",
    settings={
        "smoke": {
            "selectors": _FEW,
            "replicates": 60,
            "ridge": 0.01,
            "labels": [25, 50, 100, 200, 400],
        },
        "quick": {
            "selectors": _EVERY,
            "replicates": 300,
            "ridge": 0.01,
            "labels": [25, 35, 50, 70, 100, 140, 200, 280, 400, 560, 800],
        },
        "full": {
            "selectors": _EVERY,
            "replicates": 2000,
            "ridge": 0.01,
            "labels": [25, 35, 50, 70, 100, 140, 200, 280, 400, 560, 800, 1600, 3200],
        },
    },
    parts=lambda settings: [f"{world}/{s}" for world in POOLS for s in settings["selectors"]],
    compute=_agreements,
)

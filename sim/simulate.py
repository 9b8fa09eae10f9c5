"""simulate(algorithm, world, ...): replicates of an algorithm in a world with known truth."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import (
    Floats,
    Ints,
    integer_array,
    one_of,
    positive_number,
    real_array,
    whole_number,
)
from ..theory.preference import fisher_weight
from .algorithms import ALGORITHMS, Labelling
from .algorithms.labelling import Plan, final_estimate, label_pool
from .kernels import labelling as kernel
from .kernels.selection import World
from .world import PairPool

if TYPE_CHECKING:
    from pandas import DataFrame

Progress = Callable[[int], None]

POOL_OPTIONS = {
    "batch": 1,
    "warm_up": None,
    "ridge": 1e-2,
    "final_ridge": 0.0,
    "assumed_rationality": None,
    "selector_rationality": None,
    "engine": "kernel",
    "first_replicate": 0,
}


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What R replicates did, at c checkpoints."""

    rounds: Ints  # (c,) labels bought (pools) at each checkpoint
    queries: Ints  # (R, c) labels bought so far
    spent: Floats  # (R, c) money spent so far
    theta_path: Floats  # (R, c, d) estimates, NaN where no finite optimum exists
    information_path: Floats  # (R, c, d, d) information of the labels at the true theta, no ridge
    pair: Ints  # (R, T) pair of each label
    teacher: Ints  # (R, T) teacher of each label
    label: Ints  # (R, T) 1 = first response preferred

    @property
    def theta(self) -> Floats:
        """(R, d) the last estimates."""
        return np.asarray(self.theta_path[:, -1])

    @property
    def information(self) -> Floats:
        """(R, d, d) the last information matrices."""
        return np.asarray(self.information_path[:, -1])

    @property
    def picks(self) -> Ints:
        """(R, T, 2) pair and teacher of each label, in the order bought."""
        return np.stack([self.pair, self.teacher], axis=-1).astype(np.int64)

    @property
    def regret(self) -> Floats:
        """Regret belongs to dueling worlds; a pool has none."""
        raise AttributeError(
            "a PairPool has no regret: labels are bought, nothing is played; "
            "use theta_path and information_path."
        )

    def to_frame(self) -> DataFrame:
        """One row a (replicate, checkpoint): labels, money, estimate."""
        import pandas as pd

        r, c, d = self.theta_path.shape
        columns: dict[str, Any] = {
            "replicate": np.repeat(np.arange(r), c),
            "round": np.tile(self.rounds, r),
            "queries": self.queries.ravel(),
            "spent": self.spent.ravel(),
        }
        columns |= {f"theta_{k}": self.theta_path[:, :, k].ravel() for k in range(d)}
        return pd.DataFrame(columns)


def simulate(
    algorithm: str | Labelling,
    world: PairPool,
    *,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
    checkpoints: ArrayLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Trajectories:
    """Run ``replicates`` independent replicates of ``algorithm`` for ``horizon`` labels.

    A draw is named by (seed, replicate, label), so the result does not depend on ``workers``.
    ``checkpoints`` (c,) are the label counts at which estimates are reported (default: 12, spaced
    by equal factors). ``progress`` is called with the number of replicates just finished.
    Options on a pool: ``batch=1`` questions per refit; ``warm_up`` uniformly random (pair, teacher)
    labels first, counted in the horizon (default 4 d); ``ridge=1e-2`` in every fit and information
    while selecting; ``final_ridge=0`` in the reported estimates; ``assumed_rationality`` and
    ``selector_rationality`` (m, K), what estimator and selector believe (default: the truth; the
    selector's default is the estimator's); ``engine="kernel"`` or ``"plain"``;
    ``first_replicate=0``, the number of the first replicate.
    Raises ``ValueError`` on unknown algorithms and options, and on a horizon above the capacity.

    >>> from activeduel.sim import PairPool, Teachers
    >>> pool = PairPool.synthetic(50, 3, 1, Teachers([[1.0]]), np.random.default_rng(0))
    >>> simulate("dual", pool, horizon=40, replicates=2, seed=1).theta.shape
    (2, 3)
    """
    if isinstance(algorithm, str):
        algorithm = ALGORITHMS[one_of("algorithm", algorithm, list(ALGORITHMS))]
    if not isinstance(world, PairPool):
        raise ValueError(f"world: found {type(world).__name__}, needed a PairPool.")  # noqa: TRY004
    one_of("device", device, ["cpu"])
    replicates, workers = (
        whole_number("replicates", replicates, low=1),
        whole_number("workers", workers, low=1),
    )
    for name in options:
        one_of("option", name, list(POOL_OPTIONS))
    options = POOL_OPTIONS | options
    one_of("engine", options["engine"], ["kernel", "plain"])
    first = whole_number(
        "first_replicate", options["first_replicate"], low=0, high=2**32 - replicates
    )
    plan = _plan(world, horizon, seed, checkpoints, options)
    if options["engine"] == "kernel" and algorithm.rule is not None:
        out = _run_kernel(world, algorithm.rule, plan, first, replicates, workers, progress)
    else:
        out = _run_plain(world, algorithm, plan, first, replicates, workers, progress)
    money = np.cumsum(world.teachers.cost[out.teacher], axis=1)[:, plan.checkpoints - 1]
    queries = np.broadcast_to(plan.checkpoints, (replicates, plan.checkpoints.size))
    return Trajectories(
        plan.checkpoints,
        queries,
        money,
        out.theta,
        out.information,
        out.pair,
        out.teacher,
        out.label,
    )


def _plan(
    world: PairPool, horizon: int, seed: int, checkpoints: ArrayLike | None, options: dict[str, Any]
) -> Plan:
    d, shape = world.theta.size, world.teachers.rationality.shape
    horizon = whole_number("horizon", horizon, low=1)
    left = world.available
    if (left >= 0).all() and horizon > left.sum():
        raise ValueError(
            f"horizon: found {horizon}, but only {left.sum()} labels can be bought from this pool."
        )
    warm_up = min(4 * d, horizon)
    if options["warm_up"] is not None:
        warm_up = whole_number("warm_up", options["warm_up"], low=0, high=horizon + 1)
    if checkpoints is None:
        checkpoints = np.unique(np.geomspace(min(max(warm_up, d), horizon), horizon, 12).round())
    marks = np.unique(integer_array("checkpoints", checkpoints, (None,), low=1, high=horizon + 1))
    assumed, believed = options["assumed_rationality"], options["selector_rationality"]
    assumed = (
        world.teachers.rationality
        if assumed is None
        else real_array("assumed_rationality", assumed, shape)
    )
    believed = assumed if believed is None else real_array("selector_rationality", believed, shape)
    return Plan(
        seed=whole_number("seed", seed, low=0, high=2**64),
        horizon=horizon,
        warm_up=warm_up,
        batch=whole_number("batch", options["batch"], low=1),
        ridge=positive_number("ridge", options["ridge"], zero=True),
        final_ridge=positive_number("final_ridge", options["final_ridge"], zero=True),
        checkpoints=marks,
        assumed=assumed,
        believed=believed,
    )


def _run_plain(
    world: PairPool,
    algorithm: Labelling,
    plan: Plan,
    first: int,
    replicates: int,
    workers: int,
    progress: Progress | None,
) -> kernel.Output:
    out = kernel.new_output(replicates, plan, world.theta.size)

    def work(low: int, high: int) -> None:
        for row in range(low, high):
            history = label_pool(world, algorithm.select, plan, first + row)
            out.pair[row], out.teacher[row], out.label[row] = history[:3]
            out.theta[row], out.information[row] = history.theta, history.information
            out.settled[row] = True

    _in_threads(work, replicates, workers, progress)
    return out


def _run_kernel(
    world: PairPool,
    rule: Any,
    plan: Plan,
    first: int,
    replicates: int,
    workers: int,
    progress: Progress | None,
) -> kernel.Output:
    out = kernel.new_output(replicates, plan, world.theta.size)
    arrays, truth = _arrays(world, plan)
    compiled = kernel.Plan(
        np.uint64(plan.seed),
        plan.horizon,
        plan.warm_up,
        plan.batch,
        plan.ridge,
        plan.final_ridge,
        np.array(plan.checkpoints),
    )

    def work(low: int, high: int) -> None:
        kernel.run(arrays, truth, rule, compiled, first, out, low, high)

    _in_threads(work, replicates, workers, progress)
    for row, mark in np.argwhere(~out.settled):
        t = plan.checkpoints[mark]
        history = (out.pair[row, :t], out.teacher[row, :t], out.label[row, :t])
        out.theta[row, mark] = final_estimate(world, plan, *history)
    return out


def _in_threads(
    work: Callable[[int, int], None], replicates: int, workers: int, progress: Progress | None
) -> None:
    """Cut the replicates into small ranges and work them off; the results do not depend on the cut."""
    size = max(1, -(-replicates // (8 * workers)))
    ranges = [(low, min(low + size, replicates)) for low in range(0, replicates, size)]
    if workers == 1:
        for low, high in ranges:
            work(low, high)
            if progress:
                progress(high - low)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(work, low, high): high - low for low, high in ranges}
        try:
            for done in as_completed(waiting):
                done.result()
                if progress:
                    progress(waiting[done])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _arrays(world: PairPool, plan: Plan) -> tuple[World, kernel.Truth]:
    """The world as the kernel reads it: by teacher and pair, contiguous."""
    teachers, context = world.teachers, world.context

    def own(array: Any) -> Any:
        """A writable copy, row by row: a kernel is compiled anew for read-only or strided arrays."""
        return np.array(array, order="C")

    def by_pair(rationality: Floats) -> Any:
        return own(rationality[:, context])

    assumed = plan.assumed
    twins = (assumed[:, None] == assumed[None]).argmax(axis=1)  # (m, K) first teacher alike
    margin = world.z @ world.theta
    true = by_pair(teachers.rationality)
    arrays = World(
        own(world.z.T),
        by_pair(plan.believed),
        by_pair(assumed),
        by_pair(twins),
        own(teachers.cost),
        own(world.available.T),
        bool((world.available >= 0).any()),
    )
    truth = kernel.Truth(
        margin,
        true,
        own(teachers.lapse),
        own(teachers.bias),
        own(teachers.drift),
        own(fisher_weight(margin, true)),
    )
    return arrays, truth

"""``simulate`` on a pool: options, plan, and the two engines, plain and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import (
    Floats,
    integer_array,
    one_of,
    positive_number,
    real_array,
    whole_number,
)
from ..theory.preference import fisher_weight
from .algorithms.labelling import Labelling, Plan, final_estimate, label_pool
from .kernels import labelling as kernel
from .kernels.selection import World
from .threads import Progress, in_threads
from .trajectories import PoolTrajectories
from .world import PairPool

OPTIONS = {
    "batch": 1,
    "warm_up": None,
    "ridge": 1e-2,
    "final_ridge": 0.0,
    "assumed_rationality": None,
    "selector_rationality": None,
    "engine": "kernel",
    "first_replicate": 0,
}


def label_pools(
    algorithm: Labelling,
    world: PairPool,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int,
    device: str,
    checkpoints: ArrayLike | None,
    progress: Progress | None,
    given: dict[str, Any],
) -> PoolTrajectories:
    """See ``simulate``."""
    for name in given:
        one_of("option", name, list(OPTIONS))
    options = OPTIONS | given
    one_of("engine", options["engine"], ["kernel", "plain"])
    first = whole_number(
        "first_replicate", options["first_replicate"], low=0, high=2**32 - replicates
    )
    plan = _plan(world, horizon, seed, checkpoints, options)
    if device == "cuda":
        _check_cuda(algorithm, options["engine"])
        out = _run_cuda(world, algorithm.rule, plan, first, replicates, progress)
    elif options["engine"] == "kernel" and algorithm.rule is not None:
        out = _run_kernel(world, algorithm.rule, plan, first, replicates, workers, progress)
    else:
        out = _run_plain(world, algorithm, plan, first, replicates, workers, progress)
    return _trajectories(world, plan, out)


def _trajectories(world: PairPool, plan: Plan, out: kernel.Output) -> PoolTrajectories:
    marks = plan.checkpoints
    return PoolTrajectories(
        rounds=marks,
        queries=np.broadcast_to(marks, out.settled.shape),
        theta_path=out.theta,
        information_path=out.information,
        spent=np.cumsum(world.teachers.cost[out.teacher], axis=1)[:, marks - 1],
        pair=out.pair,
        teacher=out.teacher,
        label=out.label,
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

    in_threads(work, replicates, workers, progress)
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
    compiled = _compiled_plan(plan)

    def work(low: int, high: int) -> None:
        kernel.run(arrays, truth, rule, compiled, first, out, low, high)

    in_threads(work, replicates, workers, progress)
    _settle(world, plan, out)
    return out


def _check_cuda(algorithm: Labelling, engine: str) -> None:
    """ValueError that says what cannot run on a GPU, before one is looked for."""
    if engine != "kernel":
        raise ValueError(
            f"engine: found {engine!r} with device='cuda', needed 'kernel'; the plain loop runs on "
            "the CPU: pass device='cpu'."
        )
    if algorithm.rule is None:
        raise ValueError(
            f"algorithm: found {algorithm.name!r}, which has no compiled rule, with device='cuda'; "
            "pass device='cpu', where any selector runs in the plain loop."
        )


def _run_cuda(
    world: PairPool, rule: Any, plan: Plan, first: int, replicates: int, progress: Progress | None
) -> kernel.Output:
    from .kernels.cuda import launch

    launch.require_device()
    out = kernel.new_output(replicates, plan, world.theta.size)
    arrays, truth = _arrays(world, plan)
    try:
        _cuda_kernel().run(arrays, truth, rule, _compiled_plan(plan), first, out, progress)
    except launch.Stopped as stop:
        if stop.finished:
            done = kernel.Output(*(array[: stop.finished] for array in out))
            _settle(world, plan, done)
            stop.trajectories = _trajectories(world, plan, done)
        raise
    _settle(world, plan, out)
    return out


def _cuda_kernel() -> Any:
    """Imported here: only who asks for a GPU waits for numba's CUDA compiler."""
    from .kernels.cuda import labelling

    return labelling


def _compiled_plan(plan: Plan) -> kernel.Plan:
    return kernel.Plan(
        np.uint64(plan.seed),
        plan.horizon,
        plan.warm_up,
        plan.batch,
        plan.ridge,
        plan.final_ridge,
        np.array(plan.checkpoints),
    )


def _settle(world: PairPool, plan: Plan, out: kernel.Output) -> None:
    """The plain estimator's word where the kernel could not tell whether an optimum exists."""
    for row, mark in np.argwhere(~out.settled):
        t = plan.checkpoints[mark]
        history = (out.pair[row, :t], out.teacher[row, :t], out.label[row, :t])
        out.theta[row, mark] = final_estimate(world, plan, *history)


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

"""``simulate`` on a dueling world or a stream: options, plan, and the two engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import one_of, whole_number
from .algorithms.dueling import Dueling, History, Plan, Rule, plan_rounds, play, prepare
from .kernels import duel_rules
from .kernels import dueling as kernel
from .stream import StreamingWorld, World, shortfall
from .threads import Progress, in_threads
from .trajectories import DuelTrajectories

STREAM_GROWTH = 1.02
UNLIMITED = 2**62
COMMON = ("engine", "first_replicate", "refit_growth", "record", "update_gram")


def play_rounds(
    algorithm: Dueling,
    world: World,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int,
    device: str,
    checkpoints: ArrayLike | None,
    progress: Progress | None,
    given: dict[str, Any],
) -> DuelTrajectories:
    """See ``simulate``."""
    streaming = isinstance(world, StreamingWorld)
    engine = one_of("engine", given.get("engine", "kernel"), ["kernel", "plain"])
    first = whole_number(
        "first_replicate", given.get("first_replicate", 0), low=0, high=2**32 - replicates
    )
    plan = plan_rounds(
        horizon,
        seed,
        checkpoints,
        given.get("refit_growth", STREAM_GROWTH if streaming else 1.0),
        given.get("update_gram", True),
    )
    record = whole_number("record", given.get("record", 0), low=0, high=plan.horizon + 1)
    own = {name: value for name, value in given.items() if name not in COMMON}
    rule = prepare(algorithm.make, world, plan.horizon, own, COMMON)
    remembers = streaming and algorithm.kind in (duel_rules.APPO, duel_rules.OPPO)
    if device == "cuda":
        _check_cuda(algorithm, engine, remembers)
        out = _run_cuda(world, algorithm, rule, plan, record, first, replicates, progress)
    elif engine == "plain" or remembers:
        out = _run_plain(world, rule, plan, record, first, replicates, workers, progress)
    else:
        out = kernel.new_output(replicates, plan.checkpoints.size, record, world.theta.size)
        compiled = _compiled_plan(plan, rule, record)
        arrays, options = _compiled_world(world), _compiled_rule(algorithm, rule)

        def work(low: int, high: int) -> None:
            kernel.run(arrays, options, compiled, first, out, low, high)

        in_threads(work, replicates, workers, progress)
    return _trajectories(plan, out)


def _run_plain(
    world: World,
    rule: Rule,
    plan: Plan,
    record: int,
    first: int,
    replicates: int,
    workers: int,
    progress: Progress | None,
) -> kernel.Output:
    out = kernel.new_output(replicates, plan.checkpoints.size, record, world.theta.size)

    def work(low: int, high: int) -> None:
        for row in range(low, high):
            _write(play(world, rule, plan, first + row), out, row)

    in_threads(work, replicates, workers, progress)
    return out


def _check_cuda(algorithm: Dueling, engine: str, remembers: bool) -> None:
    """ValueError that says what cannot run on a GPU, before one is looked for."""
    if engine != "kernel":
        raise ValueError(
            f"engine: found {engine!r} with device='cuda', needed 'kernel'; the plain loop runs on "
            "the CPU: pass device='cpu'."
        )
    if remembers:
        raise ValueError(
            f"algorithm: found {algorithm.name!r} on a stream with device='cuda'; its policy on a new "
            "prompt needs all past rounds, which only the plain loop keeps: pass device='cpu', or "
            "a DuelingWorld."
        )


def _run_cuda(
    world: World,
    algorithm: Dueling,
    rule: Rule,
    plan: Plan,
    record: int,
    first: int,
    replicates: int,
    progress: Progress | None,
) -> kernel.Output:
    from .kernels.cuda import launch

    launch.require_device()
    from .kernels.cuda import dueling as cuda_kernel

    out = kernel.new_output(replicates, plan.checkpoints.size, record, world.theta.size)
    arrays, options = _compiled_world(world), _compiled_rule(algorithm, rule)
    compiled = _compiled_plan(plan, rule, record)
    try:
        cuda_kernel.run(arrays, options, compiled, first, out, progress)
    except launch.Stopped as stop:
        if stop.finished:
            done = kernel.Output(*(array[: stop.finished] for array in out))
            stop.trajectories = _trajectories(plan, done)
        raise
    return out


def _compiled_world(world: World) -> kernel.World:
    if isinstance(world, StreamingWorld):
        a, d = world.actions, world.theta.size
        nothing = np.zeros((1, a))
        return kernel.World(np.zeros((1, a, d)), nothing, nothing.copy(), world.theta.copy(), True)
    rewards = world.rewards
    return kernel.World(
        world.features.copy(), rewards, shortfall(rewards), world.theta.copy(), False
    )


def _compiled_rule(algorithm: Dueling, rule: Rule) -> duel_rules.Rule:
    """The options that the rule has; the kernel does not look at the others."""

    def number(name: str, default: float) -> float:
        return float(getattr(rule, name, default))

    budget = getattr(rule, "budget", None)
    return duel_rules.Rule(
        kind=algorithm.kind,
        radius=number("radius", 0.0),
        threshold=number("uncertainty_threshold", math.inf),
        step_size=number("step_size", 0.0),
        tested_pair=bool(getattr(rule, "tested_pair", False)),
        trim=number("trim", 0.0),
        scale=number("scale", 1.0),
        probability=number("probability", 0.0),
        budget=UNLIMITED if budget is None else int(budget),
    )


def _compiled_plan(plan: Plan, rule: Rule, record: int) -> kernel.Plan:
    return kernel.Plan(
        np.uint64(plan.seed),
        plan.horizon,
        float(rule.ridge),
        plan.refit_growth,
        plan.update_gram,
        np.array(plan.checkpoints),
        record,
    )


def _write(history: History, out: kernel.Output, row: int) -> None:
    """One plain replicate into its row of the output."""
    for name in ("queries", "regret", "regret_both", "theta", "information"):
        getattr(out, name)[row] = getattr(history, name)
    q = min(len(history.query_round), out.query_round.shape[1])
    for name in ("query_round", "queried", "label", "norm"):
        getattr(out, name)[row, :q] = getattr(history, name)[:q]
    out.facts[row] = (
        history.costly_unasked,
        history.costly_inside,
        history.last_query,
        history.below_threshold,
        len(history.query_round),
    )
    out.distance[row] = history.largest_distance, history.late_regret


def _trajectories(plan: Plan, out: kernel.Output) -> DuelTrajectories:
    written = np.arange(out.query_round.shape[1]) < out.facts[:, 4:]
    return DuelTrajectories(
        rounds=plan.checkpoints,
        queries=out.queries,
        theta_path=out.theta,
        information_path=out.information,
        regret=out.regret,
        regret_both=out.regret_both,
        largest_distance=out.distance[:, 0],
        late_regret=out.distance[:, 1],
        costly_unasked=out.facts[:, 0],
        costly_inside=out.facts[:, 1],
        last_query=out.facts[:, 2],
        below_threshold=out.facts[:, 3],
        query_round=np.where(written, out.query_round, -1),
        queried=np.where(written[:, :, None], out.queried, -1),
        label=np.where(written, out.label, -1),
        norm=np.where(written, out.norm, np.nan),
    )

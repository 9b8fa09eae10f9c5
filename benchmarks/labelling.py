"""How much faster than the plain loop is the kernel, and how far from its floor?

    python -m activeduel.benchmarks.labelling [--algorithm dual] [--repetitions 3]

Both run the same replicate on one core: 500 pairs, 5 teachers, 10 features, 2,000 labels, an exact
refit after every label. The plain loop (``engine="plain"``) fits from zero on the whole uncompressed
history and computes every matrix and leverage anew, with one BLAS thread. Equal picks are checked.
Compilation is not timed.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import argparse
import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..sim import LABELLING, PairPool, PoolTrajectories, Teachers, simulate
from ..sim.kernels.linear_algebra import identity
from ..sim.kernels.refit import Fit, new_fit
from ..sim.kernels.selection import Workspace, World, choose, new_workspace, prepare

PAIRS, TEACHERS, DIM, LABELS = 500, 5, 10, 2000
WEIGHT = 38  # flops of a Fisher weight: 13 multiply-adds, 11 more, one quotient
GRADIENTS = 3  # in a warm-started refit: 2 to 4
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


class Stage(NamedTuple):
    """One part of the work of a label."""

    name: str
    work: str
    flops: float
    seconds: float


def a_pool() -> PairPool:
    """500 Gaussian pairs, 2 context types, 5 teachers with a rationality of their own in each."""
    rng = np.random.default_rng(0)
    teachers = Teachers(rng.uniform(0.3, 2.0, (TEACHERS, 2)))
    return PairPool.synthetic(PAIRS, DIM, 2, teachers, rng)


def one_replicate(
    algorithm: str, pool: PairPool, seed: int, engine: str
) -> tuple[float, PoolTrajectories]:
    """Wall time in seconds of one replicate on one core, and what it did."""
    marks = [LABELS]
    start = time.perf_counter()
    out = simulate(
        algorithm, pool, horizon=LABELS, replicates=1, seed=seed, checkpoints=marks, engine=engine
    )
    return time.perf_counter() - start, out


def race(algorithm: str, pool: PairPool, repetitions: int) -> tuple[float, float, PoolTrajectories]:
    """Best seconds a label of kernel and plain loop, run in turn, and the last trajectory.

    The best, not the median: whatever else runs on the machine can only add time.
    """
    one_replicate(algorithm, pool, 0, "kernel")  # compiles
    fast, slow = [], []
    for seed in range(repetitions):
        duration, plain = one_replicate(algorithm, pool, seed, "plain")
        slow.append(duration)
        for _ in range(10):
            duration, kernel = one_replicate(algorithm, pool, seed, "kernel")
            fast.append(duration)
        if (kernel.picks != plain.picks).any():
            raise AssertionError("kernel and plain loop picked differently")
    return min(fast) / LABELS, min(slow) / LABELS, plain


@njit(error_model="numpy", cache=True)
def _prepare(times, world, ws, rule, fit):
    for _ in range(times):
        prepare(world, ws, rule, fit)


@njit(error_model="numpy", cache=True)
def _choose(times, world, ws, rule, counter):
    pairs = 0
    for _ in range(times):
        pairs += choose(world, ws, rule, np.uint64(0), counter)[0]
    return pairs


@njit(error_model="numpy", fastmath=True, cache=True)
def _multiply_adds(times, out):
    """32 multiply-adds an entry and turn, in registers: as fast as the core goes."""
    for _ in range(times):
        for i in range(out.size):
            x = out[i]
            p = x
            for _ in range(32):
                p = p * x + 0.5
            out[i] = p * 1e-3


def _seconds(compiled: Any, times: int, *arguments: Any) -> float:
    """Seconds of one turn of a compiled loop: the best of five, after compilation."""
    best = np.inf
    compiled(1, *arguments)
    for _ in range(5):
        start = time.perf_counter()
        compiled(times, *arguments)
        best = min(best, time.perf_counter() - start)
    return best / times


def multiply_add_rate() -> float:
    """Flop a second of one core, multiplying and adding in registers."""
    row = np.full(1000, 0.1)
    return 64 * row.size / _seconds(_multiply_adds, 5000, row)


def _workspace(pool: PairPool) -> tuple[World, Workspace, Fit]:
    """What a selection reads, at the true theta and information I."""
    world = World(
        zt=np.ascontiguousarray(pool.z.T),
        believed=np.ascontiguousarray(pool.teachers.rationality[:, pool.context]),
        assumed=np.ascontiguousarray(pool.teachers.rationality[:, pool.context]),
        twin=np.tile(np.arange(TEACHERS)[:, None], (1, PAIRS)),
        cost=pool.teachers.cost,
        available=np.ascontiguousarray(pool.available.T),
        limited=False,
    )
    ws, fit = new_workspace(PAIRS, TEACHERS, DIM), new_fit(DIM)
    ws.left[:] = world.available
    fit.theta[:] = pool.theta
    identity(1.0, fit.lower)
    identity(1.0, ws.gram)
    return world, ws, fit


def mean_distinct_cells(out: PoolTrajectories) -> float:
    """Mean over the labels of the number of distinct (pair, teacher) bought by then."""
    cell = out.pair[0].astype(np.int64) * TEACHERS + out.teacher[0]
    new = np.zeros(LABELS)
    new[np.unique(cell, return_index=True)[1]] = 1
    return float(np.cumsum(new).mean())


def stages(rule: Any, pool: PairPool, label: float, cells: float) -> list[Stage]:
    """Where the ``label`` seconds of a label go; the refit is what the other two leave."""
    n, m, d = PAIRS, TEACHERS, DIM
    world, ws, fit = _workspace(pool)
    ready = _seconds(_prepare, 500, world, ws, rule, fit)
    chosen = _seconds(_choose, 500, world, ws, rule, np.zeros(4, np.int64))
    prepared = 2 * n * d + n * m * WEIGHT + n * d * (d + 3)
    refit = cells * (GRADIENTS * (4 * d + WEIGHT) + d * (d + 2))
    said = f"{cells:,.0f} distinct cells: {GRADIENTS} gradients, d^2/2 = {d * d // 2} multiply-adds"
    return [
        Stage("weights, leverages", f"n m = {n * m:,} weights, n d^2/2 = {n * d * d // 2:,} "
              "multiply-adds", prepared, ready),
        Stage("choice", f"n m = {n * m:,} products, compared twice", 3 * n * m, chosen),
        Stage("refit, draws", said, refit, label - ready - chosen),
    ]  # fmt: skip


def report(algorithm: str, repetitions: int) -> None:
    """Print labels per second, their ratio, and the stages against the core's own rate."""
    pool = a_pool()
    kernel, plain, out = race(algorithm, pool, repetitions)
    print(
        f"{algorithm}: {PAIRS} pairs, {TEACHERS} teachers, d = {DIM}, {LABELS:,} labels, one core"
    )
    print(f"  kernel      {1 / kernel:10,.0f} labels/s   {kernel * 1e6:8.2f} us a label")
    print(f"  plain loop  {1 / plain:10,.0f} labels/s   {plain * 1e6:8.2f} us a label")
    print(f"  ratio       {plain / kernel:10.1f}")
    if algorithm != "dual":
        return  # the count below is dual's
    rate = multiply_add_rate()
    parts = stages(LABELLING[algorithm].rule, pool, kernel, mean_distinct_cells(out))
    print("  a label's work (flops counted, not measured):")
    for part in parts:
        speed = part.flops / part.seconds / 1e9
        print(f"    {part.name:18s} {part.seconds * 1e6:6.2f} us {speed:6.1f} Gflop/s  {part.work}")
    floor = sum(part.flops for part in parts) / rate
    print(
        f"  floor: {rate / 1e9:.1f} Gflop/s, the core's best rate of multiply-adds in registers, would "
        f"take {floor * 1e6:.2f} us; a label takes {kernel / floor:.1f} times that"
    )


def main() -> int:
    """Run in a process whose BLAS has one thread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--algorithm", choices=list(LABELLING), default="dual")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    args = parser.parse_args()
    if any(os.environ.get(name) != one for name, one in ONE_THREAD.items()):
        again = [sys.executable, "-m", "activeduel.benchmarks.labelling", *sys.argv[1:]]
        return subprocess.call(again, env={**os.environ, **ONE_THREAD})
    report(args.algorithm, args.repetitions)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""How many labels a second does a GPU buy, against the CPU engine on all its cores?

    python -m activeduel.benchmarks.gpu [--algorithm dual] [--replicates 4096] [--labels 2000]

500 pairs, 5 teachers, 10 features, an exact refit after every label. The CPU engine runs fewer
replicates, as threads on every core, and is scaled up: its time is proportional to their number.
Equal picks of those replicates are checked first. Compilation is not timed. What a label costs, and
what should limit it, is counted in gpu.md beside this file.
"""

import argparse
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from ..sim import LABELLING, PoolTrajectories, simulate
from .labelling import DIM, GRADIENTS, PAIRS, TEACHERS, WEIGHT, a_pool, mean_distinct_cells
from .machine import cores, cpu_model

DOUBLES = {"H100": 34e12, "H200": 34e12, "A100": 9.7e12, "V100": 7.8e12}
"""Peak float64 flop a second outside the tensor cores, by the maker's data sheets (SXM boards)."""


class Work(NamedTuple):
    """What one label of dual costs."""

    flops: float
    cached_bytes: float  # loads and stores that the caches should serve
    memory_bytes: float  # what has to reach the GPU's memory
    barriers: float


def work(pairs: int, teachers: int, dim: int, cells: float) -> Work:
    """One label of dual in a pool, with so many distinct cells bought so far.

    >>> int(work(500, 5, 10, 250).flops)
    276000
    """
    n, m, d, c = pairs, teachers, dim, cells
    select = n * (2 * d + d * (d + 3)) + n * m * (WEIGHT + 4)
    refit = c * (GRADIENTS * (4 * d + WEIGHT) + 2 * d + 2 * d * (d + 3) / 2)
    moved = 8.0 * n * d * (1 + -(-d // 4)) + 24 * n * m + 8 * n * (m + 1)
    moved += 8 * c * (GRADIENTS * (3 * d + 5) + 2 * d + 1)
    return Work(select + refit, moved, 7.0, 2 * (d + 2) + 2 + 8 * GRADIENTS + 12)


class Measured(NamedTuple):
    """Seconds of both engines for the same replicates, and how many of them parted."""

    gpu: float
    cpu: float
    parted: int
    compared: int
    cells: float


def measure(algorithm: str, replicates: int, labels: int, compared: int) -> Measured:
    """Compare, then time: the GPU on all replicates, the CPU on ``compared`` of them, scaled up."""
    pool = a_pool()

    def run(device: str, count: int) -> tuple[float, PoolTrajectories]:
        options: dict[str, Any] = {"checkpoints": [labels], "workers": cores(), "device": device}
        start = time.perf_counter()
        out = simulate(algorithm, pool, horizon=labels, replicates=count, seed=1, **options)
        return time.perf_counter() - start, out

    run("cpu", 1)
    run("cuda", 1)  # both compile
    cpu, here = run("cpu", compared)
    gpu, there = min((run("cuda", replicates) for _ in range(3)), key=lambda pair: pair[0])
    parted = int((here.picks != there.picks[:compared]).any(axis=(1, 2)).sum())
    cells = mean_distinct_cells(here) if labels == 2000 else float("nan")
    return Measured(gpu, cpu * replicates / compared, parted, compared, cells)


def report(algorithm: str, replicates: int, labels: int, compared: int) -> None:
    """Print labels a second of both, the ratio, and the GPU's share of its peak."""
    from ..sim.kernels.cuda.launch import device

    gpu, found = device(), measure(algorithm, replicates, labels, compared)
    print(
        f"{algorithm}: {PAIRS} pairs, {TEACHERS} teachers, d = {DIM}, {labels:,} labels, "
        f"{replicates:,} replicates"
    )
    for name, seconds in ((gpu.name, found.gpu), (f"{cpu_model()}, {cores()} cores", found.cpu)):
        print(f"  {name:44s} {replicates * labels / seconds:14,.0f} labels/s  {seconds:8.2f} s")
    print(f"  ratio {found.cpu / found.gpu:.1f}")
    print(
        f"  {found.parted} of {found.compared} replicates parted from the CPU's "
        f"({found.compared * labels:,} decisions compared)"
    )
    if algorithm != "dual" or np.isnan(found.cells):
        return  # the count below is dual's, at the benchmark's length
    one = work(PAIRS, TEACHERS, DIM, found.cells)
    rate = one.flops * replicates * labels / found.gpu
    peak = next((flops for name, flops in DOUBLES.items() if name in gpu.name), None)
    share = f", {rate / peak:.1%} of the board's {peak / 1e12:.1f}" if peak else ""
    moved = one.cached_bytes * replicates * labels / found.gpu
    print(f"  {one.flops:,.0f} flops a label: {rate / 1e12:.2f} Tflop/s{share}")
    print(f"  {one.cached_bytes:,.0f} bytes a label through the caches: {moved / 1e12:.2f} TB/s")


def main() -> int:
    """Run where a GPU is; say so where none is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    known = [name for name, algorithm in LABELLING.items() if algorithm.rule is not None]
    parser.add_argument("--algorithm", choices=known, default="dual")
    parser.add_argument("--replicates", type=int, default=4096, metavar="N")
    parser.add_argument("--labels", type=int, default=2000, metavar="N")
    parser.add_argument("--compared", type=int, default=64, metavar="N")
    args = parser.parse_args()
    from ..sim.kernels.cuda.launch import require_device, simulated

    try:
        require_device()
    except ValueError as error:
        print(f"not measured. {error}", file=sys.stderr)
        return 2
    if simulated():
        print("not measured: numba's simulator is no GPU.", file=sys.stderr)
        return 2
    report(args.algorithm, args.replicates, args.labels, min(args.compared, args.replicates))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

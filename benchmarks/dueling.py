"""How fast are the kernels of dueling worlds, and what do a round and a query cost?

    python -m activeduel.benchmarks.dueling [--repetitions 3]

One core; 10 prompts, 6 actions, d = 4, gap 0.4, an exact refit after every query. First the race at
20,000 rounds: the plain loop (``engine="plain"``) refits from zero on the whole history after every
query; equal decisions are checked. Then every algorithm at 400,000 rounds, and what a round without
a question costs (appo with an infinite threshold) beside the draws that name it. Compilation is not
timed. Last a stream, where labels do not pile up on cells and theta is refitted only when det gram has
grown by a factor: what that saves, and how far it leads away from exact refits.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import argparse
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numba import njit

from ..sim import DUELING, DuelingWorld, DuelTrajectories, StreamingWorld, simulate
from ..sim.kernels.random import CONTEXT, SELECT, integer_below

PROMPTS, ACTIONS, DIM, GAP, RADIUS = 10, 6, 4, 0.4, 10.0
SHORT, LONG = 20_000, 400_000
OPTIONS: dict[str, dict[str, Any]] = {
    "appo": {"radius": RADIUS},
    "oppo": {"radius": RADIUS},
    "random_query": {"probability": 0.02},
}
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def play(
    name: str, world: DuelingWorld, horizon: int, seed: int, **options: Any
) -> tuple[float, DuelTrajectories]:
    """Wall time in seconds of one replicate, and what it did."""
    start = time.perf_counter()
    out = simulate(
        name, world, horizon=horizon, replicates=1, seed=seed, checkpoints=[horizon], **options
    )
    return time.perf_counter() - start, out


@njit(error_model="numpy", cache=True)
def _draws(rounds):
    """Only the two draws of a round without a question."""
    total = 0
    for t in range(rounds):
        total += integer_below(np.uint64(0), 0, t, CONTEXT, 0, PROMPTS)
        total += integer_below(np.uint64(0), 0, t, SELECT, 0, ACTIONS)
    return total


def draws_seconds(rounds: int) -> float:
    """Wall time of the two draws of each round, nothing else."""
    _draws(1)  # compiles
    start = time.perf_counter()
    _draws(rounds)
    return time.perf_counter() - start


def the_world() -> DuelingWorld:
    """10 prompts, 6 actions, d = 4, gap 0.4."""
    return DuelingWorld.with_gap(PROMPTS, ACTIONS, DIM, GAP, np.random.default_rng(1))


def race(world: DuelingWorld, repetitions: int) -> None:
    """Print the ratio of the plain loop's time to the kernel's, best of each, run in turn."""
    options = {**OPTIONS["appo"], "record": SHORT}
    fast, slow = [], []
    for seed in range(repetitions):
        duration, plain = play("appo", world, SHORT, seed, engine="plain", **options)
        slow.append(duration)
        for _ in range(10):
            duration, kernel = play("appo", world, SHORT, seed, **options)
            fast.append(duration)
        if (kernel.queried != plain.queried).any() or (kernel.regret != plain.regret).any():
            raise AssertionError("kernel and plain loop decided differently")
    print(f"appo, {SHORT:,} rounds, {kernel.queries[0, -1]:,} queries, one core")
    print(f"  kernel      {SHORT / min(fast):12,.0f} rounds/s")
    print(f"  plain loop  {SHORT / min(slow):12,.0f} rounds/s")
    print(f"  ratio       {min(slow) / min(fast):12,.0f}")


def table(world: DuelingWorld, repetitions: int) -> None:
    """Print every algorithm's rate, then a round's and a query's cost."""
    print(f"{LONG:,} rounds, one core, exact refits")
    found = {}
    for name in DUELING:
        runs = [play(name, world, LONG, s, **OPTIONS.get(name, {})) for s in range(repetitions)]
        seconds = min(run[0] for run in runs)
        asked = float(np.mean([run[1].queries[0, -1] for run in runs]))
        found[name] = seconds, asked
        print(f"  {name:14s} {LONG / seconds:12,.0f} rounds/s  {asked:10,.0f} queries")
    never = min(
        play("appo", world, LONG, s, radius=RADIUS, uncertainty_threshold=np.inf, step_size=0.1)[0]
        for s in range(repetitions)
    )
    floor = draws_seconds(LONG) / LONG
    seconds, asked = found["appo"]
    print(
        f"  a round without a question costs {never / LONG * 1e9:.0f} ns, its two draws alone "
        f"{floor * 1e9:.0f} ns; appo's question {(seconds - never) / asked * 1e6:.1f} us, oppo's "
        f"{(found['oppo'][0] - never) / LONG * 1e6:.1f} us (policy on {PROMPTS * ACTIONS} actions, "
        "factor, refit, answers worked out)"
    )


def stream(replicates: int) -> None:
    """Print time, regret and the distance between estimates for several growth factors."""
    world = StreamingWorld([0.6, -0.5, 0.4, 0.3], ACTIONS)
    rounds = 4000
    print(
        f"maxinp on a stream, {rounds:,} rounds, d = 4, refits when det gram has grown by a factor"
    )
    exact = None
    for growth in (1.0, 1.02, 1.1, 1.5):
        start = time.perf_counter()
        out = simulate(
            "maxinp", world, horizon=rounds, replicates=replicates, seed=0, refit_growth=growth
        )
        seconds = time.perf_counter() - start
        exact = exact or out
        off = out.theta - exact.theta
        away = np.sqrt(np.einsum("rk,rkl,rl->r", off, exact.information, off)).mean()
        regret = out.regret[:, -1]
        error = regret.std(ddof=1) / np.sqrt(replicates)
        print(
            f"  {growth:5.2f}  {seconds / replicates / rounds * 1e6:6.2f} us a round   regret "
            f"{regret.mean():6.1f} ({error:.1f})   {away:.2f} standard errors from the exact run"
        )
    print(f"  (two independent runs would be about sqrt(2 d) = {np.sqrt(2 * DIM):.1f} apart)")


def main() -> int:
    """Run in a process whose BLAS has one thread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    args = parser.parse_args()
    if any(os.environ.get(name) != one for name, one in ONE_THREAD.items()):
        again = [sys.executable, "-m", "activeduel.benchmarks.dueling", *sys.argv[1:]]
        return subprocess.call(again, env={**os.environ, **ONE_THREAD})
    world = the_world()
    for name in DUELING:
        play(name, world, 10, 0, **OPTIONS.get(name, {}))  # compiles
    race(world, args.repetitions)
    table(world, args.repetitions)
    stream(10 * args.repetitions)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""CUDA twin of ``sim.kernels.dueling``: a block of threads plays a replicate, then the next one.

What it costs, with X prompts, A arms, d features, c distinct cells so far, T threads a block:
  round    that appo or random_query does not ask about, on a finite world: its two draws (about 250
           integer instructions) and a load or two by one thread, and a T-th of a barrier
  question flops     X A (d (d + 3) + 3 d) where a policy is played, 3 c (4 d + 38) + c d (d + 3) for three
                     Newton steps and one information matrix, and for each answer looked up
                     for the first time after it A (6 d + 30)
           bytes     8 X A (d + 3) and 8 c (4 d + 9), written and read a few times over; all of it the
                     replicate's own, in the caches. Memory itself sees the results only.
           barriers  about 2 (d + 3) for two factors, 27 for three Newton steps, 15 for the rest
Unasked rounds are bound by integer arithmetic. A question is a chain of short phases that wait for each
other: what hides that is many blocks a multiprocessor, so a block is one warp where cells are few.

Sums are taken in another order than on a CPU: a thread adds up the regret of the rounds it looks at,
in their order; checkpoints add the threads' sums. Decisions do not read them.
"""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float64, int64

from ...threads import Progress
from ..duel_rules import APPO, COLSTIM, MAXINP, OPPO, RANDOM_QUERY, Rule, normal
from ..dueling import SINGULAR, Output, World
from ..random import CONTEXT, integer_below
from .block import (
    COLUMNS,
    forgotten,
    here,
    identity,
    kernel_options,
    scratch_size,
    total,
)
from .duel_rules import choose, improve, look_ahead
from .launch import cut, device, empty, in_launches, to_device, to_host
from .question import Book, Near, ask_and_learn, distance_of, fit_of, state_of

SHARED = 48 * 1024  # bytes of shared memory that every block may have
SMALL_DIM = 12  # the matrices of larger dimensions leave a multiprocessor few blocks

Room = namedtuple(
    "Room",
    # a row a block: see ``duel_rules.State`` and ``refit.Cells``; matrices (5, d, d), which only large d
    # use. What a rule has no use for is one entry
    "features rewards white estimate log_weights answer fresh score rival chance cell_of truth "
    "x rows trials wins residual weight matrices",
)

REGRET, BOTH, LATE, COSTLY, INSIDE = range(5)  # rows of ``Near.tally``, a thread's own sums


def threads_for(dim: int, cells: int) -> int:
    """Threads of a block: a warp for up to 256 cells, four from 1,024 on; two for large matrices."""
    wanted = 32 if cells <= 256 else 64 if cells <= 1024 else 128
    return max(wanted, 64 if dim > SMALL_DIM else 32, -(-dim // 32) * 32)


def registers_for(dim: int) -> int:
    """Registers of a thread, so that nothing is spilled (``check`` shows it).

    A multiprocessor's 65,536 hold 14 warps at 144, 12 at 168.
    """
    return 144 if dim <= 5 else 168


def fits_shared(dim: int, threads: int) -> bool:
    """Whether a block's five (d, d) matrices fit into shared memory beside its vectors."""
    numbers = 5 * dim * (dim + 1) + int(scratch_size(threads)) + 5 * threads + 2
    return 8 * numbers <= SHARED


def cells_for(horizon: int, streaming: bool, shape: tuple[int, int, int]) -> int:
    """How many distinct (prompt, arm, arm) can be asked about."""
    return horizon if streaming else min(horizon, shape[0] * shape[1] * (shape[1] - 1) // 2)


def room_shapes(
    kind: int, streaming: bool, shape: tuple[int, int, int], cells: int, threads: int
) -> dict[str, tuple[Any, ...]]:
    """Shape and type of each of a block's arrays, for features of ``shape`` (X, A, d)."""
    (x, a, d), f = shape, np.float64
    plays = kind in (APPO, OPPO)
    whitens = plays or kind in (MAXINP, COLSTIM)
    looks_ahead = ahead(kind, streaming)
    return {
        "features": ((1, a, d) if streaming else (1, 1, 1), f),
        "rewards": ((1, a) if streaming else (1, 1), f),
        "white": ((x, a, d) if whitens else (1, 1, 1), f),
        "estimate": ((x, a) if whitens else (1, 1), f),
        "log_weights": ((x, a) if plays else (1, 1), f),
        "answer": ((x, a if kind == APPO else 1) if looks_ahead else (1, 1), np.int64),
        "fresh": ((x,) if plays else (1,), np.int64),
        **{name: ((a,), f) for name in ("score", "rival")},
        "chance": ((a, a) if kind == MAXINP else (1, 1), f),
        "cell_of": ((1, 1, 1) if streaming else (x, a, a), np.int32),
        "truth": ((d, d), f),
        "x": ((d, cells), f),
        "rows": ((cells, d), f),
        **{name: ((cells,), f) for name in ("trials", "wins", "residual", "weight")},
        "matrices": ((1, 1, 1) if fits_shared(d, threads) else (5, d, d), f),
    }


def ahead(kind: int, streaming: bool) -> bool:
    """Whether a block looks at many rounds at once for the next question."""
    return not streaming and kind in (APPO, RANDOM_QUERY)


def run(
    world: Any,
    rule: Any,
    plan: Any,
    first_replicate: int,
    out: Output,
    progress: Progress | None,
    threads: int | None = None,
) -> None:
    """Fill ``out`` with replicates first_replicate + row, as ``sim.kernels.dueling.run``."""
    shape, replicates = world.features.shape, len(out.queries)
    cells = cells_for(plan.horizon, world.streaming, shape)
    threads = threads or threads_for(shape[2], cells)
    shapes = room_shapes(rule.kind, world.streaming, shape, cells, threads)
    block_bytes = sum(
        int(np.prod(size)) * np.dtype(kind).itemsize for size, kind in shapes.values()
    )
    row_bytes = sum(array[0].nbytes for array in out) + 1
    blocks, rows = cut(device(), replicates, threads, block_bytes, row_bytes)
    room = Room(**{name: empty((blocks, *size), kind) for name, (size, kind) in shapes.items()})
    # at least one entry: a device may not like arrays without any
    there = Output(
        *(empty((rows, *np.maximum(array.shape[1:], 1).tolist()), array.dtype) for array in out)
    )
    singular, failed = empty((rows,), np.bool_), np.zeros(replicates, np.bool_)
    world_there, plan = to_device(world), to_device(plan)
    launch = kernel(rule.kind, world.streaming, shape[2], threads)

    def work(low: int, high: int) -> None:
        count = high - low
        own = Output(*(array[:count] for array in there))
        launch[blocks, threads](
            world_there, rule, plan, first_replicate + low, room, own, singular[:count]
        )
        to_host(singular, failed[low:high])
        if failed[low:high].any():
            raise ValueError(SINGULAR)
        for array, target in zip(there, out, strict=True):
            if target.size:
                to_host(array, target[low:high])

    in_launches(work, rows, replicates, progress)


@cache
def kernel(kind: int, streaming: bool, dim: int, threads: int) -> Any:
    """The kernel of a rule for ``dim`` features and blocks of ``threads`` threads."""
    size, large = scratch_size(threads), not fits_shared(dim, threads)
    square = 1 if large else dim

    @cuda.jit(**kernel_options(registers_for(dim)))
    def play_replicates(world, rule, plan, first_replicate, room, out, singular):
        scratch = cuda.shared.array(size, float64)
        gram = cuda.shared.array((square, square), float64)
        inverse = cuda.shared.array((square, square), float64)
        information = cuda.shared.array((square, square), float64)
        root = cuda.shared.array((square, square), float64)
        factor = cuda.shared.array((square, square), float64)
        theta = cuda.shared.array(dim, float64)
        gradient = cuda.shared.array(dim, float64)
        step = cuda.shared.array(dim, float64)
        half = cuda.shared.array(dim, float64)
        z = cuda.shared.array(dim, float64)
        tally = cuda.shared.array((5, threads), float64)
        place = cuda.shared.array(2, int64)
        b = cuda.blockIdx.x
        features, rewards = world.features, world.rewards
        if large:
            m = room.matrices[b]
            gram, inverse, information, root, factor = m[0], m[1], m[2], m[3], m[4]
        if streaming:
            features, rewards = room.features[b], room.rewards[b]
        # what shapes the code is a constant here, so that other rules' code falls away
        own_world = World(features, rewards, world.regret, world.theta, streaming)
        own_rule = Rule(
            kind,
            rule.radius,
            rule.threshold,
            rule.step_size,
            rule.tested_pair,
            rule.trim,
            rule.scale,
            rule.probability,
            rule.budget,
        )
        near = Near(
            place, gram, inverse, information, root, factor, theta, gradient, step, half, z, scratch,
            tally,
        )  # fmt: skip
        row = b
        while row < singular.size:
            cuda.syncthreads()  # the replicate before is over
            if cuda.threadIdx.x == 0:
                place[0], place[1] = b, row
            cuda.syncthreads()
            done = _play(own_world, own_rule, plan, first_replicate + row, room, out, near)
            if cuda.threadIdx.x == 0:
                singular[row] = not done
            row += cuda.gridDim.x

    return play_replicates


@cuda.jit(device=True)
def _play(world, rule, plan, replicate, room, out, near):
    """One replicate, into one row of the output; False where a matrix is singular."""
    book = _start(world, plan, room, out, near)
    looks_ahead = not world.streaming and (rule.kind == APPO or rule.kind == RANDOM_QUERY)
    t, mark, marks = np.int64(0), np.int64(0), plan.checkpoints.size
    while t < plan.horizon and not math.isnan(book.fitted_at):
        stop = plan.checkpoints[mark] if mark < marks else plan.horizon
        if looks_ahead:
            stop = min(t + cuda.blockDim.x, stop)
            t = _pass(world, rule, plan, replicate, t, stop, book, room, near)
        if not looks_ahead or t < stop:
            book = _round(world, rule, plan, replicate, t, book, room, out, near)
            t += 1
        if mark < marks and t == plan.checkpoints[mark]:
            _write(out, mark, book.asked, room, near)
            mark += 1
    late, costly, inside = _sum(near, LATE), _sum(near, COSTLY), _sum(near, INSIDE)
    if cuda.threadIdx.x == 0:
        facts, distance = out.facts[near.place[1]], out.distance[near.place[1]]
        facts[0], facts[1], facts[4] = int(costly), int(inside), book.asked
        distance[1] = late
    return not math.isnan(book.fitted_at)


@cuda.jit(device=True)
def _pass(world, rule, plan, replicate, t, stop, book, room, near):
    """The next round before ``stop`` that asks (else ``stop``); the rounds before it are charged."""
    state, seed = state_of(room, near), plan.seed
    found, x, arm = look_ahead(
        world, rule, seed, replicate, t, stop, book.version, book.asked, near.theta, state
    )
    own = t + cuda.threadIdx.x
    if own < found:
        lost = world.regret[x, arm]
        _charge(lost, lost, own >= plan.horizon // 2, False, book, rule, near)
    return found


@cuda.jit(device=True)
def _charge(lost, both, late, ask, book, rule, near):
    """A round that lost so much joins this thread's tally."""
    own, tally = cuda.threadIdx.x, near.tally
    tally[REGRET, own] += lost
    tally[BOTH, own] += both
    if late:
        tally[LATE, own] += lost
    if not ask and lost > 0.0:
        tally[COSTLY, own] += 1.0
        if book.distance <= rule.radius:
            tally[INSIDE, own] += 1.0


@cuda.jit(device=True)
def _sum(near, what):
    return total(near.tally[what, cuda.threadIdx.x], near.scratch)


@cuda.jit(device=True)
def _round(world, rule, plan, replicate, t, book, room, out, near):
    """One round, by the whole block; the first thread keeps its regret."""
    x = np.int64(0)
    if world.streaming:
        _new_prompt(world, plan.seed, replicate, t)
    else:
        x = integer_below(forgotten(plan.seed), replicate, t, CONTEXT, 0, world.rewards.shape[0])
    first, second, ask = choose(
        world, rule, plan.seed, replicate, t, x, book.asked, near.theta, near.root,
        state_of(room, near),
    )  # fmt: skip
    if world.streaming:
        lost, other = _lost(world.rewards, first), _lost(world.rewards, second)
    else:
        lost, other = world.regret[x, first], world.regret[x, second]
    if cuda.threadIdx.x == 0:
        both = 0.5 * (lost + other) if ask else lost
        _charge(lost, both, t >= plan.horizon // 2, ask, book, rule, near)
    if ask:
        if rule.kind == APPO or rule.kind == OPPO:
            improve(world, rule, second, book.version, near.theta, state_of(room, near))
        book = ask_and_learn(
            world, rule, plan, replicate, t, x, first, second, book, room, out, near
        )
    return book


@cuda.jit(device=True)
def _start(world, plan, room, out, near):
    """Nothing asked, nothing known."""
    state, fit = state_of(room, near), fit_of(near)
    own, threads = here()
    k = own
    while k < fit.theta.size:
        fit.theta[k] = 0.0
        fit.gradient[k] = 0.0
        k += threads
    x = own
    while x < state.fresh.size:
        state.fresh[x] = 0
        x += threads
    x = own
    while x < state.answer.shape[0]:
        i = 0
        while i < state.answer.shape[1]:
            state.answer[x, i] = 0
            i += 1
        x += threads
    x = own
    while x < state.log_weights.shape[0]:
        i = 0
        while i < state.log_weights.shape[1]:
            state.log_weights[x, i] = 0.0
            i += 1
        x += threads
    x = own
    while x < state.cell_of.shape[0]:
        i = 0
        while i < state.cell_of.shape[1]:
            j = 0
            while j < state.cell_of.shape[2]:
                state.cell_of[x, i, j] = -1
                j += 1
            i += 1
        x += threads
    identity(0.0, state.truth)
    identity(plan.ridge, state.gram)
    identity(plan.ridge, fit.information)
    identity(1.0 / math.sqrt(plan.ridge), state.inverse)
    identity(1.0 / math.sqrt(plan.ridge), fit.inverse)
    fitted_at = fit.theta.size * math.log(plan.ridge)
    off = distance_of(state.gram, fit.theta, world.theta, state.half)
    for i in (REGRET, BOTH, LATE, COSTLY, INSIDE):
        near.tally[i, own] = 0.0
    if own == 0:
        facts, distance = out.facts[near.place[1]], out.distance[near.place[1]]
        facts[2], facts[3], distance[0] = -1, 0, off
    return Book(np.int64(0), np.int64(0), np.int64(1), fitted_at, off)


@cuda.jit(device=True)
def _new_prompt(world, seed, replicate, t):
    """The stream's features of round t, and their rewards. Two barriers."""
    features, rewards, theta = world.features, world.rewards, world.theta
    own, threads = here()
    a, d = features.shape[1], features.shape[2]
    i = own // COLUMNS
    while i < a:
        k = own % COLUMNS
        while k < d:
            features[0, i, k] = normal(
                forgotten(seed), replicate, t, CONTEXT, i * d + k
            ) / math.sqrt(d)
            k += COLUMNS
        i += threads // COLUMNS
    cuda.syncthreads()
    i = own
    while i < a:
        s = 0.0
        k = 0
        while k < d:
            s += features[0, i, k] * theta[k]
            k += 1
        rewards[0, i] = s
        i += threads
    cuda.syncthreads()


@cuda.jit(device=True)
def _lost(rewards, arm):
    """What playing ``arm`` loses on the stream's prompt, as ``sim.kernels.dueling`` rounds it."""
    best, size = -math.inf, 1.0
    i = 0
    while i < rewards.shape[1]:
        best, size = max(best, rewards[0, i]), max(size, abs(rewards[0, i]))
        i += 1
    short = best - rewards[0, arm]
    return short if short > 1e-12 * size else 0.0


@cuda.jit(device=True)
def _write(out, mark, asked, room, near):
    """One checkpoint."""
    own, threads = here()
    rows, d = threads // COLUMNS, near.theta.size
    regret, both = _sum(near, REGRET), _sum(near, BOTH)
    row, truth = near.place[1], room.truth[near.place[0]]
    if own == 0:
        out.queries[row, mark] = asked
        out.regret[row, mark], out.regret_both[row, mark] = regret, both
    k = own // COLUMNS
    while k < d:
        q = own % COLUMNS
        while q < d:
            out.information[row, mark, k, q] = truth[max(k, q), min(k, q)]
            if q == 0:
                out.theta[row, mark, k] = near.theta[k]
            q += COLUMNS
        k += rows

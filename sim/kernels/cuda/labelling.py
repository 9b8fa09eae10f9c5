"""CUDA twin of ``sim.kernels.labelling``: a block of threads runs a replicate, then the next one.

Blocks stay and take the replicates block, block + blocks, ...; a replicate's numbers depend on its
name and on the threads of a block, never on how many blocks there are or how launches are cut.

What a label costs with n pairs, m teachers, d features, c distinct cells so far, T threads (dual):
  flops     n m 38 (weights) + 2 n d + n d (d + 3) (margins, leverages) + 4 n m (choice)
            + 3 c (4 d + 38) + c d (d + 3) (three gradients, one information matrix)
  bytes     the pool's 8 n d once and again for each four rows of a factor, 24 n m of weights written
            and read twice, 8 c (3 + 3 (2 d + 5) + 2 d): cached, a replicate's own room is about
            16 c d + 8 n m bytes. Memory itself sees the results only: 7 bytes a label.
  barriers  2 (d + 2) for two factors, 26 for three Newton steps, 2 for the matrix, 10 for the rest
The barriers and the short dependent phases between them are what one block waits for; several blocks
a multiprocessor fill the gaps, so what limits all of them together is float64 arithmetic, and loads
from the first cache. benchmarks/gpu.md counts it for the benchmark's sizes.
"""

# mypy: disable-error-code="attr-defined"

import math
from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float64, int64

from ...threads import Progress
from ..functions import answer_probability
from ..labelling import SINGULAR, Output
from ..random import LABEL, SELECT, WARM_UP, uniform
from ..selection import GAIN, GRAM_LEVERAGE, LEVERAGE, needs_fit
from .block import fill, forgotten, here, identity, kernel_options, padded, scratch_size
from .launch import cut, device, empty, in_launches, to_device, to_host
from .refit import Cells, Fit, certainly_exists, learn, maximise
from .selection import (
    Name,
    Workspace,
    absorb,
    choose,
    prepare,
    random_cell,
    share_cells,
    start_batch,
)

THREADS = 128  # a block; more when the dimension needs it
SHARED_DIM = 48  # up to here the two (d, d) factors fit into a block's 48 KiB of shared memory

Room = namedtuple(
    "Room",
    # a row a block: left, cell_of (m, n) int32, taken (m, n); x (d, C), rows (C, d), trials, wins,
    # residual, cell_weight (C,); leverage, score (n,), weight (m, n), top (2, m); information, gram
    # (d, d), fits (2, d, d); inverse (padded(d), d), work (d, d), which only large d use
    "left cell_of taken x rows trials wins residual cell_weight leverage score weight top "
    "information gram fits inverse work",
)


def room_shapes(pairs: int, teachers: int, dim: int, horizon: int) -> dict[str, tuple[Any, ...]]:
    """Shape and type of each of a block's arrays."""
    n, m, d, c = pairs, teachers, dim, min(horizon, pairs * teachers)
    f, large = np.float64, dim > SHARED_DIM
    return {
        "left": ((m, n), np.int32),
        "cell_of": ((m, n), np.int32),
        "taken": ((m, n), np.bool_),
        "x": ((d, c), f),
        "rows": ((c, d), f),
        **{name: ((c,), f) for name in ("trials", "wins", "residual", "cell_weight")},
        **{name: ((n,), f) for name in ("leverage", "score")},
        "weight": ((m, n), f),
        "top": ((2, m), f),
        **{name: ((d, d), f) for name in ("information", "gram")},
        "fits": ((2, d, d), f),
        "inverse": ((padded(d), d) if large else (1, 1), f),
        "work": ((d, d) if large else (1, 1), f),
    }


def room_bytes(shapes: dict[str, tuple[Any, ...]]) -> int:
    """Global memory that a block needs."""
    return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in shapes.values())


def new_room(blocks: int, shapes: dict[str, tuple[Any, ...]]) -> Room:
    """Room for so many blocks, in the device's memory."""
    return Room(**{name: empty((blocks, *shape), kind) for name, (shape, kind) in shapes.items()})


def run(
    world: Any,
    truth: Any,
    rule: Any,
    plan: Any,
    first_replicate: int,
    out: Output,
    progress: Progress | None,
    threads: int | None = None,
) -> None:
    """Fill ``out`` with replicates first_replicate + row, as ``sim.kernels.labelling.run``."""
    (d, n), m, replicates = world.zt.shape, world.cost.size, len(out.label)
    threads = threads or threads_for(d)
    shapes = room_shapes(n, m, d, plan.horizon)
    row_bytes = sum(array[0].nbytes for array in out) + 1
    blocks, rows = cut(device(), replicates, threads, room_bytes(shapes), row_bytes)
    room = new_room(blocks, shapes)
    there = Output(*(empty((rows, *array.shape[1:]), array.dtype) for array in out))
    singular, failed = empty((rows,), np.bool_), np.zeros(replicates, np.bool_)
    world, truth, plan = to_device(world), to_device(truth), to_device(plan)
    launch = kernel(d, threads, rule)

    def work(low: int, high: int) -> None:
        count = high - low
        own = Output(*(array[:count] for array in there))
        launch[blocks, threads](
            world, truth, plan, first_replicate + low, room, own, singular[:count]
        )
        to_host(singular, failed[low:high])
        if failed[low:high].any():
            raise ValueError(SINGULAR)
        for array, target in zip(there, out, strict=True):
            to_host(array, target[low:high])

    in_launches(work, rows, replicates, progress)


def threads_for(dim: int) -> int:
    """Threads of a block: a sum over cells wants one for each of ``dim`` entries."""
    return max(THREADS, -(-dim // 32) * 32)


Near = namedtuple("Near", "place scratch inverse work theta gradient step half direction")
"""A block's shared memory. place: block and row; theta, gradient (2, d): of the selector's estimate and
of the reported one. work is also the inverse that a batch keeps current."""


@cache
def kernel(dim: int, threads: int, rule: Any) -> Any:
    """The kernel of a rule for ``dim`` features and blocks of ``threads`` threads.

    A kernel of all rules would need the registers of all of them.
    """
    size, large = scratch_size(threads), dim > SHARED_DIM
    height, width = (1, 1) if large else (padded(dim), dim)
    square = 1 if large else dim

    @cuda.jit(**kernel_options())
    def label_replicates(world, truth, plan, first_replicate, room, out, singular):
        scratch = cuda.shared.array(size, float64)
        inverse = cuda.shared.array((height, width), float64)
        work = cuda.shared.array((square, square), float64)
        theta = cuda.shared.array((2, dim), float64)
        gradient = cuda.shared.array((2, dim), float64)
        step = cuda.shared.array(dim, float64)
        half = cuda.shared.array(dim, float64)
        direction = cuda.shared.array(dim, float64)
        place = cuda.shared.array(2, int64)
        if large:
            inverse, work = room.inverse[cuda.blockIdx.x], room.work[cuda.blockIdx.x]
        near = Near(place, scratch, inverse, work, theta, gradient, step, half, direction)
        share = share_cells(world.cost.size)
        row = cuda.blockIdx.x
        while row < singular.size:
            cuda.syncthreads()  # the replicate before is over
            if cuda.threadIdx.x == 0:
                place[0], place[1] = cuda.blockIdx.x, row
            cuda.syncthreads()
            replicate = first_replicate + row
            done = _replicate(world, truth, rule, plan, replicate, room, out, near, share)
            if cuda.threadIdx.x == 0:
                singular[row] = not done
            row += cuda.gridDim.x

    return label_replicates


# The records of a block's own arrays are made where they are used, from ``near.place``, which the
# compiler has to read again behind every barrier: made once, some twenty addresses would take two
# registers each all the time (255 registers and spills, measured with ptxas).


@cuda.jit(device=True)
def _workspace(room, near, share):
    b = near.place[0]
    return Workspace(
        room.left[b],
        room.taken[b],
        room.gram[b],
        room.leverage[b],
        room.score[b],
        room.weight[b],
        room.top[b],
        near.inverse,
        near.work,
        near.direction,
        near.scratch,
        share,
    )


@cuda.jit(device=True)
def _cells(room, near):
    b = near.place[0]
    return Cells(
        room.x[b],
        room.rows[b],
        room.trials[b],
        room.wins[b],
        room.residual[b],
        room.cell_weight[b],
    )


@cuda.jit(device=True)
def _estimate(room, near, which):
    """The selector's estimate (0) or the reported one (1); they share the room for work."""
    return Fit(
        near.theta[which],
        near.gradient[which],
        room.fits[near.place[0], which],
        near.step,
        near.half,
        near.work,
        near.inverse,
        near.scratch,
    )


@cuda.jit(device=True)
def _replicate(world, truth, rule, plan, replicate, room, out, near, share):
    """One replicate, into one row of the output; False where a matrix is singular.

    A refit is called at one place, for the selector and for checkpoints alike: see ``maximise``.
    """
    _clear(world, plan, room, near)
    count, bought, chosen, mark = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    fitted = False
    while True:
        due = mark < plan.checkpoints.size and bought == plan.checkpoints[mark]
        choosing = bought == chosen and bought < plan.horizon and not due
        if due or (choosing and bought >= plan.warm_up and needs_fit(rule)):
            if due:
                _start_checkpoint(rule, room, out, near, mark)
            ridge = plan.final_ridge if due else plan.ridge
            cells, fit = _cells(room, near), _estimate(room, near, 1 if due else 0)
            good = maximise(cells, count, ridge, fit, due or not fitted)
            if due:
                _end_checkpoint(plan, room, out, near, count, good, mark)
                mark += 1
                continue
            if not good:
                return False
            fitted = True
        if bought == plan.horizon:
            return True
        if choosing:
            size = 1
            if bought < plan.warm_up:
                name = Name(plan.seed, replicate, bought, WARM_UP)
                i, j = random_cell(world, _workspace(room, near, share), name)
                _take(room, out, near, False, i, j, bought)
            else:
                size = min(plan.batch, plan.horizon - bought)
                name = Name(plan.seed, replicate, bought, SELECT)
                if not _select(world, rule, name, room, out, near, share, bought, size):
                    return False
            chosen = bought + size
        new = _label(
            world, truth, rule, plan.seed, replicate, bought, room, out, near, count, fitted
        )
        count += new
        bought += 1


@cuda.jit(device=True)
def _clear(world, plan, room, near):
    """As before the first label."""
    t, threads = here()
    b = near.place[0]
    m, n = world.available.shape
    left, taken, cell_of = room.left[b], room.taken[b], room.cell_of[b]
    j = 0
    while j < m:
        i = t
        while i < n:
            left[j, i] = min(world.available[j, i], plan.horizon)
            cell_of[j, i] = -1
            taken[j, i] = False
            i += threads
        j += 1
    k = t
    while k < near.theta.shape[1]:
        near.theta[0, k] = near.theta[1, k] = 0.0
        k += threads
    identity(plan.ridge, room.gram[b])
    identity(0.0, room.information[b])


@cuda.jit(device=True)
def _take(room, out, near, mark, i, j, t):
    """Question t goes to teacher j on pair i, once all have read what is left. Two barriers."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        b, row = near.place[0], near.place[1]
        out.pair[row, t], out.teacher[row, t] = i, j
        if room.left[b, j, i] > 0:
            room.left[b, j, i] -= 1
        if mark:
            room.taken[b, j, i] = True
    cuda.syncthreads()


@cuda.jit(device=True)
def _select(world, rule, name, room, out, near, share, bought, size):
    """Pick ``size`` questions while theta stands still; False where a matrix is singular."""
    if not prepare(world, _workspace(room, near, share), rule, near.theta[0]):
        return False
    leveraged = rule.pair == GAIN or rule.pair == LEVERAGE or rule.pair == GRAM_LEVERAGE
    updates = leveraged and rule.greedy == 1 and size > 1
    if updates:
        start_batch(_workspace(room, near, share))
    drawn, t = np.int64(0), bought
    while t < bought + size:
        i, j, drawn = choose(world, _workspace(room, near, share), rule, name, drawn)
        _take(room, out, near, rule.greedy == 0, i, j, t)
        if updates:
            absorb(world, _workspace(room, near, share), rule, i, j)
        t += 1
    if rule.greedy == 0:
        fill(False, room.taken[near.place[0]])
    return True


@cuda.jit(device=True)
def _label(world, truth, rule, seed, replicate, t, room, out, near, count, fitted):
    """Ask label t, add it to the sufficient counts and the matrices; 1 where its cell is new."""
    own, threads = here()
    b, row = near.place[0], near.place[1]
    i, j = np.int64(out.pair[row, t]), np.int64(out.teacher[row, t])
    p = answer_probability(
        truth.margin[i], truth.rationality[j, i], truth.lapse[j], truth.bias[j], truth.drift[j], t
    )
    label = 1.0 if uniform(forgotten(seed), replicate, t, LABEL, 0) < p else 0.0
    z, scale, weight = near.direction, world.assumed[j, i], truth.weight[j, i]
    k = own
    while k < z.size:
        z[k] = world.zt[k, i]
        k += threads
    twin = world.twin[j, i]
    cell = np.int64(room.cell_of[b, twin, i])
    cuda.syncthreads()  # z is there, and all have read the cell's number
    new = cell < 0
    if new:
        cell = count
    information, gram = room.information[b], room.gram[b]
    k = own
    while k < z.size:
        if new:
            room.x[b, k, cell] = scale * z[k]
            room.rows[b, cell, k] = scale * z[k]
        q = 0
        while q <= k:
            information[k, q] += weight * z[k] * z[q]
            if rule.pair == GRAM_LEVERAGE:
                gram[k, q] += z[k] * z[q]
            q += 1
        k += threads
    if fitted:
        learn(scale, z, label, _estimate(room, near, 0))
    if own == 0:
        out.label[row, t] = np.int8(label)
        room.cell_of[b, twin, i] = cell
        room.trials[b, cell] = 1.0 if new else room.trials[b, cell] + 1.0
        room.wins[b, cell] = label if new else room.wins[b, cell] + label
    cuda.syncthreads()
    return np.int64(1 if new else 0)


@cuda.jit(device=True)
def _start_checkpoint(rule, room, out, near, mark):
    """The information so far, into the output; the reported estimate starts from the selector's."""
    t, threads = here()
    b, row = near.place[0], near.place[1]
    d = near.theta.shape[1]
    k = t
    while k < d:
        if needs_fit(rule):
            near.theta[1, k] = near.theta[0, k]
        q = 0
        while q < d:
            out.information[row, mark, k, q] = room.information[b, max(k, q), min(k, q)]
            q += 1
        k += threads
    cuda.syncthreads()


@cuda.jit(device=True)
def _end_checkpoint(plan, room, out, near, count, good, mark):
    """The reported estimate, where it certainly is one; NaN and 0 to start the next from, where not."""
    settled = good
    if good and plan.final_ridge == 0.0:
        settled = certainly_exists(_cells(room, near), count, _estimate(room, near, 1))
    cuda.syncthreads()
    t, threads = here()
    row, k = near.place[1], t
    while k < near.theta.shape[1]:
        out.theta[row, mark, k] = near.theta[1, k] if settled else math.nan
        if not settled:
            near.theta[1, k] = 0.0
        k += threads
    if t == 0:
        out.settled[row, mark] = settled
    cuda.syncthreads()

"""What the threads of a block do together: maxima, sums, counts, small matrices.

Rules of this file. Every thread of the block calls, with whatever it has to contribute. On entry the
arrays that are read are visible to all (a barrier has passed since they were written); on return the
results are. What is returned as a scalar is the same, to the last bit, in every thread, so branches
on it keep the block together. ``scratch`` is shared memory of ``scratch_size(threads)`` float64.
The number of threads is a multiple of ``COLUMNS``.

Only shared memory and barriers are used, no warp shuffles: numba's simulator has none. Nothing is
divided by a size known only at run time: a 64-bit integer quotient costs as much as a barrier.
A reduction's last reads need no barrier behind them, because all here first write ``scratch`` at
places that it does not read: own code that uses ``scratch`` does so at [0, threads) and, for a second
number a thread, at [threads + LANES, 2 threads + LANES), and passes a barrier before it returns.
Matrices (d, d) are symmetric, of which the lower half is read and written, or lower triangular.
"""

# mypy: disable-error-code="attr-defined"

import math
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, cuda, types
from numba.extending import intrinsic

COLUMNS = 8  # threads side by side along a row of a small matrix
LANES = 16  # threads that finish a reduction


def kernel_options(registers=None):
    """Options of ``cuda.jit``; ``registers`` caps what a thread has, None leaves it to ptxas."""
    return {} if config.ENABLE_CUDASIM else {"cache": True, "max_registers": registers}


def scratch_size(threads):
    """Entries of ``scratch`` for blocks of so many threads."""
    return 2 * (threads + LANES)


@intrinsic
def _forget32(typingctx, value):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        move = ir.InlineAsm(kind, "mov.u32 $0, $1;", "=r,r", side_effect=True)
        return builder.call(move, args)

    return types.int32(types.int32), codegen


@intrinsic
def _forget64(typingctx, value):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
        move = ir.InlineAsm(kind, "mov.u64 $0, $1;", "=l,l", side_effect=True)
        return builder.call(move, args)

    return types.uint64(types.uint64), codegen


# What a compiler knows to stay the same, and all that is made from it, it keeps in registers from the
# start of the kernel to its end: addresses and the generator's twenty keys were a hundred of 255.
# A move that it cannot see through makes it work them out again where they are used.


@cuda.jit(device=True)
def _here():
    """This thread's number and the number of threads, forgotten."""
    return _forget32(cuda.threadIdx.x), _forget32(cuda.blockDim.x)


@cuda.jit(device=True)
def _forgotten(seed):
    """A uint64, forgotten."""
    return _forget64(seed)


def _here_simulated() -> Any:
    return cuda.threadIdx.x, cuda.blockDim.x


def _same(seed: Any) -> Any:
    return seed


SIMULATED = config.ENABLE_CUDASIM
here: Any = cuda.jit(device=True)(_here_simulated) if SIMULATED else _here
forgotten: Any = _same if SIMULATED else _forgotten


@cuda.jit(device=True)
def total(value, scratch):
    """Sum of every thread's value: two barriers."""
    t, threads = here()
    lanes = min(LANES, threads)
    scratch[t] = value
    cuda.syncthreads()
    if t < lanes:
        s = 0.0
        i = t
        while i < threads:
            s += scratch[i]
            i += lanes
        scratch[threads + t] = s
    cuda.syncthreads()
    # read by all; the next call writes it again only behind its own first barrier
    s = 0.0
    i = threads
    while i < threads + lanes:
        s += scratch[i]
        i += 1
    return s


@cuda.jit(device=True)
def largest(value, scratch):
    """Largest of every thread's value (-inf where a thread has none): two barriers."""
    t, threads = here()
    lanes = min(LANES, threads)
    scratch[t] = value
    cuda.syncthreads()
    if t < lanes:
        best = -math.inf
        i = t
        while i < threads:
            best = max(best, scratch[i])
            i += lanes
        scratch[threads + t] = best
    cuda.syncthreads()
    best = -math.inf
    i = threads
    while i < threads + lanes:
        best = max(best, scratch[i])
        i += 1
    return best


@cuda.jit(device=True)
def largest_two(one, other, scratch):
    """Largest of every thread's ``one``, and of every thread's ``other``: two barriers."""
    t, threads = here()
    lanes, second = min(LANES, threads), threads + LANES
    scratch[t], scratch[second + t] = one, other
    cuda.syncthreads()
    if t < lanes:
        a, b = -math.inf, -math.inf
        i = t
        while i < threads:
            a, b = max(a, scratch[i]), max(b, scratch[second + i])
            i += lanes
        scratch[threads + t], scratch[second + threads + t] = a, b
    cuda.syncthreads()
    a, b = -math.inf, -math.inf
    i = threads
    while i < threads + lanes:
        a, b = max(a, scratch[i]), max(b, scratch[second + i])
        i += 1
    return a, b


@cuda.jit(device=True)
def first(index, scratch):
    """Smallest of every thread's index (a whole number below 2^53): the first item with a flag.

    A thread without one gives a number behind the last item. Two barriers.
    """
    return int(-largest(-float(index), scratch))


@cuda.jit(device=True)
def share_of(n):
    """This thread's contiguous share low..high-1 of the items 0..n-1, in thread order."""
    t, threads = here()
    size = (n + threads - 1) // threads
    return min(t * size, n), min(t * size + size, n)


@cuda.jit(device=True)
def count_before(count, scratch):
    """The counts of the threads before this one, summed, and of all threads: two barriers.

    With counts of flags in each ``share_of``, the k-th flag (from 0) belongs to the thread with
    before <= k < before + count.
    """
    t, threads = here()
    scratch[t] = float(count)
    cuda.syncthreads()
    before, everything = 0.0, 0.0
    i = 0
    while i < threads:
        if i == t:
            before = everything
        everything += scratch[i]
        i += 1
    cuda.syncthreads()
    return int(before), int(everything)


# --- small matrices --------------------------------------------------------------------------------


@cuda.jit(device=True)
def fill(value, out):
    """Every entry of the matrix ``out`` = value. One barrier."""
    t, threads = here()
    i = 0
    while i < out.shape[0]:
        j = t
        while j < out.shape[1]:
            out[i, j] = value
            j += threads
        i += 1
    cuda.syncthreads()


@cuda.jit(device=True)
def identity(scale, out):
    """out = scale I. One barrier."""
    t, threads = here()
    rows = threads // COLUMNS
    i = t // COLUMNS
    while i < out.shape[0]:
        j = t % COLUMNS
        while j < out.shape[1]:
            out[i, j] = scale if i == j else 0.0
            j += COLUMNS
        i += rows
    cuda.syncthreads()


@cuda.jit(device=True)
def add_outer(a, weight, v):
    """a += weight v v' (the lower half). One barrier."""
    t, threads = here()
    rows = threads // COLUMNS
    i = t // COLUMNS
    while i < v.size:
        j = t % COLUMNS
        while j < i + 1:
            a[i, j] += weight * v[i] * v[j]
            j += COLUMNS
        i += rows
    cuda.syncthreads()


@cuda.jit(device=True)
def invert_factor(a, work, inverse):
    """``inverse`` = L^-1 with a = L L'; False, and nothing useful, where ``a`` is not positive.

    Elimination on [a | I], row j subtracted from all rows below it: step j writes nothing that it
    reads, so d steps cost d + 2 barriers. A pivot is the number that ``linear_algebra.cholesky``
    draws the root of, and is refused where that one refuses it. ``inverse`` may have rows beyond d;
    they and its upper half become 0, as ``leverage`` wants them. ``work`` (d, d) and ``a`` differ.
    """
    t, threads = here()
    rows, d = threads // COLUMNS, a.shape[0]
    row, column = t // COLUMNS, t % COLUMNS
    i = row
    while i < inverse.shape[0]:
        k = column
        while k < d:
            inverse[i, k] = 1.0 if i == k else 0.0
            if i < d:
                work[i, k] = a[i, k]
            k += COLUMNS
        i += rows
    cuda.syncthreads()
    j = 0
    while j < d:
        pivot = work[j, j]
        if not pivot > 1e-14 * a[j, j]:
            cuda.syncthreads()  # nobody writes ``work`` again before all have seen the pivot
            return False
        i = j + 1 + row
        while i < d:
            factor = work[i, j] / pivot
            k = column
            while k < i + 1:
                if k > j:
                    work[i, k] -= factor * work[k, j]
                else:
                    inverse[i, k] -= factor * inverse[j, k]
                k += COLUMNS
            i += rows
        cuda.syncthreads()
        j += 1
    i = row
    while i < d:
        scale = 1.0 / math.sqrt(work[i, i])
        k = column
        while k < i + 1:
            inverse[i, k] *= scale
            k += COLUMNS
        i += rows
    cuda.syncthreads()
    return True


@cuda.jit(device=True)
def solve(inverse, g, half, out):
    """out = (L L')^-1 g from ``inverse`` = L^-1; returns g'out. ``half`` (d,). Two barriers."""
    t, threads = here()
    d = g.size
    i = t
    while i < d:
        s = 0.0
        k = 0
        while k < i + 1:
            s += inverse[i, k] * g[k]
            k += 1
        half[i] = s
        i += threads
    cuda.syncthreads()
    square = 0.0
    i = 0
    while i < d:
        square += half[i] * half[i]
        i += 1
    k = t
    while k < d:
        s = 0.0
        i = k
        while i < d:
            s += inverse[i, k] * half[i]
            i += 1
        out[k] = s
        k += threads
    cuda.syncthreads()
    return square


# --- one thread's work on one item ------------------------------------------------------------------


@cuda.jit(device=True)
def product(x, i, t):
    """t' x_i for column i of x (d, n). Neighbouring threads take neighbouring columns."""
    s = 0.0
    k = 0
    while k < t.size:
        s += t[k] * x[k, i]
        k += 1
    return s


@cuda.jit(device=True)
def leverage(x, i, d, inverse):
    """||L^-1 x_i||^2 for column i of x (d, n), with ``inverse`` = L^-1 in ``padded(d)`` rows.

    Four rows at once: an entry of x is loaded d / 4 times and not d / 2 times.
    """
    s = 0.0
    k = 0
    while k < inverse.shape[0]:
        a = b = c = e = 0.0
        q = 0
        while q < min(k + 4, d):
            v = x[q, i]
            a += inverse[k, q] * v
            b += inverse[k + 1, q] * v
            c += inverse[k + 2, q] * v
            e += inverse[k + 3, q] * v
            q += 1
        s += a * a + b * b + c * c + e * e
        k += 4
    return s


def padded(dim):
    """Rows of an ``inverse`` for ``leverage``: the next multiple of four."""
    return -(-dim // 4) * 4


# --- sums over cells ----------------------------------------------------------------------------------


@cuda.jit(device=True)
def weighted_sum(x, weight, n, ridge, theta, scratch, out):
    """out = sum_i weight_i x_i - ridge theta over the first n rows of x (cells, d). Two barriers.

    Each entry is summed by as many threads as there are for it; neighbours take neighbouring entries
    of the same row. d is at most the number of threads.
    """
    t, threads = here()
    d = x.shape[1]
    parts, k = 0, t
    low = threads
    while low >= d:
        low -= d
        parts += 1
    part = 0
    while k >= d:
        k -= d
        part += 1
    if part < parts:
        s = 0.0
        i = part
        while i < n:
            s += weight[i] * x[i, k]
            i += parts
        scratch[t] = s
    cuda.syncthreads()
    if t < d:
        s = 0.0
        i = t
        while i < parts * d:
            s += scratch[i]
            i += d
        out[t] = s - ridge * theta[t]
    cuda.syncthreads()


@cuda.jit(device=True)
def weighted_gram(x, weight, n, ridge, scratch, out):
    """out = sum_i weight_i x_i x_i' + ridge I over the first n rows of x (cells, d). Two barriers."""
    t, threads = here()
    d = x.shape[1]
    entries = d * (d + 1) // 2
    parts, low = 1, threads - entries
    while low >= entries:
        low -= entries
        parts += 1
    part, row, column = 0, 0, t
    while column >= entries and part < parts:
        column -= entries
        part += 1
    if part < parts:
        while row < d:
            while column > row:  # entry (row, column) of the lower half, counted row by row
                column -= row + 1
                row += 1
            if row < d:
                s = 0.0
                i = part
                while i < n:
                    s += weight[i] * x[i, row] * x[i, column]
                    i += parts
                if parts > 1:
                    scratch[t] = s
                else:
                    out[row, column] = s + ridge if row == column else s
            if entries <= threads:
                break
            column += threads
    cuda.syncthreads()
    if parts > 1 and t < entries:
        s = 0.0
        i = t
        while i < parts * entries:
            s += scratch[i]
            i += entries
        out[row, column] = s + ridge if row == column else s
    cuda.syncthreads()

"""One counter-based generator (Philox 4x32-10) for plain code and every compiled kernel.

A draw is named by integers, never by a thread: key = (seed low 32 bits, seed high 32 bits),
counter = (round, replicate, purpose, index). The same name gives the same bits everywhere.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import math
from typing import Any

import numpy as np
from numba import njit

from ...theory.checks import Floats, whole_number

# Purposes: separate streams inside one round of one replicate.
SELECT, LABEL, WARM_UP, CONTEXT, PLAY = range(5)

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint32(0x9E3779B9)
_W1 = np.uint32(0xBB67AE85)
_LO = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


@njit
def philox(c0, c1, c2, c3, k0, k1):
    """Ten Philox rounds on four 32-bit counters and two 32-bit keys; four 32-bit words.

    >>> u = np.uint32
    >>> [hex(int(x)) for x in philox(u(0), u(0), u(0), u(0), u(0), u(0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    x0, x1, x2, x3 = np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)
    k0, k1 = np.uint32(k0), np.uint32(k1)
    for _ in range(10):
        p0 = _M0 * np.uint64(x0)
        p1 = _M1 * np.uint64(x2)
        y0 = np.uint32(p1 >> _32) ^ x1 ^ k0
        y2 = np.uint32(p0 >> _32) ^ x3 ^ k1
        x1, x3 = np.uint32(p1 & _LO), np.uint32(p0 & _LO)
        x0, x2 = np.uint32(y0), np.uint32(y2)
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    return x0, x1, x2, x3


@njit
def uniform(seed, replicate, round_, purpose, index):
    """Uniform float64 in [0, 1) with 53 random bits, from the draw's name."""
    seed = np.uint64(seed)
    a, b, _, _ = philox(
        np.uint32(round_),
        np.uint32(replicate),
        np.uint32(purpose),
        np.uint32(index),
        np.uint32(seed & _LO),
        np.uint32(seed >> _32),
    )
    high = np.uint64(a >> np.uint32(5))
    low = np.uint64(b >> np.uint32(6))
    return (np.float64(high) * 67108864.0 + np.float64(low)) * (1.0 / 9007199254740992.0)


@njit
def integer_below(seed, replicate, round_, purpose, index, n):
    """Whole number in 0..n-1: floor(u n); off the uniform law by less than n 2^-53."""
    return np.int64(math.floor(uniform(seed, replicate, round_, purpose, index) * n))


@njit
def _fill(seed, replicate, round_, purpose, first, out):
    for i in range(out.size):
        out[i] = uniform(seed, replicate, round_, purpose, first + i)


class CounterRng:
    """The draws of one (seed, replicate, round, purpose), in order, as ``random`` and ``integers``.

    Selectors take this or a ``numpy.random.Generator``; two objects with the same name give the
    same draws. ``seed`` is a whole number in 0..2^64-1.

    >>> CounterRng(1, 0, 5).random(2).tolist() == CounterRng(1, 0, 5).random(2).tolist()
    True
    """

    def __init__(self, seed: int, replicate: int = 0, round_: int = 0, purpose: int = SELECT):
        seed = whole_number("seed", seed, low=0, high=2**64)
        self._name = (np.uint64(seed), replicate, round_, purpose)
        self._next = 0

    def random(self, size: int | None = None) -> Any:
        """``size`` uniforms in [0, 1), or one float."""
        out: Floats = np.empty(1 if size is None else size)
        _fill(*self._name, self._next, out)
        self._next += out.size
        return float(out[0]) if size is None else out

    def integers(self, n: int) -> int:
        """One whole number in 0..n-1."""
        whole_number("n", n, low=1)
        self._next += 1
        return int(integer_below(*self._name, self._next - 1, n))

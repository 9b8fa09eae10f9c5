"""Timing side by side: ours and the peer take turns in one process, and what the machine could do."""

import time
from collections.abc import Callable
from statistics import median
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")

TURNS, FEWEST = 9, 3
PATIENCE = 20.0  # seconds after which no further turn begins
TURN = 0.03  # seconds: shorter calls are repeated
_GEMM_SIZE = 1024


class Spread(NamedTuple):
    """Median, smallest and largest of ``repeats`` measurements."""

    median: float
    low: float
    high: float
    repeats: int


def spread(values: list[float]) -> Spread:
    """The spread of at least one value.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0, repeats=3)
    """
    return Spread(median(values), min(values), max(values), len(values))


class Race(NamedTuple, Generic[Ours, Theirs]):
    """Seconds of both, the peer's over ours turn by turn, and what each returned last."""

    ours: Spread
    peer: Spread
    ratio: Spread
    answer: Ours
    peer_answer: Theirs


def race(
    ours: Callable[[], Ours],
    peer: Callable[[], Theirs],
    *,
    turns: int = TURNS,
    peer_times: float = 1.0,
    seconds_of: Callable[[Theirs], float] | None = None,
) -> Race[Ours, Theirs]:
    """Ours, peer, ours, peer ...: ``turns`` each, fewer (but ``FEWEST``) once ``PATIENCE`` is over.

    A turn of less than ``TURN`` seconds is filled with further calls, and their mean is its time.

    A peer that alone has used up the patience takes no further turn; its last time stands beside
    ours from then on. ``peer_times`` scales its time; ``seconds_of`` reads it from its answer.
    """
    fast: list[float] = []
    slow: list[float] = []
    ratios: list[float] = []
    begin = time.perf_counter()
    while len(fast) < turns:
        duration, answer = turn(ours)
        fast.append(duration)
        if not slow or sum(slow) < PATIENCE:
            duration, peer_answer = turn(peer)
            if seconds_of is not None:
                duration = seconds_of(peer_answer)
            slow.append(peer_times * duration)
        ratios.append(slow[-1] / fast[-1])
        if len(fast) >= FEWEST and time.perf_counter() - begin > PATIENCE:
            break
    return Race(spread(fast), spread(slow), spread(ratios), answer, peer_answer)


def turn(call: Callable[[], Ours]) -> tuple[float, Ours]:
    """Wall seconds of one call, the mean of as many as fill ``TURN``, and what the last returned."""
    duration, answer = timed(call)
    total, calls = duration, 1
    while total < TURN:
        duration, answer = timed(call)
        total, calls = total + duration, calls + 1
    return total / calls, answer


def timed(call: Callable[[], Ours]) -> tuple[float, Ours]:
    """Wall seconds of one call, and what it returned."""
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def gemm_rate(dtype: DTypeLike = np.float64) -> float:
    """Flop a second of a matrix product here and now: 1024 x 1024, the best of five."""
    a = np.ones((_GEMM_SIZE, _GEMM_SIZE), dtype=dtype)
    a @ a
    return 2.0 * _GEMM_SIZE**3 / min(timed(lambda: a @ a)[0] for _ in range(5))

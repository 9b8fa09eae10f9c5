"""One line of the benchmark table: what is raced, what came out, whether the answer is right."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NamedTuple

from .measure import Spread

Quantity = Literal["ratio", "seconds", "memory"]


class Target(NamedTuple):
    """A ratio of at least, or seconds or bytes of memory of at most, ``limit``."""

    quantity: Quantity
    limit: float

    def text(self) -> str:
        """In words.

        >>> Target("ratio", 40.0).text(), Target("seconds", 0.1).text(), Target("memory", 2e8).text()
        ('>= 40x', '<= 100 ms', '<= 200 MB')
        """
        if self.quantity == "ratio":
            return f">= {self.limit:g}x"
        return f"<= {seconds_text(self.limit) if self.quantity == 'seconds' else bytes_text(self.limit)}"


class Answer(NamedTuple):
    """Whether our answer is right, the numbers that say so, and what is wrong if not."""

    right: bool
    numbers: dict[str, float]
    complaint: str = ""


class Outcome(NamedTuple):
    """What a row measured."""

    ours: Spread  # seconds
    peer: Spread  # seconds
    ratio: Spread  # peer / ours, turn by turn
    floor: float  # seconds that the necessary arithmetic alone takes here
    answer: Answer
    at_least: bool = False  # the peer was stopped: its time and the ratio are lower bounds
    memory: float | None = None  # bytes at the peak above the input
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A problem, our peer on it, our targets, and the function that measures."""

    name: str
    problem: str
    peer: str
    floor: str
    measure: Callable[[], Outcome]
    targets: tuple[Target, ...] = ()
    slow: bool = False  # runs only when named


def met(target: Target, outcome: Outcome) -> bool | None:
    """Whether the outcome's median meets the target; None where that was not measured."""
    if target.quantity == "ratio":
        if outcome.ratio.median >= target.limit:
            return True
        return None if outcome.at_least else False
    value = outcome.ours.median if target.quantity == "seconds" else outcome.memory
    return None if value is None else value <= target.limit


def record(row: Row, outcome: Outcome) -> dict[str, Any]:
    """The row as plain JSON."""
    return {
        "name": row.name,
        "problem": row.problem,
        "status": "right" if outcome.answer.right else "wrong",
        "ours_seconds": outcome.ours._asdict(),
        "peer": row.peer,
        "peer_seconds": outcome.peer._asdict(),
        "ratio": outcome.ratio._asdict(),
        "peer_was_stopped": outcome.at_least,
        "floor": row.floor,
        "floor_seconds": outcome.floor,
        "distance_to_floor": outcome.ours.median / outcome.floor,
        "memory_bytes": outcome.memory,
        "targets": [
            {"quantity": t.quantity, "limit": t.limit, "text": t.text(), "met": met(t, outcome)}
            for t in row.targets
        ],
        "answer": {k: x if isfinite(x) else None for k, x in outcome.answer.numbers.items()},
        "complaint": outcome.answer.complaint,
        "notes": list(outcome.notes),
    }


def failure(row: Row, reason: str) -> dict[str, Any]:
    """A row that came to nothing, and why."""
    return {
        "name": row.name,
        "problem": row.problem,
        "status": "failed",
        "peer": row.peer,
        "complaint": reason,
        "targets": [
            {"quantity": t.quantity, "limit": t.limit, "text": t.text(), "met": None}
            for t in row.targets
        ],
    }


def seconds_text(seconds: float) -> str:
    """Three digits and a unit.

    >>> seconds_text(0.0123), seconds_text(4.2e-5), seconds_text(61.0), seconds_text(0.1)
    ('12.3 ms', '42 us', '61 s', '100 ms')
    """
    size, name = _unit(seconds)
    return f"{short(seconds / size)} {name}"


def seconds_spread(middle: float, low: float, high: float, then: str = " ") -> str:
    """Median and range in the median's unit.

    >>> seconds_spread(0.0123, 0.0119, 0.02)
    '12.3 ms [11.9, 20]'
    """
    size, _ = _unit(middle)
    return f"{seconds_text(middle)}{then}[{short(low / size)}, {short(high / size)}]"


def _unit(seconds: float) -> tuple[float, str]:
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
    return next((unit for unit in units if seconds >= unit[0]), units[-1])


def bytes_text(count: float) -> str:
    """Megabytes of 10^6 bytes.

    >>> bytes_text(1.234e8)
    '123 MB'
    """
    return f"{short(count / 1e6)} MB"


def short(x: float) -> str:
    """Three significant digits, never in powers of ten.

    >>> short(12345.6), short(123.4), short(1.234), short(0.09999)
    ('12,346', '123', '1.23', '0.1')
    """
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"

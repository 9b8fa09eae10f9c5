"""What a claim is: a statement, how it is measured, how it is judged, and what would refute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from ..theory.checks import one_of, positive_number, real_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = ("smoke", "quick", "full")
KINDS = ("EQUAL", "BOUND", "BETTER", "EXACT", "ESTIMATE")
SUPPORTED, NOT_SUPPORTED, UNDERPOWERED = "SUPPORTED", "NOT SUPPORTED", "UNDERPOWERED"

Observations = dict[str, NDArray[Any]]


class Statistic(Protocol):
    """An estimate of one number from ``n`` independent observations, with its interval."""

    @property
    def estimate(self) -> float: ...

    @property
    def n(self) -> int: ...

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided interval of level 1 - 2 alpha: ``alpha`` is the error on each side."""
        ...


@dataclass(frozen=True)
class Run:
    """What a measurement is given; ``progress`` takes its finished share, 0..1."""

    scale: str
    seed: int
    workers: int
    device: str
    alpha: float
    progress: Callable[[float], None]


@dataclass(frozen=True)
class Test:
    """One row of the report: a number, the region in which the statement is true, and why.

    ``target`` is the value (EQUAL), the bound (BOUND; ``side="lower"`` for estimate >= bound), 0
    (BETTER) or None. ``margin`` is fixed in the claim's file, one number or one per scale; for
    BETTER it is the smallest difference worth finding. ``expected`` names the verdict per scale;
    an ``open`` test has a ``pilot``'s verdict (other seeds) instead. Raises ValueError when the
    parts do not fit together.
    """

    __test__ = False  # not a pytest class

    id: str
    statement: str
    kind: str
    unit: str
    target: float | None
    margin: float | Mapping[str, float]
    margin_reason: str
    power: float
    expected: Mapping[str, str]
    sabotage: str | None
    side: str = "upper"
    open: bool = False
    pilot: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        one_of(f"{self.id}: kind", self.kind, KINDS)
        one_of(f"{self.id}: side", self.side, ("upper", "lower"))
        estimate = self.kind == "ESTIMATE"
        allowed = (self.kind,) if estimate else (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED)
        for scale, verdict in {**self.expected, **(self.pilot or {})}.items():
            one_of(f"{self.id}: scale", scale, SCALES)
            one_of(f"{self.id}: verdict at {scale}", verdict, allowed)
        margins = self.margin.values() if isinstance(self.margin, Mapping) else (self.margin,)
        for margin in margins:
            positive_number(f"{self.id}: margin", margin, zero=self.kind != "BETTER")
        if self.kind in ("EQUAL", "BOUND"):
            real_array(f"{self.id}: target", math.nan if self.target is None else self.target, ())
        elif self.target not in (None, 0):
            raise ValueError(f"{self.id}: target: found {self.target}, needed 0 for {self.kind}.")
        if not 0.5 < self.power < 1:
            raise ValueError(f"{self.id}: power: found {self.power}, needed one in (0.5, 1).")
        if estimate and self.sabotage is not None:
            raise ValueError(f"{self.id}: an ESTIMATE has no region; found a sabotage, drop it.")

    def margin_at(self, scale: str) -> float:
        """The margin at ``scale``."""
        return float(self.margin[scale] if isinstance(self.margin, Mapping) else self.margin)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper: ``measure`` is slow and stored, ``judge`` is pure and fast.

    ``measure(settings, run, sabotaged)`` returns named arrays; ``judge(observations, run)`` turns
    them into one statistic per test id; ``draw(figure, observations, run)`` shows them. The same
    three serve the true run and the sabotaged one. A scale missing from ``settings`` is skipped.
    ``cpu_only`` says why a claim is measured on the CPU whatever device is asked for.
    """

    id: str
    statement: str
    source: str
    how: str
    tests: tuple[Test, ...]
    settings: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Mapping[str, Any], Run, bool], Observations]
    judge: Callable[[Observations, Run], dict[str, Statistic]]
    draw: Callable[[Figure, Observations, Run], None]
    cpu_only: str | None = None

    def __post_init__(self) -> None:
        for scale in self.settings:
            one_of(f"{self.id}: scale", scale, SCALES)
            for test in self.tests:
                if not test.open and scale not in test.expected:
                    raise ValueError(f"{test.id}: expected: found no verdict at {scale}; add it.")
                if isinstance(test.margin, Mapping) and scale not in test.margin:
                    raise ValueError(f"{test.id}: margin: found none at {scale}; add it.")

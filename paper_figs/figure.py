"""What a figure is: an experiment that is computed and kept, a table made from it, a drawing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = ("smoke", "quick", "full")

Settings = Mapping[str, Any]  # plain JSON
Arrays = dict[str, NDArray[Any]]
Observations = dict[str, Arrays]  # by part
Progress = Callable[[float], None]  # takes the finished share, 0..1


class Compute(Protocol):
    """The slow step for one part; the same seed gives the same arrays for any ``workers``."""

    def __call__(
        self, settings: Settings, part: str, *, seed: int, workers: int, progress: Progress
    ) -> Arrays: ...


@dataclass(frozen=True)
class Experiment:
    """Simulations that one or several figures read; each part is saved by itself."""

    name: str
    settings: Mapping[str, Settings]  # by scale
    parts: Callable[[Settings], Sequence[str]]
    compute: Compute


@dataclass(frozen=True)
class PaperFigure:
    """One figure. ``draw`` sees nothing but the table, which is the CSV."""

    name: str
    experiment: Experiment
    size: tuple[float, float]  # inches, without the caption
    table: Callable[[Observations, Settings], Table]
    caption: Callable[[Table, Settings], str]
    draw: Callable[[Figure, Table], None]


class Table:
    """Named columns of equal length.

    >>> t = Table.of([{"selector": "dual", "labels": 10}, {"selector": "apo", "labels": 20}])
    >>> t.where(selector="apo")["labels"].tolist(), t.distinct("selector")
    ([20], ['dual', 'apo'])
    >>> print(t.csv(), end="")
    selector,labels
    dual,10
    apo,20
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]]) -> Table:
        """One mapping a row, all with the same names; a missing number is NaN."""
        rows = list(rows)
        return Table({name: np.array([row[name] for row in rows]) for name in rows[0]})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def where(self, **wanted: Any) -> Table:
        """The rows in which every named column has the given value."""
        keep = np.ones(len(self), dtype=bool)
        for name, value in wanted.items():
            keep &= self[name] == value
        return Table({name: column[keep] for name, column in self._columns.items()})

    def distinct(self, name: str) -> list[Any]:
        """A column's different values, in order of appearance."""
        return list(dict.fromkeys(self[name].tolist()))

    def csv(self) -> str:
        """Comma-separated text: floats with all their digits, NaN as an empty field."""
        lines = [",".join(self._columns)]
        for row in zip(*(column.tolist() for column in self._columns.values()), strict=True):
            lines.append(",".join("" if str(value) == "nan" else str(value) for value in row))
        return "\n".join(lines) + "\n"

"""Live progress: two bars on a terminal, one plain line per finished claim elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text


class Display:
    """One bar for all measurements and one for the current claim, on standard error."""

    def __init__(self, measurements: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = self._console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._total = measurements
        self._done = 0.0
        self._all = self._bars.add_task("all claims", total=float(max(measurements, 1)))
        self._one = self._bars.add_task("", total=1.0, visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def measurement(self, name: str) -> Callable[[float], None]:
        """Begin a measurement; the returned function takes its finished share, 0..1."""
        self._bars.reset(self._one, description=name, total=1.0, visible=True)

        def progress(share: float) -> None:
            share = min(max(float(share), 0.0), 1.0)
            self._bars.update(self._one, completed=share)
            self._bars.update(self._all, completed=self._done + share)

        return progress

    def measured(self) -> None:
        """End a measurement."""
        self._done += 1
        self._bars.update(self._all, completed=self._done)

    def finished(self, line: str) -> None:
        """Say that a claim is finished, where no bar shows it."""
        if not self._live:
            count = f"[{self._done:.0f}/{self._total}]"
            self._console.print(Text(f"{count} {line}"), soft_wrap=True)

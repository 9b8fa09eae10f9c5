"""Time and memory of a run's stages, noted in the ledger; what is shown while they run."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .ledger import Ledger

Say = Callable[[str, int, int], None]  # (what, done, total): shown while a stage runs


def quiet(what: str, done: int, total: int) -> None:
    """Show nothing."""


def peak_bytes() -> int:
    """The most memory held so far: the process's resident set, or more where a GPU held more."""
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    torch = sys.modules.get("torch")  # without it nothing can have been on a GPU
    if torch is not None and torch.cuda.is_available():
        peak = max(peak, torch.cuda.max_memory_allocated())
    return int(peak)


@contextmanager
def stage(ledger: Ledger, arm: str, round: int, name: str) -> Iterator[None]:
    """Note how long the block took, once it is through."""
    start = time.perf_counter()
    yield
    ledger.note_stage(arm, round, name, time.perf_counter() - start, peak_bytes())

"""Peak memory of one call, in a process of its own.

    python -m activeduel.benchmarks.memory MODULE FUNCTION SIZE ...

The parent calls ``peak_above_input``; the child runs this file.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Call = Callable[[], object]


def peak_above_input(prepare: Callable[..., Call], *sizes: int) -> int | None:
    """Bytes by which the call that ``prepare(*sizes)`` returns exceeds what was there before it.

    ``prepare`` is a module's function: it makes the input and warms up. None where the system does
    not say (only Linux does). Raises ``RuntimeError`` with the child's last words when it fails.
    """
    if not _CLEAR.exists():
        return None
    words = [prepare.__module__, prepare.__qualname__, *map(str, sizes)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"measuring memory failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def _kilobytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"{_STATUS}: found no {field}")


def main(arguments: list[str]) -> int:
    """Make the input, forget the peak so far, call, print the bytes added at the peak."""
    module, function, *sizes = arguments
    call = getattr(import_module(module), function)(*map(int, sizes))
    _CLEAR.write_text("5")  # the peak starts again from what is resident now
    before = _kilobytes("VmRSS")
    call()
    print(json.dumps(1024 * max(0, _kilobytes("VmHWM") - before)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

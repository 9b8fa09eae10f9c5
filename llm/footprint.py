"""Memory, disk and time of a run, estimated by stage before it starts; ``stages.py`` measures them.

What a number is made of stands beside it. Parameters are counted (``model_size``), activations follow
a formula that agrees with torch's saved tensors, and time is counted flops over a rate measured here
times a stated efficiency. Beside small models on a CPU the peak of a training step came out 1 % too
low to 3 % too high, time within a factor of two; on a GPU neither has been compared yet. Whole runs
in processes of their own held 2 % less (head) and 14 % more (LoRA reward, 292 MB) than was said: what
Python, the libraries and the data take is not counted, nor is the time to load a model: after
importing torch, transformers, trl and peft 0.6 GB are resident on a CPU.
"""

import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from .config import Config, OutputOptions
from .planned_run import Line, Place, PlannedRun, bytes_text, duration_text, model_size
from .read_config import CACHE
from .stage_costs import SHARE, lines

__all__ = [
    "Footprint",
    "Line",
    "disk_for",
    "estimate",
    "fits",
    "free_bytes",
    "matrix_rate",
    "require_fit",
    "table",
]

LIBRARIES = 0.6e9  # resident once they are imported: not in the estimate, and not in what is free
RESERVE = 1.05  # what a GPU's allocator keeps beside what is used


@dataclass(frozen=True)
class Footprint:
    """The estimate: lines, stage by stage."""

    lines: tuple[Line, ...]
    device: str  # "cpu" or "cuda"
    rate: float | None  # flop/s of a matrix product in the computing type, None: not measured

    @property
    def known(self) -> bool:
        """Whether every line could be estimated."""
        return not any(line.unknown for line in self.lines)

    def stages(self) -> tuple[str, ...]:
        """Their names, in the order in which they run."""
        return tuple(dict.fromkeys(line.stage for line in self.lines))

    def held(self, stage: str, *places: Place) -> float:
        """Bytes of one stage in these places."""
        here = (x for x in self.lines if x.stage == stage and x.place in places)
        return math.fsum(x.bytes or 0.0 for x in here)

    @property
    def peak(self) -> float:
        """Bytes at the largest stage, in the memory where the model is."""
        places: tuple[Place, ...] = ("device", "host") if self.device == "cpu" else ("device",)
        return max((self.held(stage, *places) for stage in self.stages()), default=0.0)

    @property
    def disk(self) -> float:
        """Bytes that the run leaves on the disk, or has there at one time."""
        return math.fsum(self.held(stage, "disk") for stage in self.stages())

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return math.fsum(line.seconds or 0.0 for line in self.lines)


def fits(footprint: Footprint, free_bytes: float) -> bool | None:
    """Whether the largest stage fits into ``free_bytes``; None where it is not known and small so far.

    On a GPU 5 % more is wanted: its allocator holds more than is used.
    """
    reserve = RESERVE if footprint.device == "cuda" else 1.0
    if footprint.peak * reserve > free_bytes:
        return False
    return True if footprint.known else None


def require_fit(
    footprint: Footprint, free_bytes: float, free_disk: float, *, anyway: bool = False
) -> None:
    """``ValueError`` with the table where the run does not fit and ``anyway`` is not said."""
    if anyway:
        return
    if footprint.disk > free_disk:
        raise ValueError(
            f"disk: found {bytes_text(free_disk)} for output_dir; needed {bytes_text(footprint.disk)}. Make "
            "room, name another output_dir, use LoRA (use_peft), or say --yes to start all the same.\n"
            f"{table(footprint)}"
        )
    if fits(footprint, free_bytes) is not False:
        return
    raise ValueError(
        f"memory: found {bytes_text(free_bytes)} free on this {footprint.device}; needed "
        f"{bytes_text(footprint.peak)} at the peak. Use LoRA (use_peft), load_in_4bit, "
        "gradient_checkpointing, a smaller per_device_train_batch_size or max_length, or say --yes "
        f"to start all the same.\n{table(footprint)}"
    )


def free_bytes(device: str) -> float:
    """Memory that is free now on "cuda" or "cpu" (there also by the limit of a container)."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    available = 1024 * _field(Path("/proc/meminfo"), "MemAvailable:")
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        held = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no limit ("max"), or no such file
        return available
    reclaimable = _field(group / "memory.stat", "inactive_file", otherwise=0.0)
    return min(available, limit - held + reclaimable)


def disk_for(output: OutputOptions) -> float:
    """Bytes that this run may fill: what is free, and what its folder and the cache hold already."""
    folder = Path(output.output_dir).absolute()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    held = _bytes_in(folder / output.run_name) + _bytes_in(folder / CACHE)
    return float(shutil.disk_usage(there).free + held)


def _bytes_in(folder: Path) -> int:
    held = 0
    for place, _, files in os.walk(folder):
        for path in (Path(place, name) for name in files):
            try:
                held += 0 if path.is_symlink() else path.stat().st_size
            except FileNotFoundError:  # another run is at work in the cache
                continue
    return held


def _field(path: Path, name: str, otherwise: float = math.inf) -> float:
    try:
        words = (line.split() for line in path.read_text().splitlines())
        return next((float(w[1]) for w in words if w and w[0] == name), otherwise)
    except OSError:
        return otherwise


def matrix_rate(device: str, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Flop a second of n x n matrix products here and now, for about so many seconds."""
    n = 8192 if device == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn((n, n), generator=generator, device=device, dtype=torch.float32).to(dtype)
    float((a @ a)[0, 0])  # warm
    start, products = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not products:
        for _ in range(8 if device == "cuda" else 1):
            b = a @ a
            products += 1
        float(b[0, 0])  # waits for the device
        passed = time.perf_counter() - start
    return 2.0 * n**3 * products / passed


# ----------------------------------------------------------------------------------- estimate


def estimate(
    config: Config,
    pool_size: int,
    token_counts: ArrayLike,
    *,
    device: str | None = None,
    rate: float | None = None,
    model_config: Any = None,
) -> Footprint:
    """Memory, disk and time of ``config`` on a pool of ``pool_size`` pairs.

    ``token_counts``: tokens of a prompt with one response, of every text of the pool or of a sample.
    ``device``: "cpu" or "cuda", by default what the configuration means here. ``rate``: flop/s of a
    matrix product, by default measured in half a second; for a GPU that is not here no times are
    given without it. ``model_config``: a transformers configuration, by default the model's own;
    where that cannot be had its line says "unknown" and why.
    """
    gpu = torch.cuda.is_available()
    place = device or ("cuda" if gpu and config.model.device != "cpu" else "cpu")
    size, reason = model_size(config.model, model_config)
    counts = np.minimum(np.asarray(token_counts, dtype=float).ravel(), config.features.max_length)
    if not len(counts) or not (counts >= 1).all():
        raise ValueError(
            "token_counts: found none, or one below 1; needed the tokens of at least one text."
        )
    run = PlannedRun(config, size, reason, pool_size, counts, place, rate)
    if rate is None and (place == "cpu" or gpu):
        run = replace(run, rate=matrix_rate(place, getattr(torch, run.computing)))
    return Footprint(tuple(lines(run)), place, run.rate)


# -------------------------------------------------------------------------------------- table


def table(footprint: Footprint) -> str:
    """The estimate as text: a line a thing, a sum a stage, and what the run needs in all."""
    rows = [("stage", "what", "memory", "disk", "time", "how computed")]
    for stage in footprint.stages():
        lines = [line for line in footprint.lines if line.stage == stage]
        rows += [_row(line) for line in lines]
        held = footprint.held(stage, "device", "host")
        seconds = math.fsum(line.seconds or 0.0 for line in lines)
        known = any(line.seconds is not None for line in lines)
        took = duration_text(seconds) if known else ""
        disk = footprint.held(stage, "disk")
        rows.append(
            (stage, "= together", bytes_text(held), bytes_text(disk) if disk else "", took, "")
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    text = [
        "  ".join(_cell(row[i], widths[i], i) for i in range(5)) + "  " + row[5] for row in rows
    ]
    rate = "not measured" if footprint.rate is None else f"{footprint.rate / 1e12:.3g} Tflop/s"
    unknown = "" if footprint.known else "at least "
    where = "on the GPU" if footprint.device == "cuda" else "in memory"
    passes, steps = SHARE[footprint.device]
    own = f" (Python and the libraries take about {bytes_text(LIBRARIES)} more)"
    own = "" if footprint.device == "cuda" else own
    took = "about " * (footprint.seconds >= 1) + duration_text(footprint.seconds)
    text.append(
        f"{unknown}{bytes_text(footprint.peak)} {where} at the peak{own}, "
        f"{bytes_text(footprint.disk)} on disk, {took} (matrix products here: {rate}; passes are "
        f"taken to reach {passes:.0%} of it, training steps {steps:.0%})"
    )
    return "\n".join(line.rstrip() for line in text)


def _row(line: Line) -> tuple[str, str, str, str, str, str]:
    held = "" if line.bytes is None else bytes_text(line.bytes)
    if line.unknown:
        held = "unknown"
    memory, disk = ("", held) if line.place == "disk" else (held, "")
    took = "" if line.seconds is None else duration_text(line.seconds)
    return line.stage, line.what, memory, disk, took, line.how


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)

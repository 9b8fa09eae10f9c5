"""Is there a GPU, how many replicates fit, and launch after launch with progress.

A launch is a grid of blocks that take replicates in turn; results depend on neither the grid nor
the cut. ``NUMBA_ENABLE_CUDASIM=1``, set before numba is imported, stands in for a GPU: for tests.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...threads import Progress

Record = TypeVar("Record", bound=tuple[Any, ...])

ROUNDS = 4  # replicates a block and launch, where memory allows: progress is shown between launches
MEMORY_SHARE = 0.8  # of the free memory
SIMULATED_BLOCKS = 2
ATTRIBUTES = ("MULTIPROCESSOR_COUNT", "MAX_THREADS_PER_MULTIPROCESSOR")  # as the driver calls them


class Device(NamedTuple):
    """What decides how many blocks are started."""

    name: str
    free_bytes: int
    multiprocessors: int
    threads: int  # that a multiprocessor can hold


class Cut(NamedTuple):
    """Blocks of a launch, and replicates."""

    blocks: int
    rows: int


class Stopped(KeyboardInterrupt):
    """Ctrl-C between launches: the first ``finished`` replicates are done.

    ``trajectories`` holds them where ``simulate`` has any to give.
    """

    def __init__(self, finished: int, replicates: int):
        super().__init__(
            f"stopped: {finished} of {replicates} replicates are finished"
            + (" and kept in this exception's .trajectories" if finished else "")
            + f"; first_replicate={finished} more than before goes on from there."
        )
        self.finished = finished
        self.trajectories: Any = None


def simulated() -> bool:
    """Whether numba's CUDA simulator stands in for a GPU."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def require_device() -> None:
    """ValueError unless kernels can run here: numba-cuda installed, and a GPU with its driver."""
    if importlib.util.find_spec("numba_cuda") is None:
        raise ValueError(
            "device: found 'cuda' without the package numba-cuda; "
            "install it with pip install 'activeduel[cuda]', or pass device='cpu'."
        )
    if simulated():
        return
    from numba import cuda

    if not cuda.is_available():
        raise ValueError(
            f"device: found 'cuda', but no NVIDIA GPU can be used here ({_reason()}); "
            "needed a GPU and its driver: run where there is one, or pass device='cpu'."
        )


def _reason() -> str:
    """What the driver said."""
    from numba.cuda.cudadrv.driver import driver
    from numba.cuda.cudadrv.error import CudaDriverError, CudaSupportError

    try:
        driver.ensure_initialized()
        count = driver.get_device_count()
    except (CudaSupportError, CudaDriverError) as error:
        return " ".join(str(error).split()).rstrip(".: ") or type(error).__name__
    return f"the driver counts {count} devices"


def device() -> Device:
    """The current GPU."""
    if simulated():
        return Device("numba's simulator", 2**30, SIMULATED_BLOCKS, 1)
    from numba import cuda

    gpu = cuda.get_current_device()
    free, _ = cuda.current_context().get_memory_info()
    name = gpu.name.decode() if isinstance(gpu.name, bytes) else str(gpu.name)
    count, threads = (int(getattr(gpu, attribute)) for attribute in ATTRIBUTES)
    return Device(name, int(free), count, threads)


def cut(device: Device, replicates: int, threads: int, block_bytes: int, row_bytes: int) -> Cut:
    """Blocks and replicates of a launch that the device holds.

    ``block_bytes`` of room for a block, ``row_bytes`` for a replicate's results. Raises ``ValueError``
    where not even one of each fits.
    """
    budget = int(device.free_bytes * MEMORY_SHARE)
    if block_bytes + row_bytes > budget:
        raise ValueError(
            f"device: found {device.free_bytes / 1e9:.1f} GB of free memory on {device.name}, needed "
            f"{(block_bytes + row_bytes) / MEMORY_SHARE / 1e9:.1f} GB for one replicate; lower the "
            "horizon, free the memory, or pass device='cpu'."
        )
    full = device.multiprocessors * max(device.threads // threads, 1)
    blocks = min(full, replicates, budget // (block_bytes + row_bytes))
    rows = (budget - blocks * block_bytes) // max(row_bytes, 1)
    return Cut(blocks, min(rows // blocks, ROUNDS) * blocks)


def in_launches(
    work: Callable[[int, int], None], rows: int, replicates: int, progress: Progress | None
) -> None:
    """``work(low, high)`` on ``rows`` replicates at a time. Ctrl-C becomes ``Stopped``."""
    finished = 0
    try:
        for low in range(0, replicates, rows):
            high = min(low + rows, replicates)
            work(low, high)
            finished = high
            if progress:
                progress(high - low)
    except KeyboardInterrupt as stop:
        raise Stopped(finished, replicates) from stop


def empty(shape: tuple[int, ...], kind: Any) -> Any:
    """Room on the device; in the simulator filled with what shows up when it is read unwritten."""
    if simulated():
        kind = np.dtype(kind)
        return np.full(shape, np.nan if kind.kind == "f" else 101, kind)
    from numba import cuda

    return cuda.device_array(shape, kind)


def to_device(record: Record) -> Record:
    """The record with its arrays in the device's memory."""
    if simulated():
        return record
    from numba import cuda

    moved = [cuda.to_device(x) if isinstance(x, np.ndarray) else x for x in record]
    return type(record)(*moved)


def to_host(array: Any, target: Any) -> None:
    """Copy the first rows of a device's array into a contiguous array of the host."""
    if simulated():
        target[...] = array[: len(target)]
    else:
        array[: len(target)].copy_to_host(target)


def types_of(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """numba's types of a kernel's arguments, from arrays of the host."""
    from numba import typeof

    return tuple(typeof(value) for value in values)

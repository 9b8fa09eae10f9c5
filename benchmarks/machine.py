"""What a timing was taken on: processor, versions, threads. No host name, no path."""

import os
import platform
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from .._provenance import code_version, package_versions

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def machine() -> dict[str, Any]:
    """Everything that a reader needs to judge the figures, as plain JSON."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions() | _version_of("scs"),
        "blas": {name: _blas(name) for name in ("numpy", "scipy")},
        "threads": threads(),
        "load_average": load_average(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "code": code_version(),
    }


def cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def load_average() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; None where nobody counts them."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None


def threads() -> dict[str, Any]:
    """BLAS threads, numba's, and the variables as set."""
    import numba

    return {
        "blas": blas_threads(),
        "numba": int(numba.get_num_threads()),
        **{name: os.environ.get(name) for name in THREAD_VARIABLES},
    }


def blas_threads() -> int | None:
    """What the variables ask of BLAS, its own variable first; None: as many as it likes."""
    named = [os.environ.get(name, "") for name in THREAD_VARIABLES]
    return next((int(number) for number in named if number.isdigit()), None)


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _version_of(name: str) -> dict[str, str]:
    try:
        return {name: metadata.version(name)}
    except metadata.PackageNotFoundError:
        return {}


def _blas(name: str) -> str:
    module: Any = np if name == "numpy" else import_module("scipy")
    found = module.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()

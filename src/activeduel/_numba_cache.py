"""Key numba's on-disk cache to the whole package.

numba invalidates a cached function only when *its own file* changes: a cached kernel in ``sim/``
that calls a jitted function in ``theory/`` keeps the old callee, silently. So the cache folder's
name is a fingerprint of every source file.
"""

import hashlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path

KERNEL_PACKAGES = ("activeduel.theory", "activeduel.sim")


def fingerprint() -> str:
    h = hashlib.sha256()
    for name in KERNEL_PACKAGES:
        spec = find_spec(name)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for p in sorted(Path(root).resolve().rglob("*.py")):
                s = p.stat()
                h.update(f"{name}:{p.name}:{s.st_size}:{s.st_mtime_ns};".encode())
    return h.hexdigest()[:16]


def configure() -> str:
    """Point numba at a cache of this exact source; a user's NUMBA_CACHE_DIR wins."""
    base = os.environ.get("ACTIVEDUEL_CACHE") or Path.home() / ".cache" / "activeduel"
    path = os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(base, "numba-" + fingerprint())))
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = path  # already imported: it has read the variable
    return path

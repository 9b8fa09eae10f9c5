"""Where a result comes from: the code, the packages, the configuration as one text."""

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ._version import __version__

CORE = ("numpy", "scipy", "numba", "cvxpy", "statsmodels", "matplotlib")


@cache
def code_version() -> dict[str, Any]:
    """Version, git commit and whether the tree has uncommitted changes (None outside git)."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).resolve().parent), *words],
                capture_output=True, text=True, timeout=20, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = git("rev-parse", "HEAD") if tracked else None
    status = git("status", "--porcelain") if commit else None
    return {
        "version": __version__,
        "commit": commit,
        "dirty": None if status is None else bool(status),
    }


def package_versions(names: Iterable[str] = CORE) -> dict[str, str]:
    """Versions of Python and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def canonical(configuration: Mapping[str, Any]) -> str:
    """The configuration as JSON with sorted keys; ValueError when it is not plain JSON."""
    try:
        return json.dumps(dict(configuration), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"configuration: found something that is not plain JSON ({error}); use numbers that are "
            "finite, text, lists and dictionaries."
        ) from error

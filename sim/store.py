"""A crash-safe store of results: one folder a setting, complete or absent, never overwritten.

``root/<experiment>/<setting id>/{data.npz, manifest.json}``. A folder is written under a temporary
name (data, then manifest, each fsynced) and renamed in one step, so a killed process leaves the
full result or a temporary folder that nobody reads. The id is a hash of the configuration and of
the sources of theory/ and sim/: a finished setting is found again, a changed one never is.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .._version import __version__

FORMAT = "activeduel-result/1"
PACKAGES = ("numpy", "scipy", "numba", "cvxpy", "statsmodels", "matplotlib")
_ABANDONED = 3600.0  # seconds after which a temporary folder's writer is taken for dead
_TEMPORARY = ".tmp-"

Arrays = dict[str, NDArray[Any]]
Manifest = dict[str, Any]


@cache
def algorithm_version() -> str:
    """Hash of every source file of theory/ and sim/: results of other code are never reused."""
    house = Path(__file__).resolve().parent.parent
    return sources_version(p for room in ("theory", "sim") for p in (house / room).rglob("*.py"))


def sources_version(files: Iterable[Path]) -> str:
    """Hash of the names and contents of source files, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(Path(f).resolve() for f in files):
        content = path.read_bytes()
        digest.update(f"{path.parent.name}/{path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


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


@cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
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


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that at any moment it is the old file or the new one."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex}")
    try:
        _write_durably(temporary, content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    for name, array in arrays.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name in ("file", "allow_pickle"):
            raise ValueError(f"arrays: found the name {name!r}, needed a plain word such as 'mse'.")
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"arrays: {name!r} holds Python objects; store numbers or text only.")
    stream = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(stream, **named)
    return stream.getvalue()


class Store:
    """Results under ``root``; ``find`` what is finished, ``save`` what was measured.

    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> store.find("demo", {"n": 3}) is None
    True
    >>> path = store.save("demo", {"n": 3}, {"x": np.arange(3)}, seed=0, device="cpu", seconds=0.1)
    >>> arrays, manifest = store.find("demo", {"n": 3})
    >>> arrays["x"].tolist(), manifest["configuration"]
    ([0, 1, 2], {'n': 3})
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, experiment: str, configuration: Mapping[str, Any]) -> Path:
        """Where this setting's result is or would be."""
        words = experiment.split("/")
        if not all(re.fullmatch(r"[A-Za-z0-9_][\w.-]*", word, re.ASCII) for word in words):
            raise ValueError(f"experiment: found {experiment!r}, needed words joined by '/'.")
        name = f"{canonical(configuration)}\n{algorithm_version()}"
        return self.root.joinpath(*words, hashlib.sha256(name.encode()).hexdigest()[:16])

    def find(
        self, experiment: str, configuration: Mapping[str, Any]
    ) -> tuple[Arrays, Manifest] | None:
        """The arrays and the manifest of a finished setting; None if there is none.

        Raises ValueError when something else, or something damaged, is found in its place.
        """
        folder = self.folder(experiment, configuration)
        if not os.path.lexists(folder):
            return None
        try:
            return _read(folder, experiment, json.loads(canonical(configuration)))
        except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ValueError(
                f"{folder}: found something other than a complete result ({error}); needed data.npz "
                "and the manifest.json written with it. It is kept as it is: move it away, then run again."
            ) from error

    def save(
        self,
        experiment: str,
        configuration: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        *,
        seed: int,
        device: str,
        seconds: float,
        counts: Mapping[str, int] | None = None,
    ) -> Path:
        """Store a result and return its folder; one that is already there is kept.

        Raises ValueError when what is there is not this setting's result, or the arrays hold
        Python objects; OSError when the disk refuses.
        """
        folder = self.folder(experiment, configuration)
        data = _npz(arrays)
        manifest = {
            "format": FORMAT,
            "experiment": experiment,
            "id": folder.name,
            "configuration": json.loads(canonical(configuration)),
            "seed": seed,
            "device": device,
            "seconds": seconds,
            "counts": dict(counts or {}),
            "code": code_version(),
            "algorithm_version": algorithm_version(),
            "packages": package_versions(),
            "machine": platform.machine(),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        temporary = folder.with_name(f"{_TEMPORARY}{folder.name}-{uuid.uuid4().hex}")
        try:
            temporary.mkdir()
            _write_durably(temporary / "data.npz", data)
            _write_durably(temporary / "manifest.json", _json_bytes(manifest))
            _sync_folder(temporary)
            _rename_or_accept(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync_folder(folder.parent)
        self.find(experiment, configuration)  # what another process put there must be sound
        return folder


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _rename_or_accept(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not os.path.lexists(folder):
            raise


def _remove_abandoned(parent: Path) -> None:
    for leftover in parent.glob(f"{_TEMPORARY}*"):
        try:
            abandoned = time.time() - leftover.stat().st_mtime > _ABANDONED
        except FileNotFoundError:  # its writer has just finished
            continue
        if abandoned:
            shutil.rmtree(leftover, ignore_errors=True)


def _read(folder: Path, experiment: str, configuration: Any) -> tuple[Arrays, Manifest]:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    wanted = {
        "format": FORMAT,
        "experiment": experiment,
        "id": folder.name,
        "configuration": configuration,
        "algorithm_version": algorithm_version(),
    }
    for key, value in wanted.items():
        if manifest[key] != value:
            raise ValueError(f"manifest.json: {key} is {manifest[key]!r}, not {value!r}")
    data = (folder / "data.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise ValueError("data.npz: the checksum differs from the manifest's")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, manifest

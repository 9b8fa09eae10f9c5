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
import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .._durable import TEMPORARY, sync_folder, write_durably
from .._provenance import canonical, code_version, package_versions

FORMAT = "activeduel-result/1"
_ABANDONED = 3600.0  # seconds after which a temporary folder's writer is taken for dead

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
        temporary = folder.with_name(f"{TEMPORARY}{folder.name}-{uuid.uuid4().hex}")
        try:
            temporary.mkdir()
            write_durably(temporary / "data.npz", data)
            write_durably(temporary / "manifest.json", _json_bytes(manifest))
            sync_folder(temporary)
            _rename_or_accept(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(folder.parent)
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
    for leftover in parent.glob(f"{TEMPORARY}*"):
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

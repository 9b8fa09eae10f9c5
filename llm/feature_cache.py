"""Features on disk: one folder a key, filled block by block, whole or absent at any moment.

CACHE/<hash of the key>/ holds features.npy (n, 2, d) float32 and manifest.json. While it is filled
its name begins with a dot, and a journal says which rows are on the disk, so that a run killed at
any moment goes on where it was; a block that was not recorded, or does not match its checksum, is
made again.
"""

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._durable import TEMPORARY, publish_folder, sync_folder, write_atomically
from .._provenance import canonical
from ..theory.checks import Ints
from .weights import file_hash

Features = NDArray[np.float32]
ARRAY, MANIFEST, KEY, JOURNAL = "features.npy", "manifest.json", "key.json", "journal"


def folder_of(cache: Path, key: Mapping[str, Any]) -> Path:
    """Where the features of this key are, or will be."""
    return cache / hashlib.sha256(canonical(key).encode()).hexdigest()[:24]


def finished(cache: Path, key: Mapping[str, Any]) -> Features | None:
    """The features of this key, read-only and on disk, or None where they are not finished.

    Raises ``ValueError`` where what stands in their place is damaged or belongs to another key; it
    is left as it is.
    """
    folder = folder_of(cache, key)
    if not folder.exists():
        return None
    manifest = _read(folder / MANIFEST)
    if manifest.get("key") != dict(key):
        theirs = manifest.get("key")
        named = theirs if isinstance(theirs, dict) else {}
        other = sorted(k for k in {*key, *named} if named.get(k) != key.get(k))
        raise ValueError(
            f"{folder}: found features of something else ({', '.join(other)} differ); needed those "
            "of this model and pool. They were left as they are: move the folder away."
        )
    path = folder / ARRAY
    if not path.is_file() or file_hash(path, cache) != manifest.get("sha256"):
        raise ValueError(
            f"{path}: found a file that is missing or not the one its manifest describes; needed it "
            "whole. It was left as it is: move the folder away, and the features are made again."
        )
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: found no readable JSON ({type(error).__name__}); needed the description of the "
            "features beside it. It was left as it is: move its folder away."
        ) from error
    return found if isinstance(found, dict) else {}


class Unfinished:
    """Features being made: ``done`` says which texts are on the disk; ``add`` puts more there."""

    def __init__(self, cache: Path, key: Mapping[str, Any], slots: Ints, dimension: int):
        """``slots`` (2n,) number of the text that each response of each pair is, from 0."""
        self._cache, self._key = cache, dict(key)
        self._order = np.argsort(slots, kind="stable")
        self._count = np.bincount(slots)
        self._first = np.cumsum(self._count) - self._count
        self._shape = (len(slots) // 2, 2, dimension)
        self._folder = cache / f"{TEMPORARY}{folder_of(cache, key).name}"
        self._folder.mkdir(exist_ok=True)
        self._belongs()
        self.done = np.zeros(len(self._count), dtype=bool)
        self._array = self._open()
        self._resume()

    def add(self, texts: Ints, values: Features) -> None:
        """Put the features (b, d) of these texts (b,) on the disk; they are there on return."""
        self._array[self._where(texts)] = np.repeat(values, self._count[texts], axis=0)
        self._array.flush()
        record = np.concatenate([[len(texts), _checksum(values)], texts]).astype("<i8")
        with (self._folder / JOURNAL).open("ab") as stream:
            stream.write(record.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        self.done[texts] = True

    def publish(self, facts: Mapping[str, Any]) -> Features:
        """Give the features their name; ``facts`` go into the manifest beside them."""
        assert self.done.all()
        manifest = {
            "key": self._key,
            "shape": list(self._shape),
            "sha256": file_hash(self._folder / ARRAY),
            "facts": dict(facts),
        }
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
        write_atomically(self._folder / MANIFEST, text.encode())
        final = folder_of(self._cache, self._key)
        publish_folder(self._folder, final)
        for name in (KEY, JOURNAL):  # only now: a run killed before goes on from them
            (final / name).unlink()
        found = finished(self._cache, self._key)
        assert found is not None
        return found

    def _belongs(self) -> None:
        path = self._folder / KEY
        if not path.exists():
            write_atomically(path, canonical(self._key).encode())
        if _read(path) != self._key:
            raise ValueError(
                f"{self._folder}: found unfinished features of something else; needed those of this "
                "model and pool. They were left as they are: move the folder away."
            )

    def _open(self) -> Any:
        """The array (2n, d) on the disk; made anew where it is absent or was not yet whole."""
        path = self._folder / ARRAY
        try:
            array = np.lib.format.open_memmap(path, mode="r+")
            if array.shape != self._shape or array.dtype != np.float32:
                raise ValueError
        except (OSError, ValueError):
            (self._folder / JOURNAL).unlink(missing_ok=True)
            array = self._reserve(path)
        return array.reshape(-1, self._shape[2])

    def _reserve(self, path: Path) -> Any:
        path.unlink(missing_ok=True)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=self._shape)
        try:
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            size = path.stat().st_size
            del array
            path.unlink()
            raise ValueError(
                f"{self._cache}: found no room for {size / 2**30:.1f} GiB of features "
                f"({error.strerror}); needed that much. Free some, or name another folder."
            ) from error
        array.flush()
        sync_folder(self._folder)
        return array

    def _resume(self) -> None:
        """Believe the journal up to its first record that is torn or does not match the array."""
        path = self._folder / JOURNAL
        raw = path.read_bytes() if path.exists() else b""
        entries = np.frombuffer(raw[: len(raw) // 8 * 8], dtype="<i8")
        at = 0
        while at + 2 <= len(entries):
            texts = entries[at + 2 : at + 2 + max(0, int(entries[at]))]
            if not self._holds(texts, int(entries[at]), int(entries[at + 1])):
                break
            self.done[texts] = True
            at += 2 + len(texts)
        if 8 * at != len(raw):
            with path.open("r+b") as stream:
                stream.truncate(8 * at)
                os.fsync(stream.fileno())

    def _holds(self, texts: Ints, count: int, checksum: int) -> bool:
        if not 0 < count == len(texts) or texts.min() < 0 or texts.max() >= len(self.done):
            return False
        held = self._array[self._where(texts)]
        first = np.cumsum(self._count[texts]) - self._count[texts]
        values = held[first]
        same = np.array_equal(held, np.repeat(values, self._count[texts], axis=0))
        return same and _checksum(values) == checksum

    def _where(self, texts: Ints) -> Ints:
        """Rows of the array that these texts fill, text after text."""
        count = self._count[texts]
        ends = np.cumsum(count)
        within = np.arange(ends[-1]) - np.repeat(ends - count, count)
        return np.asarray(self._order[np.repeat(self._first[texts], count) + within])


def _checksum(values: Features) -> int:
    return zlib.crc32(np.ascontiguousarray(values, dtype=np.float32).tobytes())


@contextmanager
def alone(cache: Path, key: Mapping[str, Any]) -> Iterator[None]:
    """Nobody else makes these features meanwhile; ``ValueError`` where another process does."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{TEMPORARY}{folder_of(cache, key).name}.lock"
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{path}: found that another run is making the same features; needed to be the only "
                "one. Wait until it is done: they can then be used by both."
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

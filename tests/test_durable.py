"""A file is the old one or the new one, a folder complete or absent."""

import os

import pytest

from activeduel._durable import publish_folder, write_atomically


def test_writing_atomically_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_atomically(path, b"old")

    def no_disk(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_is_published_whole_and_never_over_another(tmp_path):
    for attempt in range(2):
        temporary = tmp_path / f".tmp-{attempt}"
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "weights").write_bytes(bytes([attempt]))
        if not attempt:
            publish_folder(temporary, tmp_path / "state")
    with pytest.raises(OSError):
        publish_folder(temporary, tmp_path / "state")
    assert (tmp_path / "state" / "deep" / "weights").read_bytes() == b"\0"

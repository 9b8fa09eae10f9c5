"""What the system or the network refuses is said as everything else: found, needed, what to do."""

import errno
import os
import sqlite3
import time

import pytest
import tiny_runs

import activeduel._llm
from activeduel.cli import main

for _name in ("torch", "transformers", "peft", "huggingface_hub"):
    pytest.importorskip(_name, reason=f"needs {_name}: pip install 'activeduel[llm]'")


@pytest.fixture
def say(capsys, monkeypatch):
    """Give a command; its exit status, and what it wrote to the error stream."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # ``main`` sets these; here they are to be as before

    def command(*words):
        status = main(["llm", *map(str, words)])
        return status, capsys.readouterr().err

    return command


@pytest.fixture
def config(world, tmp_path):
    """``config(**changes)``: a configuration file of a tiny run into tmp_path/out."""

    def write(model, **changes):
        flat = tiny_runs.options(world.folder, tmp_path / "out", model, **changes)
        return tiny_runs.write_yaml(tmp_path / "run.yaml", flat)

    return write


def refused(said):
    return said[0] == 2 and said[1].count("activeduel: error:") == 1 and "; needed " in said[1]


def test_a_file_where_a_folder_belongs_and_the_other_way_round(say, config, tiny_model, tmp_path):
    path = config(tiny_model)
    (tmp_path / "out").write_text("a file")
    said = say("select", "--config", path)
    assert (
        refused(said) and f"{tmp_path / 'out'}" in said[1] and "found a file in its path" in said[1]
    )
    said = say("select", "--config", tmp_path)
    assert refused(said) and f"{tmp_path}: found a folder; needed a file" in said[1]
    said = say("select", "--config", tmp_path / "nowhere.yaml")
    assert refused(said) and "nowhere.yaml: found no such file" in said[1]
    (tmp_path / "out").unlink()
    (tmp_path / "out" / "run" / "config.json").mkdir(parents=True)
    said = say("select", "--config", path)  # written by another name first, which is not said
    assert refused(said) and "config.json: found a folder; needed a file" in said[1]
    assert ".tmp-" not in said[1]


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (errno.ENOSPC, "found a full disk; needed room"),
        (errno.EROFS, "found a file system to read only"),
        (errno.EACCES, "found no permission"),
    ],
)
def test_a_disk_that_is_full_or_not_to_be_written(say, config, monkeypatch, number, found):
    def refuse(*_):
        raise OSError(number, os.strerror(number), "out/run")

    monkeypatch.setattr("activeduel.llm.verbs.select", refuse)
    said = say("select", "--config", config("no model"))
    assert refused(said) and f"out/run: {found}" in said[1]


def test_sqlite_is_said_too(say, config, monkeypatch):
    def refuse(*_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("activeduel.llm.verbs.select", refuse)
    said = say("select", "--config", config("no model"))
    assert refused(said) and "(disk I/O error)" in said[1]


@pytest.mark.parametrize("change", ["dataset_name", "model_name_or_path"])
def test_a_hub_out_of_reach_is_said_at_once(say, config, tiny_model, monkeypatch, change):
    """Its library would try for half a minute: nobody listens at this address."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    said = say("run", "--config", config(tiny_model, **{change: "somebody/nothing"}))
    assert time.monotonic() - start < activeduel._llm.PATIENCE
    assert refused(said) and "somebody/nothing: found no such file or folder here" in said[1]
    assert "no way to the hub" in said[1] and "HF_HUB_OFFLINE=1" in said[1]


@pytest.mark.parametrize(
    ("name", "hub"),
    [("gpt2", True), ("some/model", True), ("some/model-7b.v2", True), ("./here", False),
     ("pool.jsonl", False), ("some/pool.csv", False), ("a b", False), ("a/b/c", False)],
)  # fmt: skip
def test_what_can_only_be_a_name_of_the_hub(name, hub):
    assert activeduel._llm._on_the_hub(name) is hub

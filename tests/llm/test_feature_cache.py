"""Features on disk: what happens when a run is killed, and when what stands there is not whole."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

from activeduel.llm import feature_cache
from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.feature_cache import Unfinished
from activeduel.llm.features import features


def options(path, **more):
    return ModelOptions(str(path), device="cpu", **more)


@pytest.fixture(scope="module")
def phi(world, tiny_model, tmp_path_factory):
    return features(
        world.pool, options(tiny_model), FeatureOptions(), tmp_path_factory.mktemp("cache")
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from activeduel.llm import features as module, feature_cache
from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.data import read_pool
from activeduel.llm.text_world import data_options
where, after, world, model, cache = sys.argv[1:]
module.BLOCK, count = 16, 0

def die(*_, **__):
    global count
    count += 1
    if count > int(after):
        os.kill(os.getpid(), signal.SIGKILL)

owner, name = {
    "before the journal": (feature_cache, "_checksum"),
    "before publishing": (feature_cache, "publish_folder"),
    "before a block": (module.Unfinished, "add"),
}[where]
real = getattr(owner, name)
setattr(owner, name, lambda *a, **k: (die(), real(*a, **k))[1])
pool = read_pool(data_options(Path(world)))
module.features(pool, ModelOptions(model, device="cpu"), FeatureOptions(tokens_per_batch=400), Path(cache))
"""


@pytest.mark.parametrize(
    ("where", "after", "done"),
    [("before a block", 0, 0), ("before the journal", 3, 48), ("before publishing", 0, 240)],
)
def test_killed_at_any_moment_it_goes_on(
    world, tiny_model, tmp_path, monkeypatch, where, after, done
):
    """What was recorded is kept, what was not is redone; the end is the same, bit for bit."""
    chosen = FeatureOptions(tokens_per_batch=400)
    whole = features(world.pool, options(tiny_model), chosen, tmp_path / "whole")
    cache = tmp_path / "cache"
    words = [where, after, world.folder, tiny_model, cache]
    child = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert not [p for p in cache.iterdir() if p.is_dir() and not p.name.startswith(".")]
    started = []
    real = Unfinished.__init__
    monkeypatch.setattr(
        Unfinished,
        "__init__",
        lambda self, *a: (real(self, *a), started.append(self.done.sum()))[0],
    )
    found = features(world.pool, options(tiny_model), chosen, cache)
    assert done <= started[0] < done + 16 and np.array_equal(found, whole)
    assert {p.name for p in cache.iterdir()} == {Path(found.filename).parent.name, "hashes.json"}


SLOTS = np.array([0, 1, 2, 0, 3, 4])  # the fourth response is the first text again
VALUES = np.arange(20, dtype=np.float32).reshape(5, 4)


def begin(cache):
    return Unfinished(cache, {"a": 1}, SLOTS, 4)


def journal_of(cache):
    return next(cache.glob(".tmp-*")) / "journal"


def test_blocks_come_back_in_any_order(tmp_path):
    work = begin(tmp_path)
    work.add(np.array([3, 0]), VALUES[[3, 0]])
    assert begin(tmp_path).done.tolist() == [True, False, False, True, False]
    work = begin(tmp_path)
    work.add(np.array([1, 2, 4]), VALUES[[1, 2, 4]])
    assert np.array_equal(work.publish({}).reshape(6, 4), VALUES[SLOTS])


def cut(cache):
    path = journal_of(cache)
    path.write_bytes(path.read_bytes()[:-5])


def nonsense(cache):
    path = journal_of(cache)
    path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)


def other_numbers(cache):
    path = journal_of(cache).with_name("features.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


@pytest.mark.parametrize("damage", [cut, nonsense, other_numbers])
def test_a_block_that_is_not_whole_is_made_again(tmp_path, damage):
    work = begin(tmp_path)
    work.add(np.array([0, 1]), VALUES[:2])
    work.add(np.array([2, 4]), VALUES[[2, 4]])
    damage(tmp_path)
    work = begin(tmp_path)
    assert work.done.tolist() == [True, True, False, False, False]
    work.add(np.array([2, 3, 4]), VALUES[2:])
    assert begin(tmp_path).done.all()
    assert np.array_equal(work.publish({}).reshape(6, 4), VALUES[SLOTS])


def test_an_array_that_was_never_whole_starts_anew(tmp_path):
    begin(tmp_path).add(np.array([0, 1]), VALUES[:2])
    journal_of(tmp_path).with_name("features.npy").write_bytes(b"\x93NUM")
    assert not begin(tmp_path).done.any()


def test_no_room_is_said_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ValueError, match="found no room for 0.0 GiB of features"):
        begin(tmp_path)


def test_damaged_features_are_named_and_kept(world, tiny_model, phi, tmp_path):
    folder = Path(phi.filename).parent
    mine = tmp_path / folder.name
    shutil.copytree(folder, mine)
    with (mine / "features.npy").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x00\x00")
    before = (mine / "features.npy").read_bytes()
    with pytest.raises(
        ValueError, match=r"features\.npy: found a file that is missing or not the one"
    ):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)
    assert (mine / "features.npy").read_bytes() == before
    (mine / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json: found no readable JSON"):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)


def test_features_of_something_else_are_refused(world, tiny_model, phi, tmp_path):
    folder = Path(phi.filename).parent
    mine = tmp_path / folder.name
    shutil.copytree(folder, mine)
    theirs = json.loads((mine / "manifest.json").read_text())
    theirs["key"]["layer"] = 1
    (mine / "manifest.json").write_text(json.dumps(theirs))
    with pytest.raises(ValueError, match=r"features of something else \(layer differ\)"):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)
    begin(tmp_path)
    (journal_of(tmp_path).parent / "key.json").write_text('{"a": 2}')
    with pytest.raises(ValueError, match="unfinished features of something else"):
        begin(tmp_path)


def test_two_runs_do_not_make_the_same_features(tmp_path):
    key = {"a": 1}
    lock = tmp_path / f".tmp-{feature_cache.folder_of(tmp_path, key).name}.lock"
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with (
            pytest.raises(ValueError, match="another run is making the same features"),
            feature_cache.alone(tmp_path, key),
        ):
            pass
    with feature_cache.alone(tmp_path, key):
        assert lock.exists()
    assert not lock.exists()

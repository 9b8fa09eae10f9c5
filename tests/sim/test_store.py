"""The store: what is saved is found, what is damaged or foreign is named and kept, kills are safe."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from activeduel._provenance import canonical
from activeduel.sim import store as store_module
from activeduel.sim.store import Store

SETTING = {"horizon": 10, "gap": 0.5, "sizes": [1, 2]}


def save(store, setting=SETTING, x=None):
    arrays = {"x": np.arange(6.0).reshape(2, 3) if x is None else x}
    return store.save("demo/one", setting, arrays, seed=3, device="cpu", seconds=1.5)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "algorithm_version", lambda: "fixed")
    return Store(tmp_path)


def test_what_was_saved_is_found_with_its_manifest(store):
    folder = save(store)
    arrays, manifest = store.find("demo/one", dict(reversed(SETTING.items())))
    assert np.array_equal(arrays["x"], np.arange(6.0).reshape(2, 3))
    assert folder.parent == store.root / "demo" / "one"
    assert sorted(p.name for p in folder.iterdir()) == ["data.npz", "manifest.json"]
    assert manifest["configuration"] == SETTING and manifest["seed"] == 3
    assert {
        "code",
        "algorithm_version",
        "packages",
        "seconds",
        "device",
        "counts",
        "sha256",
    } <= set(manifest)


@pytest.mark.parametrize(
    "change", [{"horizon": 11}, {"gap": 0.25}, {"sizes": [2, 1]}, {"new": None}]
)
def test_a_changed_setting_is_another_one(store, change):
    save(store)
    assert store.find("demo/one", {**SETTING, **change}) is None
    assert store.find("demo/two", SETTING) is None


def test_changed_algorithms_are_never_reused(store, monkeypatch):
    save(store)
    monkeypatch.setattr(store_module, "algorithm_version", lambda: "another")
    assert store.find("demo/one", SETTING) is None


def test_the_algorithm_version_follows_the_content_of_the_sources(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    first = store_module.sources_version([source])
    os.utime(source, (0, 0))
    assert store_module.sources_version([source]) == first
    source.write_text("x = 2\n")
    assert store_module.sources_version([source]) != first


def test_saving_again_keeps_what_is_there(store):
    before = (save(store) / "data.npz").read_bytes()
    folder = save(store, x=np.ones(3))
    assert (folder / "data.npz").read_bytes() == before
    assert not list(folder.parent.glob(".tmp-*"))


def damage_data(folder):
    data = bytearray((folder / "data.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "data.npz").write_bytes(data)


def swap_setting(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["gap"] = 0.1
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGES = {
    "a flipped bit": damage_data,
    "an empty data file": lambda f: (f / "data.npz").write_bytes(b""),
    "no data": lambda f: (f / "data.npz").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: (f / "manifest.json").write_text('{"format": '),
    "another manifest": lambda f: (f / "manifest.json").write_text("[1, 2]"),
    "another setting's manifest": swap_setting,
    "bytes that are no text": lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_and_kept(store, damage):
    folder = save(store)
    damage(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for action in (lambda: store.find("demo/one", SETTING), lambda: save(store)):
        with pytest.raises(ValueError, match="move it away") as error:
            action()
        assert str(folder) in str(error.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_foreign_file_in_the_place_is_refused_and_kept(store):
    folder = store.folder("demo/one", SETTING)
    folder.parent.mkdir(parents=True)
    folder.write_text("my notes")
    for action in (lambda: store.find("demo/one", SETTING), lambda: save(store)):
        with pytest.raises(ValueError, match="move it away"):
            action()
    assert folder.read_text() == "my notes"


def test_pickles_are_refused_in_both_directions(store, tmp_path):
    with pytest.raises(ValueError, match="Python objects"):
        save(store, x=np.array([{}], dtype=object))
    np.savez(tmp_path / "evil.npz", x=np.array([{}], dtype=object))
    folder = save(store)
    evil = (tmp_path / "evil.npz").read_bytes()
    (folder / "data.npz").write_bytes(evil)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = store_module.hashlib.sha256(evil).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="allow_pickle"):
        store.find("demo/one", SETTING)


@pytest.mark.parametrize("bad", ["", "/etc", "../up", "a//b", ".hidden", "a b"])
def test_experiments_stay_under_the_root(store, bad):
    with pytest.raises(ValueError, match="experiment"):
        store.folder(bad, SETTING)


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": np.float32(1)}, {"x": {1, 2}}])
def test_a_configuration_is_plain_json(bad):
    with pytest.raises(ValueError, match="plain JSON"):
        canonical(bad)


@pytest.mark.parametrize("name", ["file", "a b", "../x", ""])
def test_names_of_arrays_are_plain_words(store, name):
    with pytest.raises(ValueError, match="needed a plain word"):
        store.save("demo", SETTING, {name: np.ones(1)}, seed=0, device="cpu", seconds=0.0)


def test_abandoned_temporary_folders_are_ignored_then_removed(store):
    folder = store.folder("demo/one", SETTING)
    old, young = (folder.with_name(f".tmp-{folder.name}-{age}") for age in ("old", "young"))
    for leftover in (old, young):
        leftover.mkdir(parents=True)
        (leftover / "data.npz").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert store.find("demo/one", SETTING) is None
    save(store)
    assert not old.exists() and young.exists()
    assert store.find("demo/one", SETTING) is not None


SAVERS = """
import os, signal, sys, time
import numpy as np
from pathlib import Path
from activeduel.sim import store as module

module.algorithm_version = lambda: "fixed"
root, x = Path(sys.argv[1]), np.random.default_rng(0).random(100_000)

def start(folder, settings):
    child = os.fork()
    if child == 0:
        store = module.Store(folder)
        for i in range(settings):
            store.save("demo/one", {"i": i}, {"x": x}, seed=0, device="cpu", seconds=0.0)
        os._exit(0)
    return child
"""


def run_savers(root, action):
    """Processes that save the same large array under several settings, forked from one."""
    subprocess.run([sys.executable, "-c", SAVERS + action, str(root)], check=True, timeout=120)


def test_two_processes_saving_the_same_settings_both_end_well(store):
    run_savers(
        store.root,
        "children = [start(root, 8) for _ in range(2)]\n"
        "ends = [os.waitpid(child, 0)[1] for child in children]\n"
        "assert ends == [0, 0], ends",
    )
    assert all(store.find("demo/one", {"i": i}) is not None for i in range(8))
    assert not list((store.root / "demo/one").glob(".tmp-*"))


def test_a_kill_at_any_moment_leaves_nothing_or_the_full_result(store):
    """Thirty kills, spread over the time that a few saves take."""
    run_savers(
        store.root,
        "for attempt in range(30):\n"
        "    child = start(root / str(attempt), 1000)\n"
        "    time.sleep(0.003 + 0.005 * attempt)\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    assert os.waitpid(child, 0)[1] == signal.SIGKILL",
    )
    for attempt in range(30):
        here = Store(store.root / str(attempt))
        found = [here.find("demo/one", {"i": i}) is not None for i in range(100)]
        assert found == sorted(found, reverse=True)  # complete up to some point, absent after it
        save(here)

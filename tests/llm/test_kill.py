"""Killed with -9 at four named points, ``activeduel llm run`` goes on and ends as an unbroken run.

Compared are all rows of the ledger (but how often a question was put), all recorded facts, and the
bytes of every file of weights. ``make kill-test`` does the same at twenty random moments.
"""

import os
import signal

import pytest
import tiny_runs
from killed_runs import Runs

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with Runs(tmp_path_factory.mktemp("log") / "log") as runs:
        yield runs


@pytest.fixture(scope="module")
def start(world, tiny_model, runs, tmp_path_factory):
    """``start(run, **how)``: the exit status and the folder of a run of that method."""

    def begin(method, place, **how):
        changes = tiny_runs.KILLED[method]
        flat = tiny_runs.options(world.folder, place, tiny_model, **changes)
        yaml = tiny_runs.write_yaml(place / "run.yaml", flat)
        return runs(["llm", "run", "--config", yaml], **how), place / "run"

    return begin


@pytest.fixture(scope="module")
def unbroken(start, runs, tmp_path_factory):
    """What a run of each method ends with when nobody breaks it."""
    found = {}

    def outcome(method):
        if method not in found:
            status, folder = start(method, tmp_path_factory.mktemp(method))
            assert status == 0, runs.log.read_text()[-2000:]
            found[method] = tiny_runs.outcome(folder)
        return found[method]

    return outcome


def asked(folder):
    """How often the questions were put, in all."""
    with tiny_runs.Ledger.reading(folder / "ledger.sqlite") as ledger:
        return sum(row.asks for arm in ledger.arms() for row in ledger.rows(arm))


@pytest.mark.parametrize(
    ("method", "point"),
    [("reward", "asked"), ("reward", "answered"), ("reward", "trl"), ("adpo", "adpo")],
)
def test_a_killed_run_ends_as_an_unbroken_one(start, unbroken, tmp_path, method, point):
    status, folder = start(method, tmp_path, point=point)
    assert status == -signal.SIGKILL
    rows = [row for found in tiny_runs.rows(folder).values() for row in found]
    waiting = sum(row.status == "asked" for row in rows)
    if point in ("asked", "answered"):  # it was killed where it should be
        second = [row.status for row in rows if row.round == 1]
        assert second and set(second) <= {"asked", "answered"}
        assert ("answered" in second) == (point == "answered")
        assert [r for _, r, name, _ in tiny_runs.facts(folder) if name == "evaluation"] == [0]
    elif point == "trl":
        assert list(folder.glob("models/dual/0/.tmp-*")) and not waiting
    else:
        working = folder / "models" / "adpo" / "0" / "policy.training"
        assert [p.name for p in working.glob("checkpoint-*")] == ["checkpoint-00000003"]

    status, folder = start(method, tmp_path)
    assert status == 0
    assert tiny_runs.outcome(folder) == unbroken(method)
    assert not list(folder.rglob(".tmp-*")) and not list(folder.rglob("*.training"))
    rows = [row for found in tiny_runs.rows(folder).values() for row in found]
    labels = sum(row.kind == "label" for row in rows)
    assert asked(folder) - labels == waiting  # asked again: what had no answer, nothing else


def test_the_runs_hold_what_is_compared(unbroken):
    """Trained weights and pseudo-labels are there, and another seed gives others (negative control)."""
    reward, adpo = unbroken("reward"), unbroken("adpo")
    assert sum("adapter_model" in name for name in reward["weights"]) >= 4
    assert {row.kind for row in adpo["rows"]["adpo/0"]} == {"label", "pseudo"}
    assert any("adpo" in name for name in adpo["weights"])


def test_another_seed_ends_otherwise(start, unbroken, world, tiny_model, runs, tmp_path):
    changes = {**tiny_runs.KILLED["reward"], "seed": 1}
    flat = tiny_runs.options(world.folder, tmp_path, tiny_model, **changes)
    yaml = tiny_runs.write_yaml(tmp_path / "run.yaml", flat)
    assert runs(["llm", "run", "--config", yaml]) == 0
    other, first = tiny_runs.outcome(tmp_path / "run"), unbroken("reward")
    assert other["rows"] != first["rows"]
    common = set(other["weights"]) & set(first["weights"])
    assert common and all(other["weights"][n] != first["weights"][n] for n in common)

"""``activeduel bench``: the table, the JSON, the exit status, bad usage."""

import json
import socket
from pathlib import Path

import pytest

from activeduel import cli
from activeduel.benchmarks import bench, designs, designs_on_a_gpu, loops, selection
from activeduel.benchmarks.machine import machine
from activeduel.benchmarks.measure import spread
from activeduel.benchmarks.row import Answer, Outcome, Row, Target


def a_row(name, answer=None, *, targets=(), slow=False, error=None, **measured):
    def measure():
        if error is not None:
            raise error
        times = (spread([0.001, 0.002, 0.003]), spread([0.1, 0.2, 0.3]), spread([90.0, 100.0]))
        return Outcome(*times, 1e-4, answer or Answer(True, {"gap": 1e-7}), **measured)

    return Row(name, "a problem", "a peer", "a floor", measure, targets, slow)


@pytest.fixture(autouse=True)
def small_registry(monkeypatch, tmp_path):
    """One row that is right, one that runs only when named."""
    use(
        monkeypatch,
        a_row("one/right", targets=(Target("ratio", 40.0),)),
        a_row("two/slow", slow=True),
    )
    monkeypatch.chdir(tmp_path)


def use(monkeypatch, *rows):
    monkeypatch.setattr(bench, "ROWS", {row.name: row for row in rows})


def run(*words):
    return cli.main(["bench", *words])


def read(path):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)


ROW = {
    "name", "problem", "status", "ours_seconds", "peer", "peer_seconds", "ratio", "peer_was_stopped",
    "floor", "floor_seconds", "distance_to_floor", "memory_bytes", "targets", "answer", "complaint",
    "notes", "seconds",
}  # fmt: skip
FAILED = {"name", "problem", "status", "peer", "complaint", "targets", "seconds"}


def test_the_table_and_the_json(capsys, tmp_path):
    assert run("--out", "deep/down.json") == 0
    shown = capsys.readouterr()
    assert "one/right" in shown.out and ">= 40x met" in shown.out and "right" in shown.out
    assert "2 ms [1, 3]" in shown.out and "200 ms a peer" in shown.out
    assert "Not run: two/slow." in shown.out and "deep/down.json" in shown.out
    assert "[1/1] one/right" in shown.err
    found = read("deep/down.json")
    assert set(found) == {"format", "machine", "rows", "not_run"}
    (row,) = found["rows"]
    assert set(row) == ROW and found["not_run"] == ["two/slow"]
    assert row["ratio"] == {"median": 95.0, "low": 90.0, "high": 100.0, "repeats": 2}
    assert row["distance_to_floor"] == pytest.approx(20)
    assert row["targets"] == [{"quantity": "ratio", "limit": 40.0, "text": ">= 40x", "met": True}]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["down.json"]  # no leftovers


def test_a_narrow_terminal_shows_the_same_words(capsys, monkeypatch):
    monkeypatch.setattr(bench, "WIDTH", 100)
    assert run() == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("2 ms", "[1, 3]", "a peer", "one/right", ">= 40x met"))


def test_the_machine_has_no_name_and_no_path():
    found = machine()
    assert {"cpu", "cores", "memory_gb", "packages", "blas", "threads", "date", "code"} <= set(
        found
    )
    assert {"python", "numpy", "scipy", "numba", "cvxpy"} <= set(found["packages"])
    text = json.dumps(found, allow_nan=False)
    assert str(Path.home()) not in text and str(Path(__file__).parents[2]) not in text
    assert socket.gethostname() not in text.replace(found["cpu"], "")


def test_a_wrong_answer_is_said_and_gives_1(capsys, monkeypatch):
    wrong = a_row("one/wrong", Answer(False, {"gap": float("nan")}, "gap nan"))
    use(monkeypatch, wrong, a_row("one/right"))
    assert run("--out", "a.json") == 1
    assert "WRONG: gap nan" in capsys.readouterr().out
    rows = read("a.json")["rows"]
    assert [row["status"] for row in rows] == ["wrong", "right"]
    assert rows[0]["answer"] == {"gap": None}


@pytest.mark.parametrize("error", [ValueError("no points"), ZeroDivisionError("by zero")])
def test_a_row_that_fails_gives_1_and_the_others_run(capsys, monkeypatch, error):
    use(monkeypatch, a_row("one/fails", error=error), a_row("one/right"))
    assert run("--out", "a.json") == 1
    assert str(error) in capsys.readouterr().out
    rows = read("a.json")["rows"]
    assert [row["status"] for row in rows] == ["failed", "right"] and set(rows[0]) == FAILED


def test_a_target_that_is_missed_or_open_gives_0(capsys, monkeypatch):
    use(
        monkeypatch,
        a_row("one/slower", targets=(Target("seconds", 1e-3), Target("memory", 2e8)), memory=3e8),
        a_row("one/stopped", targets=(Target("ratio", 200.0),), at_least=True),
    )
    assert run("--out", "a.json") == 0
    shown = capsys.readouterr().out
    assert "<= 1 ms NOT met" in shown and "<= 200 MB NOT met" in shown
    assert "+ 300 MB at the peak" in shown and "> 95 [90, 100]" in shown and ">= 200x ?" in shown
    met = [[t["met"] for t in row["targets"]] for row in read("a.json")["rows"]]
    assert met == [[False, False], [None]]


def test_slow_rows_run_when_named_or_begun():
    rows = bench.ROWS
    assert [row.name for row in bench.chosen(rows, [])] == ["one/right"]
    assert [row.name for row in bench.chosen(rows, ["two"])] == ["two/slow"]
    assert [row.name for row in bench.chosen(rows, ["two/slow", "one/"])] == list(rows)


@pytest.mark.parametrize("flag", [(), ("--list",)])
def test_an_unknown_row_lists_what_exists_and_writes_nothing(flag, capsys, tmp_path):
    assert run("--only", "one/rig", *flag) == 2
    complaint = capsys.readouterr().err
    assert "'one/rig'" in complaint and "one/right" in complaint and "two/slow" in complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("--onl", "one"), ("--only",), ("--bogus",), ("extra",), ("--out",)]
)
def test_bad_usage_is_a_message_and_2(words, capsys, tmp_path):
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert "error:" in shown.err and "Traceback" not in shown.err and shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_and_nothing_is_measured(capsys, monkeypatch, tmp_path):
    use(monkeypatch, a_row("one/never", error=AssertionError("was measured")))
    (tmp_path / "mine.json").write_text("mine")
    assert run("--out", "mine.json") == 2
    complaint = capsys.readouterr().err
    assert "mine.json" in complaint and "needed a new file" in complaint
    assert (tmp_path / "mine.json").read_text() == "mine"
    assert run("--out", "mine.json/inside.json") == 2
    assert "nothing can be written" in capsys.readouterr().err


def test_two_runs_of_one_second_do_not_share_a_file(capsys, monkeypatch):
    """The default name holds the second; the same second is refused rather than overwritten."""
    monkeypatch.setattr(bench.time, "strftime", lambda *_: "2026-01-01T000000Z.json")
    assert run() == 0
    (written,) = Path("results/bench").glob("*.json")
    first = written.read_bytes()
    assert run() == 2 and "which exists" in capsys.readouterr().err
    assert written.read_bytes() == first


def test_list_prints_rows_and_targets(capsys, tmp_path):
    assert run("--list") == 0
    shown = capsys.readouterr().out
    assert "one/right" in shown and "target: >= 40x" in shown and "two/slow (slow" in shown
    assert list(tmp_path.iterdir()) == []


def test_control_c_is_130_and_leaves_no_file(capsys, monkeypatch):
    use(monkeypatch, a_row("one/stopped", error=KeyboardInterrupt()))
    assert run() == 130 and "stopped" in capsys.readouterr().err
    assert list(Path("results/bench").iterdir()) == []


def test_the_registered_rows_hold_together(monkeypatch):
    monkeypatch.undo()
    every = (*designs.ROWS, *designs_on_a_gpu.ROWS, *selection.ROWS, *loops.ROWS)
    assert len({row.name for row in every}) == len(every) == len(bench.ROWS)
    for row in every:
        assert row.name.count("/") == 1 and row.problem and row.peer and row.floor

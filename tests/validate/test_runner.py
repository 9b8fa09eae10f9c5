"""The runner on small claims with known truth: verdicts, the store, resuming, names, exit codes."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fake_claims
import numpy as np
import pytest
from fake_claims import a_claim, a_test

from activeduel.sim import store as store_module
from activeduel.validate import runner
from activeduel.validate.claim import Run
from activeduel.validate.runner import ClaimFailed, Options, level, run_claims, select, validate

TESTS = Path(fake_claims.__file__).parent
ROW_KEYS = {
    *(
        [
            "id",
            "statement",
            "source",
            "kind",
            "verdict",
            "expected",
            "estimate",
            "interval",
            "threshold",
            "margin",
        ]
    ),
    *(
        [
            "margin_reason",
            "n",
            "alpha",
            "power",
            "smallest_detectable",
            "p_value",
            "sabotage",
            "command",
            "seconds",
        ]
    ),
    "unit",
}


@pytest.fixture(autouse=True)
def fixed_sources(monkeypatch):
    monkeypatch.setattr(store_module, "algorithm_version", lambda: "fixed")


@pytest.fixture
def options(tmp_path):
    return Options(scale="smoke", out=tmp_path / "out")


def rows_of(claims, options):
    report, _ = run_claims(claims, options)
    return {row["id"]: row for row in report["claims"]}


def test_each_claim_gets_the_verdict_it_deserves(options):
    rows = rows_of([make() for make in fake_claims.ALL], options)
    found = {
        name: (row["verdict"], (row["sabotage"] or {}).get("caught")) for name, row in rows.items()
    }
    assert found == {
        "fake/true/mean": ("SUPPORTED", True),
        "fake/false/mean": ("NOT SUPPORTED", False),
        "fake/weak/mean": ("UNDERPOWERED", None),
        "fake/uncaught/mean": ("SUPPORTED", False),
        "fake/open/better": ("NOT SUPPORTED", None),
        "fake/exact/never": ("SUPPORTED", True),
        "fake/exact/share": ("SUPPORTED", None),
        "fake/exact/size": ("ESTIMATE", None),
    }


def test_rows_have_the_promised_keys_and_plain_json(options):
    report, _ = run_claims([make() for make in fake_claims.ALL], options)
    rows = {row["id"]: row for row in report["claims"]}
    for name, row in rows.items():
        assert set(row) == ROW_KEYS | ({"open", "pilot"} if "open" in name else set())
    json.loads(json.dumps(report, allow_nan=False))
    assert rows["fake/open/better"]["expected"] == rows["fake/open/better"]["verdict"]
    assert rows["fake/open/better"]["pilot"] == "SUPPORTED"
    assert (
        rows["fake/exact/size"]["threshold"] is None and rows["fake/exact/size"]["p_value"] is None
    )
    assert rows["fake/exact/never"]["interval"] == [0.0, 0.0]
    assert set(rows["fake/true/mean"]["sabotage"]) == {
        "name", "verdict", "estimate", "interval", "n", "caught"}  # fmt: skip


def test_an_infinite_end_is_null(options):
    class OneSided:
        estimate, n = 0.1, 5

        def interval(self, alpha):
            return -np.inf, 0.2

    claim = a_claim("fake/one", a_test("fake/one/b", "BOUND", target=0.5, sabotage=None))
    claim = replace(claim, judge=lambda seen, run: {"fake/one/b": OneSided()})
    row = rows_of([claim], options)["fake/one/b"]
    assert row["verdict"] == "SUPPORTED" and row["interval"] == [None, 0.2]
    assert row["smallest_detectable"] is None


@pytest.mark.parametrize(
    "make, code",
    [
        (fake_claims.true_claim, 0),
        (fake_claims.false_claim, 1),
        (fake_claims.weak_claim, 0),
        (fake_claims.uncaught_claim, 1),
        (fake_claims.open_claim, 0),
        (fake_claims.exact_claim, 0),
    ],
)
def test_exit_codes(make, code, options, capsys):
    assert validate([make()], options) == code
    report = json.loads((options.out / "report.json").read_text())
    assert report["manifest"]["as_expected"] == (code == 0)
    assert (options.out / "report.html").exists()


def test_the_level_counts_registered_tests_with_a_region_only(options):
    claims = [fake_claims.true_claim(), fake_claims.exact_claim()]
    assert level(claims) == pytest.approx(0.01 / 3)
    row = rows_of(claims, replace(options, only=("fake/true",)))["fake/true/mean"]
    assert row["alpha"] == pytest.approx(0.01 / 3)


def test_sabotage_runs_with_the_same_n_and_seed(options):
    seen = []
    claim = fake_claims.true_claim()

    def measure(settings, run, sabotaged):
        seen.append((dict(settings), run.seed, run.alpha, sabotaged))
        return claim.measure(settings, run, sabotaged)

    rows_of([replace(claim, measure=measure)], replace(options, seed=5))
    true, broken = seen
    assert true[:3] == broken[:3] and (true[3], broken[3]) == (False, True)


class TestStoring:
    @pytest.fixture
    def counted(self):
        calls = []
        claim = fake_claims.true_claim()

        def measure(settings, run, sabotaged):
            calls.append(sabotaged)
            return claim.measure(settings, run, sabotaged)

        return replace(claim, measure=measure), calls

    def test_a_finished_claim_is_reported_not_measured_again(self, options, counted):
        claim, calls = counted
        first = rows_of([claim], options)
        assert rows_of([claim], replace(options, workers=2)) == first and calls == [False, True]

    def test_another_seed_setting_or_level_is_measured(self, options, counted):
        claim, calls = counted
        rows_of([claim], options)
        rows_of([claim], replace(options, seed=1))
        rows_of([claim, fake_claims.weak_claim()], options)
        changed = {"smoke": {**claim.settings["smoke"], "n": 700}}
        rows_of([replace(claim, settings=changed)], options)
        assert calls == [False, True] * 4

    def test_a_changed_measurement_is_measured(self, options, counted, monkeypatch):
        claim, calls = counted
        rows_of([claim], options)
        monkeypatch.setattr(runner, "measurement_version", lambda claim: "edited")
        rows_of([claim], options)
        assert calls == [False, True] * 2

    def test_the_version_follows_the_files_that_measure_imports(self, tmp_path, monkeypatch):
        package = tmp_path / "some_claims"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "worlds.py").write_text("N = 3\n")
        (package / "one.py").write_text(
            "from .worlds import N\n\ndef measure(settings, run, sabotaged):\n    return {}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        from some_claims.one import measure  # type: ignore[import-not-found]

        claim = replace(fake_claims.true_claim(), measure=measure)
        before = runner.measurement_version(claim)
        (package / "other.py").write_text("M = 1\n")
        assert runner.measurement_version(claim) == before
        (package / "worlds.py").write_text("N = 4\n")
        assert runner.measurement_version(claim) != before

    def test_a_damaged_result_is_named(self, options, counted):
        claim, _ = counted
        rows_of([claim], options)
        damaged = next(options.out.rglob("data.npz"))
        damaged.write_bytes(b"")
        with pytest.raises(ValueError, match="move it away") as error:
            rows_of([claim], options)
        assert str(damaged.parent) in str(error.value)


KILLED = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from activeduel.sim import store
from activeduel.validate.runner import Options, run_claims
from fake_claims import slow_claim
store.algorithm_version = lambda: "fixed"
out = Path(sys.argv[2])
run_claims([slow_claim(out.parent / "marker", 600.0)], Options(scale="smoke", out=out))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_from_what_it_had(how, tmp_path, options, monkeypatch):
    """Killed inside the second of two measurements: the first is found again, only it."""
    marker = tmp_path / "marker"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(TESTS), str(options.out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(how)
    _, complaint = child.communicate(timeout=30)
    assert child.returncode != 0
    if how == signal.SIGINT:
        assert "the same command goes on from there" in complaint

    measured, claim = [], fake_claims.slow_claim(marker, 0.0)

    def measure(settings, run, sabotaged):
        measured.append(sabotaged)
        return claim.measure(settings, run, sabotaged)

    same_file = runner.measurement_version(claim)
    monkeypatch.setattr(runner, "measurement_version", lambda _: same_file)
    row = rows_of([replace(claim, measure=measure)], options)["fake/slow/mean"]
    assert measured == [True]
    whole = rows_of([claim], replace(options, out=tmp_path / "fresh"))["fake/slow/mean"]
    assert {**row, "seconds": 0} == {**whole, "seconds": 0}


class TestNames:
    CLAIMS = (
        a_claim(
            "dual/beats", a_test("dual/beats-random/variance"), a_test("dual/beats-apo/variance")
        ),
        a_claim("dual/batch", a_test("dual/batch/loss"), a_test("dual/batch/top")),
        a_claim("dualistic", a_test("dualistic")),
    )

    @pytest.mark.parametrize(
        "only, expected",
        [
            ((), 5),
            (("dual",), 4),
            (("dual/",), 4),
            (("dual/batch",), 2),
            (("dual/batch/loss",), 1),
            (("dual/beats",), 2),
            (("dual/beats-random",), 1),
            (("dual/batch/loss", "dualistic"), 2),
            (("dual/batch", "dual/batch/loss"), 2),
        ],
    )
    def test_claims_tests_and_starts(self, only, expected):
        assert sum(len(tests) for _, tests in select(self.CLAIMS, only)) == expected

    @pytest.mark.parametrize("name", ["dual/bat", "dua", "nothing", "", "/"])
    def test_an_unknown_name_lists_what_exists(self, name):
        with pytest.raises(ValueError, match=r"dual/batch/loss\n[\s\S]*dualistic"):
            select(self.CLAIMS, (name,))

    def test_ids_are_unique(self, options):
        with pytest.raises(ValueError, match="'dualistic' twice"):
            run_claims([*self.CLAIMS, self.CLAIMS[-1]], options)

    def test_a_scale_without_settings_is_skipped_with_the_reason(self, options):
        report, _ = run_claims([fake_claims.true_claim()], replace(options, scale="full"))
        assert report["claims"] == []
        assert report["skipped"] == [
            {"id": "fake/true/mean", "reason": "fake/true has no settings at scale full"}
        ]


def broken(*_):
    raise ZeroDivisionError("no labels")


@pytest.mark.parametrize(
    "change, doing",
    [
        ({"measure": broken}, "measuring failed: no labels"),
        ({"judge": broken}, "judging failed: no labels"),
        ({"judge": lambda seen, run: {}}, "judge gave no statistic for fake/true/mean"),
        ({"draw": broken}, "drawing failed: no labels"),
    ],
)
def test_an_error_inside_a_claim_names_the_claim(change, doing, options):
    with pytest.raises(ClaimFailed, match=f"^fake/true: .*{doing}"):
        validate([replace(fake_claims.true_claim(), **change)], options)


def test_a_nan_observation_names_the_claim(options):
    claim = fake_claims.true_claim()

    def measure(settings, run: Run, sabotaged):
        return {"x": np.array([1.0, np.nan])}

    with pytest.raises(ClaimFailed, match="^fake/true: judging failed: .*not finite"):
        run_claims([replace(claim, measure=measure)], options)


class TestOutput:
    @pytest.mark.parametrize("name", ["report.json", "report.html"])
    def test_a_foreign_report_is_refused_and_kept(self, name, options):
        options.out.mkdir()
        (options.out / name).write_text("{}")
        with pytest.raises(ValueError, match="did not write"):
            validate([fake_claims.true_claim()], options)
        assert (options.out / name).read_text() == "{}"

    def test_our_own_report_is_replaced(self, options, capsys):
        for _ in range(2):
            assert validate([fake_claims.true_claim()], options) == 0

    def test_a_file_in_the_place_of_the_folder(self, options):
        options.out.write_text("a file")
        with pytest.raises(ValueError, match="nothing can be written"):
            validate([fake_claims.true_claim()], options)

    def test_default_folders(self):
        options = Options(scale="quick", seed=4)
        assert options.report_folder == Path("results/validate/quick-4")
        assert options.store_root == Path("results")


def test_a_claim_that_cannot_use_the_device_says_so(options):
    """Others get the device asked for; this one is measured, stored and named as on the CPU."""
    seen = []

    def spied(claim):
        def measure(settings, run, sabotaged):
            seen.append((claim.id, run.device))
            return claim.measure(settings, run, sabotaged)

        return replace(claim, measure=measure)

    first, second = (make() for make in fake_claims.ALL[:2])
    claims = [spied(first), spied(replace(second, cpu_only="it is too small"))]
    report, _ = run_claims(claims, replace(options, device="cuda"))
    assert {i: {d for c, d in seen if c == i} for i, _ in seen} == {
        first.id: {"cuda"},
        second.id: {"cpu"},
    }
    assert report["manifest"]["measured_on_cpu"] == {second.id: "it is too small"}
    commands = {row["id"]: row["command"] for row in report["claims"]}
    assert "--device cuda" in commands[first.tests[0].id]
    assert "--device cpu" in commands[second.tests[0].id]
    assert run_claims(claims, options)[0]["manifest"]["measured_on_cpu"] == {}


def test_a_device_that_is_not_there_stops_before_anything_is_measured(options, monkeypatch):
    from activeduel.sim.kernels.cuda import launch

    def absent():
        raise ValueError("device: found 'cuda', but no NVIDIA GPU")

    monkeypatch.setattr(launch, "require_device", absent)
    with pytest.raises(ValueError, match="no NVIDIA GPU"):
        validate([make() for make in fake_claims.ALL[:1]], replace(options, device="cuda"))
    assert not options.out.exists()

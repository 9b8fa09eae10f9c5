"""The command line: flags, exit codes, messages without tracebacks, quick help."""

import json
import subprocess
import sys

import fake_claims
import pytest

from activeduel import __version__, cli
from activeduel.validate import claims as registry
from activeduel.validate import runner


@pytest.fixture(autouse=True)
def small_registry(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "CLAIMS", (fake_claims.true_claim(), fake_claims.false_claim()))
    monkeypatch.chdir(tmp_path)


def run(*words):
    return cli.main(list(words))


def test_version_and_help(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"activeduel {__version__}\n"
    assert run("--help") == 0 and "validate" in capsys.readouterr().out
    assert run("validate", "--help") == 0 and "--scale" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    """--help must answer at once: none of the slow packages is even looked at."""
    code = (
        "import sys; from activeduel.cli import main; main(['validate', '--help']);"
        "heavy = {'numpy', 'scipy', 'numba', 'cvxpy', 'matplotlib', 'rich', 'statsmodels'};"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("unknown",),
        ("validate", "--scale", "huge"),
        ("validate", "--scal", "smoke"),
        ("validate", "--device", "tpu"),
        ("validate", "--seed", "-1"),
        ("validate", "--seed", str(2**64)),
        ("validate", "--seed", "1.5"),
        ("validate", "--workers", "0"),
        ("validate", "--workers", "many"),
        ("validate", "--only"),
        ("validate", "--bogus"),
        ("validate", "extra"),
    ],
)
def test_bad_usage_is_a_message_and_2(words, capsys):
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert "error:" in shown.err and "Traceback" not in shown.err and shown.out == ""


@pytest.mark.parametrize("flag", [(), ("--list",)])
def test_an_unknown_claim_lists_what_exists_and_writes_nothing(flag, capsys, tmp_path):
    assert run("validate", "--only", "fake/nothing", *flag) == 2
    complaint = capsys.readouterr().err
    assert "'fake/nothing'" in complaint and "fake/true/mean" in complaint
    assert list(tmp_path.iterdir()) == []


def test_list_prints_ids_and_statements(capsys, tmp_path):
    assert run("validate", "--list") == 0
    shown = capsys.readouterr().out
    for claim in registry.CLAIMS:
        assert claim.id in shown and claim.statement in shown
        assert all(test.id in shown and test.statement in shown for test in claim.tests)
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_and_default_folders(capsys, tmp_path):
    assert run("validate", "--scale", "smoke", "--only", "fake/true") == 0
    report = json.loads((tmp_path / "results/validate/smoke-0/report.json").read_text())
    assert [row["verdict"] for row in report["claims"]] == ["SUPPORTED"]
    assert (tmp_path / "results/validate/fake/true").is_dir()
    assert run("validate", "--scale", "smoke", "--seed", "3", "--out", "here") == 1
    assert {p.name for p in (tmp_path / "here").iterdir()} == {
        "report.json", "report.html", "validate"}  # fmt: skip
    assert "NOT SUPPORTED" in capsys.readouterr().out


def test_only_may_be_repeated(capsys):
    assert run("validate", "--list", "--only", "fake/true", "--only", "fake/false/mean") == 0
    shown = capsys.readouterr().out
    assert "fake/true" in shown and "fake/false" in shown


def test_an_output_folder_that_cannot_be_is_2(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert run("validate", "--scale", "smoke", "--out", "file/inside") == 2
    complaint = capsys.readouterr().err
    assert "found" in complaint and "needed" in complaint and "--out" in complaint


def test_control_c_is_130_and_says_what_is_kept(capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    claim = runner.replace(fake_claims.false_claim(), measure=stop)
    monkeypatch.setattr(registry, "CLAIMS", (fake_claims.true_claim(), claim))
    assert run("validate", "--scale", "smoke") == 130
    complaint = capsys.readouterr().err
    assert "1 of 2 claims are finished and kept under results" in complaint


def test_the_command_printed_in_a_row_reproduces_it(capsys, tmp_path):
    run("validate", "--scale", "smoke")
    report = json.loads((tmp_path / "results/validate/smoke-0/report.json").read_text())
    row = report["claims"][1]
    words = row["command"].split()
    assert words[0] == "activeduel" and run(*words[1:]) == 1
    again = json.loads((tmp_path / "results/again/report.json").read_text())["claims"]
    assert [{**r, "seconds": 0} for r in again] == [{**row, "seconds": 0}]


def test_the_registered_claims_hold_together(monkeypatch):
    monkeypatch.undo()
    if registry.CLAIMS:
        runner.check_registry(registry.CLAIMS)

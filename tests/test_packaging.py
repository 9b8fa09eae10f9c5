"""The house as it is installed: packages, links, the wheel, and what make passes on."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("theory", "sim", "llm", "validate", "paper_figs", "benchmarks")

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="needs a checkout: no pyproject.toml here"
)


def folders():
    return [top for top in FOLDERS if (ROOT / top).is_dir()]


def test_every_package_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = ["activeduel"]
    for top in folders():
        for init in sorted((ROOT / top).rglob("__init__.py")):
            found.append(".".join(("activeduel", *init.parent.relative_to(ROOT).parts)))
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(found)
    mapped = set(project["tool"]["setuptools"]["package-dir"])
    assert mapped == {"activeduel", *(f"activeduel.{top}" for top in folders())}


def test_every_folder_with_code_is_a_package():
    for top in folders():
        for source in (ROOT / top).rglob("*.py"):
            assert (source.parent / "__init__.py").exists(), f"{source.parent} has no __init__.py"


def test_links_point_at_the_folders():
    for top in folders():
        link = ROOT / "src" / "activeduel" / top
        assert link.is_symlink() and os.readlink(link) == f"../../{top}"
        assert link.resolve() == ROOT / top


def test_a_wheel_holds_every_file(tmp_path):
    """Built in a copy, so that no build folder of an earlier day can add or hide a file."""
    copy = tmp_path / "copy"
    names = ["pyproject.toml", "README.md", "src", *folders()]
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *names],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode:
        pytest.skip("needs git to tell sources from leftovers")
    files = [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, copy],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = built.stdout + built.stderr
    if "No matching distribution found for setuptools" in said:
        pytest.skip("needs a package index, for setuptools")
    assert built.returncode == 0, said[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    kinds = (".py", ".yaml", ".mplstyle", "py.typed")
    wanted = {
        name.removeprefix("src/") if name.startswith("src/") else f"activeduel/{name}"
        for name in files
        if name.endswith(kinds)
    }
    assert inside == wanted


def test_core_dependencies_hold_no_torch_and_no_tools():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!~ \[]", line)[0] for line in project["dependencies"]}
    assert not names & {"torch", "transformers", "peft", "trl", "pytest", "ruff", "mypy"}


def make(*words, **variables):
    return subprocess.run(
        ["make", "--no-print-directory", *words, *(f"{k}={v}" for k, v in variables.items())],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip


def test_make_names_every_command_that_exists():
    from activeduel.cli import build_parser

    help_text = make("help").stdout
    offered = set(re.findall(r"^make ([\w-]+)", help_text, re.MULTILINE))
    known = set(re.findall(r"^    (\w+) ", build_parser().format_help(), re.MULTILINE))
    assert offered - known <= {"llm-demo", "kill-test", "test", "everything", "clean"}, (
        "make offers a command that does not exist"
    )
    assert offered >= {"validate", "llm", "llm-demo", "test"}


def test_make_passes_arguments_on():
    dry = make("--dry-run", "validate", ARGS="--scale smoke --seed 3").stdout
    assert "-m activeduel validate --scale smoke --seed 3" in dry


def test_make_without_a_python_says_what_to_do():
    failed = make("core", PYTHON="/nowhere/python3.11")
    assert failed.returncode == 2
    assert "/nowhere/python3.11" in failed.stderr and "PYTHON=" in failed.stderr


def test_make_with_a_python_that_lacks_pip_names_it(tmp_path):
    """A twin of Debian's python3 without python3-venv: ensurepip cannot be found."""
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && exit 0\nexec {sys.executable} -c "\n'
        "import importlib.util, runpy, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n: None if n == 'ensurepip' else real(n)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        '" "$@"\n'
    )
    script.chmod(0o755)
    failed = make("core", PYTHON=script)
    assert failed.returncode == 2 and "without pip" in failed.stderr
    assert "-venv" in failed.stderr


def test_an_environment_is_installed_once_and_extras_add_up(tmp_path, monkeypatch):
    found = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    environment = importlib.util.module_from_spec(found)
    found.loader.exec_module(environment)
    installed = []

    def run(words, **_):
        environment.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        environment.PYTHON.touch()
        installed.extend(word for word in words if word in environment.WANTED.values())

    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(environment.subprocess, "run", run)
    for kind in ("core", "dev", "core", "llm", "dev", "llm", "core", "everything", "llm", "dev"):
        environment.install(kind)
    assert installed == [".", ".[dev]", ".[llm]", ".[dev,torch,cuda,ptx,llm]"]
    (tmp_path / ".venv" / "stamp").write_text("another interpreter\n")
    (tmp_path / ".venv" / "old").touch()
    environment.install("llm")
    assert installed[-1] == ".[llm]" and not (tmp_path / ".venv" / "old").exists()
    environment.install("dev")
    assert installed[-1] == ".[dev]"


def test_ci_runs_the_readme_command():
    text = (ROOT / ".ci" / "run").read_text()
    assert "make test" in text and os.access(ROOT / ".ci" / "run", os.X_OK)

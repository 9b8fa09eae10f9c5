"""What the README and CONTRIBUTING say is true: examples, commands, folders, files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from activeduel.cli import build_parser

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")

pytestmark = pytest.mark.skipif(
    not (ROOT / "CONTRIBUTING.md").exists(), reason="needs a checkout: no README here"
)


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def examples():
    return re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page("README.md"), re.DOTALL)


@pytest.mark.parametrize(("code", "prints"), examples())
def test_an_example_prints_what_the_readme_says(code, prints):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (prints, "")


def test_every_python_block_is_an_example_and_is_short():
    assert len(examples()) == page("README.md").count("```python") >= 1
    for code, _ in examples():
        assert len(code.splitlines()) <= 12


def commands():
    return set(re.findall(r"^    (\w+) ", build_parser().format_help(), re.MULTILINE))


def test_every_command_exists_and_is_explained():
    named = re.findall(
        r"`(?:\.venv/bin/)?activeduel (\w+)", page("README.md") + page("CONTRIBUTING.md")
    )
    assert set(named) == commands()


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_exists(name):
    targets = set(re.findall(r"^([a-z -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {word for line in targets for word in line.split()}
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", page(name), re.MULTILINE)) <= known


@pytest.mark.parametrize("name", PAGES)
def test_every_file_and_folder_named_exists(name):
    """In backquotes, with a slash or an ending; NAME stands for a new one, .venv and results/ are made."""
    paths = re.findall(r"`([\w./-]+(?:/|\.py|\.md))`", page(name))
    made = ("results/", ".venv")
    missing = [
        path
        for path in paths
        if "NAME" not in path and not path.startswith(made) and not (ROOT / path).exists()
    ]
    assert paths and not missing


def test_the_map_shows_every_folder():
    shown = set(re.findall(r"^\| `([\w/]+)/` \|", page("README.md"), re.MULTILINE))
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert shown == rooms | {"src/activeduel", "tests"}


def test_the_place_of_the_verdicts_is_marked():
    text = page("README.md")
    assert text.index("<!-- verdicts -->") < text.index("<!-- /verdicts -->")

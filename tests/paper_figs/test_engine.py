"""The figures' command: what it writes, what it never computes twice, what it refuses."""

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activeduel import cli, paper_figs
from activeduel.paper_figs import engine
from activeduel.paper_figs.engine import Options, make_figures, select
from activeduel.paper_figs.figure import Experiment, PaperFigure, Table


def compute(settings, part, *, seed, workers, progress):
    progress(0.5)
    return {"x": np.random.default_rng([seed, int(part)]).standard_normal(settings["n"])}


def draw(figure, table):
    figure.subplots().plot(table["part"], table["mean"], "o")


EXPERIMENT = Experiment("toy", {"smoke": {"n": 5}}, lambda settings: ["1", "2", "3"], compute)
TOY = PaperFigure(
    "toy",
    EXPERIMENT,
    (3.0, 2.0),
    lambda seen, settings: Table.of({"part": p, "mean": a["x"].mean()} for p, a in seen.items()),
    lambda table, settings: "Three means at 95 % of the width of a caption that is long. " * 3,
    draw,
)


def counting(figure):
    """The figure, and the list of the parts that get computed."""
    parts = []

    def counted(settings, part, **options):
        parts.append(part)
        return figure.experiment.compute(settings, part, **options)

    return replace(figure, experiment=replace(figure.experiment, compute=counted)), parts


@pytest.fixture
def options(tmp_path):
    return Options(scale="smoke", out=tmp_path / "out")


@pytest.fixture(autouse=True)
def same_source(monkeypatch):
    """A wrapped ``compute`` counts as the one it wraps."""
    monkeypatch.setattr(engine, "sources_version", lambda files: "same")


@pytest.fixture
def undrawn(monkeypatch):
    """Text instead of pictures, where the picture is not the point: drawing takes its time."""
    monkeypatch.setattr(
        engine, "render", lambda f, table, text: {"pdf": table.csv().encode(), "png": text.encode()}
    )


UNDRAWN = pytest.mark.usefixtures("undrawn")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_figure_is_pdf_png_and_csv_and_says_how_it_was_made(options, capsys):
    assert make_figures({"toy": TOY}, options) == 0
    files = contents(options.folder)
    assert sorted(files) == ["figures.json", "toy.csv", "toy.pdf", "toy.png"]  # nothing temporary
    assert files["toy.pdf"].startswith(b"%PDF-") and files["toy.pdf"].rstrip().endswith(b"%%EOF")
    assert files["toy.png"].startswith(b"\x89PNG") and b"IEND" in files["toy.png"][-12:]
    made = json.loads(files["figures.json"])["figures"]["toy"]
    assert (made["scale"], made["seed"], made["settings"]) == ("smoke", 0, {"n": 5})
    assert "95 %" in made["caption"] and made["code"]["version"]
    assert "toy.pdf .png .csv" in capsys.readouterr().out


def test_a_second_run_computes_nothing_and_writes_the_same_bytes(options, capsys):
    toy, parts = counting(TOY)
    make_figures({"toy": toy}, options)
    first = contents(options.folder)
    make_figures({"toy": toy}, options)
    assert parts == ["1", "2", "3"] and contents(options.folder) == first
    assert "from saved results" in capsys.readouterr().out


@UNDRAWN
@pytest.mark.parametrize("change", ["seed", "settings", "source"])
def test_other_seeds_settings_or_sources_are_computed_anew(change, options, monkeypatch):
    toy, parts = counting(TOY)
    make_figures({"toy": toy}, options)
    if change == "seed":
        options = replace(options, seed=1)
    elif change == "settings":
        toy = replace(toy, experiment=replace(toy.experiment, settings={"smoke": {"n": 6}}))
    else:
        monkeypatch.setattr(engine, "sources_version", lambda files: "edited")
    make_figures({"toy": toy}, options)
    assert parts == ["1", "2", "3"] * 2


@UNDRAWN
def test_two_figures_of_one_experiment_share_its_results(options):
    toy, parts = counting(TOY)
    make_figures({"toy": toy, "twin": replace(toy, name="twin")}, options)
    assert parts == ["1", "2", "3"]
    files = contents(options.folder)
    assert files["toy.csv"] == files["twin.csv"]


@UNDRAWN
def test_only_makes_the_named_figures_and_keeps_the_others_record(options):
    figures = {"toy": TOY, "twin": replace(TOY, name="twin")}
    make_figures(figures, replace(options, only=("twin",)))
    assert not (options.folder / "toy.pdf").exists()
    make_figures(figures, replace(options, only=("toy",)))
    assert sorted(json.loads((options.folder / "figures.json").read_text())["figures"]) == [
        "toy",
        "twin",
    ]


def test_select_keeps_the_registrys_order():
    figures = {"a": replace(TOY, name="a"), "b": replace(TOY, name="b")}
    assert [f.name for f in select(figures, ["b", "a", "b"])] == ["a", "b"]
    assert [f.name for f in select(figures, [])] == ["a", "b"]


@UNDRAWN
def test_a_write_that_fails_leaves_the_old_files_whole(options, monkeypatch):
    make_figures({"toy": TOY}, options)
    before = contents(options.folder)

    def full_disk(path, content):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return writer(path, content)

    writer = engine.write_atomically
    monkeypatch.setattr(engine, "write_atomically", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_figures({"toy": TOY}, replace(options, seed=1))
    after = contents(options.folder)
    assert sorted(after) == sorted(before) and after["toy.png"] == before["toy.png"]
    assert after["figures.json"] == before["figures.json"]


KILLED = """
import sys, time
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from activeduel.paper_figs import engine
from activeduel.sim import store

spec = spec_from_file_location("toy_figures", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
store.algorithm_version = lambda: "fixed"
engine.sources_version = lambda files: "same"

def compute(settings, part, **options):
    if part == "2":
        Path(sys.argv[3]).touch()
        time.sleep(60)
    return module.compute(settings, part, **options)

toy = replace(module.TOY, experiment=replace(module.EXPERIMENT, compute=compute))
engine.make_figures({"toy": toy}, engine.Options(scale="smoke", out=Path(sys.argv[2])))
"""


@UNDRAWN
def test_a_run_that_was_killed_goes_on_from_what_it_had(options, tmp_path):
    """Killed inside the second of three parts: the first is found again, only it."""
    marker = tmp_path / "marker"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, __file__, str(options.out), str(marker)]
    )
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=30)
    assert not list(options.folder.glob("toy.*"))

    toy, parts = counting(TOY)
    make_figures({"toy": toy}, options)
    assert parts == ["2", "3"]
    fresh = replace(options, out=tmp_path / "fresh")
    make_figures({"toy": TOY}, fresh)
    for kind in ("csv", "pdf", "png"):
        assert (options.folder / f"toy.{kind}").read_bytes() == (
            fresh.folder / f"toy.{kind}"
        ).read_bytes()


@UNDRAWN
class TestRefusals:
    def run(self, monkeypatch, *words):
        monkeypatch.setattr(paper_figs, "FIGURES", {"toy": TOY})
        return cli.main(["figures", "--scale", "smoke", *map(str, words)])

    def test_an_unknown_name_lists_the_known_ones_and_writes_nothing(
        self, monkeypatch, capsys, tmp_path
    ):
        assert self.run(monkeypatch, "--only", "nothing", "--out", tmp_path / "out") == 2
        complaint = capsys.readouterr().err
        assert "'nothing'" in complaint and "toy" in complaint and "Traceback" not in complaint
        assert list(tmp_path.iterdir()) == []

    def test_the_real_command_knows_every_registered_figure(self, capsys, tmp_path):
        words = ["figures", "--only", "nothing", "--out", str(tmp_path / "out")]
        assert cli.main(words) == 2
        complaint = capsys.readouterr().err
        assert all(name in complaint for name in paper_figs.FIGURES)

    @pytest.mark.parametrize("words", [("--scale", "huge"), ("--seed", "-1"), ("--bogus",)])
    def test_bad_flags_are_usage_errors(self, words, monkeypatch, capsys):
        assert self.run(monkeypatch, *words) == 2
        assert "error:" in capsys.readouterr().err

    def test_a_path_under_a_file_is_refused(self, monkeypatch, capsys, tmp_path):
        (tmp_path / "file").write_text("mine")
        assert self.run(monkeypatch, "--out", tmp_path / "file" / "figures") == 2
        complaint = capsys.readouterr().err
        assert "--out" in complaint and "Traceback" not in complaint

    def test_a_folder_that_refuses_to_be_written_is_refused_before_anything_runs(
        self, monkeypatch, capsys, tmp_path
    ):
        assert self.run(monkeypatch, "--out", tmp_path) == 0
        toy, parts = counting(TOY)

        def read_only(path, content):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(engine, "write_atomically", read_only)
        with pytest.raises(ValueError, match="Permission denied"):
            make_figures({"toy": toy}, Options(scale="smoke", seed=1, out=tmp_path))
        assert parts == []

    @pytest.mark.parametrize("name", ["thesis.pdf", "toy.csv", "photo.png"])
    def test_a_folder_with_figures_of_others_is_left_alone(
        self, name, monkeypatch, capsys, tmp_path
    ):
        (tmp_path / name).write_text("mine")
        assert self.run(monkeypatch, "--out", tmp_path) == 2
        assert name in capsys.readouterr().err
        assert contents(tmp_path) == {name: b"mine"}

    @pytest.mark.parametrize(
        "content", [b"{}", b"[1]", b'{"program": "other"}', b'{"program', b"\xff\xfe\x00", b""]
    )
    def test_a_record_of_something_else_is_left_alone(self, content, monkeypatch, capsys, tmp_path):
        (tmp_path / "figures.json").write_bytes(content)
        assert self.run(monkeypatch, "--out", tmp_path) == 2
        complaint = capsys.readouterr().err
        assert "figures.json" in complaint and "Traceback" not in complaint
        assert contents(tmp_path) == {"figures.json": content}

    def test_a_record_without_its_list_is_damaged(self, monkeypatch, capsys, tmp_path):
        (tmp_path / "figures.json").write_text(json.dumps({"program": engine.PROGRAM}))
        assert self.run(monkeypatch, "--out", tmp_path) == 2
        assert "damaged" in capsys.readouterr().err


def test_a_caption_line_never_ends_between_a_number_and_its_percent_sign():
    seen = []
    toy = replace(TOY, draw=lambda figure, table: (seen.append(figure), draw(figure, table)))
    engine.render(toy, Table.of([{"part": 1, "mean": 0.5}]), "A band holds 95 % of it. " * 30)
    (text,) = seen[0].texts
    assert text.get_text().count("95\N{NO-BREAK SPACE}%") == 30
    assert len(text.get_text().splitlines()) > 10


def test_a_table_reads_back_from_its_csv():
    rows = [{"name": "a", "x": 0.1 + 0.2, "n": 3}, {"name": "b", "x": float("nan"), "n": 4}]
    text = Table.of(rows).csv()
    back = np.genfromtxt(io.StringIO(text), delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert back["name"].tolist() == ["a", "b"] and back["n"].tolist() == [3, 4]
    assert back["x"][0] == 0.1 + 0.2 and np.isnan(back["x"][1])


def test_defaults_lie_under_results():
    assert Options().folder == Path("results/figures/quick-0")
    assert Options().store_root == Path("results")

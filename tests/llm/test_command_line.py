"""``activeduel llm`` as somebody types it: what is said, what is kept, and with which exit status."""

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys

import pytest
import tiny_runs

import activeduel._llm
from activeduel.cli import main
from activeduel.llm.command_line import VERBS, kinds, verbs
from activeduel.llm.read_config import build, options
from activeduel.llm.teachers import SETTINGS
from activeduel.llm.teachers.simulated import Simulated

OK, BAD, WAITING, STOPPED = 0, 2, 3, 130


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """``main`` sets these for its process; here they are to be as before."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.fixture
def extra():
    for name in ("torch", "transformers", "peft", "trl"):
        pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")


@pytest.fixture
def say(capsys):
    """Give a command; its exit status, and what it wrote to each stream."""

    def command(*words):
        status = main(["llm", *map(str, words)])
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def yaml(world, tmp_path, request):
    """``yaml(**changes)``: a configuration file of a tiny run into tmp_path/out."""

    def write(model="no model", **changes):
        flat = tiny_runs.options(world.folder, tmp_path / "out", model, **changes)
        return tiny_runs.write_yaml(tmp_path / "run.yaml", flat)

    return write


def test_every_verb_is_explained(say):
    status, shown, _ = say("--help")
    assert status == OK and verbs() == tuple(VERBS)
    assert all(f"\n    {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_a_flag_with_its_default(say, verb):
    status, shown, _ = say(verb, "--help")
    assert status == OK
    assert all(f"--{option} " in shown for option in options())
    flat = " ".join(shown.split())
    assert "--budget N money; labels where every price is 1; default: 600.0" in flat
    assert ("--answers" in shown) == (verb == "label")
    assert ("--yes" in shown) == (verb == "run")


def test_help_says_the_keys_of_every_kind_of_teacher(say):
    """Out of the records that read them, with what the source says of each."""
    flat = " ".join(say("run", "--help")[1].split())
    for kind, record in SETTINGS.items():
        line = next(line for line in kinds() if line.startswith(f"{kind}: "))
        assert " ".join(line.split()) in flat
        assert all(f"{field.name} (" in line for field in dataclasses.fields(record))
    assert "folder (needed) questions.md goes out there, answers*.csv come back" in flat
    assert "form (auto; or chat, pair, text) how both texts are put" in flat
    assert "lapse (0.0) share of answers given by a coin" in flat
    assert "template (built in)" in flat and "trust_remote_code (false)" in flat
    assert "max_length (4096) tokens, or fewer" in flat  # of the base of two records


def test_help_on_label_says_how_an_answer_is_written(say):
    flat = " ".join(say("label", "--help")[1].split())
    assert "columns key and preference: a, b or tie (or 1, 0, 0.5;" in flat


def test_help_imports_no_torch():
    code = (
        "import sys; from activeduel.cli import main; main(['llm', 'run', '--help']);"
        "sys.exit(repr({'torch', 'transformers', 'datasets'} & set(sys.modules) or 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "0\n" and "annotator (none)" in done.stdout


def test_flags_are_laid_over_the_file(say, yaml, tmp_path):
    """Read back from what the configuration then holds."""
    pytest.importorskip("yaml", reason="needs pyyaml: pip install 'activeduel[llm]'")
    for words, (group, option, value) in (
        (["--budget", "12", "--label_batch", "6"], ("selection", "budget", 12.0)),
        (["--use_peft", "false"], ("model", "use_peft", False)),
        (["--load_in_4bit"], ("model", "load_in_4bit", True)),
        (["--baselines", ""], ("selection", "baselines", ())),
        (["--preset", "zephyr-7b-lora-adpo", "--baselines", "", "--method", "head"],
         ("training", "confidence_threshold", 1.5)),
    ):  # fmt: skip
        from activeduel.cli import build_parser
        from activeduel.llm.command_line import overrides
        from activeduel.llm.read_config import read_config

        args = build_parser().parse_args(["llm", "run", "--config", str(yaml()), *words])
        config = read_config(args.config, overrides(args))
        assert getattr(getattr(config, group), option) == value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"treshold": 1}, "option 'treshold': found no such option."),
        ({"confidence_treshold": 1}, "Did you mean 'confidence_threshold'?"),
        ({"budget": "much"}, "option 'budget': found 'much', needed a number."),
        ({"budget": 0.4, "label_batch": 0.4}, "at least the price of the cheapest label (0.5)"),
        ({"selector": "duel"}, "selector 'duel': found no such. Did you mean 'dual'?"),
        ({"run_name": "../up"}, "option 'run_name': found '../up'"),
        ({"teachers": []}, "teachers: found none"),
        ({"dataset_name": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"model_name_or_path": "./nowhere"}, "nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_amiss_is_said_in_one_line_and_nothing_is_made(
    extra, say, yaml, tmp_path, changes, said
):
    status, _, error = say("run", "--config", yaml(**changes))
    assert status == BAD and said in error
    assert error.startswith("activeduel: error: ") and "Traceback" not in error
    assert not (tmp_path / "out" / "run" / "ledger.sqlite").exists()


def test_files_that_are_no_configuration_are_named(extra, say, tmp_path):
    path = tmp_path / "run.yaml"
    for content, said in (
        ("budget: [1, 2", "found no readable YAML"),
        ("- budget\n", "needed a list of options"),
        ("", "needed a list of options"),
        (b"\xff\xfe budget", "found no readable YAML"),
    ):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        status, _, error = say("run", "--config", path)
        assert status == BAD and f"activeduel: error: {path}: {said}" in error
    status, _, error = say("run", "--config", tmp_path / "nowhere.yaml")
    assert status == BAD and "nowhere.yaml" in error


def test_flags_that_do_not_exist_are_refused(say, yaml):
    status, _, error = say("run", "--config", yaml(), "--budgets", "3")
    assert status == BAD and "--budgets" in error
    status, _, error = say("walk")
    assert status == BAD and "walk" in error
    assert say()[0] == BAD


def test_without_the_extra_it_says_what_to_install(say, yaml, monkeypatch):
    monkeypatch.setattr(activeduel._llm, "find_spec", lambda name: None)
    status, _, error = say("run", "--config", yaml())
    assert status == BAD and "found no package 'torch'" in error
    assert "pip install 'activeduel[llm]'" in error


@pytest.fixture
def ran(extra, yaml, tiny_model, say, tmp_path):
    """A finished run: its configuration file and folder."""
    path = yaml(tiny_model)
    status, *_ = say("run", "--config", path)
    assert status == OK
    return path, tmp_path / "out" / "run"


def test_run_shows_what_it_will_take_and_ends_with_the_report(
    extra, say, yaml, tiny_model, tmp_path
):
    status, shown, error = say("run", "--config", yaml(tiny_model))
    folder = tmp_path / "out" / "run"
    assert status == OK
    assert "in memory at the peak" in error and "dual/0" in error
    assert shown.rstrip().endswith(f"{folder / 'report.html'}  {folder / 'report.json'}")
    assert json.loads((folder / "report.json").read_text())
    for text in (shown, error):  # nothing of the data is shown
        assert "pan oven" not in text and "how do i" not in text


def test_the_other_verbs_answer_in_a_line(ran, say):
    path, folder = ran
    status, shown, _ = say("evaluate", "--config", path)
    assert status == OK and "reward accuracy 0." in shown and "held-out pairs" in shown
    assert say("features", "--config", path)[1] == "120 x 2 x 64 features are in the cache\n"
    assert say("train", "--config", path)[:2] == (OK, f"{folder / 'reward'}\n")
    assert say("report", "--config", path)[0] == OK
    status, _, error = say("select", "--config", path)
    assert status == BAD and "of the budget of 24 spent" in error
    status, shown, _ = say("select", "--config", path, "--run_name", "new")
    assert status == OK and shown == f"{folder.parent / 'new' / 'selected-0.csv'}\n"
    status, _, error = say("run", "--config", path, "--seed", "1")
    assert status == BAD and "ledger.sqlite" in error and "seed 0, here 1" in error


def test_ctrl_c_is_130_and_the_run_goes_on_later(ran, say, monkeypatch):
    path, folder = ran
    before = tiny_runs.outcome(folder)
    shutil.rmtree(folder)

    def stop(self, questions):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Simulated, "answers", stop)
        status, _, error = say("run", "--config", path)
    assert status == STOPPED and error.rstrip().endswith("activeduel: stopped")
    assert say("run", "--config", path)[0] == OK
    assert tiny_runs.outcome(folder) == before


def test_a_folder_that_cannot_be_written_is_named(extra, say, yaml, tiny_model, tmp_path):
    (tmp_path / "out").write_text("a file stands here")
    status, _, error = say("run", "--config", yaml(tiny_model))
    assert status == BAD and str(tmp_path / "out") in error and "Traceback" not in error


@pytest.fixture
def people(extra, yaml, tiny_model, tmp_path):
    """A configuration in which only people are asked; their folder."""
    team = tmp_path / "team"
    rows = [{"name": "team", "kind": "people", "folder": str(team)}]
    changes = {"teachers": rows, "baselines": [], "budget": 12, "label_batch": 5, "warm_up": 4}
    return yaml(tiny_model, **changes), team


def open_rows(team):
    path = team / "questions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_people_answer_in_a_file_and_the_run_goes_on(people, say, tmp_path):
    """4, 5 and 3 questions: three files, then the report."""
    path, team = people
    status, _, error = say("run", "--config", path)
    assert status == WAITING and "4 questions wait for people" in error
    assert "activeduel llm label" in error
    for day, count in enumerate((4, 5, 3)):
        rows = open_rows(team)
        assert len(rows) == count
        answers = tmp_path / f"day-{day}.csv"
        with answers.open("w", newline="") as sink:
            table = csv.writer(sink)
            table.writerow(["key", "preference"])
            table.writerows([row["key"], "a" if i % 2 else "tie"] for i, row in enumerate(rows))
        status, _, error = say("label", "--config", path, "--answers", answers)
        assert status == (WAITING if day < 2 else OK), error
    assert not open_rows(team)
    bought = tiny_runs.rows(tmp_path / "out" / "run")["dual/0"]
    assert len(bought) == 12 and {row.status for row in bought} == {"answered"}
    assert {row.preference for row in bought} <= {0.0, 0.5, 1.0}
    before = tiny_runs.rows(tmp_path / "out" / "run")
    assert say("run", "--config", path)[0] == OK  # done: nobody is asked
    assert tiny_runs.rows(tmp_path / "out" / "run") == before


def test_people_answer_in_the_terminal_until_they_stop(people, say, monkeypatch, tmp_path):
    path, team = people
    assert say("run", "--config", path)[0] == WAITING
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nq\n"))
    status, shown, error = say("label", "--config", path)
    assert status == WAITING and "Which is better?" in shown
    assert "3 questions are still open" in error
    monkeypatch.setattr("sys.stdin", io.StringIO("b\nt\na\n"))
    status, _, error = say("label", "--config", path)
    assert status == WAITING and "5 questions wait for people" in error
    assert len(open_rows(team)) == 5
    rows = tiny_runs.rows(tmp_path / "out" / "run")["dual/0"]
    assert [row.status for row in rows] == ["answered"] * 4 + ["asked"] * 5


def test_answers_that_cannot_be_read_name_their_row(people, say, tmp_path):
    path, team = people
    assert say("run", "--config", path)[0] == WAITING
    answers = tmp_path / "answers.csv"
    answers.write_text(f"key,preference\n{open_rows(team)[0]['key']},left\n")
    status, _, error = say("label", "--config", path, "--answers", answers)
    assert status == BAD and "answers.csv" in error and "2" in error


def test_the_demo_is_a_configuration(world):
    """The file that users copy: every option known, and nothing of it left to a default by mistake."""
    from pathlib import Path

    import activeduel.llm

    yaml = pytest.importorskip("yaml", reason="needs pyyaml: pip install 'activeduel[llm]'")
    (folder,) = activeduel.llm.__path__
    flat = yaml.safe_load((Path(folder) / "demo.yaml").read_text(encoding="utf-8"))
    config = build(flat)
    assert config.selection.selector == "dual" and len(config.teachers) == 3
    assert build({**flat, "method": "adpo", "baselines": ""}).training.method == "adpo"

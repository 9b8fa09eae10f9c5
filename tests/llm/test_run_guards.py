"""What would quietly make a run another one, or a number more than it is, is refused or avoided."""

import json

import pytest
import tiny_runs

from activeduel.cli import main

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from activeduel.llm import hub, pipeline, verbs
from activeduel.llm.data import split
from activeduel.llm.read_config import build
from activeduel.llm.teachers import Waiting
from activeduel.llm.verbs import _own_test_pairs


@pytest.fixture(scope="module")
def made(world, tiny_model, tmp_path_factory):
    flat = tiny_runs.options(world.folder, tmp_path_factory.mktemp("guards"), tiny_model)
    return flat, pipeline.run(build(flat))


def test_held_out_is_what_the_run_held_out_whatever_the_options_say_now(made, world):
    flat, folder = made
    mine = split(world.pool, 0.25, 0, 0)[1]
    assert _own_test_pairs(folder, world.pool).tolist() == mine.tolist()
    assert split(world.pool, 0.9, 7, 0)[1].tolist() != mine.tolist()  # it would hold training pairs
    found = verbs.evaluate(build(flat))
    assert found.held_out
    assert verbs.evaluate(build({**flat, "test_fraction": 0.9, "seed": 7})) == found


def test_models_without_their_ledger_are_not_taken_for_this_runs(made, tmp_path):
    out = tmp_path / "out"
    (out / "run" / "models" / "dual" / "0" / "reward-1").mkdir(parents=True)
    with pytest.raises(ValueError, match="models without the ledger"):
        pipeline.run(build({**made[0], "output_dir": str(out)}))
    assert not (out / "run" / "ledger.sqlite").exists()


def test_no_adapter_is_trained_on_half_a_round(made, tmp_path):
    """The adapter of a round is made once: made too early, the run would go on with it."""
    people = {"name": "ann", "kind": "people", "folder": str(tmp_path / "ann")}
    flat = {**made[0], "output_dir": str(tmp_path / "out"), "baselines": [], "method": "reward"}
    flat["teachers"] = [flat["teachers"][0], people]
    with pytest.raises(Waiting):
        pipeline.run(build(flat))
    with pytest.raises(ValueError, match=r"train: found \d+ questions of the last round without"):
        verbs.train(build(flat))
    assert not list((tmp_path / "out").rglob("reward-*"))


def test_the_card_of_a_trained_model_has_that_models_accuracy(made, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(hub, "push", lambda folder, config, kind, facts: said.append(facts))
    where = {"output_dir": str(tmp_path), "push_to_hub": True, "hub_model_id": "me/x"}
    folder = pipeline.run(build({**made[0], **where, "method": "reward", "baselines": []}))
    (trained,) = (value for _, _, name, value in tiny_runs.facts(folder) if name == "trained")
    assert [facts["accuracy"] for facts in said] == [trained["head_accuracy"]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"teachers": [{"name": "nobody", "kind": "recorded"}]}, "no recorded judgement by 'nobody'"),
        ({"test_fraction": 0.001}, "needed at least one on each side"),
    ],
)  # fmt: skip
def test_a_start_that_failed_is_no_run_that_stands_in_the_way(made, tmp_path, wrong, said):
    flat = {**made[0], "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match=said):
        pipeline.run(build({**flat, **wrong}))
    folder = pipeline.run(build(flat))
    assert tiny_runs.rows(folder) == tiny_runs.rows(made[1])
    assert tiny_runs.facts(folder) == tiny_runs.facts(made[1])
    with pytest.raises(ValueError, match="the ledger of another run"):
        pipeline.run(build({**flat, "seed": 3}))


def test_a_pool_without_any_judgement_is_told_what_holds_one(made, tmp_path):
    teachers = [{"name": "dataset", "kind": "recorded"}]
    flat = {**made[0], "teachers": teachers, "judgements": None, "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="chosen and rejected, or with a preference, or a file of"):
        pipeline.run(build(flat))


@pytest.mark.parametrize("verb", ["train", "evaluate", "report"])
def test_a_run_that_is_not_there_is_not_begun(made, tmp_path, monkeypatch, capsys, verb):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as ``main`` would leave them
    out = tmp_path / "out"
    path = tiny_runs.write_yaml(tmp_path / "run.yaml", {**made[0], "output_dir": str(out)})
    assert main(["llm", verb, "--config", str(path)]) == 2
    assert "activeduel: error: " in (error := capsys.readouterr().err) and str(out / "run") in error
    assert not out.exists()


def test_nothing_is_trained_on_a_ledger_without_labels(made, tmp_path):
    flat = {**made[0], "output_dir": str(tmp_path)}
    verbs.select(build(flat))
    with pytest.raises(ValueError, match=r"found no label of dual/0 in .*ledger\.sqlite; needed"):
        verbs.train(build({**flat, "seed": 3}))
    made_with = json.loads((tmp_path / "run" / "config.json").read_text())
    assert made_with["seed"] == flat.get("seed", 0)  # it was not taken over for that


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budgett", "30"], "unrecognized arguments: --budgett 30. Did you mean --budget?"),
        (["--budgett=30"], "Did you mean --budget?"),
        (["--presett", "x"], "Did you mean --preset?"),
        (["--qqqqq"], "'activeduel llm run --help' lists them."),
        (["demo.yaml"], "A configuration is named by --config FILE."),
        ([], "Say --config FILE"),
    ],
)
def test_a_slip_on_the_command_line_is_told_what_was_meant(monkeypatch, capsys, words, said):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as ``main`` would leave them
    assert main(["llm", "run", *words]) == 2
    assert said in capsys.readouterr().err

"""What would quietly make a run another one, or a number more than it is, is refused or avoided."""

import pytest
import tiny_runs

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

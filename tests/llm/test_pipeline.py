"""A run is made once: called again it changes nothing, and what is not this run's is refused."""

import json
import shutil

import numpy as np
import pytest
import tiny_runs

from activeduel.llm import pipeline
from activeduel.llm.arm import BASE
from activeduel.llm.data import read_pool
from activeduel.llm.ledger import Asked, Ledger
from activeduel.llm.read_config import build
from activeduel.llm.teachers.simulated import Simulated
from activeduel.llm.tiny_model import write_model

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")


@pytest.fixture(scope="module")
def made(world, tiny_model, tmp_path_factory):
    """A finished run: its flat options and its folder."""
    out = tmp_path_factory.mktemp("made")
    flat = tiny_runs.options(world.folder, out, tiny_model)
    return flat, pipeline.run(build(flat))


@pytest.fixture
def copied(made, tmp_path):
    """The finished run in a folder of the test's own."""
    flat, folder = made
    shutil.copytree(folder.parent, tmp_path / "out")
    return {**flat, "output_dir": str(tmp_path / "out")}, tmp_path / "out" / folder.name


def pairs_bought(folder):
    return {
        arm: [(r.pair_id, r.teacher, r.preference, r.score) for r in found]
        for arm, found in tiny_runs.rows(folder).items()
    }


def test_a_run_leaves_its_ledger_its_configuration_and_a_reward_model(made, world):
    _, folder = made
    assert {p.name for p in folder.iterdir()} >= {"ledger.sqlite", "config.json", "reward"}
    assert json.loads((folder / "config.json").read_text())["budget"] == 24
    told = {(arm, name): value for arm, _, name, value in tiny_runs.facts(folder)}
    pool = told["", "pool"]
    assert (pool["pairs"], pool["prompts"], pool["with_gold"]) == (120, 40, 120)
    assert pool["context_types"] == list(world.pool.context_types)
    assert told["", "origin"]["packages"]["torch"]
    for arm in ("dual/0", "random/0"):
        assert told[arm, "split"]["train_pairs"] + told[arm, "split"]["test_pairs"] == 120
        assert told[arm, "evaluation"]["money"] <= 24
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        assert {s.name for s in ledger.stages()} >= {"features", "select", "ask", "refit"}
        assert all(s.seconds >= 0 and s.peak_bytes > 0 for s in ledger.stages())


def test_a_finished_run_called_again_asks_nobody_and_changes_nothing(copied, monkeypatch):
    flat, folder = copied
    before = tiny_runs.outcome(folder)
    monkeypatch.setattr(Simulated, "answers", lambda *_: pytest.fail("asked again"))
    assert pipeline.run(build(flat)) == folder
    assert tiny_runs.outcome(folder) == before
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        assert {row.asks for arm in ledger.arms() for row in ledger.rows(arm)} == {1}


@pytest.mark.parametrize(
    "changes",
    [{"tokens_per_batch": 300}, {"report_to": "none"}, {"save_steps": 7}],
    ids=lambda c: next(iter(c)),
)
def test_what_changes_speed_only_is_no_other_run(copied, changes):
    flat, folder = copied
    before = pairs_bought(folder)
    pipeline.run(build({**flat, **changes}))
    assert pairs_bought(folder) == before


def test_data_and_model_are_what_they_hold_not_where_they_lie(copied, tmp_path):
    flat, folder = copied
    before = tiny_runs.outcome(folder)
    for option in ("dataset_name", "judgements", "model_name_or_path"):
        moved = tmp_path / "moved" / flat[option].rpartition("/")[2]
        copy = shutil.copytree if option == "model_name_or_path" else shutil.copyfile
        moved.parent.mkdir(exist_ok=True)
        copy(flat[option], moved)
        flat[option] = str(moved)
    folder.rename(folder.with_name("renamed"))
    pipeline.run(build({**flat, "run_name": "renamed"}))
    assert tiny_runs.outcome(folder.with_name("renamed")) == before


def test_batches_of_other_sizes_give_the_same_picks(made, tmp_path):
    """fp32 on a CPU: the same features up to rounding, so the same pairs from the same teachers."""
    flat, folder = made
    other = {**flat, "output_dir": str(tmp_path), "tokens_per_batch": 200}
    again = pairs_bought(pipeline.run(build(other)))
    for arm, found in pairs_bought(folder).items():
        assert [row[:3] for row in again[arm]] == [row[:3] for row in found]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"budget": 25}, r"budget 24\.0, here 25\.0"),
        ({"seed": 1}, "seed 0, here 1"),
        ({"baselines": ["dual"]}, r"baselines \['random'\], here \['dual'\]"),
        ({"max_length": 64}, "max_length 96, here 64"),
        ({"teachers": tiny_runs.TEACHERS[:2]}, "teachers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_ledger_of_another_configuration_is_refused_by_name_and_kept(copied, changes, named):
    flat, folder = copied
    before = (folder / "ledger.sqlite").read_bytes()
    with pytest.raises(ValueError, match=rf"ledger\.sqlite: .*another run.*{named}"):
        pipeline.run(build({**flat, **changes}))
    assert (folder / "ledger.sqlite").read_bytes() == before
    assert json.loads((folder / "config.json").read_text())["budget"] == 24


def test_a_ledger_of_other_data_is_refused_by_name(copied, tmp_path):
    flat, _ = copied
    lines = (tmp_path / "pool.jsonl", flat["dataset_name"])
    with open(lines[1]) as source:
        lines[0].write_text("".join(list(source)[:-3]))
    judgements = tmp_path / "judgements.csv"
    with open(flat["judgements"]) as source:
        judgements.write_text("".join(list(source)[:-9]))
    other = {**flat, "dataset_name": str(lines[0]), "judgements": str(judgements)}
    assert read_pool(build(other).data).identity
    with pytest.raises(ValueError, match="another run.*pool"):
        pipeline.run(build(other))


def test_a_ledger_of_another_model_is_refused_by_name(copied, tmp_path):
    from activeduel.llm.tiny_model import write_model

    flat, _ = copied
    other = write_model(tmp_path / "model", size="test", seed=1)
    with pytest.raises(ValueError, match="another run.*weights"):
        pipeline.run(build({**flat, "model_name_or_path": str(other)}))


def test_a_second_process_on_the_same_run_is_sent_away(copied):
    flat, _ = copied
    with pipeline.open_run(build(flat)), pytest.raises(ValueError, match=r"ledger\.sqlite"):
        pipeline.run(build(flat))


@pytest.mark.parametrize("method", ["head", "reward"])
def test_a_pool_where_nobody_knows_who_is_right_is_bought_and_trained_on(made, tmp_path, method):
    """The usual start: people or judges, and no gold. Only the accuracy is missing, and said to be."""
    flat = {**tiny_runs.without_truth(made[0]), "output_dir": str(tmp_path), "method": method}
    folder = pipeline.run(build(flat))
    assert (folder / "reward").is_dir()
    evaluations = [v for _, _, name, v in tiny_runs.facts(folder) if name == "evaluation"]
    assert evaluations and all(e["asked"] > 0 for e in evaluations)
    assert (
        {e["accuracy"] for e in evaluations}
        == {e["length_accuracy"] for e in evaluations}
        == {None}
    )


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A run of method reward that trains after every second round, and at the end."""
    flat, _ = made
    out = tmp_path_factory.mktemp("trained")
    flat = {**flat, "output_dir": str(out), "method": "reward", "train_every": 2, "baselines": []}
    return flat, pipeline.run(build(flat))


def test_rounds_after_a_training_are_chosen_by_the_new_model(trained):
    _, folder = trained
    states = {row.round: row.state for row in tiny_runs.rows(folder)["dual/0"]}
    assert states == {0: "base", 1: "base", 2: "reward-1"}
    told = [(r, v) for _, r, name, v in tiny_runs.facts(folder) if name == "trained"]
    assert [(r, v["state"]) for r, v in told] == [(1, "reward-1"), (2, "reward-2")]
    assert told[0][1]["labels"] < told[1][1]["labels"]
    assert all(np.isfinite(v["loss"]) and v["steps"] > 0 for _, v in told)
    adapters = {p.name for p in (folder / "models" / "dual" / "0").iterdir()}
    assert adapters == {"reward-1", "reward-2"}
    assert (folder / "reward" / "adapter" / "adapter_model.safetensors").read_bytes() == (
        folder / "models" / "dual" / "0" / "reward-2" / "adapter_model.safetensors"
    ).read_bytes()


def test_a_trained_run_called_again_trains_nothing(trained, monkeypatch):
    from activeduel.llm import reward

    flat, folder = trained
    before = tiny_runs.outcome(folder)
    monkeypatch.setattr(reward, "RewardTrainer", lambda *_, **__: pytest.fail("trained again"))
    pipeline.run(build(flat))
    assert tiny_runs.outcome(folder) == before


def test_what_a_killed_run_left_half_written_is_cleared(copied):
    flat, folder = copied
    (folder / ".tmp-reward-0" / "deep").mkdir(parents=True)
    (folder / ".tmp-config.json-0").write_text("{")
    with pipeline.open_run(build(flat)):
        assert not list(folder.glob(".tmp-*"))


def test_a_judges_weights_belong_to_the_run(made, tiny_model, tmp_path):
    """Other weights in the same folder would answer otherwise, in one ledger."""
    judge = tmp_path / "judge"
    shutil.copytree(tiny_model, judge)
    teacher = {"name": "judge", "kind": "generative", "model_name_or_path": str(judge)}
    config = build({**made[0], "output_dir": str(tmp_path), "teachers": [teacher]})
    with pipeline.open_run(config) as opened:
        assert set(opened.ledger.configuration["judges"]) == {"judge"}
        opened.ledger.ask([Asked("key", "dual/0", 0, 0, "pair", "judge", 1.0, None, BASE)])
    write_model(judge, seed=1)
    with pytest.raises(ValueError, match="another run.*judges"), pipeline.open_run(config):
        pass


def test_a_deleted_training_comes_back_with_the_same_weights(trained, tmp_path):
    """Seeded: the stage is redone whole."""
    flat, folder = trained
    before = tiny_runs.outcome(folder)
    shutil.copytree(folder.parent, tmp_path / "out")
    copy = tmp_path / "out" / folder.name
    shutil.rmtree(copy / "models" / "dual" / "0" / "reward-1")
    shutil.rmtree(copy / "reward")
    pipeline.run(build({**flat, "output_dir": str(tmp_path / "out")}))
    assert tiny_runs.outcome(copy) == before


def test_labels_that_order_nothing_train_nothing_and_the_run_still_ends(made, tmp_path):
    flat, _ = made
    with open(flat["judgements"]) as source:
        head, *lines = source.read().splitlines()
    tied = "\n".join([head, *(line.rpartition(",")[0] + ",0.5" for line in lines)]) + "\n"
    (tmp_path / "ties.csv").write_text(tied)
    changes = {
        "judgements": str(tmp_path / "ties.csv"), "teachers": tiny_runs.TEACHERS[:1],
        "method": "reward", "train_every": 1, "output_dir": str(tmp_path / "out"),
    }  # fmt: skip
    folder = pipeline.run(build({**flat, **changes}))
    assert {row.preference for row in tiny_runs.rows(folder)["dual/0"]} == {0.5}
    told = [(name, v) for arm, _, name, v in tiny_runs.facts(folder) if arm == "dual/0"]
    assert not [v for name, v in told if name == "trained"]
    assert [v["money"] for name, v in told if name == "evaluation"][-1] == 24
    assert not (folder / "models").exists() and (folder / "reward" / "reward.json").exists()

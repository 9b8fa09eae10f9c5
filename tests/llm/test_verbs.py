"""What can be done beside a run: say the next picks, train on what there is, judge, take answers."""

import csv
import io
import shutil

import pytest
import tiny_runs

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from activeduel.llm import pipeline, verbs
from activeduel.llm.arm import Arm
from activeduel.llm.read_config import build
from activeduel.llm.teachers.people_files import open_questions
from activeduel.llm.teachers.simulated import Simulated
from activeduel.llm.text_world import write_world


@pytest.fixture(scope="module")
def made(world, tiny_model, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("made")
    flat = tiny_runs.options(world.folder, out, tiny_model)
    return flat, pipeline.run(build(flat))


@pytest.fixture
def stopped(made, tmp_path, monkeypatch):
    """The same run, stopped when the labels of its first two rounds are there."""
    flat = {**made[0], "output_dir": str(tmp_path / "out")}
    shutil.copytree(made[1].parent / "cache", tmp_path / "out" / "cache")
    evaluation = Arm.evaluation

    def stop(self, state, fit, labels):
        if labels.money > 5:
            raise KeyboardInterrupt
        return evaluation(self, state, fit, labels)

    with monkeypatch.context() as patch:
        patch.setattr(Arm, "evaluation", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(build(flat))
    return flat, tmp_path / "out" / "run"


def read(path):
    with open(path, newline="") as source:
        return [
            (r["pair_id"], r["teacher"], float(r["price"]), repr(float(r["score"])))
            for r in csv.DictReader(source)
        ]


def bought(folder, number):
    rows = tiny_runs.rows(folder)["dual/0"]
    return [(r.pair_id, r.teacher, r.price, r.score) for r in rows if r.round == number]


def test_select_writes_what_run_then_asks(stopped):
    flat, folder = stopped
    path = verbs.select(build(flat))
    assert path == folder / "selected-2.csv"
    assert not bought(folder, 2)  # nothing was asked
    pipeline.run(build(flat))
    assert read(path) == bought(folder, 2) != []


def test_select_begins_with_the_warm_up(made, tmp_path):
    flat = {**made[0], "output_dir": str(tmp_path)}
    path = verbs.select(build(flat))
    assert path.name == "selected-0.csv" and read(path) == bought(made[1], 0)


def test_select_says_where_there_is_nothing_to_select(made, tmp_path, monkeypatch):
    flat, _ = made
    with pytest.raises(ValueError, match=r"select: found 2\d.* of the budget of 24 spent"):
        verbs.select(build(flat))
    with pytest.raises(ValueError, match="method adpo, which decides what to ask while it trains"):
        verbs.select(build({**flat, "method": "adpo", "baselines": []}))

    def silent(self, questions):
        raise KeyboardInterrupt

    flat = {**flat, "output_dir": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(Simulated, "answers", silent)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(build(flat))
    with pytest.raises(ValueError, match="questions without an answer"):
        verbs.select(build(flat))


def test_train_makes_a_reward_model_of_the_labels_that_there_are(stopped, made):
    flat, folder = stopped
    assert not (folder / "reward").exists()
    assert verbs.train(build(flat)) == folder / "reward"
    early = (folder / "reward" / "head.safetensors").read_bytes()
    pipeline.run(build(flat))
    late = (folder / "reward" / "head.safetensors").read_bytes()
    assert late != early
    assert late == (made[1] / "reward" / "head.safetensors").read_bytes()  # run minds nothing


def test_train_needs_labels(made, tmp_path):
    flat = {**made[0], "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="train: found no label"):
        verbs.train(build(flat))
    with pytest.raises(ValueError, match="train: found method adpo"):
        verbs.train(build({**flat, "method": "adpo", "baselines": []}))


def test_evaluate_judges_on_the_held_out_pairs_of_the_run(made):
    flat, folder = made
    found = verbs.evaluate(build(flat))
    told = [
        v for arm, _, name, v in tiny_runs.facts(folder) if (arm, name) == ("dual/0", "evaluation")
    ]
    (split,) = (
        v for arm, _, name, v in tiny_runs.facts(folder) if (arm, name) == ("dual/0", "split")
    )
    assert found[1:] == (split["decided_test_pairs"], told[-1]["accuracy"], True)
    assert found.model == folder / "reward"


def test_evaluate_judges_on_all_of_another_data_set(made, tmp_path):
    other = write_world(tmp_path / "other", pairs=60, seed=8)
    where = {
        "dataset_name": str(other / "pool.jsonl"),
        "judgements": str(other / "judgements.csv"),
    }
    found = verbs.evaluate(build({**made[0], **where}))
    assert not found.held_out and 50 < found.pairs <= 60 and 0 <= found.accuracy <= 1


def test_evaluate_says_where_nothing_was_run(made, tmp_path):
    with pytest.raises(ValueError, match="found no reward model"):
        verbs.evaluate(build({**made[0], "output_dir": str(tmp_path)}))


def test_features_are_computed_once(made):
    assert verbs.features(build(made[0])) == (120, 2, 64)


def test_what_a_run_will_take_is_foreseen_without_beginning_it(made, tmp_path):
    found = verbs.foresee(build({**made[0], "output_dir": str(tmp_path / "nothing")}))
    assert found.footprint.seconds > 0 and {"features", "head"} <= {*found.footprint.stages()}
    assert not (tmp_path / "nothing").exists()


def test_what_cannot_be_found_out_is_said_before_anything_is_bought(made):
    """120 pairs, 112 with a gold side, a quarter held out."""
    few = verbs.foresee(build(made[0])).cautions
    assert len(few) == 1 and "about 28 held-out pairs" in few[0] and "3.6 points" in few[0]
    nothing = tiny_runs.without_truth(made[0])
    assert "can not be judged" in verbs.foresee(build(nothing)).cautions[0]
    enough = {**made[0], "test_fraction": 0.5}
    assert verbs.foresee(build(enough)).cautions == ()
    (alone,) = verbs.foresee(build({**enough, "baselines": []})).cautions
    assert "what choosing gains will be unknown" in alone


def people(flat, *folders):
    rows = [{"name": f.name, "kind": "people", "folder": str(f)} for f in folders]
    return build({**flat, "teachers": rows, "baselines": []})


def test_label_needs_people_and_knows_whose_file_it_is(made, tmp_path):
    flat, _ = made
    answers = tmp_path / "answers.csv"
    answers.write_text("key,preference\n")
    with pytest.raises(ValueError, match="label: found no teacher of the kind 'people'"):
        verbs.label(build(flat), answers)
    with pytest.raises(ValueError, match="--answers: found no file"):
        verbs.label(people(flat, tmp_path / "ann"), tmp_path / "nowhere.csv")


@pytest.fixture
def two_groups(made, tmp_path):
    """A run that waits for ann and for bob: its configuration, and the open questions of each."""
    folders = tmp_path / "ann", tmp_path / "bob"
    flat = {
        **made[0],
        "output_dir": str(tmp_path / "out"),
        "budget": 8,
        "warm_up": 8,
        "label_batch": 8,
    }
    config = people({**flat, "shared_pairs": 2}, *folders)
    with pytest.raises(verbs.Waiting):
        pipeline.run(config)
    return config, {folder: open_questions(folder) for folder in folders}


def test_a_file_of_answers_goes_to_the_group_whose_questions_it_answers(two_groups, tmp_path):
    config, asked = two_groups
    (ann, hers), (bob, his) = asked.items()
    answers = tmp_path / "monday.csv"
    answers.write_text(f"key,preference\n{his[0].key},tie\n")
    assert verbs.label(config, answers) == len(hers) + len(his) - 1
    assert (bob / "answers-monday.csv").read_bytes() == answers.read_bytes()
    assert not list(ann.glob("answers*"))
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(f"key,preference\n{hers[0].key},a\n{his[1].key},a\n")
    with pytest.raises(ValueError, match="mixed.csv, line 3: found answers of several groups"):
        verbs.label(config, mixed)
    assert not list(ann.glob("answers*")) and len(list(bob.glob("answers*"))) == 1


def test_the_terminal_says_who_is_asked(two_groups):
    config, asked = two_groups
    (_, hers), (_, his) = asked.items()
    sink = io.StringIO()
    left = verbs.label(config, None, io.StringIO("a\nq\nb\nq\n"), sink)
    assert left == len(hers) + len(his) - 2
    shown = sink.getvalue()
    assert f"[ann: 2 of {len(hers)}]" in shown and f"[bob: 2 of {len(his)}]" in shown
    assert shown.count("q (stop asking ann)") == shown.count("q (stop asking bob)") == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("key,preference\nabc,a\n", "line 2: found the unknown key 'abc'"),
        ("key,preference\n{0},a\n{0},b\n", "line 3: found another answer to question"),
    ],
)
def test_what_run_would_refuse_is_refused_before_anybody_is_asked(two_groups, text, found):
    config, asked = two_groups
    bob, questions = list(asked.items())[1]
    (bob / "answers.csv").write_text(text.format(questions[0].key))
    sink = io.StringIO()
    with pytest.raises(ValueError, match=found):
        verbs.label(config, None, io.StringIO("a\n"), sink)
    assert sink.getvalue() == ""
    with pytest.raises(ValueError, match=found):
        pipeline.run(config)


def test_answers_are_kept_beside_the_questions_and_never_overwritten(made, tmp_path):
    config, ann = people(made[0], tmp_path / "ann"), tmp_path / "ann"
    answers = tmp_path / "monday.csv"
    answers.write_text("key,preference\n")
    assert verbs.label(config, answers) == verbs.label(config, answers) == 0
    assert (ann / "answers-monday.csv").read_text() == "key,preference\n"
    answers.write_text("key,preference,comment\n")
    with pytest.raises(ValueError, match="other answers already in"):
        verbs.label(config, answers)
    assert (ann / "answers-monday.csv").read_text() == "key,preference\n"
    wrong = tmp_path / "tuesday.csv"
    wrong.write_text("key,preference\nx,a\n")
    with pytest.raises(ValueError, match="line 2: found the unknown key 'x'"):
        verbs.label(config, wrong)
    assert not (ann / "answers-tuesday.csv").exists()

"""ADPO buys labels through the ledger: within the budget, a pair once, and the same after a break."""

import math
from collections import Counter

import numpy as np
import pytest
import tiny_runs

for name in ("torch", "transformers", "peft", "trl"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from activeduel.llm import pipeline
from activeduel.llm.arm import Arm, Name
from activeduel.llm.ledger import Ledger
from activeduel.llm.policy import READ, Questions
from activeduel.llm.read_config import build
from activeduel.llm.teachers.simulated import Simulated

ADPO = {
    "method": "adpo",
    "baselines": [],
    "per_device_train_batch_size": 8,
    "learning_rate": 2e-3,
    "confidence_threshold": 0.02,
    "save_steps": 2,
}


@pytest.fixture
def asking(world, tmp_path):
    """``asking(**options)``: the arm of ADPO on this world, with a new ledger."""
    opened = []

    def make(**changes):
        config = tiny_runs.config(world.folder, tmp_path, **{**ADPO, **changes})
        opened.append(Ledger(tmp_path / f"{len(opened)}.sqlite", "one", {}))
        return Arm.open(Name("adpo", 0), config, world.pool, opened[-1])

    yield make
    for ledger in opened:
        ledger.close()


def policy(folder, arm):
    """What the ledger says of an arm's trained policy."""
    (found,) = (v for a, _, name, v in tiny_runs.facts(folder) if (a, name) == (arm, "policy"))
    return found


def put(questions, step, pairs):
    """Ask about the training pairs number ``pairs``."""
    rows = [int(questions.arm.train[i]) for i in pairs]
    return questions.ask(step, rows, [0.01] * len(rows))


def test_the_best_teacher_of_the_context_is_asked(asking, world):
    arm = asking(budget=1000)
    put(Questions(arm), 0, range(90))
    types, pool = world.pool.context_types, world.pool
    whom = {
        (types[pool.context[arm.place[r.pair_id]]], r.teacher) for r in arm.ledger.rows("adpo/0")
    }
    assert whom == {("cooking", "chef"), ("repair", "engineer"), ("travel", "engineer")}


def test_of_equally_good_teachers_the_cheaper_is_asked(asking):
    even = [{**row, "kind": "simulated", "rationality": 1.0} for row in tiny_runs.TEACHERS]
    arm = asking(teachers=even)
    put(Questions(arm), 0, range(6))
    assert {row.teacher for row in arm.ledger.rows("adpo/0")} == {"crowd"}


def test_a_named_or_a_random_teacher_is_asked_where_that_is_wanted(asking):
    named, random = asking(adpo_teacher="chef"), asking(adpo_teacher="random", budget=1000)
    put(Questions(named), 0, range(9))
    put(Questions(random), 0, range(90))
    assert {row.teacher for row in named.ledger.rows("adpo/0")} == {"chef"}
    count = Counter(row.teacher for row in random.ledger.rows("adpo/0"))
    assert len(count) == 3 and min(count.values()) > 15


def test_a_pair_is_bought_once_and_its_answer_met_again(asking):
    arm = asking(budget=1000)
    questions = Questions(arm)
    first = put(questions, 0, range(10))
    again = put(questions, 1, range(5, 15))
    assert again[:5] == first[5:] and set(first) <= {0.0, 1.0}
    rows = arm.ledger.rows("adpo/0")
    assert len(rows) == len({row.pair_id for row in rows}) == 15


def test_the_budget_is_the_end_of_asking(asking):
    """Where the next label is too dear a cheaper one is still bought, and nothing is invented."""
    arm = asking(budget=12, label_batch=10)
    questions = Questions(arm)
    answers = [
        answer
        for step in range(3)
        for answer in put(questions, step, range(8 * step, 8 * step + 8))
    ]
    rows = arm.ledger.rows("adpo/0")
    assert sum(row.price for row in rows) <= 12 < sum(row.price for row in rows) + 1
    assert sum(answer is not None for answer in answers) == len(rows) < 24


def test_an_interrupted_step_asks_the_same_again_and_pays_once(asking):
    arm = asking(budget=12, label_batch=10)
    first = Questions(arm)
    told = [put(first, 0, range(4)), put(first, 1, range(4, 12))]
    before = [(row.key, row.preference) for row in arm.ledger.rows("adpo/0")]
    resumed = Questions(arm)  # from a checkpoint before step 1
    assert put(resumed, 1, range(4, 12)) == told[1]
    assert [(row.key, row.preference) for row in arm.ledger.rows("adpo/0")] == before
    assert put(resumed, 2, range(4)) == told[0]


def test_pseudo_labels_cost_nothing_and_are_nobodys_answers(asking):
    arm = asking()
    questions = Questions(arm)
    put(questions, 0, range(2))
    questions.pseudo(0, [int(i) for i in arm.train[2:4]], [1, -1])
    questions.pseudo(1, [int(i) for i in arm.train[2:4]], [-1, -1])  # it may change its mind
    said = [row for row in arm.ledger.rows("adpo/0") if row.kind == "pseudo"]
    assert [(row.round, row.preference) for row in said] == [(0, 1), (0, 0), (1, 0), (1, 0)]
    assert {(row.teacher, row.price) for row in said} == {(READ, 0.0)}
    assert all(math.isnan(row.score) for row in said)
    again = put(questions, 2, [2])  # what it said itself was not bought
    assert again[0] is not None and len(arm.ledger.rows("adpo/0")) == 7


@pytest.fixture(scope="module")
def made(world, tiny_model, tmp_path_factory):
    """A finished ADPO run with both rivals beside it: two epochs, so that pairs are met twice."""
    out = tmp_path_factory.mktemp("adpo")
    changes = {
        **ADPO, "baselines": ["random"], "dpo_baseline": True, "budget": 40, "num_train_epochs": 2,
    }  # fmt: skip
    flat = tiny_runs.options(world.folder, out, tiny_model, **changes)
    return flat, pipeline.run(build(flat))


def test_a_run_asks_within_its_budget_and_believes_itself_where_it_is_sure(made, world):
    _, folder = made
    rows = tiny_runs.rows(folder)["adpo/0"]
    labels = [row for row in rows if row.kind == "label"]
    said = [row for row in rows if row.kind == "pseudo"]
    assert labels and said and sum(row.price for row in labels) <= 40
    assert len({row.pair_id for row in labels}) == len(labels)
    truth = dict(zip(world.pool.pair_ids, world.pool.truth(), strict=True))
    last = {row.pair_id: row.preference for row in said}  # of two epochs
    known = {i: preference for i, preference in last.items() if truth[i] in (0.0, 1.0)}
    told = policy(folder, "adpo/0")
    assert (told["asked"], told["pseudo"], told["pseudo_known"]) == (
        len(labels),
        len(said),
        len(known),
    )
    assert told["pseudo_right"] == sum(said == truth[i] for i, said in known.items())
    assert told["money"] == sum(row.price for row in labels) and 0 <= told["accuracy"] <= 1


def test_dpo_beside_it_has_every_training_pair_labelled_once(made):
    _, folder = made
    rows = tiny_runs.rows(folder)["dpo/0"]
    told = {(arm, name): v for arm, _, name, v in tiny_runs.facts(folder)}
    split, policy = told["dpo/0", "split"], told["dpo/0", "policy"]
    assert split == told["adpo/0", "split"]
    assert len(rows) == len({row.pair_id for row in rows}) == split["train_pairs"]
    assert policy["asked"] == len(rows) and policy["money"] == sum(row.price for row in rows)


def test_random_has_as_much_money_as_adpo_spent_and_asks_the_same_teachers(made):
    """What is left of it buys no further label; which pairs, the seed says, and no model."""
    _, folder = made
    rows = tiny_runs.rows(folder)
    random = [row for row in rows["random/0"] if row.kind == "label"]
    adpo = [row for row in rows["adpo/0"] if row.kind == "label"]
    money = sum(row.price for row in adpo) - sum(row.price for row in random)
    assert 0 <= money < 1 and len(random) == len({row.pair_id for row in random})
    whom = {row.pair_id: row.teacher for row in rows["dpo/0"]}
    assert all(whom[row.pair_id] == row.teacher for row in (*random, *adpo))
    assert {row.pair_id for row in random} != {row.pair_id for row in adpo}
    assert 0 <= policy(folder, "random/0")["accuracy"] <= 1


def test_adpo_is_looked_at_on_its_way(made):
    """90 pairs by 8, twice: 24 steps, of which a tenth is 3; accuracy, and what was bought by then."""
    _, folder = made
    facts = tiny_runs.facts(folder)
    looks = [(r, v) for arm, r, name, v in facts if (arm, name) == ("adpo/0", "evaluation")]
    bought = [row for row in tiny_runs.rows(folder)["adpo/0"] if row.kind == "label"]
    assert looks[0][1]["accuracy"] == 0.5 and looks[0][1]["asked"] == 0  # its own reference
    assert [step for step, _ in looks] == [*range(0, 25, 3)]
    for step, look in looks:
        assert look["asked"] == sum(row.round < step for row in bought)
    end = policy(folder, "adpo/0")  # the saved policy, on the same pairs: there are few
    assert looks[-1][1]["accuracy"] == pytest.approx(end["accuracy"])
    assert looks[-1][1]["money"] == end["money"]


def test_looks_change_nothing_that_is_trained(made, tmp_path):
    flat, folder = made
    changes = {"baselines": [], "dpo_baseline": False, "max_eval_pairs": 0}
    blind = pipeline.run(build({**flat, **changes, "output_dir": str(tmp_path)}))
    assert not [name for _, _, name, _ in tiny_runs.facts(blind) if name == "evaluation"]
    looked, unlooked = (tiny_runs.weights(path / "models" / "adpo") for path in (folder, blind))
    assert looked and looked == unlooked


def test_a_finished_policy_is_not_trained_again(made, monkeypatch):
    flat, folder = made
    before = tiny_runs.outcome(folder)
    monkeypatch.setattr(Simulated, "answers", lambda *_: pytest.fail("asked again"))
    pipeline.run(build(flat))
    assert tiny_runs.outcome(folder) == before


def test_stopped_in_the_loop_it_goes_on_from_its_checkpoint(made, tmp_path, monkeypatch):
    flat, folder = made
    answers, done = Simulated.answers, []

    def impatient(self, questions):
        done.append(len(questions))
        if len(done) == 5:
            raise KeyboardInterrupt
        return answers(self, questions)

    monkeypatch.setattr(Simulated, "answers", impatient)
    alone = {**flat, "baselines": [], "dpo_baseline": False, "output_dir": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(build(alone))
    working = tmp_path / "run" / "models" / "adpo" / "0" / "policy.training"
    assert list(working.glob("checkpoint-*"))
    pipeline.run(build(alone))
    stopped, unbroken = (tiny_runs.outcome(path) for path in (tmp_path / "run", folder))
    assert stopped["rows"]["adpo/0"] == unbroken["rows"]["adpo/0"]
    for kind in ("facts", "weights"):  # the unbroken run has its rivals' too
        own = [x for x in stopped[kind] if "adpo" in x[0] or "models/adpo" in x]
        assert own and all(x in unbroken[kind] for x in own)
    assert stopped["weights"].items() <= unbroken["weights"].items()
    assert not working.exists()


def test_without_pseudo_labels_nothing_is_said_unasked(made, tmp_path):
    flat, _ = made
    changes = {
        "pseudo_labels": False, "baselines": [], "dpo_baseline": False, "num_train_epochs": 1,
    }  # fmt: skip
    folder = pipeline.run(build({**flat, **changes, "output_dir": str(tmp_path)}))
    rows = tiny_runs.rows(folder)["adpo/0"]
    assert {row.kind for row in rows} == {"label"}
    (told,) = (v for _, _, name, v in tiny_runs.facts(folder) if name == "policy")
    assert told["pseudo"] == 0 and np.isfinite(told["accuracy"])

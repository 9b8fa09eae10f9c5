"""An arm buys what its selector says, for no more than its budget, and is the same however it ran.

No language model is needed here: phi is made of the world's own word shares.
"""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from activeduel.llm.arm import BASE, Arm, Name, generator, named_seed
from activeduel.llm.ledger import Ledger
from activeduel.llm.teachers import Answer, Waiting
from activeduel.llm.text_world import TOPICS, WORDS
from activeduel.llm.walk import walk
from activeduel.theory.pool import Belief, Pool
from activeduel.theory.refit import RIDGE
from activeduel.theory.selectors import SELECTORS


def shares(response):
    """Shares of the reward's words, the logarithm of the length, and words that say nothing."""
    words = response[0]["content"].split()
    kinds = [*WORDS.values(), *TOPICS.values()]
    return [*(sum(w in kind for w in words) / len(words) for kind in kinds), math.log(len(words))]


@pytest.fixture(scope="module")
def phi(world):
    return np.array([[shares(r) for r in both] for both in world.pool.responses], dtype=np.float32)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "one", {}) as ledger:
        yield ledger


@pytest.fixture
def arm(world, ledger, tmp_path):
    """``arm(selector, replicate, pool=..., **options)``, all in one ledger."""

    def make(selector="dual", replicate=0, pool=world.pool, ledger=ledger, **changes):
        config = tiny_runs.config(world.folder, tmp_path, **changes)
        return Arm.open(Name(selector, replicate), config, pool, ledger)

    return make


@pytest.fixture
def bought(phi):
    """Walk an arm to its end; its rows, NaN scores comparable."""

    def walk_it(arm):
        walk(arm, arm.state(BASE, phi))
        return [r._replace(score=repr(r.score)) for r in arm.ledger.rows(str(arm.name))]

    return walk_it


def rounds(rows):
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.round)]


def evaluations(arm):
    return [facts for *_, facts in arm.ledger.records(str(arm.name), "evaluation")]


class Said:
    """A teacher that answers as it is told, and remembers what it was asked."""

    instant = False

    def __init__(self, name, say, capacity=-1):
        self.name, self.say, self.asked, self._capacity = name, say, [], capacity

    def capacity(self):
        return np.full(120, self._capacity, dtype=np.int64)

    def answers(self, questions):
        for q in questions:
            self.asked.append((q.pair_id, q.number))
            yield Answer(q.key, self.say(q))


@pytest.mark.parametrize("rule", SELECTORS)
def test_what_is_bought_is_what_the_selector_picks(arm, bought, phi, rule):
    """The pool and the belief are put together here by hand; every round after the warm-up."""
    one = arm(rule)
    rows = bought(one)
    state = one.state(BASE, phi)
    assert [row[0].round for row in rounds(rows)] == [0, 1, 2]
    for number, found in enumerate(rounds(rows)[1:], start=1):
        before = one.labels([row for row in rows if row.round < number])
        fit, counts = one.fit(state, before), np.zeros((len(one.train), 3), dtype=np.int64)
        for pair, teacher in zip(before.pair, before.teacher, strict=True):
            counts[one.train.tolist().index(pair), teacher] += 1
        stock = np.full_like(counts, -1)
        stock[:, 0] = 1 - counts[:, 0]  # each pair was judged once by the recorded teacher
        pool = Pool(
            state.z, one.pool.context[one.train], one.stated, np.array([0.5, 1.0, 1.5]), stock
        )
        belief = Belief(fit.theta, fit.information, fit.gram, counts, RIDGE)
        money = min(10.0, 24.0 - before.money)
        picks = SELECTORS[rule](pool, belief, money, generator(0, 0, rule, number))
        assert [row.pair_id for row in found] == [
            one.pool.pair_ids[one.train[i]] for i in picks.pair
        ]
        assert [list(one.teachers).index(row.teacher) for row in found] == picks.teacher.tolist()
        assert [row.score for row in found] == [repr(float(s) + 0.0) for s in picks.score]  # no -0


def test_the_arms_of_a_replicate_start_from_the_same_split_and_labels(arm, bought):
    def start(*name):
        one = arm(*name)
        first = rounds(bought(one))[0]
        return one.test.tolist(), [(row.pair_id, row.teacher, row.preference) for row in first]

    dual, rival, another = start("dual", 0), start("random", 0), start("dual", 1)
    assert dual == rival
    assert dual[0] != another[0] and dual[1] != another[1]


def test_a_teacher_says_the_same_on_the_same_pair_in_every_arm_of_a_replicate(arm, bought):
    both = [*bought(arm("dual")), *bought(arm("random"))]
    first = {}
    for row in (row for row in both if row.teacher == "crowd"):
        assert first.setdefault(row.pair_id, row.preference) == row.preference
    assert len(first) < sum(row.teacher == "crowd" for row in both)  # some were met twice


@pytest.mark.parametrize(
    ("budget", "label_batch", "warm_up"), [(24, 10, None), (23.25, 7, 0), (5.5, 5.5, 3), (2, 2, 2)]
)
@pytest.mark.parametrize("selector", ["dual", "random"])
def test_money_is_spent_to_the_last_label_and_no_further(
    arm, bought, selector, budget, label_batch, warm_up
):
    one = arm(selector, budget=budget, label_batch=label_batch, warm_up=warm_up)
    rows = bought(one)
    price = {"crowd": 0.5, "chef": 1.0, "engineer": 1.5}
    assert all(row.price == price[row.teacher] for row in rows)
    assert budget - 0.5 < sum(row.price for row in rows) <= budget
    by_round = [sum(row.price for row in found) for found in rounds(rows)]
    begun = budget / 6 if warm_up is None else warm_up
    if begun:
        assert by_round.pop(0) <= begun
    assert all(money <= label_batch for money in by_round)


def test_recorded_teachers_sell_each_judgement_once_and_then_the_arm_is_done(world, arm, bought):
    """A budget for everything: every training judgement is bought, no pair without one is picked."""
    pool, keep = world.pool, world.pool.judged_pair % 3 > 0
    fewer = replace(
        pool,
        judged_pair=pool.judged_pair[keep],
        annotator=pool.annotator[keep],
        preference=pool.preference[keep],
    )
    recorded = [
        {"name": name, "kind": "recorded", "cost": 2.0} for name in ("crowd", "chef", "engineer")
    ]
    one = arm(pool=fewer, teachers=recorded, budget=10_000, label_batch=200)
    rows = bought(one)
    train = set(one.train.tolist())
    wanted = {
        (fewer.pair_ids[i], fewer.annotators[j]): o
        for i, j, o in zip(fewer.judged_pair, fewer.annotator, fewer.preference, strict=True)
        if i in train
    }
    assert {(row.pair_id, row.teacher): row.preference for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_a_batch_smaller_than_a_price_buys_one_label_a_round(arm, bought):
    """Also when the cheap teacher has nothing left: the run does not end with its money unspent."""
    rows = bought(arm(label_batch=0.25, budget=5, warm_up=0))
    assert 4.5 < sum(row.price for row in rows) <= 5
    assert all(len(found) == 1 for found in rounds(rows))


def test_shared_pairs_are_answered_by_every_teacher_and_belong_to_the_warm_up(arm, bought):
    one = arm(shared_pairs=2, warm_up=8, estimate_rationality=True)
    first = rounds(bought(one))[0]
    assert [row.teacher for row in first[:6]] == ["crowd", "chef", "engineer"] * 2
    assert len({row.pair_id for row in first[:6]}) == 2
    assert sum(row.price for row in first) <= 8 and len(first) > 6
    with pytest.raises(ValueError, match=r"shared_pairs: found 3, which cost 9 .* warm-up's 8"):
        bought(arm("random", shared_pairs=3, warm_up=8, estimate_rationality=True))


def test_shared_pairs_are_bought_also_where_rationality_is_believed(arm, bought):
    """So that the same labels can be read both ways."""
    believing = rounds(bought(arm(shared_pairs=2, warm_up=8)))[0]
    guessing = rounds(bought(arm("random", shared_pairs=2, warm_up=8, estimate_rationality=True)))[
        0
    ]
    assert [(r.pair_id, r.teacher) for r in believing] == [(r.pair_id, r.teacher) for r in guessing]


def test_rationality_is_estimated_from_the_labels_and_not_from_what_is_stated(arm, bought):
    """Whoever knows repairs is seen to; and what is stated falsely changes nothing."""
    told = [{**row, "rationality": 1.0} for row in tiny_runs.TEACHERS]
    one = arm(
        "random", teachers=told, budget=400, label_batch=200, estimate_rationality=True,
        shared_pairs=15,
    )  # fmt: skip
    honest = tiny_runs.TEACHERS
    teachers = arm("random", teachers=honest).teachers  # they answer as they truly are
    bought(replace(one, teachers=teachers))
    last = evaluations(one)[-1]
    assert last["estimated"]
    engineer, chef = last["rationality"]["engineer"], last["rationality"]["chef"]
    assert engineer["repair"] > engineer["cooking"] and chef["cooking"] > chef["repair"]
    assert evaluations(one)[0]["asked"] < last["asked"]


def test_an_answer_that_cannot_be_read_is_charged_and_not_used(arm, bought, phi):
    one = arm("random", teachers=tiny_runs.TEACHERS[1:2], budget=24)
    mute = Said("chef", lambda q: None if q.pair % 2 else 1.0)
    rows = bought(replace(one, teachers={"chef": mute}))
    assert len(rows) == len(mute.asked) == 24 and sum(row.price for row in rows) == 24
    unread = [row for row in rows if row.status == "unparsable"]
    assert unread and all(row.preference is None for row in unread)
    last = evaluations(one)[-1]
    assert (last["asked"], last["usable"], last["money"]) == (24, 24 - len(unread), 24.0)
    state = one.state(BASE, phi)
    readable = one.fit(state, one.labels([row for row in rows if row.preference is not None]))
    np.testing.assert_array_equal(one.fit(state, one.labels(rows)).theta, readable.theta)


def test_a_tie_counts_half_and_costs_as_much_as_an_answer(arm, bought, phi):
    """Two ties teach what one win and one loss on the same pair teach."""
    one = arm("random", teachers=tiny_runs.TEACHERS[1:2], budget=24)
    even = Said("chef", lambda q: 0.5)
    rows = bought(replace(one, teachers={"chef": even}))
    assert sum(row.price for row in rows) == 24
    state, (row, *_) = one.state(BASE, phi), rows
    tied = one.fit(state, one.labels([row, row]))
    split = one.fit(state, one.labels([row._replace(preference=1.0), row._replace(preference=0.0)]))
    np.testing.assert_allclose(tied.theta, split.theta, atol=1e-12)
    won = one.fit(state, one.labels([row._replace(preference=1.0)] * 2))
    assert np.abs(won.theta).max() > 0.01  # negative control


def test_ties_of_the_truth_are_left_out_of_accuracy(world, arm):
    gold = world.pool.gold.copy()
    gold[:60] = 0.5
    one = arm(pool=replace(world.pool, gold=gold))
    tied = int((one.test < 60).sum())
    assert one.split_facts()["decided_test_pairs"] == len(one.test) - tied and tied


def test_whom_the_teachers_serve_is_learned(arm, bought):
    """Sharp teachers teach the hidden reward; negative control: teachers who mean the opposite."""
    sharp = [{"name": "chef", "kind": "simulated", "rationality": 3.0}]
    right, wrong = (
        arm(budget=120, label_batch=60, teachers=sharp, replicates=2),
        arm("random", budget=120, label_batch=60, teachers=sharp),
    )
    contrary = Said(
        "chef", lambda q: float(right.pool.rewards[q.pair, 0] < right.pool.rewards[q.pair, 1])
    )
    bought(right)
    bought(replace(wrong, teachers={"chef": contrary}))
    assert evaluations(right)[-1]["accuracy"] > 0.75
    assert evaluations(wrong)[-1]["accuracy"] < 0.3


def test_an_arm_that_is_done_asks_nobody_and_changes_nothing(arm, bought):
    one = arm()
    before, told = bought(one), one.ledger.records(str(one.name))
    silent = {name: Said(name, lambda q: pytest.fail("asked again")) for name in one.teachers}
    after = bought(replace(one, teachers=silent))
    assert after == before and one.ledger.records(str(one.name)) == told
    assert all(row.asks == 1 for row in after)


@pytest.mark.parametrize("count", [0, 3, 7])
def test_people_who_are_waited_for_change_nothing_in_the_end(arm, bought, world, tmp_path, count):
    """The arm stops after ``count`` answers, with its questions kept, and goes on from there."""
    unbroken = bought(arm())
    with Ledger(tmp_path / "other.sqlite", "two", {}) as other:
        one = arm(ledger=other)
        patience = iter(range(count))
        chef = one.teachers["chef"]

        class Slow(Said):
            def answers(self, questions):
                for answer in chef.answers(questions):
                    if next(patience, None) is None:
                        raise Waiting((Path("questions.jsonl"), 1))
                    yield answer

        slow = {**one.teachers, "chef": Slow("chef", None)}
        with pytest.raises(Waiting):
            bought(replace(one, teachers=slow))
        open_ = [row for row in other.rows("dual/0") if row.status == "asked"]
        assert open_ and all(row.teacher == "chef" for row in open_)
        resumed = bought(one)
    assert [row._replace(asks=1) for row in resumed] == unbroken
    assert sum(row.asks - 1 for row in resumed) == len(open_)


def test_draws_are_named_by_what_they_are_for():
    names = itertools.product((0, 1), (0, 1), ("warm-up", "dual"), (0, 1))
    seeds = [named_seed(*name) for name in names]
    assert len(set(seeds)) == 16 and all(0 <= seed < 2**63 for seed in seeds)
    assert named_seed(0, 0, "dual", 1) == named_seed(0, 0, "dual", 1)
    first, again = (generator(0, 0, "dual", 1).random(3) for _ in range(2))
    assert first.tolist() == again.tolist() != generator(0, 0, "dual", 2).random(3).tolist()

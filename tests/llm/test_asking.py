"""Nothing is asked or used before it is on the disk; a broken run ends as an unbroken one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from activeduel.llm.asking import ask_all
from activeduel.llm.ledger import Asked, Ledger
from activeduel.llm.teachers import Answer, Question, Waiting

CHILD = Path(__file__).with_name("killed_run.py")


class Fake:
    """A teacher that looks into the ledger whenever it is asked."""

    def __init__(self, name, ledger, said, *, instant=False, wait=0):
        self.name, self.instant = name, instant
        self.ledger, self.said, self.wait, self.asked = ledger, said, wait, []

    def capacity(self):
        raise NotImplementedError

    def answers(self, questions):
        left = len(questions) - self.wait
        for q in questions[:left]:
            self.asked.append(q.pair_id)
            states = [(r.pair_id, r.status) for r in self.ledger.rows("dual")]
            assert (q.pair_id, "asked") in states  # the question is there, without an answer
            yield Answer(q.key, self.said)
            if not self.instant:
                assert self.ledger.answers([q.key]) == {q.key: self.said}  # before the next one
        if self.wait:
            raise Waiting((Path(f"{self.name}.jsonl"), self.wait))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", "one", {}) as ledger:
        yield ledger


def questions(*teachers):
    for n, teacher in enumerate(teachers):
        key = Ledger.key("dual", f"pair {n}", teacher, 0)
        asked = Asked(key, "dual", 0, n, f"pair {n}", teacher, 1.0, 0.0, "start")
        yield asked, Question(key, n, 0, f"pair {n}", "p", ("x", "y"), 0)


def test_each_teacher_answers_its_own_in_order_and_each_answer_is_kept(ledger):
    judge, quick = Fake("judge", ledger, 1.0), Fake("quick", ledger, None, instant=True)
    asked, seen = list(questions("judge", "quick", "judge", "quick")), []
    teachers = {"judge": judge, "quick": quick}

    def progress(done, total):
        kept = sum(row.status != "asked" for row in ledger.rows("dual"))
        assert done <= kept  # nobody hears of an answer that is not on the disk
        seen.append((done, total))

    answers = ask_all(ledger, teachers, asked, progress)
    assert list(answers.values()) == [1.0, None, 1.0, None]
    assert (judge.asked, quick.asked) == (["pair 0", "pair 2"], ["pair 1", "pair 3"])
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [r.status for r in ledger.rows("dual")] == ["answered", "unparsable"] * 2
    assert ask_all(ledger, teachers, asked) == answers
    assert len(judge.asked) == 2  # it was not asked again


def test_people_are_waited_for_after_everybody_else_has_answered(ledger):
    ann, bob = Fake("ann", ledger, 0.0, wait=2), Fake("bob", ledger, 1.0, wait=1)
    judge = Fake("judge", ledger, 0.5)
    asked = list(questions("ann", "ann", "ann", "judge"))
    with pytest.raises(Waiting, match=r"2 open questions in ann\.jsonl") as error:
        ask_all(ledger, {"ann": ann, "judge": judge}, asked)
    assert error.value.open == 2 and error.value.path == Path("ann.jsonl")
    assert [r.preference for r in ledger.rows("dual")] == [0.0, None, None, 0.5]
    ann.wait = 0
    answers = ask_all(ledger, {"ann": ann, "judge": judge}, asked)
    assert list(answers.values()) == [0.0, 0.0, 0.0, 0.5] and len(ann.asked) == 3
    ann.wait, more = 1, [
        (a._replace(round=1, key=a.key + "'"), q._replace(key=q.key + "'"))
        for a, q in questions("ann", "bob")
    ]  # fmt: skip
    with pytest.raises(Waiting, match=r"1 open questions in ann\.jsonl; 1 open questions in bob"):
        ask_all(ledger, {"ann": ann, "bob": bob}, more)


def test_a_teacher_that_answers_amiss_is_named(ledger):
    asked = list(questions("judge", "judge"))
    first, second = (q.key for _, q in asked)

    class Amiss(Fake):
        def answers(self, questions):
            yield from (Answer(key, 1.0) for key in self.said)

    for said, found in (
        (["other"], "not asked"),
        ([first], "no answer on pair 'pair 1'"),
        ([second, second], "a second one"),
    ):
        with pytest.raises(ValueError, match=rf"teacher 'judge': found .*{found}"):
            ask_all(ledger, {"judge": Amiss("judge", ledger, said)}, asked)
    with pytest.raises(ValueError, match=r"'pair 0' to 'judge'; needed one of \['jury'\]"):
        ask_all(ledger, {"jury": Fake("jury", ledger, 1.0)}, asked)
    with pytest.raises(ValueError, match="two keys"):
        ask_all(ledger, {"judge": Fake("judge", ledger, 1.0)}, [(asked[0][0], asked[1][1])])


def run(world, ledger, *point):
    words = [sys.executable, str(CHILD), str(world.folder), str(ledger), *map(str, point)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def rows(done):
    assert done.returncode == 0, done.stderr
    return [
        dict(zip(("key", *"abcdefghijkl", "asks"), row, strict=True))
        for row in json.loads(done.stdout)
    ]


@pytest.fixture(scope="module")
def unbroken(world, tmp_path_factory):
    return rows(run(world, tmp_path_factory.mktemp("unbroken") / "ledger.sqlite"))


@pytest.mark.parametrize(
    ("point", "number", "asked_again"),
    [("asked", 0, 4), ("asked", 2, 2), ("answered", 0, 8), ("answered", 4, 1)],
)
def test_killed_between_question_answer_and_use_it_ends_as_unbroken(
    world, unbroken, tmp_path, point, number, asked_again
):
    """Twelve questions, four a teacher, are open at once; those without answer are asked again."""
    ledger = tmp_path / "ledger.sqlite"
    assert run(world, ledger, point, number).returncode == -signal.SIGKILL
    resumed = rows(run(world, ledger))
    assert [r | {"asks": 1} for r in resumed] == unbroken
    assert sum(r["asks"] - 1 for r in resumed) == asked_again
    assert all(r["asks"] == 1 for r in unbroken)  # negative control

"""A run in a process of its own that kills itself at a named point; prints its rows when it ends.

    python killed_run.py WORLD LEDGER [asked|answered NUMBER]

Two rounds: the second asks again only where the first preferred a, so answers are used. Three
teachers: one whose answers are committed together, one whose are committed singly, and a recorded
one. The kill stands here, not in the library.
"""

import json
import os
import signal
import sys
from pathlib import Path

from activeduel.llm.asking import ask_all
from activeduel.llm.config import TeacherOptions
from activeduel.llm.data import read_pool
from activeduel.llm.ledger import Asked, Ledger
from activeduel.llm.teachers import Question, make
from activeduel.llm.teachers.simulated import Simulated
from activeduel.llm.text_world import data_options


class Single(Simulated):
    """Answers that are too dear to be given again."""

    instant = False


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_when_asked(number):
    """After the commit of the question, in the middle of a teacher's work."""
    answers = Single.answers

    def broken(self, questions):
        for done, answer in enumerate(answers(self, questions)):
            if done == number:
                kill()
            yield answer

    Single.answers = broken


def kill_when_answered(number):
    """After the commit of an answer, before anybody has seen it."""
    answer_all, done = Ledger.answer_all, []

    def broken(self, answers):
        answer_all(self, answers)
        done.append(1)
        if len(done) > number:
            kill()

    Ledger.answer_all = broken


def picks(pool, round_, pairs, names):
    for position, pair in enumerate(pairs):
        name, pair_id = names[position % len(names)], pool.pair_ids[pair]
        key = Ledger.key("dual", pair_id, name, round_)
        asked = Asked(key, "dual", round_, position, pair_id, name, 1.0, 0.1 * pair, "start")
        texts = pool.prompts[pair], pool.responses[pair]
        yield asked, Question(key, pair, round_, pair_id, *texts, int(pool.context[pair]))


def main(world, ledger_path):
    pool = read_pool(data_options(Path(world)))
    annotator = pool.annotators[pool.annotator[0]]
    simulated = TeacherOptions("quick", "simulated", rationality=0.7)
    dear = TeacherOptions("dear", "simulated", rationality=0.7)
    archive = TeacherOptions("archive", "recorded", settings={"annotator": annotator})
    teachers = {t.name: make(t, pool, seed=3) for t in (simulated, archive)}
    teachers["dear"] = Single(dear, pool, seed=3)
    judged = pool.judged_pair[pool.annotator == pool.annotator[0]]
    with Ledger(Path(ledger_path), "one", {}) as ledger:
        pairs = sorted({int(pair) for pair in judged})[:12]
        first = list(picks(pool, 0, pairs, ["quick", "archive", "dear"]))
        answers = ask_all(ledger, teachers, first)
        again = [q.pair for asked, q in first if answers[asked.key] == 1.0]
        ask_all(ledger, teachers, list(picks(pool, 1, again, ["dear", "quick"])))
        print(json.dumps(ledger.rows("dual")))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        {"asked": kill_when_asked, "answered": kill_when_answered}[sys.argv[3]](int(sys.argv[4]))
    main(*sys.argv[1:3])

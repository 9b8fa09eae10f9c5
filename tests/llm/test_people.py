"""People answer in files or at the terminal; what they see says nothing about who asks."""

import csv
import io
import json

import numpy as np
import pytest
from text_pools import pool, question, said

from activeduel.llm.asking import ask_all
from activeduel.llm.config import TeacherOptions
from activeduel.llm.ledger import Asked, Ledger
from activeduel.llm.teachers import Waiting, make
from activeduel.llm.teachers.people import label_in_terminal, whose
from activeduel.llm.teachers.people_files import (
    QUESTIONS,
    READABLE,
    TYPED,
    keep,
    open_questions,
    replies_in,
)


@pytest.fixture
def data():
    return pool(8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "people"


def people(data, folder, *, seed=0, name="team", **settings):
    options = TeacherOptions(name, "people", settings={"folder": str(folder), **settings})
    return make(options, data, seed=seed)


def waits(teacher, questions):
    """What was answered before waiting, and the rows that are open."""
    answers = []
    with pytest.raises(Waiting) as error:
        answers.extend(teacher.answers(questions))
    path = error.value.path
    assert path.name == QUESTIONS
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert error.value.open == len(rows)
    return answers, rows


def write(folder, text, name="answers.csv"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def left_is_better(row):
    """What an honest judge says who likes the texts named left, whichever place they stand in."""
    return "a" if row["response_a"].startswith("left") else "b"


def test_questions_go_out_and_answers_come_back_undone(data, folder):
    teacher, questions = people(data, folder), [question(data, i) for i in range(8)]
    assert teacher.capacity().tolist() == [1] * 8
    answers, rows = waits(teacher, questions)
    assert answers == [] and sorted(r["pair_id"] for r in rows) == list(data.pair_ids)
    lines = [f"{r['key']},{left_is_better(r)}" for r in rows]
    write(folder, "\n".join(["key,preference", *lines]))
    assert said(teacher, questions) == {q.key: 1.0 for q in questions}  # left is response a
    assert {line.rsplit(",")[1] for line in lines} == {"a", "b"}  # negative control: some swapped
    assert not (folder / QUESTIONS).exists() and not (folder / READABLE).exists()
    assert said(people(data, folder, seed=9), questions[3:4]) == {"3/0": 1.0}


def test_partial_answers_are_used_and_only_the_rest_stays_open(data, folder):
    teacher, questions = people(data, folder), [question(data, i) for i in range(3)]
    _, rows = waits(teacher, questions)
    write(folder, f"preference,key,comment\ntie,{rows[1]['key']},hm\n,{rows[2]['key']},later\n")
    answers, left = waits(teacher, questions)
    assert [a.preference for a in answers] == [0.5] and left == [rows[0], rows[2]]


def test_what_people_see_hides_arm_and_key_and_spreads_the_order(folder):
    data = pool(400)
    questions = [question(data, i, key=f"secret {i}") for i in range(400)]
    _, rows = waits(people(data, folder), questions)
    assert set(rows[0]) == {"key", "pair_id", "prompt", "response_a", "response_b"}
    text = (folder / QUESTIONS).read_text() + (folder / READABLE).read_text()
    assert "secret" not in text
    first = np.mean([left_is_better(r) == "a" for r in rows])
    assert abs(first - 0.5) < 4.9 * 0.5 / 20  # false alarm 1e-6


def test_answers_that_are_there_are_committed_before_the_run_waits(data, folder, tmp_path):
    teacher, questions = people(data, folder), [question(data, i) for i in range(2)]
    _, rows = waits(teacher, questions)
    write(folder, f"key,preference\n{rows[0]['key']},{left_is_better(rows[0])}\n")
    with Ledger(tmp_path / "ledger.sqlite", "one", {}) as ledger:
        asked = [
            (Asked(q.key, "dual", 0, i, q.pair_id, "team", 2.0, 0.0, "start"), q)
            for i, q in enumerate(questions)
        ]
        with pytest.raises(Waiting, match=r"1 open questions in .*questions\.jsonl"):
            ask_all(ledger, {"team": teacher}, asked)
        known = {r.pair_id: r.preference for r in ledger.rows("dual")}
        assert known == {rows[0]["pair_id"]: 1.0, rows[1]["pair_id"]: None}
        assert typed(folder, left_is_better(rows[1]))[0] == 1
        assert ask_all(ledger, {"team": teacher}, asked) == {"0/0": 1.0, "1/0": 1.0}
        asks = {r.pair_id: (r.asks, r.note[:5]) for r in ledger.rows("dual")}
        assert asks == {rows[0]["pair_id"]: (1, "shown"), rows[1]["pair_id"]: (2, "shown")}


def test_arms_that_ask_the_same_share_one_question_and_one_answer(data, folder):
    teacher = people(data, folder)
    questions = [question(data, 5, key="dual"), question(data, 5, key="random")]
    _, rows = waits(teacher, questions)
    assert len(rows) == 1
    write(folder, f"key,preference\n{rows[0]['key']},{left_is_better(rows[0])}\n")
    assert said(teacher, questions) == {"dual": 1.0, "random": 1.0}


def test_arms_that_share_the_people_find_all_their_questions_in_one_file(data, folder):
    """In the order of the keys: it says nothing of who asks, or how much it is wanted."""
    teacher = people(data, folder)
    waits(teacher, [question(data, i, key=f"dual {i}") for i in (5, 2)])
    with pytest.raises(Waiting) as error:
        list(teacher.answers([question(data, i, key=f"random {i}") for i in (2, 7, 1)]))
    assert error.value.open == 4
    keys = [q.key for q in open_questions(folder)]
    assert keys == sorted(keys) and len(keys) == 4
    typed(folder, "a\n" * 3)
    with pytest.raises(Waiting) as error:  # what was answered meanwhile is no longer asked
        list(teacher.answers([question(data, 4, key="random 4"), question(data, 2, key="dual 2")]))
    assert error.value.open == len(open_questions(folder)) <= 3


def test_several_waits_count_each_file_once(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    found = Waiting.together([Waiting((one, 3)), Waiting((two, 1)), Waiting((one, 5))])
    assert found.places == ((one, 5), (two, 1)) and found.open == 6


def test_conversations_and_any_text_survive_the_way(folder):
    talk = ({"role": "user", "content": "# is **this** =1+1?\n\n</div>"},)
    answer = ({"role": "assistant", "content": 'naïve "x", ```y```\u2028z\x1b[2J'},)
    data = pool(1)
    texts = question(data, 0)._replace(prompt=talk, responses=(answer, "right"))
    waits(people(data, folder), [texts])
    [shown] = open_questions(folder)
    assert shown.prompt == talk and sorted(map(str, shown.responses)) == sorted(
        [str(answer), "right"]
    )


@pytest.mark.parametrize("name", ["answers.jsonl", "answers-2.jsonl"])
def test_answers_may_be_json_lines_and_name_the_pair(data, folder, name):
    teacher, questions = people(data, folder), [question(data, i) for i in range(3)]
    _, rows = waits(teacher, questions)
    answers = [{"pair_id": r["pair_id"], "preference": left_is_better(r)} for r in rows[:2]]
    answers += [{"key": rows[2]["key"], "preference": 1 if left_is_better(rows[2]) == "a" else 0}]
    write(folder, "\n".join(map(json.dumps, answers)), name)
    assert set(said(teacher, questions).values()) == {1.0}


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("key,preference\n{0},a\nabc,b\n", 3, "unknown key 'abc'"),
        ("pair_id,preference\npair 99,a\n", 2, "unknown pair_id 'pair 99'"),
        ("key,preference\n{0},left\n", 2, "preference = 'left'"),
        ("key,preference\n{0},0.7\n", 2, "preference = '0.7'"),
        (
            "key,preference\n{0},a\n{1},a\n{0},b\n",
            4,
            "another answer to question {0} than .* line 2",
        ),
        ("key,pair_id,preference\n{0},pair 7,a\n", 2, "'pair 7' beside the key of another pair"),
        ("key|preference\n{0}|a\n", 2, "columns"),
        ("key,preference\n,a\n", 2, "no key and no pair_id"),
        ("key,preference\n{0}\n", 2, "1 cells"),
    ],
)
def test_a_wrong_answer_is_named_with_its_row(data, folder, text, line, found):
    teacher, questions = people(data, folder), [question(data, i) for i in range(2)]
    _, rows = waits(teacher, questions)
    keys = [r["key"] for r in rows]
    write(folder, text.format(*keys))
    before = (folder / "answers.csv").read_bytes()
    with pytest.raises(
        ValueError, match=rf"answers\.csv, line {line}: found .*{found.format(*keys)}"
    ):
        list(teacher.answers(questions))
    assert (folder / "answers.csv").read_bytes() == before


def test_the_same_answer_twice_is_one(data, folder):
    teacher, questions = people(data, folder), [question(data, 0)]
    _, [row] = waits(teacher, questions)
    for name in ("answers.csv", "answers-again.csv"):
        write(folder, f"key,preference\n{row['key']},{left_is_better(row)}\n", name)
    assert said(teacher, questions) == {"0/0": 1.0}


def test_answers_given_on_other_texts_are_refused(data, folder):
    _, [row] = waits(people(data, folder), [question(data, 0)])
    write(folder, f"key,preference\n{row['key']},a\n")
    other = pool(8)
    object.__setattr__(other, "prompts", ("another prompt", *other.prompts[1:]))
    with pytest.raises(ValueError, match="of this teacher and these texts"):
        list(people(other, folder).answers([question(other, 0)]))


def test_pairs_that_are_asked_repeatedly_need_keys(data, folder):
    teacher = people(data, folder, labels_per_pair=2)
    assert teacher.capacity().tolist() == [2] * 8
    _, rows = waits(teacher, [question(data, 0, 0), question(data, 0, 1)])
    assert len({r["key"] for r in rows}) == 2
    with pytest.raises(ValueError, match="answer number 2 on pair 'pair 0'"):
        list(teacher.answers([question(data, 0, 2)]))
    write(folder, "pair_id,preference\npair 0,a\n")
    with pytest.raises(ValueError, match="pair_id alone"):
        list(teacher.answers([question(data, 0)]))
    with pytest.raises(ValueError, match="labels_per_pair 0"):
        people(data, folder, labels_per_pair=0)


def typed(folder, text, commit=None):
    """Answer what is open by typing ``text``; how many, and what was shown."""
    sink = io.StringIO()
    commit = commit or (lambda shown, preference: keep(folder, shown, preference))
    return label_in_terminal(
        "team", open_questions(folder), commit, io.StringIO(text), sink
    ), sink.getvalue()


def test_at_the_terminal_each_answer_is_kept_before_the_next_question(data, folder):
    teacher, questions = people(data, folder), [question(data, i) for i in range(4)]
    _, rows = waits(teacher, questions)
    words = [left_is_better(r) for r in rows]
    count, shown = typed(folder, f"{words[0]}\nwhat?\n{words[1].upper()} \nq\n")
    assert count == 2 and shown.count("Which is better?") == 4 and "[team: 3 of 4]" in shown
    assert [q.key for q in open_questions(folder)] == [r["key"] for r in rows[2:]]
    count, _ = typed(folder, "t\n")  # and the end of the input
    assert count == 1
    answers, left = waits(teacher, questions)
    assert sorted(a.preference for a in answers) == [0.5, 1.0, 1.0] and len(left) == 1
    assert len((folder / TYPED).read_text().splitlines()) == 3
    assert typed(folder, "tie\n")[0] == 1 and typed(folder, "a\n")[0] == 0
    assert open_questions(folder) == []


def test_a_broken_terminal_loses_no_answer(data, folder):
    _, rows = waits(people(data, folder), [question(data, i) for i in range(3)])
    kept = []

    def commit(shown, preference):
        kept.append(shown.pair_id)
        keep(folder, shown, preference)
        if len(kept) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        typed(folder, "a\nb\na\n", commit)
    assert [q.key for q in open_questions(folder)] == [rows[2]["key"]]


def test_a_response_cannot_steer_the_terminal(folder):
    data = pool(1)
    wild = question(data, 0)._replace(responses=("\x1b[2Jgone\u202e", "fine\nlines\tkept"))
    waits(people(data, folder), [wild])
    _, shown = typed(folder, "q\n")
    assert "\x1b" not in shown and "\u202e" not in shown and "fine\nlines\tkept" in shown


def test_without_questions_there_is_nothing_to_do(data, folder):
    assert list(people(data, folder).answers([])) == []
    assert not folder.exists() and open_questions(folder) == []


@pytest.mark.parametrize("divider", [",", ";"])
def test_a_spreadsheet_writes_what_we_read(data, folder, divider):
    """Byte order mark, quoted cells, \\r\\n, empty lines; semicolons where the comma is a decimal sign."""
    teacher, questions = people(data, folder), [question(data, 0)]
    _, [row] = waits(teacher, questions)
    cells = io.StringIO()
    table = csv.writer(cells, quoting=csv.QUOTE_ALL, delimiter=divider)
    table.writerows([["key", "preference"], [row["key"], f" {left_is_better(row).upper()} "]])
    write(folder, "\ufeff" + cells.getvalue() + "\r\n")
    assert said(teacher, questions) == {"0/0": 1.0}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("answers.xlsx", "key,preference\n", "'.xlsx'"),  # it would lie there unread
        ("mine.csv", "key,preference\nk,left\n", "mine.csv, line 2"),
        ("mine.csv", "preference\na\n", "line 2: found columns preference"),
    ],
)
def test_a_file_of_answers_is_read_before_it_is_taken(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=found):
        list(replies_in(tmp_path / name))


def test_a_file_of_answers_that_nobody_would_read_is_an_error(data, folder):
    """Else the run would wait for ever."""
    teacher, questions = people(data, folder), [question(data, 0)]
    waits(teacher, questions)
    write(folder, "PK", "answers.csv~")  # an editor's copy is none of them
    assert waits(teacher, questions)[0] == []
    write(folder, "PK", "answers.xlsx")
    with pytest.raises(ValueError, match=r"answers\.xlsx: found a file ending in '\.xlsx'"):
        list(teacher.answers(questions))


def test_the_questions_say_which_files_are_read(data, folder):
    waits(people(data, folder), [question(data, 0)])
    assert "Answer in a file `answers*.csv`" in (folder / READABLE).read_text()


def test_answers_to_questions_that_nobody_asked_are_named_before_they_are_taken(data, folder):
    teacher = people(data, folder)
    _, rows = waits(teacher, [question(data, i) for i in range(2)])
    write(folder, f"key,preference\n{rows[0]['key']},a\n")
    mine = folder.parent / "mine.csv"
    mine.write_text("key,preference\n" + "".join(f"{row['key']},a\n" for row in rows))
    assert len(teacher.replies(beside=mine)) == 2  # open, or answered before
    mine.write_text("key,preference\nabc,a\n")
    with pytest.raises(ValueError, match="mine.csv, line 2: found the unknown key 'abc'"):
        teacher.replies(beside=mine)
    mine.write_text(f"key,preference\n{rows[0]['key']},b\n")
    with pytest.raises(ValueError, match="mine.csv, line 2: found another answer to question"):
        teacher.replies(beside=mine)


def test_a_file_of_answers_belongs_to_the_group_that_was_asked(data, tmp_path):
    """The keys say it: they are made of the teacher's name."""
    groups = [people(data, tmp_path / name, name=name) for name in ("ann", "bob")]
    ann, bob = (waits(group, [question(data, 0)])[1][0]["key"] for group in groups)
    mine = tmp_path / "mine.csv"
    for key, group in ((ann, groups[0]), (bob, groups[1])):
        mine.write_text(f"key,preference\n{key},a\n")
        assert whose(groups, mine) is group
    for text, found in (
        (f"key,preference\n{ann},a\n{bob},a\n", "line 3: found answers of several groups"),
        (f"key,preference\n{ann},a\nabc,a\n", "line 3: found the unknown key 'abc'"),
        ("pair_id,preference\npair 0,a\n", "line 2: found a pair_id alone"),
        ("pair_id,preference\npair 99,a\n", "line 2: found the unknown pair_id 'pair 99'"),
        (f"key,preference\n{ann},\n", "found no answer; needed answers of one .* 'ann', 'bob'"),
    ):
        mine.write_text(text)
        with pytest.raises(ValueError, match=found):
            whose(groups, mine)


def test_a_file_of_questions_that_was_changed_is_named(data, folder):
    write(folder, '{"key": "abc"}\n', QUESTIONS)
    with pytest.raises(
        ValueError, match="questions.jsonl, line 1: found columns key; needed the file"
    ):
        open_questions(folder)

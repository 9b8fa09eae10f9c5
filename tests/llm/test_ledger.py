"""A ledger is whole at any moment, belongs to one run, and never forgets what was paid."""

import math
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from activeduel.llm.ledger import Asked, Ledger, Row

CONFIGURATION = {"budget": 4, "selector": "dual"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "ledger.sqlite"


def opened(path, identity="one", configuration=CONFIGURATION):
    return Ledger(path, identity, configuration)


def question(number, *, arm="dual", price=1.5, score=0.25, **changes):
    key = Ledger.key(arm, f"pair {number}", "crowd", 0)
    asked = Asked(key, arm, number // 2, number % 2, f"pair {number}", "crowd", price, score, "m0")
    return asked._replace(**changes)


def test_a_question_is_on_the_disk_before_it_is_answered(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        with Ledger.reading(path) as reader:
            assert reader.rows("dual") == [Row(*question(0), "label", "asked", None, "", 1)]
        ledger.answer(question(0).key, 0.5, "shown b, a")
        with Ledger.reading(path) as reader:
            [row] = reader.rows("dual")
    assert (row.status, row.preference, row.note, row.asks) == ("answered", 0.5, "shown b, a", 1)


def test_a_question_without_answer_is_asked_again_and_counted_but_paid_once(path):
    for _ in range(3):
        with opened(path) as ledger:
            ledger.ask([question(0), question(1)])
            ledger.answer(question(1).key, 1.0)
    with opened(path) as ledger:
        first, second = ledger.rows("dual")
        assert (first.status, first.asks) == ("asked", 3)
        assert (second.status, second.asks) == ("answered", 1)
        assert ledger.money("dual") == 3.0
        assert ledger.answers([first.key, second.key, "unknown"]) == {second.key: 1.0}


def test_an_unparsable_answer_is_recorded_and_charged_but_not_usable(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        ledger.answer(question(0).key, None, "first ?: 'Well'")
        [row] = ledger.rows("dual")
        assert (row.status, row.preference, ledger.money("dual")) == ("unparsable", None, 1.5)
        ledger.ask([question(0)])  # it was answered: nobody is asked again
        assert ledger.rows("dual") == [row]
        with pytest.raises(ValueError, match="second answer of 'crowd' on pair 'pair 0'"):
            ledger.answer(question(0).key, 1.0)


def test_the_same_answer_again_is_fine_and_another_is_refused(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        for _ in range(2):
            ledger.answer(question(0).key, 1.0)
        with pytest.raises(ValueError, match="0.0 after 1.0"):
            ledger.answer(question(0).key, 0.0)
        with pytest.raises(ValueError, match="which was not asked"):
            ledger.answer(question(1).key, 1.0)
        ledger.ask([question(1)])
        for wrong in (0.7, 2.0, math.nan):
            with pytest.raises(ValueError, match="found the preference"):
                ledger.answer(question(1).key, wrong)
        assert [row.preference for row in ledger.rows("dual")] == [1.0, None]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"score": 0.26}, "score"), ({"state": "m1"}, "state"), ({"price": 2.0}, "price"), ({"position": 5}, "position")],
)  # fmt: skip
def test_a_resumed_run_that_picks_otherwise_is_stopped(path, change, named):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        with pytest.raises(ValueError, match=rf"pair 'pair 0' .* other values of {named} than"):
            ledger.ask([question(1), question(0, **change)])
        assert len(ledger.rows("dual")) == 1  # all questions, or none
        with pytest.raises(ValueError, match="twice"):
            ledger.ask([question(1), question(1)])
        with pytest.raises(ValueError, match="position 0.*UNIQUE"):
            ledger.ask([question(1, position=0)])
        for bad in ({"price": -1.0}, {"round": -1}, {"price": math.inf}):
            with pytest.raises(ValueError, match="does not fit"):
                ledger.ask([question(1, **bad)])


def test_pseudo_labels_cost_nothing_and_are_no_labels(path):
    free = [question(n, price=0.0, teacher="itself") for n in (0, 1)]
    with opened(path) as ledger:
        for _ in range(2):
            ledger.pseudo(free, [1.0, 0.0])
        assert [(r.kind, r.preference, r.asks) for r in ledger.rows("dual")] == [
            ("pseudo", 1.0, 0),
            ("pseudo", 0.0, 0),
        ]
        assert ledger.money("dual") == 0.0
        with pytest.raises(ValueError, match="other values of preference"):
            ledger.pseudo(free, [1.0, 1.0])
        with pytest.raises(ValueError, match="other values of kind"):
            ledger.ask(free[:1])
        with pytest.raises(ValueError, match="not asked"):
            ledger.answer(free[0].key, 1.0)
        with pytest.raises(ValueError, match="does not fit"):
            ledger.pseudo([question(2)], [1.0])  # a price


def test_rows_come_in_order_of_rounds_and_positions(path):
    with opened(path) as ledger:
        ledger.ask([question(n) for n in (5, 3, 0, 4, 1, 2)])
        ledger.ask([question(7, arm="random")])
        assert [r.pair_id for r in ledger.rows("dual")] == [f"pair {n}" for n in range(6)]
        assert [r.round for r in ledger.rows("dual", upto_round=1)] == [0, 0, 1, 1]
        assert ledger.rows("nobody") == [] and ledger.arms() == ["dual", "random"]


@pytest.mark.parametrize("value", [0.1 + 0.2, 5e-324, -0.0, 1e-17, math.pi, 123456789.0, 1e22])
def test_numbers_come_back_to_the_last_bit(path, value):
    with opened(path) as ledger:
        ledger.ask([question(0, price=abs(value), score=-value)])
    with opened(path) as ledger:
        [row] = ledger.rows("dual")
        assert (row.price, row.score) == (abs(value), -value)
        ledger.ask([question(0, price=abs(value), score=-value)])


def test_a_missing_score_is_the_same_score_again(path):
    with opened(path) as ledger:
        for _ in range(2):
            ledger.ask([question(0, score=math.nan)])
        assert math.isnan(ledger.rows("dual")[0].score)
        with pytest.raises(ValueError, match="other values of score"):
            ledger.ask([question(0, score=0.0)])


def test_facts_of_a_round_are_recorded_once(path):
    with opened(path) as ledger:
        for _ in range(2):
            ledger.record("dual", 1, "evaluation", {"accuracy": 0.1 + 0.2})
        ledger.record("dual", 0, "rationality", {"crowd": [1.0]})
        assert ledger.records() == [
            ("dual", 0, "rationality", {"crowd": [1.0]}),
            ("dual", 1, "evaluation", {"accuracy": 0.1 + 0.2}),
        ]
        assert ledger.records("random") == [] and len(ledger.records(name="evaluation")) == 1
        with pytest.raises(ValueError, match="another 'evaluation' of arm 'dual', round 1"):
            ledger.record("dual", 1, "evaluation", {"accuracy": 0.5})
        with pytest.raises(ValueError, match="not plain JSON"):
            ledger.record("dual", 2, "evaluation", {"accuracy": math.nan})


def test_stages_are_appended(path):
    with opened(path) as ledger:
        for _ in range(2):
            ledger.note_stage("dual", 0, "features", 1.5, 2**40)
        assert [tuple(s) for s in ledger.stages()] == [("dual", 0, "features", 1.5, 2**40)] * 2


def test_the_ledger_of_another_run_is_named_and_kept(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"ledger\.sqlite: found .*\(budget 4, here 5\).*another run name"
    ):
        opened(path, "two", CONFIGURATION | {"budget": 5})
    with pytest.raises(ValueError, match="same options, but other data or code"):
        opened(path, "two")
    assert path.read_bytes() == before
    with opened(path) as ledger:
        assert ledger.configuration == CONFIGURATION and ledger.identity == "one"


def test_what_differs_is_shown_in_part_from_where_it_differs(path):
    teachers = [{"name": f"teacher {n}", "cost": 1} for n in range(40)]
    with opened(path, configuration={"teachers": teachers}) as ledger:
        ledger.ask([question(0)])
    others = [*teachers[:-2], {"name": "teacher 38", "cost": 7}, teachers[-1]]
    with pytest.raises(ValueError) as error:
        opened(path, "two", {"teachers": others})
    said = str(error.value)
    assert "{'cost': 1, 'name': 'teacher 38'}" in said and "{'cost': 7, 'name': 'te" in said
    assert len(said) < len(str(path)) + 400


def begun(path, identity="one"):
    """What a start leaves that fails before anything is asked."""
    with opened(path, identity) as ledger:
        ledger.record("", 0, "origin", {"model": "m"})
        ledger.note_stage("", 0, "features", 0.5, 7)


def test_a_ledger_in_which_nothing_was_asked_is_taken_over_whole(path):
    begun(path)
    with opened(path, "two", {"budget": 5}) as ledger:
        assert (ledger.identity, ledger.configuration) == ("two", {"budget": 5})
        assert ledger.records() == [] and ledger.stages() == []
        ledger.record("", 0, "origin", {"model": "another"})
        with pytest.raises(ValueError, match="another process working"):
            opened(path, "three")
    with opened(path, "two", {"budget": 5}) as ledger:
        assert ledger.records() == [("", 0, "origin", {"model": "another"})]
    base = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="a ledger keeps every row"):
        base.execute("DELETE FROM record")
    base.close()


def ask(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])


def believe(path):
    with opened(path) as ledger:
        ledger.pseudo([question(0, price=0.0)], [1.0])


def train(path):
    (path.parent / "models").mkdir()


@pytest.mark.parametrize("act", [ask, believe, train])
def test_a_ledger_that_holds_anything_more_is_not(path, act):
    begun(path)
    act(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="the ledger of another run"):
        opened(path, "two", {"budget": 5})
    assert path.read_bytes() == before


REPLACED = """
import os, signal, sys
from pathlib import Path
from activeduel.llm import ledger_file
from activeduel.llm.ledger import Ledger
setattr({"rename": os, "sync_folder": ledger_file}[sys.argv[2]], sys.argv[2],
        lambda *_: os.kill(os.getpid(), signal.SIGKILL))
Ledger(Path(sys.argv[1]), "two", {"budget": 5})
"""


@pytest.mark.parametrize(("moment", "left"), [("rename", "one"), ("sync_folder", "two")])
def test_killed_while_it_is_taken_over_it_is_the_old_one_or_the_new(path, moment, left):
    begun(path)
    child = subprocess.run([sys.executable, "-c", REPLACED, str(path), moment], check=False)
    assert child.returncode == -signal.SIGKILL
    with Ledger.reading(path) as ledger:
        assert ledger.identity == left and len(ledger.records()) == (left == "one")
    with opened(path, "two", {"budget": 5}) as ledger:
        assert ledger.identity == "two" and ledger.records() == []
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def foreign(path):
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE notes (line TEXT)")
    base.commit()
    base.close()


def newer(path):
    opened(path).close()
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 3")
    base.close()


def edited(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        ledger.answer(question(0).key, 1.0)
    base = sqlite3.connect(path)
    base.execute("UPDATE query SET preference = 0")
    base.commit()
    base.close()


def slower(path):
    with opened(path) as ledger:
        ledger.note_stage("dual", 0, "ask", 0.5, 7)
    base = sqlite3.connect(path)
    base.execute("UPDATE event SET seconds = 5")
    base.commit()
    base.close()


def shortened(path):
    """Rows taken away, by somebody who first takes away what forbids it."""
    with opened(path) as ledger:
        ledger.ask([question(0)])
    base = sqlite3.connect(path)
    base.execute("DROP TRIGGER query_stays")
    base.execute("DELETE FROM query")
    base.commit()
    base.close()


def truncated(path):
    opened(path).close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.write_bytes(b"pair_id,annotator\n" * 100), "damaged or no ledger"),
        (lambda path: path.touch(), "an empty file"),
        (lambda path: path.mkdir(), "no plain file"),
        (foreign, "an SQLite file that is no ledger"),
        (newer, "a ledger of format 3"),
        (edited, "a damaged row in its table 'query'"),
        (slower, "a damaged row in its table 'event'"),
        (shortened, "tables that were changed by hand"),
        (truncated, "damaged"),
    ],
    ids=[
        "text",
        "empty",
        "folder",
        "foreign",
        "newer",
        "edited",
        "slower",
        "shortened",
        "truncated",
    ],
)
def test_what_is_no_ledger_is_named_and_kept(path, make, found):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for opening in (lambda: opened(path), lambda: Ledger.reading(path)):
        with pytest.raises(ValueError, match=rf"ledger\.sqlite: found .*{found}.*It is kept"):
            opening()
    assert before is None or path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_no_flipped_byte_changes_what_is_read(path):
    with opened(path) as ledger:
        ledger.ask([question(n) for n in range(8)])
        ledger.answer_all([(question(n).key, 1.0, "") for n in range(8)])
        ledger.record("dual", 0, "evaluation", {"accuracy": 0.75})
        ledger.note_stage("dual", 0, "ask", 0.5, 7)
        good = ledger.rows("dual"), ledger.records(), ledger.stages()
    content, refused, draw = path.read_bytes(), 0, random.Random(0)
    written = [i for i, byte in enumerate(content) if byte]
    for place in draw.sample(written, 150):
        broken = path.with_name("broken.sqlite")
        broken.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        try:
            with Ledger.reading(broken) as ledger:
                found = ledger.rows("dual"), ledger.records(), ledger.stages()
                assert found == good, place
        except ValueError as error:
            assert "broken.sqlite" in str(error)
            refused += 1
    assert refused > 75  # the others lie in what SQLite does not use


@pytest.mark.parametrize("table", ["meta", "query", "record", "event"])
def test_no_row_can_be_taken_away(path, table):
    """Seals notice a row that was changed, not one that is gone: the file itself refuses that."""
    with opened(path) as ledger:
        ledger.ask([question(0)])
        ledger.record("dual", 0, "evaluation", {"accuracy": 0.75})
        ledger.note_stage("dual", 0, "ask", 0.5, 7)
    base = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="a ledger keeps every row"):
        base.execute(f"DELETE FROM {table}")
    base.close()
    with opened(path) as ledger:
        assert (len(ledger.rows("dual")), len(ledger.records()), len(ledger.stages())) == (1, 1, 1)


def test_a_folder_in_place_of_the_lock_is_named(path):
    path.with_name(f"{path.name}.lock").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"found no way to lock it \(ledger\.sqlite\.lock"):
        opened(path)


def test_reading_needs_a_ledger_and_never_writes(path):
    with pytest.raises(ValueError, match="found no ledger; needed one. Use run first"):
        Ledger.reading(path)
    opened(path).close()
    before = path.read_bytes()
    with Ledger.reading(path) as ledger, pytest.raises(ValueError, match="open for reading"):
        ledger.ask([question(0)])
    assert path.read_bytes() == before


def test_one_run_at_a_time_works_on_a_ledger(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        with pytest.raises(ValueError, match="another process working on this ledger"):
            opened(path)
        with Ledger.reading(path) as reader:  # looking is allowed
            assert len(reader.rows("dual")) == 1
        copy = path.with_name("copy.sqlite")
        shutil.copy(path, copy)
        opened(copy).close()  # negative control: another ledger is free
    opened(path).close()


WRITER = """
import sys, time
from pathlib import Path
from activeduel.llm.ledger import Asked, Ledger
with Ledger(Path(sys.argv[1]), "one", {"budget": 4, "selector": "dual"}) as ledger:
    start = len(ledger.rows("dual"))
    print("open", flush=True)
    for n in range(start, 10**6):
        key = Ledger.key("dual", f"pair {n}", "crowd", 0)
        ledger.ask([Asked(key, "dual", n, 0, f"pair {n}", "crowd", 1.0, 0.0, "m0")])
        ledger.answer(key, 1.0)
        print(n, flush=True)
        time.sleep(float(sys.argv[2]))
"""


def writing(path, pause=0.0):
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(pause)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    return child


def test_killed_at_random_moments_it_has_all_that_was_promised(path):
    draw = random.Random(1)
    for _ in range(4):
        child = writing(path)
        time.sleep(draw.uniform(0, 0.1))
        child.kill()
        promised = [int(line) for line in child.communicate()[0].split() if line.strip()]
        assert child.returncode == -signal.SIGKILL
        with opened(path) as ledger:  # the lock is free again
            rows = ledger.rows("dual")
        assert [r.round for r in rows] == list(range(len(rows)))
        assert all(r.status == "answered" for r in rows[:-1])
        assert len(rows) > max(promised, default=-1)
        if rows and rows[-1].status == "asked":  # so that the next child goes on behind it
            with opened(path) as ledger:
                ledger.answer(rows[-1].key, 1.0)


def test_a_ledger_can_be_read_while_a_run_writes(path):
    child = writing(path, pause=0.01)  # quicker than any judge
    try:
        with pytest.raises(ValueError, match="another process working"):
            opened(path)
        seen = []
        for _ in range(30):
            with Ledger.reading(path) as ledger:
                seen.append(len(ledger.rows("dual")))
        assert seen == sorted(seen) and child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_a_full_disk_is_said_and_costs_nothing_committed(path):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        pages = ledger._base.execute("PRAGMA page_count").fetchone()[0]
        ledger._base.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OSError, match=r"ledger\.sqlite: found that nothing can be written"):
            ledger.ask([question(n) for n in range(1, 400)])
    with opened(path) as ledger:
        assert [row.pair_id for row in ledger.rows("dual")] == ["pair 0"]
        ledger.ask([question(n) for n in range(1, 400)])  # there is room again
        assert len(ledger.rows("dual")) == 400


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE query SET note = x'ff00'",  # a number of the row's header says: bytes, not text
        "UPDATE event SET arm = CAST(x'64ff' AS TEXT)",  # no text in UTF-8
    ],
)
def test_a_cell_that_is_no_text_any_more_is_damage(path, harm):
    with opened(path) as ledger:
        ledger.ask([question(0)])
        ledger.note_stage("dual", 0, "ask", 0.1, 1)
    base = sqlite3.connect(path)
    with base:
        base.execute(harm)
    base.close()
    with pytest.raises(
        ValueError, match=r"ledger\.sqlite: found a (damaged row|file that is damaged)"
    ):
        opened(path)

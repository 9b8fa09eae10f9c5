"""What a generative judge's replies mean."""

import itertools
import re

import pytest

from activeduel.llm.teachers.verdicts import (
    PATTERNS,
    TEMPLATE,
    check_template,
    combine,
    compile_patterns,
    fill,
    order_bias,
    read_reply,
)

WORDS = compile_patterns(PATTERNS)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", "first"),
        ("B.", "second"),
        ("**A**, because it says why", "first"),
        ("Tie", "tie"),
        ("A, yes: A", "first"),
        ("", "?"),
        ("Both are fine", "?"),
        ("A is better than B", "?"),
        ("a nice one", "?"),
        ("ABBA", "?"),
    ],
)
def test_a_reply_counts_where_exactly_one_verdict_occurs(reply, verdict):
    assert read_reply(reply, WORDS) == verdict


def test_verdicts_may_be_written_otherwise():
    marked = compile_patterns({"a": r"\[\[A\]\]", "b": r"\[\[B\]\]"})
    assert read_reply("A and B differ in length. [[B]]", marked) == "second"
    assert read_reply("B", marked) == "?"


def test_both_orders_are_combined_by_response_not_by_place():
    expected = {
        ("A", "B"): 1.0,  # response a, first where it stands first, second where second
        ("B", "A"): 0.0,
        ("A", "A"): 0.5,  # always the first: no preference
        ("B", "B"): 0.5,
        ("tie", "tie"): 0.5,
        ("A", "tie"): 0.5,
        ("tie", "A"): 0.5,
    }
    for replies, preference in expected.items():
        assert combine(replies, WORDS).preference == preference
    for one in ("A", "B", "tie", "hm"):
        for replies in ((one, "hm"), ("hm", one)):
            assert combine(replies, WORDS).preference is None
    assert combine(("A", "x" * 500), WORDS).note == f"first ?: {'x' * 80!r}"


def test_swapping_the_responses_swaps_the_preference():
    for one, two in itertools.product(("A", "B", "tie"), repeat=2):
        there, back = combine((one, two), WORDS), combine((two, one), WORDS)
        assert there.preference is not None and back.preference == 1 - there.preference


def test_the_bias_towards_a_place_is_counted():
    replies = [
        ("A", "B"),
        ("B", "A"),
        ("A", "A"),
        ("A", "A"),
        ("B", "B"),
        ("tie", "A"),
        ("?: A B", "A"),
    ]
    notes = [combine(r, WORDS).note for r in replies]
    counts = {"agree": 2, "first": 2, "second": 1, "torn": 1, "unreadable": 1}
    assert order_bias(notes) == counts
    assert sum(order_bias([""]).values()) == 0  # not yet answered


def test_texts_in_a_template_are_only_texts():
    filled = fill("{prompt}/{response_a}/{response_b}/{x}", r"\1 {response_a}", ("{prompt}", "{}"))
    assert filled == r"\1 {response_a}/{prompt}/{}/{x}"
    talk = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"})
    filled = fill("{prompt}|{response_a}{response_b}", talk, (talk[1:], "y"))
    assert filled == "user: hi\nassistant: ho|hoy"


def test_a_template_needs_its_places():
    assert check_template(TEMPLATE) is None
    assert check_template("{prompt} {response_a} {respones_b}") == "a template without {response_b}"
    found = check_template(TEMPLATE + "{rubric}")
    assert found == "a template with {rubric}, which nothing fills"
    assert check_template(TEMPLATE + '{"verdict": "A"} or { rubric }') is None


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [({"a": "A"}, "do not name a and b"), ({"a": "A", "b": "B", "c": "C"}, "do not name"), ("A", "do not"),
     ({"a": "(", "b": "B"}, "broken regular"), ({"a": 1, "b": "B"}, "broken regular"),
     ({"a": "A*", "b": "B"}, "that of 'a' is found in an empty reply")],
)  # fmt: skip
def test_broken_verdicts_are_refused(verdicts, found):
    with pytest.raises(ValueError, match=re.escape(found)):
        compile_patterns(verdicts)

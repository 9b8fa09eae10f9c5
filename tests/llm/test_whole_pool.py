"""What only a pool as a whole can tell: one-sided labels, types that are ids, prompts that may be one."""

import itertools
import os.path

import numpy as np
import pytest
from pool_files import read, rows

from activeduel.llm.data import split
from activeduel.llm.whole_pool import held_together


def test_a_column_of_texts_is_no_context(tmp_path):
    """A type of its own for each prompt would be shown, and teach nothing of a teacher."""
    many = rows(60)
    with pytest.raises(
        ValueError, match="30 context types on 30 prompts in the column 'prompt'"
    ) as e:
        read(tmp_path, many, context_column="prompt")
    assert "SECRET" not in str(e.value)
    shared = [{**row, "kind": i % 14} for i, row in enumerate(many)]
    assert len(read(tmp_path, shared, context_column="kind").context_types) == 14
    assert len(read(tmp_path, rows(8), context_column="prompt").context_types) == 4  # so few: meant


def test_labels_for_both_sides_pass(tmp_path):
    assert len(read(tmp_path, rows(8, winner=["a"] * 7 + ["b"])).preference) == 8
    assert len(read(tmp_path, rows(5, winner=["a"] * 5)).preference) == 5  # may be an accident


def test_one_sided_gold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="all 8 decided ones of 'truth' are for 'b'"):
        read(tmp_path, rows(8, truth=[0] * 8), gold_column="truth")


def bundles(texts):
    """By brute force: two texts belong together where one half of either begins both."""
    first = list(range(len(texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        equal = len(os.path.commonprefix([texts[i], texts[j]]))
        if 2 * equal >= min(len(texts[i]), len(texts[j])):
            low, high = sorted((first[i], first[j]))
            first = [low if f == high else f for f in first]
    return first


def test_guesses_that_begin_alike_are_one_bundle_also_with_others_between():
    rng = np.random.default_rng(0)
    words = ["say", "hello", "be", "well", "now"]
    for _ in range(300):
        texts = list(
            dict.fromkeys(" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(9))
        )
        found = held_together({text: i for i, text in enumerate(texts)}, len(texts))
        assert found.tolist() == bundles(texts)


def test_guesses_are_never_divided_and_the_order_of_the_rows_is_nothing(tmp_path):
    """Prompts of three pairs each, without a mark: every prompt on one side, whatever comes first."""
    ends = [("It is so", "It may be"), ("Light", "Air"), ("I think so", "I think not")]
    pairs = [
        {"chosen": f"{name} number {i}? {a}", "rejected": f"{name} number {i}? {b}"}
        for i, name in enumerate("abcdefghijklmnopqrstuvwxyz"[k] * 9 for k in range(24))
        for a, b in ends
    ]
    sides = []
    for order, content in (("one", pairs), ("two", pairs[::-1])):
        (tmp_path / order).mkdir()
        pool = read(tmp_path / order, content)
        _, test = split(pool, 0.25, 0, 0)
        sides.append({pool.pair_ids[i] for i in test})
        names = [str(pool.prompts[i])[0] for i in test]
        assert len(names) == 3 * len(set(names)) == 18
    assert sides[0] == sides[1]


def test_guesses_that_nearly_all_begin_alike_are_refused(tmp_path):
    header = "You are a helpful assistant and answer all that is asked. "
    many = [
        {"chosen": f"{header}Ask {i} yes", "rejected": f"{header}Ask {i} no"} for i in range(40)
    ]
    with pytest.raises(ValueError, match="guessed prompts of which most begin alike.*Add a column"):
        read(tmp_path, many)

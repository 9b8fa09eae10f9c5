"""Labels that all say the same side, and a context type for each prompt, are refused."""

import pytest
from pool_files import read, rows


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

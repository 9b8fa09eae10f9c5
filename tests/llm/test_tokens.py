"""Pairs are cut into tokens as TRL's DPOTrainer cuts them."""

import pytest

for name in ("torch", "transformers"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import numpy as np
from training_world import model_options, training_options

from activeduel.llm.tokens import rows_of, tokenise
from activeduel.llm.training import tokenizer_of


@pytest.mark.parametrize(
    ("name", "template"), [("world", True), ("world", False), ("plain_world", True)]
)
def test_prompt_and_answers_are_those_of_trl(name, template, tiny_model, tmp_path, request):
    pytest.importorskip("trl", reason="needs trl: pip install 'activeduel[llm]'")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from activeduel.llm.dpo import _row
    from activeduel.llm.surroundings import kept_randomness, quiet
    from activeduel.llm.training import load_base
    from activeduel.llm.trl_stage import trainer_settings

    pool, model = request.getfixturevalue(name).pool, model_options(tiny_model, use_peft=False)
    tokenizer, pairs = tokenizer_of(model), range(20)
    if not template:
        tokenizer.chat_template = None
    with kept_randomness(0), quiet():
        settings = trainer_settings(model, training_options(), tmp_path, 0, False)
        theirs = DPOTrainer(
            load_base(model, tokenizer),
            ref_model=load_base(model, tokenizer),
            args=DPOConfig(**settings, report_to="none", max_length=256),
            train_dataset=Dataset.from_list([_row(pool, tokenizer, p, 0) for p in pairs]),
            processing_class=tokenizer,
        ).train_dataset
    ours = tokenise(pool, pairs, tokenizer, 256)
    assert ours.pairs == list(pairs)
    for (a, b), row in zip(ours.rows, theirs, strict=True):
        prompt = row["prompt_ids"]
        assert a.start == b.start == len(prompt)
        assert a.tokens.tolist() == prompt + row["chosen_ids"]
        assert b.tokens.tolist() == prompt + row["rejected_ids"]


def test_long_prompts_lose_their_beginning_or_are_left_out(world, tiny_model):
    tokenizer = tokenizer_of(model_options(tiny_model))
    whole = tokenise(world.pool, range(9), tokenizer, 256).rows
    cut = tokenise(world.pool, range(9), tokenizer, 256, max_prompt_length=4).rows
    for long, short in zip(rows_of(whole), rows_of(cut), strict=True):
        assert short.start == 4
        assert short.tokens.tolist() == long.tokens[long.start - 4 :].tolist()
    shortest = min(a.start for a, _ in whole)
    some = tokenise(world.pool, range(9), tokenizer, shortest + 1)
    assert len(some.pairs) + some.prompt_too_long == 9
    assert all(
        (row.start, len(row.tokens)) == (shortest, shortest + 1) for row in rows_of(some.rows)
    )
    assert tokenise(world.pool, range(9), tokenizer, 3).prompt_too_long == 9


def test_rows_keep_their_start_and_all_a_sides_come_first(world, tiny_model):
    tokenizer = tokenizer_of(model_options(tiny_model))
    whole = tokenise(world.pool, range(3), tokenizer, 256).rows
    length = max(row.start for row in rows_of(whole)) + 2
    rows = rows_of(tokenise(world.pool, range(3), tokenizer, length).rows)
    assert [len(row.tokens) <= length for row in rows] == [True] * 6
    assert rows[1].tokens.tolist() == whole[1][0].tokens[:length].tolist()
    assert rows[4].tokens.tolist() == whole[1][1].tokens[:length].tolist()


def test_tokens_take_four_bytes_each_and_nothing_that_was_cut(world, tiny_model):
    """60 000 pairs of 900 tokens would be gigabytes as Python's numbers, or with their cut parts."""
    tokenizer = tokenizer_of(model_options(tiny_model))
    for row in rows_of(tokenise(world.pool, range(3), tokenizer, 256, max_prompt_length=4).rows):
        assert row.tokens.dtype == np.int32 and row.tokens.base is None


def test_pairs_encoded_a_few_at_a_time_are_the_same(world, tiny_model, monkeypatch):
    tokenizer = tokenizer_of(model_options(tiny_model))
    at_once = rows_of(tokenise(world.pool, range(7), tokenizer, 256).rows)
    monkeypatch.setattr("activeduel.llm.tokens._AT_ONCE", 3)
    in_parts = rows_of(tokenise(world.pool, range(7), tokenizer, 256).rows)
    assert [r.tokens.tolist() for r in in_parts] == [r.tokens.tolist() for r in at_once]
    assert [r.start for r in in_parts] == [r.start for r in at_once]

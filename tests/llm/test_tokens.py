"""Pairs are cut into tokens as TRL's DPOTrainer cuts them."""

import pytest

for name in ("torch", "transformers"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

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
    from activeduel.llm.training import kept_randomness, load_base, quiet
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
            train_dataset=Dataset.from_list([_row(pool, tokenizer, p, 1.0) for p in pairs]),
            processing_class=tokenizer,
        ).train_dataset
    ours = tokenise(pool, pairs, tokenizer, 256)
    assert ours.pairs == list(pairs)
    for pair, row in zip(ours.tokens, theirs, strict=True):
        found = (pair.prompt, *pair.responses)
        assert found == (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])


def test_long_prompts_lose_their_beginning_or_are_left_out(world, tiny_model):
    tokenizer = tokenizer_of(model_options(tiny_model))
    whole = tokenise(world.pool, range(9), tokenizer, 256).tokens
    cut = tokenise(world.pool, range(9), tokenizer, 256, max_prompt_length=4)
    assert [pair.prompt for pair in cut.tokens] == [pair.prompt[-4:] for pair in whole]
    assert [pair.responses for pair in cut.tokens] == [pair.responses for pair in whole]
    shortest = min(len(pair.prompt) for pair in whole)
    some = tokenise(world.pool, range(9), tokenizer, shortest + 1)
    assert len(some.pairs) + some.prompt_too_long == 9
    assert all(len(pair.prompt) == shortest for pair in some.tokens)
    assert tokenise(world.pool, range(9), tokenizer, 3).prompt_too_long == 9


def test_rows_keep_their_start(world, tiny_model):
    tokens = tokenise(world.pool, range(3), tokenizer_of(model_options(tiny_model)), 256).tokens
    rows = rows_of(tokens, 15)
    assert [len(row.tokens) <= 15 for row in rows] == [True] * 6
    assert rows[1].tokens == (tokens[1].prompt + tokens[1].responses[0])[:15]
    assert rows[4].tokens == (tokens[1].prompt + tokens[1].responses[1])[:15]

"""The reference's log-probabilities: right, computed once, and the same bits after a kill."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from training_world import FEATURES, answers_from, contents, model_options, training_options
from transformers import AutoModelForCausalLM

from activeduel.llm import reference
from activeduel.llm.adpo import train_adpo
from activeduel.llm.reference import reference_log_probabilities
from activeduel.llm.tokens import tokenise
from activeduel.llm.training import tokenizer_of


@pytest.fixture
def compute(world, tiny_model, tmp_path, monkeypatch):
    """Log-probabilities of pairs, and how many rows were computed for them."""
    rows = []
    once = reference.evaluate
    monkeypatch.setattr(
        reference, "evaluate", lambda p, batch, *more: rows.extend(batch) or once(p, batch, *more)
    )

    def run(pairs, name="cache.sqlite", *, model=None, features=FEATURES, **more):
        del rows[:]
        model = model or model_options(tiny_model)
        cache = tmp_path / name
        found = reference_log_probabilities(world.pool, pairs, model, features, cache, **more)
        return found, len(rows)

    return run


@pytest.fixture
def adapter(world, tiny_model, tmp_path):
    """A trained adapter."""
    return train_adpo(
        world.pool, range(8), answers_from(world)[0], model_options(tiny_model), FEATURES,
        training_options(learning_rate=1e-2), tmp_path / "adapter", seed=2,
        cache=tmp_path / "other.sqlite",
    )  # fmt: skip


def by_hand(world, folder, pairs):
    """One row at a time, all logits, log-softmax, the answer's tokens summed."""
    model, out = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), []
    tokenizer = tokenizer_of(model_options(folder))
    for pair in tokenise(world.pool, pairs, tokenizer, 256).rows:
        for row in pair:
            ids = torch.tensor(row.tokens[None], dtype=torch.long)
            with torch.no_grad():
                logs = model(ids).logits[0].log_softmax(-1)
            steps = [logs[i - 1, ids[0, i]].item() for i in range(row.start, ids.shape[1])]
            out.append(sum(steps))
    return np.array(out).reshape(-1, 2)


def test_they_are_sums_over_the_answers_tokens(compute, world, tiny_model):
    found, _ = compute(range(6))
    np.testing.assert_allclose(found, by_hand(world, tiny_model, range(6)), atol=1e-3, rtol=1e-6)


def test_without_its_adapter_a_policy_is_its_reference(compute, adapter, world, tiny_model):
    """One model in memory is both."""
    from activeduel.llm.tokens import rows_of
    from activeduel.llm.training import collate, load_base, log_probabilities, with_adapter

    tokenizer = tokenizer_of(model_options(tiny_model))
    policy = with_adapter(load_base(model_options(tiny_model), tokenizer), adapter).eval()
    rows = rows_of(tokenise(world.pool, range(4), tokenizer, 256).rows)
    batch = collate(rows, tokenizer.pad_token_id, torch.device("cpu"))
    base, _ = compute(range(4))
    with torch.no_grad():
        trained = log_probabilities(policy, batch).view(2, -1).T
        with policy.disable_adapter():
            off = log_probabilities(policy, batch).view(2, -1).T
    np.testing.assert_allclose(off.numpy(), base, atol=1e-4)
    assert np.abs(trained.numpy() - base).max() > 1e-3
    named, _ = compute(range(4), adapter=adapter)
    np.testing.assert_allclose(trained.numpy(), named, atol=1e-4)


def test_added_pairs_alone_are_computed(compute, adapter):
    first, rows = compute(range(4))
    assert rows == 8
    more, rows = compute([2, 5, 1, 7])
    assert rows == 4
    np.testing.assert_array_equal(more[[2, 0]], first[[1, 2]])
    _, rows = compute([5, 7, 0])
    assert rows == 0
    _, rows = compute([5, 7, 0], adapter=adapter)  # another reference
    assert rows == 6


def test_nothing_is_loaded_when_nothing_is_missing(compute, monkeypatch):
    compute(range(4))
    monkeypatch.setattr(reference, "load_base", lambda *_: pytest.fail("loaded"))
    compute(range(4))


def test_an_interrupted_run_ends_with_the_same_bits(compute):
    features = replace(FEATURES, tokens_per_batch=200)
    whole, rows = compute(range(12), "whole.sqlite", features=features)

    def stop(done, total):
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(range(12), "broken.sqlite", features=features, progress=stop)
    again, rest = compute(range(12), "broken.sqlite", features=features)
    assert 0 < rest < rows
    np.testing.assert_array_equal(again, whole)


def test_a_prompt_that_fills_the_length_has_no_value(compute):
    found, rows = compute(range(3), features=replace(FEATURES, max_length=3))
    assert np.isnan(found).all() and rows == 0


@pytest.mark.parametrize("kind", ["text", "a database of another program"])
def test_a_file_that_is_not_ours_is_refused_and_kept(compute, tmp_path, kind):
    path = tmp_path / "cache.sqlite"
    if kind == "text":
        path.write_text("my notes\n" * 200)
    else:
        with sqlite3.connect(path) as file:
            file.execute("CREATE TABLE mine (x)")
        file.close()
    before = contents(tmp_path)["cache.sqlite"]
    with pytest.raises(ValueError, match=r"cache\.sqlite: found .* needed a cache of reference"):
        compute(range(2))
    assert contents(tmp_path)["cache.sqlite"] == before

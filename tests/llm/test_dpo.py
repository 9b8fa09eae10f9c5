"""DPO as the full-label baseline, and the rewards that a policy implies."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest

for name in ("torch", "transformers", "peft", "trl", "datasets"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from safetensors.torch import load_file
from training_world import (
    FEATURES,
    PICKLES,
    contents,
    labels_of,
    model_options,
    states,
    training_options,
)

from activeduel.llm import dpo
from activeduel.llm.dpo import implicit_rewards, train_dpo
from activeduel.llm.training import load_base

OPTIONS = training_options(learning_rate=5e-3, per_device_train_batch_size=4)


@pytest.fixture
def train(world, tiny_model, tmp_path):
    def run(name="dpo", *, labels=None, model=None, training=OPTIONS, **more):
        return train_dpo(
            world.pool,
            labels_of(world, 24) if labels is None else labels,
            model or model_options(tiny_model),
            FEATURES,
            training,
            tmp_path / name,
            seed=4,
            **more,
        )

    return run


@pytest.fixture
def implied(world, tiny_model, tmp_path):
    def run(policy, pairs, *, model=None, **more):
        model = model or model_options(tiny_model)
        cache = tmp_path / "cache.sqlite"
        return implicit_rewards(
            world.pool, pairs, model, FEATURES, OPTIONS, policy, cache=cache, **more
        )

    return run


def test_its_model_is_gone_before_another_is_loaded(train, monkeypatch):
    """A trainer of TRL holds itself in a circle; a second model would not fit beside the first."""
    loaded = []

    def load(*args, **more):
        model = load_base(*args, **more)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(dpo, "load_base", load)
    train()
    assert len(loaded) == 1 and loaded[0]() is None


def test_it_learns_its_labels(train, implied, world, tiny_model):
    model, labels = model_options(tiny_model, lora_r=16), labels_of(world, 24)
    training = training_options(
        learning_rate=1e-2, warmup_ratio=0.1, num_train_epochs=8.0, per_device_train_batch_size=8
    )
    policy = train(model=model, training=training)
    found = implied(policy, [pair for pair, _ in labels], model=model)
    # by chance that many agree with probability 0.001
    assert sum((found[:, 0] > found[:, 1]) == [w == 1 for _, w in labels]) >= 20 == len(labels) - 4


def test_a_policy_that_has_not_moved_implies_no_reward(train, implied):
    still = train(training=training_options(learning_rate=0.0))
    np.testing.assert_allclose(implied(still, range(5)), 0, atol=1e-5)


def test_it_continues_from_its_reference(train, implied):
    first = train("first")
    second = train("second", reference=first)
    from_base, from_first = implied(second, range(8)), implied(second, range(8), reference=first)
    ours = implied(first, range(8))
    np.testing.assert_allclose(from_base, from_first + ours, atol=1e-5)
    assert np.abs(from_first).max() > 1e-3
    names = set(load_file(second / "adapter_model.safetensors"))
    assert names == set(load_file(first / "adapter_model.safetensors"))  # TRL's copy is not saved


def test_a_whole_model_implies_rewards_too(train, implied, tiny_model):
    whole = model_options(tiny_model, use_peft=False)
    policy = train(model=whole, training=training_options(learning_rate=1e-3))
    assert np.abs(implied(policy, range(5), model=whole)).max() > 1e-3


def test_ties_and_prompts_that_are_too_long_are_counted(world, tiny_model, tmp_path):
    from activeduel.llm.config import FeatureOptions
    from activeduel.llm.tokens import tokenise
    from activeduel.llm.training import tokenizer_of

    model = model_options(tiny_model)
    rows = tokenise(world.pool, range(30), tokenizer_of(model), 256).rows
    lengths = [a.start for a, _ in rows]
    cut = sorted(lengths)[15]
    folder = train_dpo(
        world.pool, [(p, 1.0) for p in range(30)] + [(0, 0.5)], model,
        FeatureOptions(max_length=cut), OPTIONS, tmp_path / "dpo", seed=1,
    )  # fmt: skip
    facts = json.loads((folder / "dpo.json").read_text())
    long = sum(length >= cut for length in lengths)
    assert (facts["labels"], facts["ties"], facts["left_out_prompt_too_long"]) == (31, 1, long)


def test_it_leaves_nothing_behind_and_nothing_changed(train, tmp_path, monkeypatch, capfd):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = states()
    folder = train()
    np.testing.assert_equal(states(), before)
    assert set(contents(folder)) == {
        "adapter_config.json", "adapter_model.safetensors", "dpo.json"
    }  # fmt: skip
    assert not {path.suffix for path in tmp_path.rglob("*")} & PICKLES
    assert not list(here.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"here", "dpo"}
    assert capfd.readouterr() == ("", "")


def test_its_own_folder_is_returned_and_anothers_refused(train):
    folder = train()
    before = contents(folder)
    assert train() == folder
    with pytest.raises(ValueError, match=r"dpo: found the result of another .*other examples"):
        train(labels=[(0, 1.0)])
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"labels": [(0, 0.5)]}, "labels: found 1, none decided; needed one"),
        (
            {"whole": True, "reference": Path("x")},
            "reference: found an adapter with use_peft false",
        ),
    ],
)
def test_what_does_not_fit_is_refused(train, tiny_model, more, text):
    model = model_options(tiny_model, use_peft=not more.pop("whole", False))
    with pytest.raises(ValueError, match=text):
        train(model=model, **more)

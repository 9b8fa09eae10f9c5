"""The LoRA reward model: learned, saved with its head, the same again, and nothing left behind."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

for name in ("torch", "transformers", "peft", "trl", "datasets"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from safetensors.torch import load_file, save_file
from training_world import (
    FEATURES,
    PICKLES,
    contents,
    labels_of,
    model_options,
    states,
    training_options,
)

from activeduel.llm import reward
from activeduel.llm.reward import rewards, train_reward

OPTIONS = training_options(learning_rate=5e-3, num_train_epochs=2.0, per_device_train_batch_size=4)


@pytest.fixture
def train(world, tiny_model, tmp_path):
    def run(name="reward", *, labels=None, model=None, training=OPTIONS, features=FEATURES, **more):
        return train_reward(
            world.pool,
            labels_of(world, 24) if labels is None else labels,
            model or model_options(tiny_model),
            features,
            training,
            tmp_path / name,
            seed=4,
            **more,
        )

    return run


@pytest.fixture
def score(world, tiny_model):
    def run(folder, *, model=None, features=FEATURES, pairs=range(24)):
        return rewards(world.pool, pairs, model or model_options(tiny_model), features, folder)

    return run


def agreement(world, found):
    says_a = [preference == 1 for _, preference in labels_of(world, 24)]
    return np.mean((found[:, 0] > found[:, 1]) == says_a)


def test_it_learns_its_labels(train, score, world):
    labelled = [pair for pair, _ in labels_of(world, 24)]
    training = replace(OPTIONS, num_train_epochs=8.0)
    assert agreement(world, score(train(training=training), pairs=labelled)) > 0.9


def test_reloaded_it_gives_the_rewards_it_was_trained_to(train, score, world, monkeypatch):
    kept = []
    once = reward.train
    monkeypatch.setattr(reward, "train", lambda t, *more: (once(t, *more), kept.append(t.model)))
    folder = train()
    monkeypatch.setattr(reward, "load_trained", lambda *_, **__: kept[0])
    in_memory = score(folder)
    monkeypatch.undo()
    np.testing.assert_allclose(score(folder), in_memory, atol=1e-6)


def test_negative_control_a_lost_head_is_seen(train, score, tmp_path):
    folder = train()
    lost = shutil.copytree(folder, tmp_path / "lost")
    weights = load_file(lost / "adapter_model.safetensors")
    (head,) = (name for name in weights if "score" in name)
    weights[head] = torch.zeros_like(weights[head])
    save_file(weights, lost / "adapter_model.safetensors")
    assert np.abs(score(lost) - score(folder)).max() > 1e-2


@pytest.mark.parametrize("pad", ["<pad>", "</s>"])
def test_rewards_do_not_depend_on_the_batch(train, score, tiny_model, tmp_path, pad):
    """Also where the end of sequence pads, as many tokenizers have it."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": pad}))
    model = model_options(folder)
    trained = train(model=model)
    whole = score(trained, model=model)
    single = score(trained, model=model, features=replace(FEATURES, tokens_per_batch=1))
    np.testing.assert_allclose(single, whole, atol=1e-6)
    assert np.ptp(whole) > 1e-3


def test_the_same_seed_gives_the_same_bytes_and_a_killed_one_is_done_again(train, tmp_path):
    one = contents(train("one"))
    (tmp_path / ".tmp-two").mkdir()
    (tmp_path / ".tmp-two" / "half").write_text("what a killed training left")
    assert contents(train("two")) == one
    assert contents(train("three", labels=labels_of_other())) != one


def labels_of_other():
    return [(pair, float(pair % 2)) for pair in range(24)]


def test_ties_are_dropped_and_counted(train):
    folder = train(labels=[(0, 1.0), (1, 0.5), (2, 0.0), (2, 0.5)])
    facts = json.loads((folder / "reward.json").read_text())
    assert (facts["labels"], facts["ties"]) == (4, 2)


def test_one_with_ties_only_is_refused(train):
    with pytest.raises(ValueError, match="labels: found 2, none decided; needed one"):
        train(labels=[(1, 0.5), (2, 0.5)])


def test_a_text_that_is_too_long_loses_its_beginning_and_not_its_label(train, score):
    short = replace(FEATURES, max_length=12)
    training = replace(OPTIONS, num_train_epochs=1.0)
    folder = train(features=short, labels=[(p, 1.0) for p in range(8)], training=training)
    log = json.loads((folder / "reward.json").read_text())["log"]
    assert len(log) == 2  # 8 labels, 4 a step
    assert np.isfinite(score(folder, features=short)).all()


def test_it_leaves_nothing_behind_and_nothing_changed(train, tmp_path, monkeypatch, capfd):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = states()
    folder = train()
    np.testing.assert_equal(states(), before)
    assert set(contents(folder)) == {
        "adapter_config.json", "adapter_model.safetensors", "reward.json"
    }  # fmt: skip
    assert not {path.suffix for path in tmp_path.rglob("*")} & PICKLES
    assert not list(here.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"here", "reward"}
    assert capfd.readouterr() == ("", "")


def test_its_own_folder_is_returned_and_anothers_refused(train):
    folder = train()
    before = contents(folder)
    assert train() == folder
    with pytest.raises(ValueError, match=r"reward: found the result of another .*other examples"):
        train(labels=[(0, 1.0)])
    assert contents(folder) == before


def test_weights_that_are_no_numbers_are_not_published(train, tmp_path):
    with pytest.raises(ValueError, match="training: found weights that are not finite after it"):
        train(training=replace(OPTIONS, learning_rate=float("1e38"), max_grad_norm=0.0))
    assert not list(tmp_path.iterdir())


def test_a_whole_model_can_be_trained(train, score, tiny_model):
    whole = model_options(tiny_model, use_peft=False)
    folder = train(model=whole)
    assert (folder / "model.safetensors").exists()
    assert np.ptp(score(folder, model=whole)) > 1e-3


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_weights_of_few_bits_can_be_trained_on(train, score, tiny_model, bits):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'activeduel[llm]'")
    model = model_options(tiny_model, dtype="auto", **{bits: True})
    assert np.isfinite(score(train(model=model), model=model)).all()

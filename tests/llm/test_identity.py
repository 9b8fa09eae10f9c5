"""A training is known by what its result is a function of, and by nothing else."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

for name in ("torch", "transformers"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

from safetensors.numpy import load_file, save_file
from training_world import FEATURES, contents, model_options, training_options

from activeduel.llm.identity import differing, published, training_identity

LABELS = [(0, 1.0), (3, 0.0)]


@pytest.fixture
def identity(world, tiny_model):
    def make(
        folder=tiny_model, *, labels=LABELS, features=FEATURES, model=None, seed=1, **training
    ):
        model = replace(model or model_options(folder), model_name_or_path=str(folder))
        options = training_options(**training)
        return training_identity(world.pool, labels, model, features, options, seed, memory=None)

    return make


def test_a_model_that_was_moved_is_the_same(identity, tiny_model, tmp_path):
    moved = shutil.copytree(tiny_model, tmp_path / "elsewhere")
    quicker = replace(FEATURES, tokens_per_batch=7)
    assert differing(identity(), identity(moved, features=quicker, save_steps=99)) == ""
    assert identity(labels=[(np.int64(0), np.float64(1)), (3, 0)]) == identity()


def test_what_changes_the_result_is_named(identity, tiny_model, tmp_path):
    mine = identity()
    assert differing(mine, identity(labels=LABELS[::-1])) == "other examples"
    assert differing(mine, identity(seed=2, beta=0.2)) == "other beta, seed"
    assert differing(mine, identity(model=model_options(tiny_model, lora_r=2))) == "other lora_r"
    assert differing(mine, identity(confidence_threshold=1.0)) == "other confidence_threshold"


def test_weights_and_words_changed_in_place_are_others(identity, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    mine = identity(folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert differing(mine, identity(folder)) == "other weights"
    mine = identity(folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert differing(mine, identity(folder)) == "other tokenizer"


def test_a_folder_is_this_trainings_or_refused_and_kept(identity, tmp_path):
    folder = tmp_path / "trained"
    assert not published(folder, "facts.json", identity())
    folder.mkdir()
    with pytest.raises(
        ValueError, match="trained: found something that is no result of a training"
    ):
        published(folder, "facts.json", identity())
    (folder / "facts.json").write_text(json.dumps({"identity": identity()}))
    before = contents(folder)
    assert published(folder, "facts.json", identity())
    with pytest.raises(ValueError, match=r"found the result of another training \(other seed\)"):
        published(folder, "facts.json", identity(seed=2))
    assert contents(folder) == before

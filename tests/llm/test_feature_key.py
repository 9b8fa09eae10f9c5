"""What features are kept under: everything that changes them, and nothing else."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

import peft
import torch
import transformers

from activeduel.llm import feature_key
from activeduel.llm import features as module
from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.feature_key import settings_of, texts_of
from activeduel.llm.features import features
from activeduel.llm.models import load_config, load_tokenizer
from activeduel.llm.weights import weights_identity

# peft 0.21 asks transformers 5.23 by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def options(path, **more):
    return ModelOptions(str(path), device="cpu", **more)


@pytest.fixture(scope="module")
def phi(world, tiny_model, tmp_path_factory):
    return features(
        world.pool, options(tiny_model), FeatureOptions(), tmp_path_factory.mktemp("cache")
    )


def test_found_again_without_the_model(world, tiny_model, phi, monkeypatch):
    cache = Path(phi.filename).parents[1]
    monkeypatch.setattr(module, "load_backbone", lambda *_: pytest.fail("loaded the model again"))
    again = features(world.pool, options(tiny_model), FeatureOptions(tokens_per_batch=99), cache)
    assert again.filename == phi.filename
    # labels are no part of the texts
    other = dataclasses.replace(world.pool, gold=1 - world.pool.gold)
    assert features(other, options(tiny_model), FeatureOptions(), cache).filename == phi.filename


def test_everything_that_changes_features_is_in_the_key(world, tiny_model, tmp_path):
    few = dataclasses.replace(
        world.pool,
        pair_ids=world.pool.pair_ids[:3],
        prompts=world.pool.prompts[:3],
        responses=world.pool.responses[:3],
    )
    state = torch.get_rng_state()
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tuned = peft.get_peft_model(
        base, peft.LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False)
    )
    tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    torch.set_rng_state(state)
    template, weights = tmp_path / "template", tmp_path / "weights"
    for copy in (template, weights):
        shutil.copytree(tiny_model, copy)
    tokenizer = load_tokenizer(options(template))
    tokenizer.chat_template = tokenizer.chat_template.replace("|>", "|> ")
    tokenizer.save_pretrained(template)
    with (weights / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(np.float32(0.5).tobytes())
    plain, usual = options(tiny_model), FeatureOptions()
    moved = dataclasses.replace(few, responses=few.responses[::-1])
    variants = [
        (few, plain, usual, None),
        (few, plain, FeatureOptions(max_length=20), None),
        (few, plain, FeatureOptions(layer=1), None),
        (few, plain, FeatureOptions(pooling="mean"), None),
        (few, options(tiny_model, dtype="bfloat16"), usual, None),
        (few, options(tiny_model, attn_implementation="eager"), usual, None),
        (few, plain, usual, tmp_path / "adapter"),
        (few, options(template), usual, None),
        (few, options(weights), usual, None),
        (moved, plain, usual, None),
    ]
    cache = tmp_path / "cache"
    made = [features(*v[:3], cache, adapter=v[3]) for v in variants]
    assert len({m.filename for m in made}) == len(variants)
    assert all(not np.array_equal(m, made[0]) for i, m in enumerate(made[1:], 1) if i != 5)
    # and what changes nothing is not: a copy of the model elsewhere
    shutil.copytree(tiny_model, tmp_path / "copy")
    again = features(few, options(tmp_path / "copy"), usual, cache)
    assert again.filename == made[0].filename


def key_of(pool, model, *, adapted=False):
    """The key without weights, adapter and length, for which no model is loaded."""
    tokenizer, config = load_tokenizer(model), load_config(model)
    return settings_of(texts_of(pool), model, FeatureOptions(), tokenizer, config, adapted=adapted)


def changed(before, after):
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


@pytest.mark.parametrize("package", ["torch", "transformers", "tokenizers"])
def test_another_version_makes_a_new_entry(world, tiny_model, phi, monkeypatch, package):
    """And no error: the old features stay, the new ones stand beside them."""
    real, cache = feature_key.package_versions, Path(phi.filename).parents[1]
    monkeypatch.setattr(feature_key, "package_versions", lambda names: real(names) | {package: "9"})
    new = features(world.pool, options(tiny_model), FeatureOptions(), cache)
    assert new.filename != phi.filename and np.array_equal(new, phi)
    assert Path(phi.filename).exists()


def test_peft_and_bitsandbytes_count_only_where_they_are_used(world, tiny_model):
    plain = key_of(world.pool, options(tiny_model))
    assert {*plain["packages"]} == {"torch", "transformers", "tokenizers"}
    assert "peft" in key_of(world.pool, options(tiny_model), adapted=True)["packages"]
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    four = key_of(world.pool, options(tiny_model, load_in_4bit=True))
    assert "bitsandbytes" in four["packages"]


def test_four_bits_are_kept_with_the_type_that_they_are_computed_in(world, tiny_model):
    four = [
        key_of(world.pool, options(tiny_model, load_in_4bit=True, **more))["quantisation"]
        for more in ({}, {"dtype": "bfloat16"}, {"use_bnb_nested_quant": True},
                     {"bnb_4bit_quant_type": "fp4"})
    ]  # fmt: skip
    assert [kind["compute_dtype"] for kind in four] == ["float32", "bfloat16", "float32", "float32"]
    assert len({str(kind) for kind in four}) == 4


def test_a_gpu_and_tensor_float_32_are_in_the_key(world, tiny_model, monkeypatch):
    """Products of float32 in 10 bits of mantissa are other features."""
    model = dataclasses.replace(options(tiny_model), device="auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = key_of(world.pool, model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert changed(before, key_of(world.pool, model)) == {"device"}
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert changed(before, key_of(world.pool, model)) == {"device", "float32_products"}


def test_the_tokenizers_padding_side_is_not_ours(world, tiny_model, tmp_path, phi):
    """Padding stands on the right whatever it says: neither key nor features change."""
    shutil.copytree(tiny_model, tmp_path / "left")
    settings = tmp_path / "left" / "tokenizer_config.json"
    sides = {"padding_side": "left", "truncation_side": "left"}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | sides))
    left = options(tmp_path / "left")
    assert load_tokenizer(left).padding_side == "left"
    assert not changed(key_of(world.pool, options(tiny_model)), key_of(world.pool, left))
    assert np.array_equal(features(world.pool, left, FeatureOptions(), tmp_path / "cache"), phi)


def test_code_that_a_model_brings_is_in_the_key_where_it_is_trusted(tiny_model, tmp_path):
    """Also what that code imports from beside itself; only where it would be run."""
    brought = tmp_path / "brought"
    shutil.copytree(tiny_model, brought)
    config = load_config(options(tiny_model))
    config.auto_map = {"AutoModel": "modeling_own.Own", "AutoConfig": "configuration_own.Own"}
    config.save_pretrained(brought)
    (brought / "modeling_own.py").write_text("from .layers_own import layer\n")
    for name in ("configuration_own.py", "layers_own.py", "unused.py"):
        (brought / name).write_text("layer = 1\n")
    trusted, wary = options(brought, trust_remote_code=True), options(brought)
    found = [weights_identity(trusted)]
    for name in ("modeling_own.py", "layers_own.py", "configuration_own.py"):
        with (brought / name).open("a") as stream:
            stream.write("# changed\n")
        found.append(weights_identity(trusted))
    assert len({*found}) == 4
    safe = weights_identity(wary)
    for name in ("unused.py", "layers_own.py"):
        (brought / name).write_text("layer = 2\n")
    assert weights_identity(wary) == safe
    (brought / "layers_own.py").write_text("layer = 1\n# changed\n")
    assert weights_identity(trusted) == found[-1]

"""Features of a pool: what they are, what they are kept under, and what happens when a run is killed."""

import dataclasses
import fcntl
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

import peft
import torch
import transformers

from activeduel.llm import feature_cache
from activeduel.llm import features as module
from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.feature_cache import Unfinished
from activeduel.llm.features import features
from activeduel.llm.head import belief, project, refit
from activeduel.llm.models import load_backbone, load_tokenizer
from activeduel.llm.rendering import encode
from activeduel.theory import SELECTORS

# peft 0.21 asks transformers 5.23 by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def options(path, **more):
    return ModelOptions(str(path), device="cpu", **more)


def manifest(phi):
    return json.loads((Path(phi.filename).parent / "manifest.json").read_text())


def one_by_one(pool, path, max_length=1024, layer=-1):
    """Hidden states of every text by itself, without padding: [(states (t, d), first of response)]."""
    model = load_backbone(options(path))
    out = []
    for prompt, responses in zip(pool.prompts, pool.responses, strict=True):
        for response in responses:
            (text,) = encode(model.tokenizer, [(prompt, response)], max_length)
            with torch.inference_mode():
                ids = torch.from_numpy(text.ids.astype(np.int64))[None]
                states = model.backbone(input_ids=ids, output_hidden_states=True).hidden_states
            out.append((states[layer][0].numpy(), text.response))
    return out


@pytest.fixture(scope="module")
def phi(world, tiny_model, tmp_path_factory):
    return features(
        world.pool, options(tiny_model), FeatureOptions(), tmp_path_factory.mktemp("cache")
    )


def test_last_tokens_hidden_states(world, tiny_model, phi):
    alone = np.stack([states[-1] for states, _ in one_by_one(world.pool, tiny_model)])
    assert phi.shape == (120, 2, 64) and phi.dtype == np.float32
    size = np.abs(alone).max()
    assert np.allclose(phi.reshape(-1, 64), alone, rtol=1e-5, atol=1e-5 * size)
    assert isinstance(phi, np.memmap) and not phi.flags.writeable


def test_means_of_the_response_and_other_layers(plain_world, tiny_model, tmp_path):
    chosen = FeatureOptions(pooling="mean", layer=1)
    found = features(plain_world.pool, options(tiny_model), chosen, tmp_path)
    alone = one_by_one(plain_world.pool, tiny_model, layer=1)
    wanted = np.stack([states[start:].mean(axis=0) for states, start in alone])
    assert np.allclose(found.reshape(-1, 64), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    for layer in (3, -4):
        with pytest.raises(ValueError, match=f"layer: found {layer}, but the model has 2"):
            features(plain_world.pool, options(tiny_model), FeatureOptions(layer=layer), tmp_path)


def picks(pool, phi, name="dual", labels=60):
    """What a selector asks after 60 labels, features and labels being given."""
    rng = np.random.default_rng(2)
    train = np.flatnonzero(pool.group % 4 > 0)
    z = project(phi, train, 200).differences(phi)
    pair, teacher = rng.choice(train, labels), rng.integers(0, 2, labels)
    rationality = np.array([[1.0, 0.5, 2.0], [0.5, 2.0, 1.0]])
    fit = refit(z, pool.context, pair, teacher, pool.gold[pair].round(), rationality)
    counts = np.zeros((len(z), 2), dtype=int)
    known = belief(z, pool.context, fit, [1.0, 1.0], np.ones((len(z), 2), dtype=int), counts)
    found = SELECTORS[name](*known, 40.0, np.random.default_rng(4))
    return list(zip(found.pair.tolist(), found.teacher.tolist(), strict=True))


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("tokens_per_batch", [1, 100, 100_000])
def test_rebatching_changes_neither_features_nor_picks(
    world, tiny_model, tmp_path, tokens_per_batch, pooling
):
    usual = features(
        world.pool, options(tiny_model), FeatureOptions(pooling=pooling), tmp_path / "1"
    )
    other = features(
        world.pool,
        options(tiny_model),
        FeatureOptions(pooling=pooling, tokens_per_batch=tokens_per_batch),
        tmp_path / "2",
    )
    assert np.allclose(usual, other, rtol=1e-5, atol=1e-5 * np.abs(usual).max())
    for name in ("dual", "apo", "thompson", "coreset"):
        assert picks(world.pool, usual, name) == picks(world.pool, other, name)


def test_bfloat16_moves_features_by_half_a_percent_and_few_picks(world, tiny_model, tmp_path, phi):
    """Stated: 1 % of their root mean square, 36 of 40 picks of dual (measured: 0.5 %, all 40)."""
    half = [
        features(
            world.pool,
            options(tiny_model, dtype="bfloat16"),
            FeatureOptions(tokens_per_batch=size),
            tmp_path / str(size),
        )
        for size in (100, 100_000)
    ]
    for one, other in ((phi, half[0]), (phi, half[1]), half):
        moved = np.sqrt(np.mean(np.square(one - other)) / np.mean(np.square(phi)))
        assert 1e-4 < moved < 1e-2  # not 0: rounding is seen
        assert len(set(picks(world.pool, one)) & set(picks(world.pool, other))) >= 36


def test_negative_control_another_token_would_be_seen(world, tiny_model, phi):
    alone = np.stack([states[-2] for states, _ in one_by_one(world.pool, tiny_model)])
    assert not np.allclose(phi.reshape(-1, 64), alone, rtol=1e-2)


def test_an_encoder_reads_with_a_mask(plain_world, tiny_model, tmp_path):
    """Padding is masked where a token sees what comes after it; the mean is taken of the response."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    folder = tmp_path / "encoder"
    config = transformers.BertConfig(
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    torch.set_rng_state(state)
    load_tokenizer(options(tiny_model)).save_pretrained(folder)
    found = features(plain_world.pool, options(folder), FeatureOptions(), tmp_path / "cache")
    alone = one_by_one(plain_world.pool, folder)
    wanted = np.stack([states[start:].mean(axis=0) for states, start in alone])
    assert np.allclose(found.reshape(-1, 32), wanted, rtol=1e-5, atol=1e-5)
    assert manifest(found)["facts"]["pooling_used"] == "mean"


def test_a_text_in_several_pairs_is_read_once(plain_world, tiny_model, tmp_path):
    pool = plain_world.pool
    twice = dataclasses.replace(
        pool,
        prompts=pool.prompts[:4] * 2,
        responses=pool.responses[:4] + tuple((b, a) for a, b in pool.responses[:4]),
        pair_ids=pool.pair_ids[:8],
    )
    found = features(twice, options(tiny_model), FeatureOptions(), tmp_path)
    assert manifest(found)["facts"]["texts"] == 8 and found.shape[0] == 8
    assert np.array_equal(found[4:], found[:4, ::-1])


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


def test_progress_counts_pairs_and_tokens(world, tiny_model, tmp_path):
    seen = []
    chosen = FeatureOptions(tokens_per_batch=500)
    found = features(
        world.pool, options(tiny_model), chosen, tmp_path, progress=lambda *now: seen.append(now)
    )
    assert seen[-1][:2] == (120, 120) and all(rate > 0 for *_, rate in seen)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    facts = manifest(found)["facts"]
    assert (
        facts["last_run"]["tokens"] == facts["tokens"] <= facts["last_run"]["tokens_with_padding"]
    )
    assert facts["texts_cut"] == 0


def test_a_state_that_is_not_finite_names_the_pair_and_no_text(world, tiny_model, tmp_path):
    broken = tmp_path / "broken"
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.inf
    model.save_pretrained(broken)
    load_tokenizer(options(tiny_model)).save_pretrained(broken)
    with pytest.raises(
        ValueError, match=r"not finite for response [ab] of pair '.*float16"
    ) as error:
        features(world.pool, options(broken), FeatureOptions(), tmp_path / "cache")
    words = world.pool.prompts[0][0]["content"]
    assert words not in str(error.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from activeduel.llm import features as module, feature_cache
from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.data import read_pool
from activeduel.llm.text_world import data_options
where, after, world, model, cache = sys.argv[1:]
module.BLOCK, count = 16, 0

def die(*_, **__):
    global count
    count += 1
    if count > int(after):
        os.kill(os.getpid(), signal.SIGKILL)

owner, name = {
    "before the journal": (feature_cache, "_checksum"),
    "before publishing": (feature_cache, "publish_folder"),
    "before a block": (module.Unfinished, "add"),
}[where]
real = getattr(owner, name)
setattr(owner, name, lambda *a, **k: (die(), real(*a, **k))[1])
pool = read_pool(data_options(Path(world)))
module.features(pool, ModelOptions(model, device="cpu"), FeatureOptions(tokens_per_batch=400), Path(cache))
"""


@pytest.mark.parametrize(
    ("where", "after", "done"),
    [("before a block", 0, 0), ("before the journal", 3, 48), ("before publishing", 0, 240)],
)
def test_killed_at_any_moment_it_goes_on(
    world, tiny_model, tmp_path, monkeypatch, where, after, done
):
    """What was recorded is kept, what was not is redone; the end is the same, bit for bit."""
    chosen = FeatureOptions(tokens_per_batch=400)
    whole = features(world.pool, options(tiny_model), chosen, tmp_path / "whole")
    cache = tmp_path / "cache"
    words = [where, after, world.folder, tiny_model, cache]
    child = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert not [p for p in cache.iterdir() if p.is_dir() and not p.name.startswith(".")]
    started = []
    real = Unfinished.__init__
    monkeypatch.setattr(
        Unfinished,
        "__init__",
        lambda self, *a: (real(self, *a), started.append(self.done.sum()))[0],
    )
    found = features(world.pool, options(tiny_model), chosen, cache)
    assert done <= started[0] < done + 16 and np.array_equal(found, whole)
    assert {p.name for p in cache.iterdir()} == {Path(found.filename).parent.name, "hashes.json"}


SLOTS = np.array([0, 1, 2, 0, 3, 4])  # the fourth response is the first text again
VALUES = np.arange(20, dtype=np.float32).reshape(5, 4)


def begin(cache):
    return Unfinished(cache, {"a": 1}, SLOTS, 4)


def journal_of(cache):
    return next(cache.glob(".tmp-*")) / "journal"


def test_blocks_come_back_in_any_order(tmp_path):
    work = begin(tmp_path)
    work.add(np.array([3, 0]), VALUES[[3, 0]])
    assert begin(tmp_path).done.tolist() == [True, False, False, True, False]
    work = begin(tmp_path)
    work.add(np.array([1, 2, 4]), VALUES[[1, 2, 4]])
    assert np.array_equal(work.publish({}).reshape(6, 4), VALUES[SLOTS])


def cut(cache):
    path = journal_of(cache)
    path.write_bytes(path.read_bytes()[:-5])


def nonsense(cache):
    path = journal_of(cache)
    path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)


def other_numbers(cache):
    path = journal_of(cache).with_name("features.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


@pytest.mark.parametrize("damage", [cut, nonsense, other_numbers])
def test_a_block_that_is_not_whole_is_made_again(tmp_path, damage):
    work = begin(tmp_path)
    work.add(np.array([0, 1]), VALUES[:2])
    work.add(np.array([2, 4]), VALUES[[2, 4]])
    damage(tmp_path)
    work = begin(tmp_path)
    assert work.done.tolist() == [True, True, False, False, False]
    work.add(np.array([2, 3, 4]), VALUES[2:])
    assert begin(tmp_path).done.all()
    assert np.array_equal(work.publish({}).reshape(6, 4), VALUES[SLOTS])


def test_an_array_that_was_never_whole_starts_anew(tmp_path):
    begin(tmp_path).add(np.array([0, 1]), VALUES[:2])
    journal_of(tmp_path).with_name("features.npy").write_bytes(b"\x93NUM")
    assert not begin(tmp_path).done.any()


def test_no_room_is_said_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ValueError, match="found no room for 0.0 GiB of features"):
        begin(tmp_path)


def test_damaged_features_are_named_and_kept(world, tiny_model, phi, tmp_path):
    folder = Path(phi.filename).parent
    mine = tmp_path / folder.name
    shutil.copytree(folder, mine)
    with (mine / "features.npy").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x00\x00")
    before = (mine / "features.npy").read_bytes()
    with pytest.raises(
        ValueError, match=r"features\.npy: found a file that is missing or not the one"
    ):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)
    assert (mine / "features.npy").read_bytes() == before
    (mine / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json: found no readable JSON"):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)


def test_features_of_something_else_are_refused(world, tiny_model, phi, tmp_path):
    folder = Path(phi.filename).parent
    mine = tmp_path / folder.name
    shutil.copytree(folder, mine)
    theirs = json.loads((mine / "manifest.json").read_text())
    theirs["key"]["layer"] = 1
    (mine / "manifest.json").write_text(json.dumps(theirs))
    with pytest.raises(ValueError, match=r"features of something else \(layer differ\)"):
        features(world.pool, options(tiny_model), FeatureOptions(), tmp_path)
    begin(tmp_path)
    (journal_of(tmp_path).parent / "key.json").write_text('{"a": 2}')
    with pytest.raises(ValueError, match="unfinished features of something else"):
        begin(tmp_path)


def test_two_runs_do_not_make_the_same_features(tmp_path):
    key = {"a": 1}
    lock = tmp_path / f".tmp-{feature_cache.folder_of(tmp_path, key).name}.lock"
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with (
            pytest.raises(ValueError, match="another run is making the same features"),
            feature_cache.alone(tmp_path, key),
        ):
            pass
    with feature_cache.alone(tmp_path, key):
        assert lock.exists()
    assert not lock.exists()

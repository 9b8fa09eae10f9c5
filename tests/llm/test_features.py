"""Features of a pool: what they are, for many kinds of models, however they are batched."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

import torch
import transformers

from activeduel.llm.config import FeatureOptions, ModelOptions
from activeduel.llm.features import batches, features
from activeduel.llm.head import belief, project, refit
from activeduel.llm.models import load_backbone, load_tokenizer, longest
from activeduel.llm.rendering import encode
from activeduel.theory import SELECTORS


def options(path, **more):
    return ModelOptions(str(path), device="cpu", **more)


def manifest(phi):
    return json.loads((Path(phi.filename).parent / "manifest.json").read_text())


def one_by_one(pool, path, layer=-1):
    """Hidden states of every text by itself, without padding: [(states (t, d), first of response)]."""
    model = load_backbone(options(path))
    max_length = longest(model.backbone.config, model.tokenizer, 1024)
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


SHAPE = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
INNER = {**SHAPE, "intermediate_size": 64}
GROUPED = {**INNER, "num_key_value_heads": 2}
SPECIAL = {f"{kind}_token_id": 0 for kind in ("pad", "bos", "eos", "cls", "sep")}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
WINDOWS = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=16),
    "mixtral": lambda: transformers.MixtralConfig(**GROUPED, **EXPERTS),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, head_dim=8, sliding_window=16),
    "gpt-oss": lambda: transformers.GptOssConfig(**GROUPED, **EXPERTS, **WINDOWS, head_dim=8),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=4),
    "pythia": lambda: transformers.GPTNeoXConfig(**INNER),
    "opt, narrow embeddings": lambda: transformers.OPTConfig(
        **SHAPE, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "falcon": lambda: transformers.FalconConfig(**SHAPE, alibi=True, multi_query=False),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, state_size=4
    ),
    "modernbert": lambda: transformers.ModernBertConfig(**INNER, **SPECIAL, local_attention=16),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(
        **INNER, pad_token_id=0, max_position_embeddings=66
    ),
}
ENCODERS = {"modernbert", "xlm-roberta"}


@pytest.fixture(params=FAMILIES)
def family(request, tiny_model, tmp_path_factory):
    """(name, folder) of a model of random weights, large enough that every part is felt."""
    return request.param, random_model(FAMILIES[request.param](), tiny_model, tmp_path_factory)


def random_model(config, tiny_model, tmp_path_factory):
    folder, state = tmp_path_factory.mktemp("family"), torch.get_rng_state()
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.15)
    model.save_pretrained(folder)
    torch.set_rng_state(state)
    load_tokenizer(options(tiny_model)).save_pretrained(folder)
    return folder


def test_every_family_reads_a_text_alike_in_any_batch(family, world, tmp_path):
    """Within 1e-5 of each text by itself, and with the same picks."""
    name, folder = family
    found = [
        features(
            world.pool, options(folder), FeatureOptions(tokens_per_batch=size), tmp_path / str(size)
        )
        for size in (1, 3000)
    ]
    alone = one_by_one(world.pool, folder)
    wanted = np.stack([s[t:].mean(axis=0) if name in ENCODERS else s[-1] for s, t in alone])
    for phi in found:
        phi = phi.reshape(len(wanted), -1)
        assert np.allclose(phi, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert picks(world.pool, found[0]) == picks(world.pool, found[1])
    assert manifest(found[0])["facts"]["pooling_used"] == ("mean" if name in ENCODERS else "last")


def test_layers_of_other_widths(world, tiny_model, tmp_path, tmp_path_factory):
    """OPT-350m ends narrower than it is inside."""
    folder = random_model(FAMILIES["opt, narrow embeddings"](), tiny_model, tmp_path_factory)
    for layer, width in ((-1, 16), (1, 32), (0, 32), (-3, 32)):
        found = features(world.pool, options(folder), FeatureOptions(layer=layer), tmp_path)
        alone = np.stack([s[-1] for s, _ in one_by_one(world.pool, folder, layer=layer)])
        assert found.shape == (120, 2, width)
        assert np.allclose(found.reshape(-1, width), alone, rtol=1e-5, atol=1e-4)


LONG_ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 24,
             "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}  # fmt: skip


def test_positions_of_a_long_neighbour_change_nothing(
    world, tiny_model, tmp_path, tmp_path_factory
):
    """Phi-3's long versions turn every text of a batch as its longest one wants it."""
    config = transformers.Phi3Config(
        **GROUPED, rope_parameters=LONG_ROPE, max_position_embeddings=512, pad_token_id=0
    )
    folder = random_model(config, tiny_model, tmp_path_factory)
    alone = np.stack([states[-1] for states, _ in one_by_one(world.pool, folder)])
    found = features(world.pool, options(folder), FeatureOptions(), tmp_path)
    assert np.allclose(found.reshape(alone.shape), alone, rtol=1e-5, atol=1e-4)


def test_no_batch_stands_on_both_sides_of_a_turn():
    lengths = np.array([3, 9, 4, 4, 2])
    assert [b.tolist() for b in batches(lengths, 99)] == [[1, 2, 3, 0, 4]]
    assert [b.tolist() for b in batches(lengths, 99, turn=3)] == [[1, 2, 3], [0, 4]]
    assert [b.tolist() for b in batches(lengths, 99, turn=9)] == [[1, 2, 3, 0, 4]]


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_token_is_the_texts_own_with_padding_on_either_side(
    plain_world, tiny_model, tmp_path, side, pooling
):
    """As transformers pads a batch itself, with its mask."""
    pool, tokenizer = plain_world.pool, load_tokenizer(options(tiny_model))
    chosen = FeatureOptions(pooling=pooling)
    found = features(pool, options(tiny_model), chosen, tmp_path).reshape(-1, 64)[:8]
    rows = [(p, r) for p, both in zip(pool.prompts, pool.responses, strict=True) for r in both][:8]
    texts = encode(tokenizer, rows, 1024)
    tokenizer.padding_side = side
    batch = tokenizer.pad({"input_ids": [t.ids.tolist() for t in texts]}, return_tensors="pt")
    with torch.inference_mode():
        states = load_backbone(options(tiny_model)).backbone(**batch).last_hidden_state
    own = [s[m.bool()].numpy() for s, m in zip(states, batch["attention_mask"], strict=True)]
    starts = [t.response if pooling == "mean" else -1 for t in texts]
    wanted = np.stack([s[start:].mean(axis=0) for s, start in zip(own, starts, strict=True)])
    assert batch["attention_mask"].min() == 0
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_a_pair_whose_roles_the_template_refuses_is_named(world, tiny_model, tmp_path):
    """Gemma's and Mistral's know no system; what is said in the pair stays out of the message."""
    copy = tmp_path / "template"
    transformers.AutoModel.from_pretrained(tiny_model, dtype=torch.float32).save_pretrained(copy)
    tokenizer = load_tokenizer(options(tiny_model))
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception(messages[0].content) }}{% endif %}x"
    tokenizer.save_pretrained(copy)
    system = {"role": "system", "content": "a secret"}
    prompts = [*world.pool.prompts]
    prompts[5] = (system, *prompts[5])
    pool = dataclasses.replace(world.pool, prompts=tuple(prompts))
    with pytest.raises(ValueError, match=r"pair '.*roles system, user.*refuses") as error:
        features(pool, options(copy), FeatureOptions(), tmp_path / "cache")
    assert pool.pair_ids[5] in str(error.value) and "secret" not in str(error.value)


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

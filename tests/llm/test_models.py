"""Loading a model as phi: bodies without heads, adapters, and what is refused."""

import dataclasses
import json
import shutil

import pytest

for package in ("torch", "transformers", "peft"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

import peft
import torch
import transformers

from activeduel.llm import models
from activeduel.llm.config import ModelOptions
from activeduel.llm.models import load_backbone, weights_identity

IDS = torch.tensor([[5, 9, 30, 7], [8, 8, 2, 40]])


# peft 0.21 asks transformers 5.23 by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def options(path, **more):
    return ModelOptions(str(path), device="cpu", **more)


def states(model):
    with torch.inference_mode():
        return model(input_ids=IDS, output_hidden_states=True).hidden_states[-1]


def adapter_on(kind, task, base, folder, **more):
    """An adapter with random weights, saved by peft, and the last hidden states under it."""
    torch.manual_seed(3)
    model = kind.from_pretrained(base, dtype=torch.float32, **more)
    model.config.pad_token_id = 0
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(task_type=task, r=4, init_lora_weights=False)
    )
    tuned.eval().save_pretrained(folder, save_embedding_layers=False)
    return states(tuned)


@pytest.fixture
def kept_generator():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def test_the_body_alone_gives_the_models_hidden_states(tiny_model):
    model = load_backbone(options(tiny_model))
    whole = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(model.backbone(input_ids=IDS).last_hidden_state, states(whole))
    assert model.causal and model.widths == (64, 64, 64, 64)
    assert not any("lm_head" in name for name, _ in model.backbone.named_parameters())
    assert not any(p.requires_grad for p in model.backbone.parameters())


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        (transformers.AutoModelForCausalLM, "CAUSAL_LM"),
        (transformers.AutoModelForSequenceClassification, "SEQ_CLS"),
        (transformers.AutoModel, "FEATURE_EXTRACTION"),
    ],
)
def test_adapters_of_any_task_serve(tiny_model, tmp_path, kept_generator, kind, task):
    more = {"num_labels": 1} if task == "SEQ_CLS" else {}
    wanted = adapter_on(kind, task, tiny_model, tmp_path, **more)
    model = load_backbone(options(tiny_model), tmp_path)
    with torch.inference_mode():
        found = model.backbone(input_ids=IDS).last_hidden_state
        assert torch.equal(found, wanted)
        plain = load_backbone(options(tiny_model)).backbone(input_ids=IDS).last_hidden_state
    assert not torch.allclose(found, plain, rtol=1e-2)


def test_an_encoder_is_known_by_what_it_does(tmp_path, kept_generator):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    model = load_backbone(options(tmp_path))  # without the pooler, which phi does not use
    assert not model.causal and model.widths[-1] == 32
    assert models.longest(model.backbone.config, model.tokenizer, 4096) == 512


def test_loading_leaves_global_generators_alone(tiny_model, tmp_path, kept_generator):
    adapter_on(
        transformers.AutoModelForSequenceClassification,
        "SEQ_CLS",
        tiny_model,
        tmp_path,
        num_labels=1,
    )
    before = torch.get_rng_state()
    load_backbone(options(tiny_model), tmp_path)  # the unused head is initialised, then dropped
    assert torch.equal(torch.get_rng_state(), before)


def test_four_bits_on_a_cpu(tiny_model):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes for load_in_4bit")
    model = load_backbone(options(tiny_model, load_in_4bit=True))
    exact = load_backbone(options(tiny_model))
    with torch.inference_mode():
        one, two = (m.backbone(input_ids=IDS).last_hidden_state for m in (model, exact))
    assert model.causal and 0.8 < torch.cosine_similarity(one, two, dim=-1).min() < 0.9999


def test_attention_and_dtype_are_what_was_asked(tiny_model):
    model = load_backbone(options(tiny_model, dtype="bfloat16", attn_implementation="eager"))
    assert next(model.backbone.parameters()).dtype == torch.bfloat16
    assert model.backbone.config._attn_implementation == "eager"
    config = models.load_config(options(tiny_model))
    assert models.stored_dtype(options(tiny_model), config) == "float32"
    assert models.stored_dtype(options(tiny_model, dtype="float16"), config) == "float16"


def test_a_gpu_that_is_not_there(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device: found 'cuda', but torch sees no GPU"):
        load_backbone(dataclasses.replace(options(tiny_model), device="cuda"))
    assert models.device(ModelOptions("m")).type == "cpu"


def test_contradictions_and_missing_packages(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="load_in_4bit, load_in_8bit: found both"):
        load_backbone(options(tiny_model, load_in_4bit=True, load_in_8bit=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"bitsandbytes: found no such package.*pip install"):
        load_backbone(options(tiny_model, load_in_4bit=True))


def test_pickled_weights_are_never_read(tiny_model, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    for load in (load_backbone, weights_identity):
        with pytest.raises(ValueError, match=r"pickled \.bin weights are never read"):
            load(options(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"found no adapter_model.safetensors"):
        load_backbone(options(tiny_model), tmp_path)


def test_a_model_that_lacks_weights_is_refused(tiny_model, tmp_path):
    """transformers would invent them at random."""
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"found no weights for 'layers\.2\."):
        load_backbone(options(tmp_path))


def test_a_name_that_is_nowhere(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for load in (load_backbone, weights_identity):
        with pytest.raises(ValueError, match="nobody/nothing.*HF_HUB_OFFLINE"):
            load(options("nobody/nothing"))


def test_the_weights_identity_follows_the_content(tiny_model, tmp_path, kept_generator):
    copy, memory = tmp_path / "copy", tmp_path / "memory"
    shutil.copytree(tiny_model, copy)
    first = weights_identity(options(tiny_model), memory=memory)
    assert (
        weights_identity(options(copy)) == first == weights_identity(options(copy), memory=memory)
    )
    assert len(json.loads((memory / "hashes.json").read_text())) == 4  # two files of two folders
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(-3, 2)
        stream.write(b"x")
    assert weights_identity(options(copy), memory=memory) != first
    adapter_on(transformers.AutoModelForCausalLM, "CAUSAL_LM", tiny_model, tmp_path / "a")
    assert weights_identity(options(tiny_model), tmp_path / "a", memory=memory) != first
    (memory / "hashes.json").write_text("damaged")  # hashes are then taken anew
    assert weights_identity(options(tiny_model), memory=memory) == first


def test_a_sharded_model_is_hashed_by_its_index(tiny_model, tmp_path):
    model = transformers.AutoModel.from_pretrained(tiny_model, dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    first = weights_identity(options(tmp_path))
    (tmp_path / "consolidated.safetensors").write_bytes(b"another copy, which is not loaded")
    assert weights_identity(options(tmp_path)) == first
    single = tmp_path / "model.safetensors"  # beside an index it is what transformers reads
    single.write_bytes(b"saved later, in one file")
    assert weights_identity(options(tmp_path)) != first
    single.unlink()
    (tmp_path / shards[1]).unlink()
    with pytest.raises(ValueError, match=f"found no {shards[1]}"):
        weights_identity(options(tmp_path))


SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2}  # fmt: skip
REFUSED = {
    "encoder-decoder": (transformers.T5Config(d_model=32, d_ff=64, num_layers=1, num_heads=2), "t5"),
    "no hidden states from tokens alone": (
        transformers.ViTConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                               num_attention_heads=2, image_size=28, patch_size=14),
        "vit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_model_of_texts_is_refused_in_words(tiny_model, tmp_path, kept_generator, why):
    config, kind = REFUSED[why]
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    words = why.replace("no hidden", "makes no hidden")
    with pytest.raises(ValueError, match=f"({kind}).*{words}|{words} .{kind}"):
        load_backbone(options(tmp_path))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_few_huge_dimensions_do_not_make_an_encoder_causal(
    tiny_model, tmp_path, kept_generator, dtype
):
    """What later tokens change is small beside them, and large beside all others."""
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**SMALL), add_pooling_layer=False)
    model.encoder.layer[-1].output.LayerNorm.bias.data[3] = 1e4
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    assert not load_backbone(options(tmp_path, dtype=dtype)).causal


def test_positions_are_counted_as_the_model_counts_them(tiny_model):
    tokenizer = models.load_tokenizer(options(tiny_model))  # it takes 2048 tokens
    for config, length in (
        (transformers.LlamaConfig(**SMALL, max_position_embeddings=100), 100),
        (transformers.XLMRobertaConfig(max_position_embeddings=102, pad_token_id=1), 100),
        (transformers.XLNetConfig(), 1024),  # says -1
        (transformers.BloomConfig(), 1024),
    ):
        assert models.longest(config, tokenizer, 1024) == length

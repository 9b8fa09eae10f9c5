"""Counts of parameters, bytes and flops against what torch, peft and bitsandbytes really hold and do."""

import warnings

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
import transformers
from peft import LoraConfig, get_peft_model
from sized_models import GEMMA_7B, MISTRAL_7B, SMALL, TARGETS, small
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, LlamaConfig

from activeduel.llm.config import ModelOptions
from activeduel.llm.model_size import (
    count,
    forward_flops,
    lora_parameters,
    training_factor,
    weight_bytes,
)
from activeduel.llm.on_meta import lora_targets
from activeduel.llm.training import checkpoint_activations

# peft asks transformers for a property that transformers renames in its next major version
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")


@pytest.mark.parametrize(
    ("config", "parameters", "embedding", "head"),
    [
        (MISTRAL_7B, 7_241_732_096, 131_072_000, 131_072_000),
        (GEMMA_7B, 8_537_680_896, 786_432_000, 0),
    ],
)
def test_parameters_of_published_configurations(config, parameters, embedding, head):
    """The numbers on the models' pages; Gemma's head is its embedding."""
    size = count(config)
    assert (size.parameters, size.embedding, size.head) == (parameters, embedding, head)
    assert size.gated and size.vocabulary == config.vocab_size


@pytest.mark.parametrize("tied", [False, True])
def test_counts_are_those_of_the_model_in_memory(tied):
    model, config = small(3, tie_word_embeddings=tied)
    size = count(config, TARGETS)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.head == (0 if tied else 300 * 64)
    adapted, _ = small(3, lora=True)
    assert lora_parameters(size, 8) == adapted.get_nb_trainable_parameters()[0]
    assert not any(p.is_meta for p in model.parameters())


def test_lora_targets_as_peft_chooses_them_and_as_named():
    adapted = get_peft_model(small()[0], LoraConfig(r=4, task_type="CAUSAL_LM"))
    assert lora_parameters(count(small()[1]), 4) == adapted.get_nb_trainable_parameters()[0]
    everything = count(small()[1], ("all-linear",))
    assert everything.targets == everything.matrices and len(everything.matrices) == 2 * 7


def test_an_encoder_has_no_head_of_its_own():
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        architectures=["BertModel"],
    )  # fmt: skip
    size = count(config)
    assert size.head == 0 and not size.gated


SHAPE = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
INNER = {**SHAPE, "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "image_size": 28,
          "num_attention_heads": 4, "patch_size": 14}  # fmt: skip
EMPTY = {f"{kind}_token_id": 0 for kind in ("pad", "bos", "eos", "cls", "sep")}
FAMILIES = {
    "mixtral": lambda: transformers.MixtralConfig(**INNER, **EXPERTS, num_key_value_heads=2),
    "qwen3": lambda: transformers.Qwen3Config(**INNER, head_dim=8, num_key_value_heads=2),
    "gemma2, tied": lambda: transformers.Gemma2Config(**INNER, head_dim=8, num_key_value_heads=2),
    "phi, head with bias": lambda: transformers.PhiConfig(**INNER),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4),
    "falcon, own linear layers": lambda: transformers.FalconConfig(**SHAPE),
    "olmo2": lambda: transformers.Olmo2Config(**INNER, num_key_value_heads=4),
    "opt, narrow": lambda: transformers.OPTConfig(
        **SHAPE, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "modernbert decoder": lambda: transformers.ModernBertDecoderConfig(
        **{**INNER, **EMPTY}, local_attention=16
    ),
    "bert": lambda: BertConfig(**INNER, architectures=["BertModel"]),
    "gemma3 with images": lambda: transformers.Gemma3Config(
        text_config={**INNER, "head_dim": 8, "num_key_value_heads": 2}, vision_config=VISION
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_body_is_what_features_run_through(family):
    """Without embedding and head, whatever a head consists of, to the last parameter."""
    config = FAMILIES[family]()
    with torch.device("meta"):
        body = transformers.AutoModel.from_config(config)
    embedding = body.get_input_embeddings().weight.numel()
    size = count(config)
    assert size.body == sum(p.numel() for p in body.parameters()) - embedding
    assert size.embedding == embedding


def test_a_token_passes_few_of_the_experts_and_no_image_tower():
    """What takes time is counted, not what only takes memory."""
    dense, sparse = (count(FAMILIES[name]()) for name in ("qwen3", "mixtral"))
    experts = 2 * 8 * 3 * 32 * 64  # layers, experts, three matrices each
    assert dense.active == dense.body and sparse.active == sparse.body - experts * 6 / 8
    images = FAMILIES["gemma3 with images"]()
    assert count(images).active == count(images.text_config).body < count(images).body
    assert sparse.gated and forward_flops(sparse, [1]) == 2 * sparse.active + 2 * 2 * 32


@pytest.mark.parametrize("targets", [None, ("all-linear",)])
@pytest.mark.parametrize(
    "family", ["qwen3", "gpt2", "falcon, own linear layers", "opt, narrow", "mixtral"]
)
def test_lora_is_what_peft_adds_to_any_family(family, targets):
    config = FAMILIES[family]()
    model = transformers.AutoModelForCausalLM.from_config(config)
    names = None if targets is None else "all-linear"
    options = LoraConfig(
        r=4, task_type="CAUSAL_LM", target_modules=names, fan_in_fan_out=family == "gpt2"
    )
    with warnings.catch_warnings():  # peft counts experts under names that it does not match
        warnings.filterwarnings("ignore", "The following .*_pattern keys", RuntimeWarning)
        try:
            wanted = get_peft_model(model, options).get_nb_trainable_parameters()[0]
        except ValueError:  # peft 0.21 knows Mixtral by names that transformers 5.23 gave up
            with pytest.raises(ValueError, match="lora_target_modules: found none"):
                lora_targets(config)
            wanted = 0
    assert lora_parameters(count(config, targets), 4) == wanted


@pytest.mark.parametrize("config", [transformers.MambaConfig(), transformers.ViTConfig()])
def test_what_the_formulas_do_not_describe_is_refused(config):
    with pytest.raises(ValueError, match=f"found a {config.model_type}, which has no attention"):
        count(config)


@pytest.mark.parametrize("family", ["qwen3", "mixtral", "falcon, own linear layers", "gpt2"])
def test_four_bits_are_those_modules_that_transformers_quantises(family, tmp_path):
    """Neither fused experts nor Falcon's own linear layers."""
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    config = FAMILIES[family]()
    transformers.AutoModel.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    body = transformers.AutoModel.from_pretrained(
        tmp_path,
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4"
        ),
        device_map="cpu",
        dtype=torch.float32,
    )
    held = sum(p.numel() * p.element_size() for p in body.parameters())
    states = [s for p in body.parameters() if (s := getattr(p, "quant_state", None)) is not None]
    held += sum(t.numel() * t.element_size() for s in states for t in (s.absmax, s.code))
    options = ModelOptions("x", load_in_4bit=True)
    assert weight_bytes(count(config), options, "float32", head=False) == held


@pytest.mark.parametrize("nested", [False, True])
def test_four_bits_weigh_what_bitsandbytes_holds(nested):
    bnb = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    config = LlamaConfig(**SMALL, num_hidden_layers=1)
    size, held = count(config), 0
    for inputs, outputs in size.matrices:
        weights = bnb.nn.Params4bit(
            torch.randn(outputs, inputs), requires_grad=False, quant_type="nf4",
            compress_statistics=nested,
        ).to("cpu")  # fmt: skip
        state = weights.quant_state
        tensors = [weights.data, state.absmax, state.code]
        if nested:
            tensors += [state.state2.absmax, state.state2.code, state.offset]
        held += sum(t.numel() * t.element_size() for t in tensors)
    options = ModelOptions("x", load_in_4bit=True, use_bnb_nested_quant=nested)
    others = size.parameters - sum(i * o for i, o in size.matrices)
    assert weight_bytes(size, options, "bfloat16") - 2 * others == held


def test_weights_in_other_types():
    size = count(LlamaConfig(**SMALL, num_hidden_layers=1))
    plain = ModelOptions("x")
    assert weight_bytes(size, plain, "float32") == 4 * size.parameters
    assert weight_bytes(size, plain, "bfloat16", head=False) == 2 * (size.parameters - size.head)
    eight = weight_bytes(size, ModelOptions("x", load_in_8bit=True), "bfloat16")
    numbers, rows = sum(i * o for i, o in size.matrices), sum(o for _, o in size.matrices)
    assert eight == numbers + 4 * rows + 2 * (size.parameters - numbers)


# ------------------------------------------------------------------------------------- flops


def counted_flops(model, ids, *, backward):
    with FlopCounterMode(display=False) as counter:
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
        if backward:
            states.sum().backward()
    return counter.get_total_flops()


def test_flops_of_a_forward_pass():
    """Torch counts the products of matrices, attention in full: ours has half of it, and norms' weights."""
    model, config = small(3, attn_implementation="eager")
    size, ids = count(config), torch.randint(0, 100, (2, 40))
    attention = 2 * size.layers * size.queries * 40**2 * 2
    found = counted_flops(model, ids, backward=False)
    said = forward_flops(size, [40, 40]) + attention
    assert found < said < 1.01 * found
    head = forward_flops(size, [40, 40], head=True) - forward_flops(size, [40, 40])
    assert head == 2 * 80 * 64 * 300


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_passes_of_a_training_step(full, checkpointing):
    """3 forward passes, 2 under LoRA (here: only what comes first is trained), at most one more if run
    again: torch leaves out each layer's last product, which nothing backward needs.
    """
    model, _ = small(8, attn_implementation="eager")
    if not full:
        for name, weight in model.named_parameters():
            weight.requires_grad_("embed_tokens" in name)
    if checkpointing:
        checkpoint_activations(model)
    ids = torch.randint(0, 100, (2, 10))
    one = counted_flops(model, ids, backward=False)
    passes = counted_flops(model, ids, backward=True) / one
    said = training_factor(full, checkpointing)
    assert passes <= 1.03 * said and passes > (said - 0.3 if checkpointing else 0.99 * said)

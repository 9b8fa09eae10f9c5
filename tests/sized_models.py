"""Models for the tests of estimates: two published ones, a small Llama, one with its own code."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, MistralConfig

MISTRAL_7B = MistralConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=8, dtype="bfloat16",
)  # fmt: skip
GEMMA_7B = GemmaConfig(
    vocab_size=256000, hidden_size=3072, intermediate_size=24576, num_hidden_layers=28,
    num_attention_heads=16, num_key_value_heads=16, head_dim=256, dtype="bfloat16",
)  # fmt: skip
SMALL = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": False,
}  # fmt: skip
TARGETS = ("q_proj", "v_proj")


def small(layers=2, *, lora=False, dtype="float32", dropout=0.0, **more):
    """A Llama of 64 hidden numbers, in training mode, with its configuration."""
    config = LlamaConfig(**{**SMALL, "num_hidden_layers": layers, **more})
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    if lora:
        options = LoraConfig(r=8, lora_dropout=dropout, target_modules=list(TARGETS))
        model = get_peft_model(model, options)
    return model.train(), config


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnModel(LlamaModel):
    config_class = OwnConfig


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


def with_own_code(folder, more=""):
    """A model folder, without weights, whose Python file describes the architecture."""
    Path(folder, "own.py").write_text(OWN_CODE + more)
    places = {"AutoConfig": "OwnConfig", "AutoModel": "OwnModel"}
    places["AutoModelForCausalLM"] = "OwnForCausalLM"
    options = {
        **SMALL,
        "num_hidden_layers": 2,
        "model_type": "own-llama",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {auto: f"own.{name}" for auto, name in places.items()},
    }
    Path(folder, "config.json").write_text(json.dumps(options))
    return folder

"""What the tests of training share: short options, and what a training may not leave behind."""

import random
from dataclasses import replace

import numpy as np

from activeduel.llm.config import FeatureOptions, ModelOptions, TrainingOptions

FEATURES = FeatureOptions(max_length=256, tokens_per_batch=1024)
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle"}


def model_options(folder, **changes):
    """LoRA without dropout on the model in ``folder``, in float32 on the CPU."""
    options = ModelOptions(str(folder), dtype="float32", device="cpu", lora_r=4, lora_dropout=0.0)
    return replace(options, **changes)


def training_options(**changes):
    options = TrainingOptions(
        method="adpo", learning_rate=1e-3, warmup_ratio=0.0, per_device_train_batch_size=2,
        gradient_accumulation_steps=1, confidence_threshold=float("inf"), save_steps=3,
    )  # fmt: skip
    return replace(options, **changes)


def labels_of(world, count):
    """The truth of the first pairs as labels, without ties."""
    truth = world.pool.truth()
    return [(pair, float(truth[pair])) for pair in range(count) if truth[pair] != 0.5]


def answers_from(world):
    """A teacher that says the truth, and notes what it was asked: (step, pairs, differences)."""
    truth = world.pool.truth()
    asked = []

    def ask(step, pairs, differences):
        asked.append((step, list(pairs), list(differences)))
        return [float(truth[pair]) for pair in pairs]

    return ask, asked


def states():
    """The states of every global generator."""
    import torch

    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    return random.getstate(), numpy, torch.get_rng_state().tolist()


def contents(folder):
    """Name -> bytes of every file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tiny_family(folder, like, kind, **more):
    """A model of another family, with the tokenizer of ``like``, saved in ``folder``."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from activeduel.llm.surroundings import kept_randomness, quiet

    tokenizer = AutoTokenizer.from_pretrained(like)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    with kept_randomness(0), quiet():
        config = AutoConfig.for_model(kind, **sizes, **more)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

"""Named sets of options: the ADPO paper's three settings, and their twins without pseudo-labels.

Source: RLHF with Active Queries (arXiv 2402.09401), experiments and appendix; effective batch 64 as
4 x 4 accumulation x 4 devices there, here 4 x 16 on one. Which modules LoRA adapts is not stated there:
peft's choice for the architecture is taken.
"""

import difflib
from collections.abc import Mapping
from typing import Any

_ADPO: dict[str, Any] = {
    "method": "adpo",
    "beta": 0.1,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 16,
    "num_train_epochs": 1.0,
    "max_length": 1024,
    "max_prompt_length": 512,
    "dtype": "bfloat16",
    "gradient_checkpointing": True,
    "replicates": 1,
    "baselines": [],
    "budget": 62_000,  # more than there are pairs: the threshold alone decides
    "teachers": [{"name": "dataset", "kind": "recorded"}],  # the labels that the rows carry
}
# a checkpoint of a full fine-tune is 12 bytes a weight: 87 GB at 7B
_FULL: dict[str, Any] = {**_ADPO, "use_peft": False, "learning_rate": 5e-7, "save_steps": 200}

PRESETS: dict[str, dict[str, Any]] = {
    "zephyr-7b-beta-adpo": {
        **_FULL,
        "model_name_or_path": "alignment-handbook/zephyr-7b-sft-full",
        "dataset_name": "HuggingFaceH4/ultrafeedback_binarized",
        "dataset_split": "train_prefs",
        "confidence_threshold": 1.3,
    },
    "zephyr-7b-gemma-adpo": {
        **_FULL,
        "model_name_or_path": "HuggingFaceH4/zephyr-7b-gemma-sft-v0.1",
        "dataset_name": "argilla/dpo-mix-7k",
        "confidence_threshold": 1.5,
    },
    "zephyr-7b-lora-adpo": {
        **_ADPO,
        "model_name_or_path": "alignment-handbook/zephyr-7b-sft-full",
        "dataset_name": "HuggingFaceH4/ultrafeedback_binarized",
        "dataset_split": "train_prefs",
        "use_peft": True,
        "lora_r": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "learning_rate": 1e-5,
        "confidence_threshold": 1.5,
    },
}
WITHOUT = "-without-pseudo-labels"
PRESETS |= {name + WITHOUT: {**values, "pseudo_labels": False} for name, values in PRESETS.items()}


def preset(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a preset with the user's ``own`` laid over them.

    Its split and configuration of a data set go with its data set: where ``own`` names another, they
    are left out. Raises ``ValueError`` naming the nearest where there is no such preset.

    >>> preset("zephyr-7b-lora-adpo", {"beta": 0.2})["lora_r"]
    64
    >>> "dataset_split" in preset("zephyr-7b-lora-adpo", {"dataset_name": "pairs.jsonl"})
    False
    """
    if not isinstance(name, str) or name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1) or sorted(PRESETS)
        raise ValueError(f"preset: found no {name!r}. Known, or nearest: {', '.join(close)}.")
    values = dict(PRESETS[name])
    if own.get("dataset_name", values["dataset_name"]) != values["dataset_name"]:
        values = {k: v for k, v in values.items() if k not in ("dataset_config", "dataset_split")}
    return {**values, **own}

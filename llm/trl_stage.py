"""What the trainings by TRL share: its trainers' arguments, a quiet run, and a folder published whole."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
from transformers import PrinterCallback, TrainingArguments

from .._durable import TEMPORARY, publish_folder
from .config import ModelOptions, TrainingOptions
from .models import device, quantisation
from .surroundings import kept_randomness, quiet
from .training import computes_in_bfloat16, save_model

_FIELDS = {field.name for field in fields(TrainingArguments)}
_NEW, _OLD = "activation_checkpointing", "gradient_checkpointing"  # transformers 5.23 renamed it
_CHECKPOINTING = _NEW if _NEW in _FIELDS else _OLD
_NO_BARS = "TQDM_DISABLE"
_SCRATCH = "trainer"  # where a trainer may write; nothing of it is published


def trainer_settings(
    model: ModelOptions, training: TrainingOptions, temporary: Path, seed: int, progress: bool
) -> dict[str, Any]:
    """The arguments that TRL's trainers share; nothing is saved or reported by themselves."""
    return {
        "output_dir": str(temporary / _SCRATCH),
        "seed": seed % 2**32,  # all that transformers takes
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_ratio,
        "num_train_epochs": training.num_train_epochs,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        _CHECKPOINTING: training.gradient_checkpointing,
        # TRL turns what is trained beside 4 or 8 bit weights into bfloat16
        "bf16": computes_in_bfloat16(model) or quantisation(model) is not None,
        "use_cpu": device(model).type == "cpu",
        "dataloader_pin_memory": device(model).type == "cuda",
        "disable_dropout": False,  # the model's own is off already, LoRA's is meant
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": not progress,
    }


@contextmanager
def stage(folder: Path, seed: int) -> Iterator[Path]:
    """A new folder to train into, published as ``folder`` at the end; nothing global stays changed.

    What a killed training left behind is removed first: a stage is a function of its seed and is
    done again as a whole.
    """
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    bars, asked = datasets.are_progress_bars_disabled(), os.environ.get(_NO_BARS)
    try:
        datasets.disable_progress_bars()
        os.environ[_NO_BARS] = "1"  # TRL's own, over the reference's log-probabilities
        with kept_randomness(seed), quiet():
            yield temporary
        shutil.rmtree(temporary / _SCRATCH, ignore_errors=True)
        publish_folder(temporary, folder)
    finally:
        if not bars:
            datasets.enable_progress_bars()
        del os.environ[_NO_BARS]
        if asked is not None:
            os.environ[_NO_BARS] = asked
        shutil.rmtree(temporary, ignore_errors=True)


def chosen_first(labels: Sequence[tuple[int, float]]) -> list[tuple[int, int]]:
    """(pair, chosen side) of each label that is no tie; ``ValueError`` where none is left.

    >>> chosen_first([(7, 1.0), (8, 0.5), (9, 0.0)])
    [(7, 0), (9, 1)]
    """
    decided = [(pair, int(preference < 0.5)) for pair, preference in labels if preference != 0.5]
    if not decided:
        raise ValueError(f"labels: found {len(labels)}, none decided; needed one. Ask for more.")
    return decided


def train(trainer: Any, tokenizer: Any, temporary: Path, name: str, facts: dict[str, Any]) -> None:
    """Run a trainer without its printing; write what it trained, and facts and log as JSON ``name``.

    ``ValueError`` where a weight is no longer a number.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trained = [w for w in trainer.model.parameters() if w.requires_grad]
    if not all(bool(w.isfinite().all()) for w in trained):
        raise ValueError(
            "training: found weights that are not finite after it; needed numbers. Lower "
            "learning_rate, or look at the weights that training starts from."
        )
    save_model(trainer.model, temporary)
    if not hasattr(trainer.model, "peft_config"):
        tokenizer.save_pretrained(temporary)
    log = [line for line in trainer.state.log_history if "loss" in line]
    finite = [{k: v for k, v in line.items() if math.isfinite(v)} for line in log]
    content = json.dumps({**facts, "log": finite}, indent=1, allow_nan=False)
    (temporary / name).write_text(content + "\n")

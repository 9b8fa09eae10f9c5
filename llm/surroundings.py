"""What surrounds a training: generators, logs, warnings and bars left as they were; a disk that is full."""

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import torch
from safetensors import SafetensorError

_CHATTY = ("transformers", "peft", "trl", "accelerate", "bitsandbytes")
# peft and trl still say the old name to transformers, which is nothing that a user could change
_OLD_NAME = r"`(is_)?gradient_checkpointing\w*` is deprecated"
_TURNED = (
    "fan_in_fan_out is set to"  # peft sees by itself how GPT-2 keeps its matrices, and says so
)


@contextmanager
def kept_randomness(seed: int) -> Iterator[None]:
    """Seed every global generator, and leave each as it was found."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """``OSError`` that names the folder where safetensors cannot be written into it."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(
            f"{folder}: could not be written ({error}); needed a disk with room. What was there before "
            "is kept: make room, and run again."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No telemetry, no progress bars of loading, no advice in logs from the libraries below."""
    from transformers.utils import logging as speech

    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    constants, bars = huggingface_hub.constants, speech.is_progress_bar_enabled()
    telemetry = constants.HF_HUB_DISABLE_TELEMETRY
    try:
        constants.HF_HUB_DISABLE_TELEMETRY = True
        speech.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _OLD_NAME, FutureWarning)
            warnings.filterwarnings("ignore", _TURNED, UserWarning)
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        if bars:
            speech.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""A language model as a judge: which one, and how it is loaded. One text at a time, never padded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import transformers

from ..config import TeacherOptions
from ..models import device, load_config, load_tokenizer, longest, quantisation
from .judge_settings import JudgeSettings
from .settings import refuse


class Judge(NamedTuple):
    """A loaded model with its head."""

    tokenizer: Any
    model: Any
    device: torch.device
    longest: int  # tokens


def load_judge(options: TeacherOptions, settings: JudgeSettings, kind: Any, **more: Any) -> Judge:
    """The judge's tokenizer and model of the transformers class ``kind``, in evaluation mode.

    Raises ``ValueError`` naming the teacher where it cannot be loaded, or lacks weights that its
    kind needs: a head that was never trained would answer at random.
    """
    asked = settings.model()
    place, bits = device(asked), quantisation(asked)
    if bits is not None:
        if settings.load_in_4bit:
            half = torch.bfloat16 if place.type == "cuda" else torch.float32
            chosen = half if settings.dtype == "auto" else getattr(torch, settings.dtype)
            bits = {**bits, "bnb_4bit_compute_dtype": chosen}
        more["quantization_config"] = transformers.BitsAndBytesConfig(**bits)
        more["device_map"] = {"": place}
    if settings.attn_implementation is not None:
        more["attn_implementation"] = settings.attn_implementation
    tokenizer, config = load_tokenizer(asked), load_config(asked)
    with torch.random.fork_rng(devices=[]), _quiet():
        try:
            model, report = kind.from_pretrained(
                settings.model_name_or_path,
                revision=settings.model_revision,
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=True,
                dtype=settings.dtype
                if settings.dtype == "auto"
                else getattr(torch, settings.dtype),
                output_loading_info=True,
                **more,
            )
        except (OSError, ImportError, RuntimeError, ValueError) as error:
            first = str(error).strip().split("\n")[0][:300]
            needed = "a transformers model with safetensors weights and this kind's head"
            refuse(options, f"no model to load ({first})", needed, "Check model_name_or_path.")
    if absent := sorted(report["missing_keys"]):
        found = f"no trained weights for {absent[0]!r} in {settings.model_name_or_path!r}"
        refuse(options, found, "a model with this kind's head", "Choose another, or train it.")
    if bits is None:
        model = model.to(place)
    limit = longest(config, tokenizer, settings.max_length)
    return Judge(tokenizer, model.eval().requires_grad_(False), place, limit)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the report of missing weights: ours follows."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)

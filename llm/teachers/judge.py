"""A language model as a judge: what is known of it at once, and how it is loaded when first asked.

One text at a time, never padded.
"""

from typing import Any, NamedTuple

import torch
import transformers

from ..config import TeacherOptions
from ..models import device, load_config, load_tokenizer, longest, quantisation
from ..surroundings import quiet
from .judge_settings import JudgeSettings
from .settings import refuse


class Judge(NamedTuple):
    """What is known of a judge before any weight is read."""

    tokenizer: Any
    config: Any
    device: torch.device
    longest: int  # tokens


def open_judge(options: TeacherOptions, settings: JudgeSettings) -> Judge:
    """The judge's tokenizer and configuration: a teacher that cannot answer is refused unasked.

    Raises ``ValueError`` naming the teacher where they cannot be had, or no such device is here.
    """
    asked = settings.model()
    try:
        place, _ = device(asked), quantisation(asked)
        config, tokenizer = load_config(asked), load_tokenizer(asked)
    except ValueError as error:
        first = str(error).strip().split("\n")[0]  # transformers lists every model that it knows
        raise ValueError(
            f"teachers: {options.name!r} ({options.kind}): {first} Needed a judge that can be loaded "
            "here. Check its model_name_or_path, model_revision and device."
        ) from error
    return Judge(tokenizer, config, place, longest(config, tokenizer, settings.max_length))


def load_model(options: TeacherOptions, settings: JudgeSettings, judge: Judge, kind: Any) -> Any:
    """The judge's model of the transformers class ``kind``, in evaluation mode, on its device.

    Raises ``ValueError`` naming the teacher where it cannot be loaded, or lacks weights that its
    kind needs: a head that was never trained would answer at random.
    """
    bits, more = quantisation(settings.model()), {}
    if bits is not None:
        if settings.load_in_4bit:
            half = torch.bfloat16 if judge.device.type == "cuda" else torch.float32
            chosen = half if settings.dtype == "auto" else getattr(torch, settings.dtype)
            bits = {**bits, "bnb_4bit_compute_dtype": chosen}
        more = {
            "quantization_config": transformers.BitsAndBytesConfig(**bits),
            "device_map": {"": judge.device},
        }
    if settings.attn_implementation is not None:
        more["attn_implementation"] = settings.attn_implementation
    # quiet: without bars, and without the report of missing weights, for ours follows
    with torch.random.fork_rng(devices=[]), quiet():
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
        model = model.to(judge.device)
    return model.eval().requires_grad_(False)

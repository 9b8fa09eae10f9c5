"""The value of one option as the type that it declares, in its range; else a message in words."""

from __future__ import annotations

import math
import os
import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

_ABOVE_ZERO = [
    "max_pairs",
    "max_length",
    "tokens_per_batch",
    "budget",
    "label_batch",
    "max_dimensions",
    "replicates",
    "lora_r",
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "max_prompt_length",
    "beta",
    "save_steps",
    "cost",
]
_NOT_NEGATIVE = [
    "warm_up",
    "shared_pairs",
    "train_every",
    "weight_decay",
    "confidence_threshold",
    "seed",
    "lora_alpha",
    "eval_steps",
    "max_eval_pairs",
]
_SHARES = ("lora_dropout", "warmup_ratio")  # in [0, 1)
_LARGEST = {"rationality": 1e6, "cost": 1e12, "budget": 1e12}  # beyond, sums and squares overflow
_PLACES = ("dataset_name", "judgements", "model_name_or_path", "output_dir")  # may begin with ~


def read_value(key: str, value: Any, hint: Any, whose: str = "") -> Any:
    """``value`` as the type that the option declares; ValueError in words where it is not."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value in (None, "") and type(None) in kinds:
        return None
    for kind in kinds:
        found = _as_kind(value, kind)
        if found is not None:
            return _in_range(key, found, whose)
    wanted = " or ".join(_in_words(kind) for kind in kinds)
    raise ValueError(f"{whose}option {key!r}: found {seen(value)}, needed {wanted}.")


def seen(value: Any) -> str:
    """A value as a message shows it: not at any length."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words |= {str: "text in one line, not empty", type(None): "nothing (null)"}
    return words.get(kind, "a list of names" if get_origin(kind) is tuple else "numbers by name")


def _as_kind(value: Any, kind: Any) -> Any:
    """The value read as ``kind``, None where it cannot be."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if kind is bool:
        return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value))
    if isinstance(value, bool):
        return None
    if kind is str:
        text = str(value) if isinstance(value, (str, int)) else ""
        return text if text.strip() and text.isprintable() else None
    if kind is int and isinstance(value, int):
        return value  # a float has 53 bits only: a seed may have more
    if kind in (int, float):
        try:
            number = float(value)  # YAML reads 1e-5 as text
        except (TypeError, ValueError, OverflowError):
            return None
        whole = kind is float or number == int(number) if math.isfinite(number) else kind is float
        return kind(number) if whole and not math.isnan(number) else None
    if get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        plain = isinstance(parts, Sequence) and all(isinstance(p, str) for p in parts)
        return tuple(p.strip() for p in parts if p.strip()) if plain else None
    if isinstance(value, Mapping):
        numbers = {str(k): _as_kind(v, float) for k, v in value.items()}
        return None if None in numbers.values() else numbers
    return None


def _in_range(key: str, value: Any, whose: str) -> Any:
    if key in _PLACES:
        return os.path.expanduser(value)
    numbers = value.values() if isinstance(value, Mapping) else [value]
    for number in numbers:
        if key in _ABOVE_ZERO and not number > 0:
            raise ValueError(f"{whose}option {key!r}: found {number}, needed more than 0.")
        if key in _NOT_NEGATIVE and not number >= 0:
            raise ValueError(f"{whose}option {key!r}: found {number}, needed 0 or more.")
        if key in _SHARES and not 0 <= number < 1:
            raise ValueError(f"{whose}option {key!r}: found {number}, needed a share in [0, 1).")
        if isinstance(number, float) and math.isinf(number) and key != "confidence_threshold":
            raise ValueError(f"{whose}option {key!r}: found {number}, needed a finite number.")
        if key in _LARGEST and abs(number) > _LARGEST[key]:
            found, most = f"{number:g}", f"{_LARGEST[key]:g}"
            raise ValueError(
                f"{whose}option {key!r}: found {found}, needed at most {most} in size."
            )
    if key == "test_fraction" and not 0 < value < 1:
        raise ValueError(
            f"{whose}option {key!r}: found {value}, needed a share above 0 and below 1."
        )
    return value

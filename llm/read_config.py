"""Flat options, from YAML and the command line, to a checked ``Config``.

An unknown option is an error that names the nearest one; so is a value of another type.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .config import (
    Config,
    DataOptions,
    FeatureOptions,
    ModelOptions,
    OutputOptions,
    SelectionOptions,
    TeacherOptions,
    TrainingOptions,
)
from .yaml_file import read_yaml

GROUPS: dict[str, type] = {
    "data": DataOptions,
    "model": ModelOptions,
    "features": FeatureOptions,
    "selection": SelectionOptions,
    "training": TrainingOptions,
    "output": OutputOptions,
}
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
]
_SHARES = ("lora_dropout", "warmup_ratio")  # in [0, 1)
CACHE = "cache"  # in output_dir, beside the runs
_TAKEN = (
    "best",
    "random",
    "the policy itself",
)  # adpo_teacher's words, and whose pseudo-labels are
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


def options() -> dict[str, str]:
    """Every flat option and the group it stands in."""
    return {f.name: name for name, group in GROUPS.items() for f in dataclasses.fields(group)}


def read_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration in a YAML file, with overrides from the command line laid over it.

    ``preset: NAME`` starts from a named set of options. Raises ``ValueError`` on an unknown option
    (naming the nearest), a value of another type or out of range, and a file that is not YAML.
    """
    flat = read_yaml(path) if path is not None else {}
    flat.update(overrides or {})
    name = flat.pop("preset", None)
    if name is not None:
        from .presets import preset

        flat = {**preset(name), **flat}
    return build(flat)


def build(flat: Mapping[str, Any]) -> Config:
    """The configuration of flat options; errors as ``read_config``.

    >>> row = {"name": "ann", "kind": "recorded", "cost": 2, "annotator": "Ann"}
    >>> c = build({"dataset_name": "p.jsonl", "model_name_or_path": "m", "teachers": [row], "budget": "90"})
    >>> c.selection.budget, c.teachers[0].cost, c.teachers[0].settings
    (90.0, 2.0, {'annotator': 'Ann'})
    """
    homes = options()
    for key in flat:
        if key not in homes and key != "teachers":
            raise ValueError(f"option {key!r}: found no such option. {_nearest(key, homes)}")
    if not flat.get("teachers"):
        raise ValueError("teachers: found none, needed at least one with a name and a kind.")
    if flat.get("method") == "adpo":
        flat = {"baselines": [], **flat}  # it chooses as it trains: no selector to compare with
    groups = {
        name: _group(group, {k: v for k, v in flat.items() if homes.get(k) == name})
        for name, group in GROUPS.items()
    }
    config = Config(teachers=_teachers(flat["teachers"]), **groups)
    _check_together(config)
    return config


def flatten(config: Config) -> dict[str, Any]:
    """The flat options that ``build`` reads back, as plain JSON."""
    flat: dict[str, Any] = {}
    for name in GROUPS:
        flat.update(dataclasses.asdict(getattr(config, name)))
    flat["teachers"] = [
        {**{k: v for k, v in dataclasses.asdict(t).items() if k != "settings"}, **t.settings}
        for t in config.teachers
    ]
    return {k: _plain(v) for k, v in flat.items()}


def _plain(value: Any) -> Any:
    """As JSON can say it: lists for tuples, "inf" for what JSON has no number for."""
    return list(value) if isinstance(value, tuple) else "inf" if value == math.inf else value


def _nearest(key: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(str(key), list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _group(group: type, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(group)
    for f in dataclasses.fields(group):
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
            raise ValueError(
                f"option {f.name!r}: found none, needed it. Add it to the configuration."
            )
    return group(**{key: _value(key, value, hints[key]) for key, value in values.items()})


def _teachers(rows: Any) -> tuple[TeacherOptions, ...]:
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("teachers: needed a list, each with a name, a kind and its settings.")
    hints, out = get_type_hints(TeacherOptions), []
    known = [f.name for f in dataclasses.fields(TeacherOptions) if f.name != "settings"]
    for number, row in enumerate(rows):
        for key in ("name", "kind"):
            if key not in row:
                raise ValueError(
                    f"teachers: number {number} has no {key!r}; found {sorted(map(str, row))}."
                )
        values = {k: _value(k, row[k], hints[k]) for k in known if k in row}
        out.append(
            TeacherOptions(**values, settings={k: v for k, v in row.items() if k not in known})
        )
    names = [t.name for t in out]
    if taken := [name for name in names if name in _TAKEN or not name.strip()]:
        raise ValueError(f"teachers: found the name {taken[0]!r}, which means something else here.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"teachers: found the names {twice} twice; give each its own.")
    return tuple(out)


def _value(key: str, value: Any, hint: Any) -> Any:
    """``value`` as the type that the option declares; ValueError in words where it is not."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        found = _as_kind(value, kind)
        if found is not None:
            return _in_range(key, found)
    wanted = " or ".join(_in_words(kind) for kind in kinds)
    raise ValueError(f"option {key!r}: found {value!r}, needed {wanted}.")


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words[type(None)] = "nothing (null)"
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
        return str(value) if isinstance(value, (str, int)) else None
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


def _in_range(key: str, value: Any) -> Any:
    numbers = value.values() if isinstance(value, Mapping) else [value]
    for number in numbers:
        if key in _ABOVE_ZERO and not number > 0:
            raise ValueError(f"option {key!r}: found {number}, needed more than 0.")
        if key in _NOT_NEGATIVE and not number >= 0:
            raise ValueError(f"option {key!r}: found {number}, needed 0 or more.")
        if key in _SHARES and not 0 <= number < 1:
            raise ValueError(f"option {key!r}: found {number}, needed a share in [0, 1).")
        if isinstance(number, float) and math.isinf(number) and key != "confidence_threshold":
            raise ValueError(f"option {key!r}: found {number}, needed a finite number.")
    if key == "test_fraction" and not 0 < value < 1:
        raise ValueError(f"option {key!r}: found {value}, needed a share above 0 and below 1.")
    return value


def _check_together(config: Config) -> None:
    """What no option can say alone."""
    from ..theory.selectors import SELECTORS

    name = config.output.run_name
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"option 'run_name': found {name!r}, needed letters, digits, '_', '-' and '.', not "
            "beginning with '.' or '-': it is a folder inside output_dir."
        )
    if name == CACHE:
        raise ValueError(
            f"option 'run_name': found {name!r}, which is the folder of features that all runs share; "
            "needed another name."
        )
    for selector in (config.selection.selector, *config.selection.baselines):
        if selector not in SELECTORS:
            raise ValueError(
                f"selector {selector!r}: found no such. {_nearest(selector, SELECTORS)}"
            )
    if config.model.load_in_4bit and config.model.load_in_8bit:
        raise ValueError("load_in_4bit, load_in_8bit: found both, needed at most one.")
    cheapest = min(t.cost for t in config.teachers)
    if config.selection.budget < cheapest:
        raise ValueError(
            f"option 'budget': found {config.selection.budget:g}, needed at least the price of the "
            f"cheapest label ({cheapest:g})."
        )
    if config.selection.label_batch > config.selection.budget:
        raise ValueError(
            f"option 'label_batch': found {config.selection.label_batch:g}, needed at most the "
            f"budget ({config.selection.budget:g})."
        )
    people = [t.name for t in config.teachers if t.kind == "people"]
    if people and (config.selection.baselines or config.selection.replicates > 1):
        raise ValueError(
            f"teachers: {people} are people, who would be asked anew for every baseline and "
            "replicate. Set baselines: [] and replicates: 1."
        )
    if config.training.method == "reward" and not config.model.use_peft:
        raise ValueError(
            "method: found 'reward' with use_peft false; needed LoRA, whose adapters are the model's "
            "states. Say use_peft: true, or method: head."
        )
    if config.training.method == "adpo" and config.selection.baselines:
        raise ValueError(
            f"baselines: found {list(config.selection.baselines)} with method 'adpo', which chooses as it "
            "trains; needed none. Say baselines: [] (dpo_baseline compares with all labels bought)."
        )
    teacher = config.training.adpo_teacher
    if teacher not in ("best", "random", *(t.name for t in config.teachers)):
        raise ValueError(
            f"option 'adpo_teacher': found {teacher!r}, needed best, random or a name."
        )
    hub = config.output.hub_model_id
    if config.output.push_to_hub and not (hub and _HUB_ID.fullmatch(hub)):
        raise ValueError(
            f"option 'hub_model_id': found {hub!r}, needed OWNER/NAME, since push_to_hub is set."
        )

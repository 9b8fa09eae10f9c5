"""Flat options, from YAML and the command line, to a checked ``Config``.

An unknown option is an error that names the nearest one; so is a value of another type.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

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
from .option_values import read_value, seen
from .yaml_file import read_yaml

GROUPS: dict[str, type] = {
    "data": DataOptions,
    "model": ModelOptions,
    "features": FeatureOptions,
    "selection": SelectionOptions,
    "training": TrainingOptions,
    "output": OutputOptions,
}
CACHE = "cache"  # in output_dir, beside the runs
_TAKEN = (
    "best",
    "random",
    "the policy itself",
)  # adpo_teacher's words, and whose pseudo-labels are
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_FEW = 20  # names that a message may list


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
    if path is None and name is None and "teachers" not in flat:  # they have no flag
        raise ValueError(
            "configuration: found none; needed a file or a preset. Say --config FILE (demo.yaml in "
            "activeduel/llm is one to copy) or --preset NAME."
        )
    if name is not None:
        from .presets import preset

        flat = preset(name, flat)
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
    if _people(flat["teachers"]):  # their time is asked for more than once only where it is said
        flat = {"baselines": [], "replicates": 1, **flat}
    groups = {
        name: _group(group, {k: v for k, v in flat.items() if homes.get(k) == name})
        for name, group in GROUPS.items()
    }
    if "label_batch" not in flat:
        chosen = groups["selection"]
        most = min(chosen.label_batch, chosen.budget)
        groups["selection"] = dataclasses.replace(chosen, label_batch=most)
    config = Config(teachers=_teachers(flat["teachers"]), **groups)
    _check_together(config)
    from .teachers import check  # imports numpy: not for '--help'

    for teacher in config.teachers:
        check(teacher)
    return config


def _people(rows: Any) -> bool:
    if not isinstance(rows, Sequence):
        return False
    return any(isinstance(row, Mapping) and row.get("kind") == "people" for row in rows)


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
    if not close and len(known) > _FEW:
        return "'activeduel llm run --help' lists them."
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _group(group: type, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(group)
    for f in dataclasses.fields(group):
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
            raise ValueError(
                f"option {f.name!r}: found none, needed it. Add it to the configuration."
            )
    return group(**{key: read_value(key, value, hints[key]) for key, value in values.items()})


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
        whose = f"teachers: {row['name']!r}, "
        values = {k: read_value(k, row[k], hints[k], whose) for k in known if k in row}
        out.append(
            TeacherOptions(
                **values, settings={k: _at_home(k, v) for k, v in row.items() if k not in known}
            )
        )
    _one_folder_each(out)
    names = [t.name for t in out]
    if taken := [name for name in names if name in _TAKEN or not name.strip()]:
        raise ValueError(f"teachers: found the name {taken[0]!r}, which means something else here.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"teachers: found the names {twice} twice; give each its own.")
    return tuple(out)


def _at_home(key: str, value: Any) -> Any:
    place = key in ("folder", "model_name_or_path") and isinstance(value, str)
    return os.path.expanduser(value) if place else value


def _one_folder_each(teachers: Sequence[TeacherOptions]) -> None:
    """Groups of people in one folder would overwrite each other's questions."""
    folders = [os.path.abspath(str(t.settings.get("folder"))) for t in teachers
               if t.kind == "people" and "folder" in t.settings]  # fmt: skip
    if len(set(folders)) < len(folders):
        raise ValueError(
            "teachers: found several groups of people with one folder; needed a folder each."
        )


def _check_together(config: Config) -> None:
    """What no option can say alone."""
    from ..theory.selectors import SELECTORS

    name = config.output.run_name
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"option 'run_name': found {seen(name)}, needed letters, digits, '_', '-' and '.', not "
            "beginning with '.' or '-', 100 at most: it is a folder inside output_dir."
        )
    if name == CACHE:
        raise ValueError(
            f"option 'run_name': found {name!r}, which is the folder of features that all runs share; "
            "needed another name."
        )
    for selector in (config.selection.selector, *config.selection.baselines):
        if selector not in SELECTORS:
            raise ValueError(
                f"selector {seen(selector)}: found no such. {_nearest(selector, SELECTORS)}"
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
    if config.training.method == "reward" and not config.model.use_peft:
        raise ValueError(
            "method: found 'reward' with use_peft false; needed LoRA, whose adapters are the model's "
            "states. Say use_peft: true, or method: head."
        )
    if config.training.method == "adpo" and {*config.selection.baselines} - {"random"}:
        raise ValueError(
            f"baselines: found {list(config.selection.baselines)} with method 'adpo'; needed random "
            "(DPO on labels for as much money) or none. dpo_baseline adds DPO with all labels."
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

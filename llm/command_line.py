"""The verbs of ``activeduel llm`` and every option of a configuration as a flag of the same name."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from .read_config import GROUPS

VERBS = {
    "run": "buy labels, train, judge, report: the whole pipeline; goes on where it was stopped",
    "features": "compute the model's features of every pair into the cache",
    "select": "say which pairs to label next, and by whom; nothing is asked",
    "label": "people: show the open questions, or read their answers from a file, and go on",
    "train": "train on the labels that the ledger holds, without buying more",
    "evaluate": "accuracy of the run's reward model: on its held-out prompts, or on a data set laid over them",
    "report": "write report.html and report.json from the ledger",
}


TEACHERS = (
    "Teachers stand in the file: name, kind, cost, rationality b in P(a preferred) = mu(b (reward_a - "
    "reward_b)), one number or one a context type (0 is a coin, negative below chance), and the keys of "
    "their kind."
)


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """The verbs below ``activeduel llm``; ``args.verb`` and ``overrides(args)`` say what was asked."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, dest="verb")
    shared = _options()
    for verb, text in VERBS.items():
        child = verbs.add_parser(
            verb, allow_abbrev=False, help=text, description=f"{text[0].upper()}{text[1:]}.",
            usage=f"{parser.prog} {verb} [--config FILE] [--preset NAME] [--option value ...]",
            epilog=TEACHERS,
            parents=[shared],
        )  # fmt: skip
        if verb == "label":
            child.add_argument(
                "--answers", type=Path, metavar="FILE",
                help="CSV or JSONL: key, preference; default: ask in this terminal",
            )  # fmt: skip
        if verb == "run":
            child.add_argument(
                "--yes", action="store_true", help="start although the estimate says it may not fit"
            )


def _options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="YAML: one option a line")
    shared.add_argument("--preset", metavar="NAME", help="a named set of options to start from")
    for group, record in GROUPS.items():
        _add_options(shared.add_argument_group(group, (record.__doc__ or "").strip()), record)
    return shared


def _add_options(box: argparse._ArgumentGroup, record: type) -> None:
    hints, words = get_type_hints(record), _comments(record)
    for field in dataclasses.fields(record):
        kinds = get_args(hints[field.name]) or (hints[field.name],)
        text = words.get(field.name, "")
        if field.default not in (dataclasses.MISSING, None, ()):
            shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
            text += f"{'; ' if text else ''}default: {shown}"
        names: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if bool in kinds:
            box.add_argument(
                f"--{field.name}", nargs="?", const="true", metavar="true|false", **names
            )
        elif all(isinstance(kind, str) for kind in kinds):
            box.add_argument(f"--{field.name}", choices=kinds, **names)
        else:
            metavar = "N" if {int, float} & set(kinds) else "NAME"
            box.add_argument(f"--{field.name}", metavar=metavar, **names)


def _comments(record: type) -> dict[str, str]:
    """What the source says of each option, behind the '#'; empty where there is no source."""
    try:
        source = inspect.getsource(record)
    except OSError:
        return {}
    found = re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", source, re.MULTILINE)
    return dict(found)


def overrides(args: argparse.Namespace) -> Mapping[str, Any]:
    """The options that the command line lays over the file."""
    known = {f.name for group in GROUPS.values() for f in dataclasses.fields(group)}
    found = {key: value for key, value in vars(args).items() if key in known}
    return found | ({"preset": args.preset} if args.preset else {})


def verbs() -> Sequence[str]:
    """The verbs, in the order in which help shows them."""
    return tuple(VERBS)

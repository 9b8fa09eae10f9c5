"""The verbs of ``activeduel llm`` and every option of a configuration as a flag of the same name."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

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
    "their kind (in brackets what holds where a key is left out):"
)
ANSWERS = (
    "CSV or JSONL with the columns key and preference: a, b or tie (or 1, 0, 0.5; empty: still open); it "
    "is kept beside its questions as answers*.csv. Default: ask in this terminal"
)


class _Lines(argparse.HelpFormatter):
    """Wraps each line by itself, so that each kind of teacher begins one."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            textwrap.fill(line, width, initial_indent=indent, subsequent_indent=f"{indent}    ")
            for line in text.splitlines()
        )


class _Verb(argparse.ArgumentParser):
    """The parser of one verb; the keys of the teachers are looked up only when help is shown."""

    def format_help(self) -> str:
        """With the keys of every kind of teacher at its end."""
        self.epilog = "\n".join((TEACHERS, *kinds()))
        return super().format_help()


def kinds() -> Sequence[str]:
    """One line a kind of teacher: its keys, each with its default and what it means."""
    from .teachers import SETTINGS  # imports numpy: not for a command that is run

    return tuple(f"{kind}: {_keys(record)}." for kind, record in SETTINGS.items())


def _keys(record: Any) -> str:
    hints, words = get_type_hints(record), _comments(record)
    out = []
    for field in dataclasses.fields(record):
        default = str(field.default)
        if field.default is dataclasses.MISSING:
            default = "needed"
        elif field.default is None or "\n" in default:  # none, or a text of several lines
            default = "built in" if field.default else "none"
        if get_origin(hints[field.name]) is Literal:
            others = (kind for kind in get_args(hints[field.name]) if kind != default)
            default = f"{default}; or {', '.join(others)}"
        elif isinstance(field.default, bool):
            default = default.lower()
        out.append(" ".join(filter(None, (field.name, f"({default})", words.get(field.name)))))
    return "; ".join(out)


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """The verbs below ``activeduel llm``; ``args.verb`` and ``overrides(args)`` say what was asked."""
    verbs = parser.add_subparsers(
        title="verbs", metavar="VERB", required=True, dest="verb", parser_class=_Verb
    )
    shared = _options()
    for verb, text in VERBS.items():
        child = verbs.add_parser(
            verb, allow_abbrev=False, help=text, description=f"{text[0].upper()}{text[1:]}.",
            usage=f"{parser.prog} {verb} [--config FILE] [--preset NAME] [--option value ...]",
            formatter_class=_Lines, parents=[shared],
        )  # fmt: skip
        if verb == "label":
            child.add_argument("--answers", type=Path, metavar="FILE", help=ANSWERS)
        if verb == "run":
            child.add_argument(
                "--yes", action="store_true", help="start although the estimate says it may not fit"
            )


def _options() -> _Verb:
    shared = _Verb(add_help=False, allow_abbrev=False)
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
    found: dict[str, str] = {}
    for part in record.__mro__[-2::-1]:  # from the first base to the record itself
        try:
            source = inspect.getsource(part)
        except OSError:
            continue
        found |= re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", source, re.MULTILINE)
    return found


def overrides(args: argparse.Namespace) -> Mapping[str, Any]:
    """The options that the command line lays over the file."""
    known = {f.name for group in GROUPS.values() for f in dataclasses.fields(group)}
    found = {key: value for key, value in vars(args).items() if key in known}
    return found | ({"preset": args.preset} if args.preset else {})


def verbs() -> Sequence[str]:
    """The verbs, in the order in which help shows them."""
    return tuple(VERBS)

"""``activeduel llm VERB``: the language models' floor and its report, put together and shown."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from .llm.config import Config
    from .llm.stages import Say

EXTRA = ("torch", "transformers", "peft", "safetensors", "yaml")
WAITING = 3  # people have to answer first


def run_verb(args: argparse.Namespace) -> int:
    """Run one verb; its exit status. Raises ``ValueError`` as the verb does."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise ValueError(
            f"llm: found no package {missing[0]!r}; needed the extra 'llm'. Install it: "
            "pip install 'activeduel[llm]'."
        )
    # it would say that a faster kernel for 4 bits on a CPU is missing, whatever is run
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    from .llm.command_line import overrides
    from .llm.read_config import read_config

    config = read_config(args.config, overrides(args))
    console = Console(stderr=True)
    if args.verb == "run":
        return _run(config, console, anyway=args.yes)
    if args.verb == "report":
        return _report(config)
    from .llm import verbs

    if args.verb == "label":
        left = verbs.label(config, args.answers)
        if left:
            console.print(f"{left} questions are still open.")
            return WAITING
        return _run(config, console, anyway=True)
    with _bars(console) as say:
        if args.verb == "features":
            print(" x ".join(map(str, verbs.features(config, say))), "features are in the cache")
        elif args.verb == "select":
            print(verbs.select(config, say))
        elif args.verb == "train":
            print(verbs.train(config, say))
        else:
            found = verbs.evaluate(config, say)
            kind = "held-out " if found.held_out else ""
            print(f"reward accuracy {found.accuracy:.4f} on {found.pairs} {kind}pairs")
    return 0


def _run(config: Config, console: Console, *, anyway: bool) -> int:
    """The whole pipeline, with its estimate before and its report after."""
    from .llm import pipeline
    from .llm.footprint import free_bytes, require_fit, table
    from .llm.teachers import Waiting
    from .llm.verbs import foresee

    foreseen = foresee(config)
    console.print(Text(table(foreseen)), soft_wrap=True)
    require_fit(foreseen, free_bytes(foreseen.device), anyway=anyway)
    try:
        with _bars(console) as say:
            pipeline.run(config, say)
    except Waiting as waiting:
        for path, count in waiting.places:
            console.print(Text(f"{count} questions wait for people: {path}"), soft_wrap=True)
        console.print("Answer there or with `activeduel llm label`, then run again.")
        return WAITING
    return _report(config)


def _report(config: Config) -> int:
    from .llm.pipeline import folder_of
    from .validate.llm_report import write_report

    write_report(folder_of(config))
    return 0


@contextmanager
def _bars(console: Console) -> Iterator[Say]:
    """One bar for what runs now, on a terminal; elsewhere a line when something new begins."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task("", total=None)
        shown = ""

        def say(what: str, done: int, total: int) -> None:
            nonlocal shown
            if console.is_terminal:
                bars.update(task, description=what, completed=done, total=total)
            elif (begun := re.split("[:,]", what)[0]) != shown:
                shown = begun
                print(shown, file=sys.stderr, flush=True)

        yield say

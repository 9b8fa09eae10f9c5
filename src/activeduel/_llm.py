"""``activeduel llm VERB``: the language models' floor and its report, put together and shown."""

from __future__ import annotations

import argparse
import errno
import logging
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ._durable import TEMPORARY

if TYPE_CHECKING:
    from .llm.config import Config
    from .llm.stages import Say

LOCAL = (".jsonl", ".ndjson", ".csv", ".parquet", ".gz")  # endings of files, not of names
EXTRA = ("torch", "transformers", "peft", "safetensors", "yaml")
WAITING = 3  # people have to answer first
PATIENCE = 10.0  # seconds for the hub to answer at all
_NEEDED = {  # errno -> what the system said, and what it takes
    errno.ENOENT: ("no such file or folder", "one that is there. Check the path."),
    errno.EACCES: ("no permission", "it. Change the permissions, or use another folder."),
    errno.EPERM: ("no permission", "it. Change the permissions, or use another folder."),
    errno.EISDIR: ("a folder", "a file. Move it away, or name a file."),
    errno.ENOTDIR: ("a file in its path", "folders. Move it away, or name another folder."),
    errno.EEXIST: ("a file", "a folder. Move it away, or name another folder."),
    errno.EROFS: ("a file system to read only", "one to write on. Set output_dir elsewhere."),
    errno.ENAMETOOLONG: ("a name that is too long", "a shorter one. Change it."),
    errno.ENOSPC: ("a full disk", "room. What was written is kept: make room, then run again."),
    errno.EDQUOT: ("a full disk", "room. What was written is kept: make room, then run again."),
}


def run_verb(args: argparse.Namespace) -> int:
    """Run one verb; its exit status. Raises ``ValueError``, also where the system refuses a file."""
    try:
        return _run_verb(args)
    except OSError as error:
        _say_of_system(error)
    except sqlite3.Error as error:
        raise ValueError(
            f"found a file that SQLite cannot use ({error}); needed a disk that works, with room. "
            "What was committed is kept: run again."
        ) from error


def _say_of_system(error: OSError) -> NoReturn:
    """What the system refused, as found, needed and what to do."""
    if error.errno not in _NEEDED:
        raise ValueError(str(error)) from error
    paths = [Path(str(name)) for name in (error.filename, error.filename2) if name is not None]
    named = [path for path in paths if not path.name.startswith(TEMPORARY)]
    place = named[0] if named else paths[0].parent if paths else "a file"
    found, needed = _NEEDED[error.errno]
    raise ValueError(f"{str(place)[:200]}: found {found}; needed {needed}") from error


def _run_verb(args: argparse.Namespace) -> int:
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
    if args.verb == "report":
        return _report(config)
    from .llm import verbs

    if args.verb != "label":
        _require_hub(config)

    if args.verb == "label":
        left = verbs.label(config, args.answers)
        if left:
            console.print(f"{left} questions are still open.")
            return WAITING
        _require_hub(config)
        return _run(config, console, anyway=True)
    if args.verb == "run":
        return _run(config, console, anyway=args.yes)
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
            print(
                f"{found.model}, the linear head on the last features of the first arm: "
                f"reward accuracy {found.accuracy:.4f} on {found.pairs} {kind}pairs"
            )
    return 0


def _require_hub(config: Config) -> None:
    """Say at once that the hub is out of reach: its library tries for half a minute a name."""
    judges = (t.settings.get("model_name_or_path") for t in config.teachers)
    asked = (config.data.dataset_name, config.model.model_name_or_path, *judges)
    names = [str(name) for name in asked if name and _on_the_hub(str(name))]
    if not names:
        return
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # whatever stands between here and there
        raise ValueError(
            f"{names[0]}: found no such file or folder here, and no way to the hub at "
            f"{constants.ENDPOINT} ({type(error).__name__}); needed one of them. Check the name, and "
            "the network; with HF_HUB_OFFLINE=1 what is already cached is used."
        ) from error


def _on_the_hub(name: str) -> bool:
    """Whether a name can only be one of the hub: OWNER/NAME or NAME, and nothing here."""
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None and not (
        name.startswith(".") or Path(name).exists() or Path(name).suffix in LOCAL
    )


def _run(config: Config, console: Console, *, anyway: bool) -> int:
    """The whole pipeline, with its estimate before and its report after."""
    from .llm import pipeline
    from .llm.footprint import disk_for, free_bytes, require_fit, table
    from .llm.teachers import Waiting
    from .llm.verbs import foresee

    foreseen = foresee(config)
    console.print(Text(table(foreseen.footprint)), soft_wrap=True)
    for caution in foreseen.cautions:
        console.print(Text(caution, "bold"), soft_wrap=True)
    memory, disk = free_bytes(foreseen.footprint.device), disk_for(config.output)
    require_fit(foreseen.footprint, memory, disk, anyway=anyway)
    try:
        with _bars(console) as say:
            pipeline.run(config, say)
    except Waiting as waiting:
        for path, count in waiting.places:
            console.print(Text(f"{count} questions wait for people: {path}"), soft_wrap=True)
        console.print(
            "Answer in answers*.csv beside them, or with `activeduel llm label`, then run again."
        )
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

"""``activeduel replay``: read two files, replay, and say it in a table, a page and a JSON file."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from .._durable import write_atomically
from .._provenance import canonical
from .._version import __version__
from ..sim.one_reward import compare_tastes, describe_annotators
from ..sim.recorded import read_recorded
from ..sim.replay import DEFAULT_SELECTORS, Plan, plan_replay, replay
from ..sim.store import algorithm_version
from .replay_annotators import WRONG
from .replay_page import Summary, annotator_cells, page, selector_cells
from .replay_summary import summarise

SHOWN = 10  # annotators in the terminal's table; the page has all
FILES = ("replay.html", "replay.json")


@dataclass(frozen=True)
class Options:
    """What the command line asked for; None means the default that ``plan_replay`` states."""

    judgements: Path
    features: Path
    group: str | None = None
    budget: int | None = None
    batch: int | None = None
    selectors: tuple[str, ...] = DEFAULT_SELECTORS
    splits: int = 20
    seed: int = 0
    out: Path | None = None


def run_replay(options: Options, console: Console | None = None) -> Summary:
    """Replay the files, print the tables, write replay.html and replay.json; the summary.

    Raises ``ValueError`` on broken files or options, and rather than overwrite anything but an
    earlier replay of the same files and settings. The same seed gives the same files.
    """
    console, started = console or plain_console(), time.perf_counter()
    recorded = read_recorded(options.judgements, options.features, options.group)
    plan, splits = plan_replay(
        recorded,
        group=options.group,
        budget=options.budget,
        batch=options.batch,
        selectors=options.selectors,
        splits=options.splits,
        seed=options.seed,
    )
    configuration = _configuration(options, plan)
    folder = options.out or _default_folder(options, configuration)
    prepare_folder(folder, configuration)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("splits", total=len(splits.splits))
        outcome = replay(
            recorded, plan, splits, lambda done, total: progress.update(task, completed=done)
        )
    annotators, tastes = describe_annotators(recorded), compare_tastes(recorded, plan.seed)
    summary = summarise(recorded, outcome, annotators, tastes)
    summary |= {"configuration": configuration, "origin": _origin(options, configuration)}
    content = json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n"
    # the JSON first: it says whose folder this is, so a run killed between the two can be repeated
    write_atomically(folder / FILES[1], content)
    write_atomically(folder / FILES[0], page(summary).encode())
    print_summary(summary, console)
    seconds = time.perf_counter() - started
    console.print(
        Text(f"{folder / FILES[0]}  {folder / FILES[1]}  {seconds:.0f} s"), soft_wrap=True
    )
    return summary


def plain_console() -> Console:
    """Where a report is printed: wide enough for its tables also without a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 110))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _configuration(options: Options, plan: Plan) -> dict[str, Any]:
    ids = Path(f"{options.features}.ids")
    files = [
        options.judgements,
        options.features,
        *([ids] if options.features.suffix == ".npy" else []),
    ]
    return {
        **asdict(plan),
        "selectors": list(plan.selectors),
        "files": {path.name: _checksum(path) for path in files},
        "version": __version__,
        "algorithm_version": algorithm_version(),
    }


def _default_folder(options: Options, configuration: dict[str, Any]) -> Path:
    identity = hashlib.sha256(canonical(configuration).encode()).hexdigest()[:8]
    return Path("results", "replay", f"{options.judgements.name.split('.')[0]}-{identity}")


def _origin(options: Options, configuration: dict[str, Any]) -> str:
    return (
        f"{options.judgements.name} and {options.features.name}, group "
        f"{options.group or 'none'}, seed {configuration['seed']}; activeduel {__version__}"
    )


def prepare_folder(folder: Path, configuration: dict[str, Any]) -> None:
    """Make ``folder``; ``ValueError`` where it cannot be written or holds anything that is not this replay's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # what a run killed in write_atomically left
            for partial in folder.glob(f".tmp-{name}-*"):
                partial.unlink(missing_ok=True)
        found = sorted(entry.name for entry in folder.iterdir())
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"--out: found {folder}, where nothing can be written ({error.strerror}); needed a folder. "
            "Pass another one."
        ) from error
    foreign = [name for name in found if name not in FILES]
    if foreign:
        raise ValueError(
            f"--out: found {foreign[0]!r} in {folder}; needed an empty or new folder, or one with this "
            "replay. Nothing is overwritten: pass another one."
        )
    if found and _earlier(folder) != canonical(configuration):
        raise ValueError(
            f"--out: found in {folder} a replay of other files, settings or code, or not a replay; needed "
            "an empty or new folder. Nothing is overwritten: move it away or pass another one."
        )


def _earlier(folder: Path) -> str | None:
    """The configuration of the replay that lies there, if that is what lies there."""
    try:
        found = json.loads((folder / FILES[1]).read_text(encoding="utf-8"))
        return canonical(found["configuration"]) if found["command"] == "replay" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def rich_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """The cells of a page's table for the terminal."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for i, title in enumerate(head):
        table.add_column(
            title,
            justify="right" if i else "left",
            overflow="fold",
            no_wrap=width >= 100 and i > 0,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_summary(summary: Summary, console: Console) -> None:
    """The tables and the answers in words."""
    console.print(rich_table(*selector_cells(summary), console.width))
    head, rows = annotator_cells(summary)
    if len(rows) > SHOWN:
        half = SHOWN // 2
        more = [f"... {len(rows) - SHOWN} more", *[""] * (len(head) - 1)]
        rows = [*rows[:half], more, *rows[-half:]]
    console.print(rich_table(head, rows, console.width))
    for row in summary["selectors"]:
        if "in_words" in row:
            console.print(
                Text(row["in_words"], style="bold" if row["in_words"] == summary["answer"] else "")
            )
    console.print(Text(summary["room"]["in_words"] + "\n"))
    console.print(Text(f"Whose answers: {summary['worth_asking']}\n"))
    judged = summary["one_reward"]
    style = "bold" if judged["verdict"] == WRONG else ""
    console.print(
        Text(f"Shared reward: {judged['verdict']}. ", style).append(judged["in_words"], "")
    )

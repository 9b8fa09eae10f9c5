"""``activeduel llm report``: what a run's ledger says, in a table, a page and a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from .._durable import write_atomically
from ..llm.ledger import Ledger
from .llm_cells import tables
from .llm_facts import read_facts
from .llm_page import other_words, page
from .llm_summary import Summary, origin_text, summarise
from .replay_report import plain_console, rich_table

LEDGER, OPTIONS, FILES = "ledger.sqlite", "config.json", ("report.html", "report.json")


def write_report(run_folder: Path, console: Console | None = None) -> Summary:
    """Read RUN/ledger.sqlite, also while a run writes it; print and write what it says; the summary.

    Writes RUN/report.json and RUN/report.html, each whole at any moment; the same ledger gives the
    same files. Raises ``ValueError`` that names the ledger where there is none, or a damaged one.
    """
    folder = Path(run_folder)
    with Ledger.reading(folder / LEDGER) as ledger:
        summary = summarise(read_facts(ledger, _options(folder)))
    summary["run"]["name"] = folder.resolve().name
    content = json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n"
    write_atomically(folder / FILES[1], content)
    write_atomically(folder / FILES[0], page(summary).encode())
    console = console or plain_console()
    print_report(summary, console)
    console.print(Text(f"{folder / FILES[0]}  {folder / FILES[1]}"), soft_wrap=True)
    return summary


def _options(folder: Path) -> dict[str, Any]:
    """The options beside the ledger, where they can be read; the ledger's own come before them."""
    try:
        found = json.loads((folder / OPTIONS).read_bytes())
    except (OSError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def print_report(summary: Summary, console: Console) -> None:
    """The tables and the answers in words; the answer last, where it is seen."""
    console.print(Text(origin_text(summary), "dim"))
    for _, cells in tables(summary):
        console.print(rich_table(*cells, console.width))
    for said in other_words(summary):
        console.print(Text(said))
    console.print(Text(f"\n{summary['answer']['in_words']}\n", "bold"))

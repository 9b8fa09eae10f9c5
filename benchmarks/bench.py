"""The benchmark: every row measured side by side in one process, one table, one JSON file."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._durable import write_atomically
from . import designs, designs_on_a_gpu, loops, selection
from .machine import load_average, machine
from .row import (
    Row,
    bytes_text,
    failure,
    record,
    seconds_spread,
    seconds_text,
    short,
)

FORMAT = "activeduel-bench/1"
WIDTH, WIDE = 152, 140  # columns where the output is no terminal, and that one line a row needs
_ALL = (*designs.ROWS, *designs_on_a_gpu.ROWS, *selection.ROWS, *loops.ROWS)
ROWS: dict[str, Row] = {row.name: row for row in _ALL}


def chosen(rows: Mapping[str, Row], only: Sequence[str]) -> list[Row]:
    """The rows named, or begun up to a "/"; without names all that are not slow.

    Raises ``ValueError`` that lists what exists when a name fits nothing.
    """
    names = [name.rstrip("/") for name in only]
    for name in names:
        if not any(known == name or known.startswith(name + "/") for known in rows):
            raise ValueError(
                f"--only: found {name!r}, needed one of these, or a start of one:\n"
                + "\n".join(f"  {known}" for known in rows)
            )
    if not names:
        return [row for row in rows.values() if not row.slow]
    return [
        row
        for row in rows.values()
        if any(row.name == name or row.name.startswith(name + "/") for name in names)
    ]


def listing(rows: Sequence[Row]) -> str:
    """Each row's name, problem, peer and targets."""
    lines = []
    for row in rows:
        lines.append(f"{row.name}{' (slow: runs only when named)' if row.slow else ''}")
        lines.append(f"    {row.problem}; peer: {row.peer}")
        if row.targets:
            lines.append(f"    target: {', '.join(t.text() for t in row.targets)}")
    return "\n".join(lines)


def bench(rows: Mapping[str, Row], only: Sequence[str], out: Path | None) -> int:
    """Measure, print the table; 0 when every answer is right, else 1. Each row is saved at once."""
    picked = chosen(rows, only)
    path = prepare_out(out or _default_out())
    origin = machine()
    records: list[dict[str, Any]] = []
    for found in _measure(picked):
        records.append(found)
        done = {r["name"] for r in records}
        content = {
            "format": FORMAT,
            "machine": origin | {"load_average_after": load_average()},
            "rows": records,
            "not_run": [name for name in rows if name not in done],
        }
        write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table(records, console.width))
    for line in remarks(content):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(str(path)), soft_wrap=True)
    return 1 if any(r["status"] in ("wrong", "failed") for r in records) else 0


def _default_out() -> Path:
    return Path("results", "bench", time.strftime("%Y-%m-%dT%H%M%SZ.json", time.gmtime()))


def prepare_out(path: Path) -> Path:
    """``path``, once it is sure that a new file can be written there; else ``ValueError``."""
    if path.exists() or path.is_symlink():
        raise ValueError(
            f"--out: found {path}, which exists; needed a new file. It is kept as it is: move it away "
            "or pass another one."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.parent / f".writable-{path.name}", b"")
        (path.parent / f".writable-{path.name}").unlink()
    except OSError as error:
        raise ValueError(
            f"--out: found {path}, where nothing can be written ({error.strerror}); needed a file in a "
            "folder of yours. Pass another one."
        ) from error
    return path


def _measure(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Every row in turn; one line on standard error for each that is finished."""
    console = Console(stderr=True)
    with console.status("") as status:
        for count, row in enumerate(rows, 1):
            status.update(f"{count}/{len(rows)} {row.name}: {row.problem}")
            start = time.perf_counter()
            found = _one(row)
            found["seconds"] = time.perf_counter() - start
            console.print(
                Text(f"[{count}/{len(rows)}] {row.name}: {_in_short(found)}"), soft_wrap=True
            )
            yield found


def _one(row: Row) -> dict[str, Any]:
    try:
        return record(row, row.measure())
    except Exception as error:  # noqa: BLE001  the other rows are worth measuring, the status tells
        return failure(row, f"{type(error).__name__}: {error}")


def _in_short(found: dict[str, Any]) -> str:
    if "ratio" not in found:
        return f"{found['status']}: {found['complaint']}"
    return f"{_ratio(found)}, answer {found['status']} ({found['seconds']:.0f} s)"


# ---------------------------------------------------------------------------- table


def table(records: Sequence[dict[str, Any]], width: int = WIDTH) -> Table:
    """One line a row: medians, in brackets the smallest and the largest; below ``WIDE`` in two."""
    wide = width >= WIDE
    out = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    out.add_column("problem", no_wrap=wide, overflow="fold")
    out.add_column("ours", no_wrap=True)
    out.add_column("peer", no_wrap=True)
    out.add_column("ratio", no_wrap=True)
    out.add_column("floor", justify="right", no_wrap=True)
    out.add_column("x floor", justify="right", no_wrap=True)
    out.add_column("target", no_wrap=True)
    out.add_column("answer", overflow="fold")
    for found in records:
        out.add_row(*(Text(cell) for cell in cells(found, " " if wide else "\n")))
    return out


def cells(found: dict[str, Any], then: str = " ") -> list[str]:
    """The words of one line; ``then`` parts a median from its spread."""
    targets = "\n".join(
        f"{t['text']} {({True: 'met', False: 'NOT met', None: '?'})[t['met']]}"
        for t in found["targets"]
    )
    if "ratio" not in found:
        return [found["name"], "-", found["peer"], "-", "-", "-", targets, found["status"]]
    times = found["ours_seconds"]
    ours = seconds_spread(times["median"], times["low"], times["high"], then)
    if found["memory_bytes"] is not None:
        ours += f"\n+ {bytes_text(found['memory_bytes'])} at the peak"
    more = "> " if found["peer_was_stopped"] else ""
    return [
        found["name"],
        ours,
        f"{more}{seconds_text(found['peer_seconds']['median'])}{then}{found['peer']}",
        _ratio(found, then),
        seconds_text(found["floor_seconds"]),
        short(found["distance_to_floor"]),
        targets or "-",
        "right" if found["status"] == "right" else f"WRONG: {found['complaint']}",
    ]


def _ratio(found: dict[str, Any], then: str = " ") -> str:
    middle, low, high = (short(found["ratio"][end]) for end in ("median", "low", "high"))
    more = "> " if found["peer_was_stopped"] else ""
    return f"{more}{middle}{then}[{low}, {high}] n={found['ours_seconds']['repeats']}"


def remarks(content: dict[str, Any]) -> list[str]:
    """What stands below the table: notes of the rows, the machine, what was left out."""
    lines = []
    for found in content["rows"]:
        said = list(found.get("notes", ()))
        if found["status"] == "failed":
            said = [f"failed: {found['complaint']}"]
        lines += [f"{found['name']}: {note}" for note in said]
    where, threads = content["machine"], content["machine"]["threads"]
    load, after = where["load_average"], where["load_average_after"]
    lines.append(
        f"{where['cpu']}, {where['cores']} cores; BLAS {where['blas']['numpy']} on {threads['blas']} "
        f"thread(s), numba on {threads['numba']}; load "
        f"{load[0] if load else '?'} before, {after[0] if after else '?'} after."
    )
    lines.append(
        "In brackets the smallest and the largest of n turns: ours, peer, ours, peer ... in one process; "
        "a turn is one call, or the mean of as many as fill 30 ms."
    )
    if content["not_run"]:
        lines.append(f"Not run: {', '.join(content['not_run'])}.")
    return lines

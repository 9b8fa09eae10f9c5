"""Recorded judgements: two files, read row by row and checked, or refused with the line to repair.

Judgements (CSV or JSONL, plain or .gz): pair_id, annotator, preference in {0, 0.5, 1}, and with item
features also item_a, item_b; further columns may serve as group. Features (CSV, plain or .gz; or NPY
with a sidecar FILE.ids): first column ``pair_id`` (rows are differences, a minus b) or ``item``
(z = f(item_a) - f(item_b)), every other column a number.
"""

import csv
import gzip
import json
import math
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..theory.checks import Floats, Ints

LARGEST = 1e100  # larger features overflow once squared
BLOCK = 2048  # rows of features held at once
LONGEST = 300  # characters of a file shown in a message
_NEEDED = ("pair_id", "annotator", "preference")
_LEVELS = {0.0, 0.5, 1.0}


class Features(NamedTuple):
    """Feature rows by id: of pairs (differences) or of items."""

    kind: str  # "pair_id" or "item"
    ids: dict[str, int]  # id -> row
    names: tuple[str, ...]  # (d,)
    values: NDArray[np.floating]  # (rows, d); an NPY file stays on disk, read block by block


class Recorded(NamedTuple):
    """r judgements by m annotators on n pairs with d features.

    ``z = differences(pairs)`` is made block by block when asked for: n x d never stands in memory.
    """

    features: Features
    pair_ids: tuple[str, ...]  # (n,)
    annotators: tuple[str, ...]  # (m,)
    groups: tuple[str, ...]  # names; empty without a group column
    rows: Ints  # (n, 1) feature row of each pair, or (n, 2) those of its items a and b
    items: Ints  # (n, 2) items of each pair, or (n, 0) where not needed
    group: Ints  # (n,) index into groups, or (0,)
    pair: Ints  # (r,)
    annotator: Ints  # (r,)
    preference: Floats  # (r,) 1 = a preferred, 0 = b, 0.5 = tie

    def differences(self, pairs: Ints, columns: slice | int = slice(None)) -> Floats:
        """Feature differences z (len(pairs), d) of these pairs, a minus b; or one column (len(pairs),)."""
        values, rows = self.features.values, self.rows[pairs]
        first = np.asarray(values[rows[:, 0], columns], dtype=np.float64)
        if rows.shape[1] == 1:
            return first
        return first - np.asarray(values[rows[:, 1], columns], dtype=np.float64)


class Broken(ValueError):
    """An input file that cannot be used: file and line, what was found, needed, and what to do."""


def _stop(path: Path, line: int | None, found: str, needed: str, repair: str) -> NoReturn:
    where = f"{path}, line {line}" if line else f"{path}"
    if len(found) > LONGEST:
        found = f"{found[:LONGEST]}..."
    raise Broken(f"{where}: found {found}; needed {needed}. {repair}")


def read_recorded(
    judgements: str | Path, features: str | Path, group: str | None = None
) -> Recorded:
    """Recorded judgements with their features, checked; rows are streamed, never held as text.

    ``group`` names the column whose groups are held out together; "item" stands for the items of
    the pairs (columns item_a, item_b). Raises ``ValueError`` naming file and line: a missing column,
    an unknown pair or item, a preference outside {0, 0.5, 1}, fewer than two annotators, a feature
    that is not a finite number, a ragged row, a duplicate id, a pair with two groups or two
    orientations, an empty or unreadable file.
    """
    table = read_features(Path(features))
    return _Judgements(Path(judgements), table, group).read()


def _lines(path: Path) -> Iterator[str]:
    """Lines as text, in UTF-8; whatever cannot be read is named with its line."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for raw in file:
                number += 1
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise Broken(
            f"{path}, line {number}: found bytes that are not UTF-8; needed UTF-8 text. "
            "Convert the file (iconv -t UTF-8)."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Broken(
            f"{path}, line {number + 1}: found a damaged gzip stream ({error}); needed a complete "
            ".gz file. Compress it again, or drop the suffix .gz if it is plain text."
        ) from error
    except OSError as error:
        raise Broken(f"{path}: found {error.strerror or error}; needed a readable file.") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a CSV file, the header first; every row as long as the header."""
    reader, width = csv.reader(_lines(path), strict=True), 0
    try:
        for cells in reader:
            if not cells:
                continue
            line = reader.line_num
            if not width:
                width = len(cells)
                for name in cells:
                    if cells.count(name) > 1:
                        found = f"column {name!r} twice"
                        _stop(path, line, found, "distinct column names", "Rename or drop one.")
            elif len(cells) != width:
                needed, repair = f"{width}, as in the header", "Repair the row (quote commas)."
                _stop(path, line, f"{len(cells)} cells", needed, repair)
            yield line, cells
    except csv.Error as error:
        _stop(path, reader.line_num, f"broken CSV ({error})", "a CSV row", "Repair the row.")
    if not width:
        _stop(path, None, "an empty file", "a header line and rows", "Pass the right file.")


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a JSONL file in the order of ``columns``, which come first as a header."""
    yield 1, list(columns)
    for line, text in enumerate(_lines(path), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            _stop(path, line, f"no JSON ({error})", "one JSON object a line", "Repair the line.")
        if not isinstance(row, dict):
            _stop(path, line, f"a JSON {type(row).__name__}", "a JSON object", "Repair the line.")
        for name in columns:
            if name not in row:
                _missing(path, line, name, list(row))
            if isinstance(row[name], bool) or not isinstance(row[name], str | int | float):
                _stop(path, line, f"{name} = {row[name]!r}", "text or a number", "Repair the line.")
        yield line, [str(row[name]) for name in columns]


def _missing(path: Path, line: int, name: str, found: Sequence[str]) -> NoReturn:
    shown = ", ".join(n if n.isprintable() else repr(n) for n in found)
    _stop(path, line, f"columns {shown}", f"a column {name!r}", "Add or rename it.")


def _form(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def read_features(path: Path) -> Features:
    """Feature rows from CSV (.gz) or from NPY with its sidecar ``FILE.ids``; ``ValueError`` if broken."""
    form = _form(path)
    if form == ".csv":
        return _features_csv(path)
    if form == ".npy" and path.suffix != ".gz":
        return _features_npy(path)
    _stop(path, None, f"a file ending in {path.suffix!r}", ".csv, .csv.gz or .npy", "Convert it.")


def _features_csv(path: Path) -> Features:
    rows = _csv_rows(path)
    line, header = next(rows)
    _check_kind(path, line, header[0])
    if len(header) < 2:
        _stop(path, line, "no feature column", "at least one", "Add a column of numbers.")
    ids: dict[str, int] = {}
    numbers = array("d")
    for line, cells in rows:
        _new_id(path, line, ids, cells[0])
        values = [_number(cell) for cell in cells[1:]]
        for name, cell, value in zip(header[1:], cells[1:], values, strict=True):
            if math.isnan(value):
                needed, repair = "a finite number", "Repair the cell, or drop the column."
                _stop(path, line, f"{name} = {cell!r}", needed, repair)
        numbers.extend(values)
    if not ids:
        _stop(path, None, "a header without rows", "one row a pair or item", "Add rows.")
    table = np.frombuffer(numbers, dtype=np.float64).reshape(len(ids), len(header) - 1)
    return Features(header[0], ids, tuple(header[1:]), table)


def _number(cell: str) -> float:
    """The cell's value, NaN where it is no finite number of usable size (nor Python's 1_000)."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST and "_" not in cell else math.nan


def _features_npy(path: Path) -> Features:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Broken(
            f"{path}: found no readable NPY array ({error}); needed one of numbers."
        ) from error
    if (
        not isinstance(table, np.ndarray)
        or table.ndim != 2
        or table.dtype.kind not in "iuf"
        or 0 in table.shape
    ):
        found = f"shape {getattr(table, 'shape', None)}, dtype {getattr(table, 'dtype', None)}"
        _stop(path, None, found, "a non-empty (rows, features) array of numbers", "Save it so.")
    sidecar = Path(f"{path}.ids")
    ids: dict[str, int] = {}
    kind = ""
    for line, text in enumerate(_lines(sidecar), start=1):
        name = text.rstrip("\r\n")
        if kind:
            _new_id(sidecar, line, ids, name)
        else:
            kind = _check_kind(sidecar, line, name)
    if len(ids) != len(table):
        found = f"{len(ids)} ids below the heading"
        _stop(sidecar, None, found, f"{len(table)}, one a row of {path.name}", "Complete the list.")
    for start in range(0, len(table), BLOCK):
        bad = ~(np.abs(np.asarray(table[start : start + BLOCK], dtype=np.float64)) <= LARGEST)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            where = f"{table[start + row, column]} in column {column} of {path.name}"
            _stop(sidecar, start + row + 2, where, "finite numbers", "Repair or drop that row.")
    return Features(kind, ids, tuple(f"column {i}" for i in range(table.shape[1])), table)


def _check_kind(path: Path, line: int, name: str) -> str:
    if name not in ("pair_id", "item"):
        _stop(path, line, f"first heading {name!r}", "'pair_id' or 'item'", "Rename the heading.")
    return name


def _new_id(path: Path, line: int, ids: dict[str, int], name: str) -> None:
    if not name:
        _stop(path, line, "an empty id", "an id", "Fill it in.")
    if name in ids:
        _stop(path, line, f"id {name!r} a second time", "each id once", "Drop one of the rows.")
    ids[name] = len(ids)


class _Judgements:
    """The reader's state: ids seen so far, and numbers in compact arrays."""

    def __init__(self, path: Path, features: Features, group: str | None):
        self.path, self.features, self.group_by = path, features, group
        self.with_items = features.kind == "item" or group == "item"
        self.item_ids = features.ids if features.kind == "item" else {}
        self.pairs: dict[str, int] = {}
        self.annotators: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.pair, self.annotator, self.preference = array("q"), array("q"), array("d")
        self.items, self.group, self.first_line = array("q"), array("q"), array("q")

    def columns(self) -> list[str]:
        extra = ["item_a", "item_b"] if self.with_items else []
        column = [self.group_by] if self.group_by and self.group_by != "item" else []
        return [*_NEEDED, *extra, *(c for c in column if c not in (*_NEEDED, *extra))]

    def read(self) -> Recorded:
        columns, form, line = self.columns(), _form(self.path), 0
        if form in (".jsonl", ".ndjson"):
            rows = _json_rows(self.path, columns)
        elif form == ".csv":
            rows = _csv_rows(self.path)
        else:
            found, needed = (
                f"a file ending in {self.path.suffix!r}",
                ".csv or .jsonl (or .gz of them)",
            )
            _stop(self.path, None, found, needed, "Convert or rename it.")
        line, header = next(rows)
        for name in columns:
            if name not in header:
                _missing(self.path, line, name, header)
        order = [header.index(name) for name in columns]
        for line, cells in rows:
            self.add(line, dict(zip(columns, (cells[i] for i in order), strict=True)))
        if not self.pair:
            _stop(self.path, None, "no judgement", "one judgement a row", "Pass the right file.")
        if len(self.annotators) < 2:
            only = f"one annotator only ({next(iter(self.annotators))!r}, to the last line)"
            _stop(self.path, line, only, "at least two", "Replay compares whom to ask.")
        return self.recorded()

    def add(self, line: int, row: dict[str, str]) -> None:
        for name, cell in row.items():
            if not cell:
                _stop(self.path, line, f"an empty {name}", "a value", "Fill it in or drop the row.")
        preference = _number(row["preference"])
        if preference not in _LEVELS:
            found = f"preference {row['preference']!r}"
            _stop(self.path, line, found, "0, 0.5 (tie) or 1", "Recode the row.")
        items = self.item_pair(line, row)
        pair = self.pairs.setdefault(row["pair_id"], len(self.pairs))
        if pair == len(self.first_line):
            self.new_pair(line, row, items)
        elif self.with_items and tuple(self.items[2 * pair : 2 * pair + 2]) != items:
            found = f"items {row['item_a']!r}, {row['item_b']!r}"
            self.two(found, "the same item_a and item_b", pair, line, row)
        if self.group_by and self.group_by != "item":
            self.check_group(pair, line, row)
        self.pair.append(pair)
        self.annotator.append(self.annotators.setdefault(row["annotator"], len(self.annotators)))
        self.preference.append(preference)

    def item_pair(self, line: int, row: dict[str, str]) -> tuple[int, ...]:
        if not self.with_items:
            return ()
        if row["item_a"] == row["item_b"]:
            found = f"item {row['item_a']!r} against itself"
            _stop(self.path, line, found, "two items", "Drop the row.")
        if self.features.kind == "pair_id":  # items only group the pairs: any name is new or known
            return tuple(
                self.item_ids.setdefault(row[c], len(self.item_ids)) for c in ("item_a", "item_b")
            )
        for column in ("item_a", "item_b"):
            if row[column] not in self.item_ids:
                self.unknown(line, column, row[column])
        return self.item_ids[row["item_a"]], self.item_ids[row["item_b"]]

    def new_pair(self, line: int, row: dict[str, str], items: tuple[int, ...]) -> None:
        if self.features.kind == "pair_id" and row["pair_id"] not in self.features.ids:
            self.unknown(line, "pair_id", row["pair_id"])
        self.first_line.append(line)
        self.items.extend(items)
        if self.group_by and self.group_by != "item":
            self.group.append(self.groups.setdefault(row[self.group_by], len(self.groups)))

    def check_group(self, pair: int, line: int, row: dict[str, str]) -> None:
        if self.group[pair] != self.groups.get(row[str(self.group_by)]):
            before = list(self.groups)[self.group[pair]]
            found = f"{self.group_by} {row[str(self.group_by)]!r}"
            self.two(found, f"one group a pair, here {before!r}", pair, line, row)

    def unknown(self, line: int, column: str, name: str) -> NoReturn:
        needed = f"one of the {len(self.features.ids)} ids of the features file"
        _stop(self.path, line, f"{column} {name!r}, which is unknown", needed, "Add its features.")

    def two(self, what: str, needed: str, pair: int, line: int, row: dict[str, str]) -> NoReturn:
        first = self.first_line[pair]
        found = f"pair {row['pair_id']!r} with {what}, otherwise than on line {first}"
        _stop(self.path, line, found, needed, "Make the lines agree, or use two pair_ids.")

    def recorded(self) -> Recorded:
        n = len(self.pairs)
        items = _ints(self.items).reshape(n, -1)
        if self.features.kind == "item":
            rows = items
        else:
            rows = np.array([[self.features.ids[name]] for name in self.pairs], dtype=np.int64)
        return Recorded(
            self.features,
            tuple(self.pairs),
            tuple(self.annotators),
            tuple(self.groups),
            rows,
            items,
            _ints(self.group),
            _ints(self.pair),
            _ints(self.annotator),
            np.array(self.preference, dtype=np.float64),
        )


def _ints(values: "array[int]") -> Ints:
    return np.array(values, dtype=np.int64)

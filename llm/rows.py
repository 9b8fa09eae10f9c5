"""Rows of a data set, one by one, each with the place where it stands; broken files are named.

A message says where, what was found and needed, and what to do; it never shows a text of the data.
"""

import csv
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")  # .jsonl and .csv also as .gz
WHOLE = "train"  # the split that a file or folder without splits is taken for
_NAME = re.compile(r"[\w.:/#-]{1,80}", re.ASCII)  # what is not like this may be somebody's text
_MESSAGES = re.compile(r"\s*\[\s*\{\s*['\"](role|content)['\"]\s*:")


def stop(place: str, found: str, needed: str, repair: str) -> NoReturn:
    """Refuse the data: where, what was found, what was needed, what to do."""
    raise ValueError(f"{place}: found {found}; needed {needed}. {repair}") from None


def shown(value: object, *, named: bool = False) -> str:
    """A value as a message may show it: names and numbers, never a text of the data.

    ``named``: it is an id or a name, which may hold a few words.

    >>> shown("model_a"), shown(0.3), shown("is it so?"), shown("pair 7", named=True), shown([1, 2])
    ("'model_a'", '0.3', 'a text of 9 characters', "'pair 7'", 'a list')
    """
    if isinstance(value, str):
        short = len(value) <= 20 and value.isprintable() and (named or not value.strip())
        name = short or _NAME.fullmatch(value)
        return repr(value) if name else f"a text of {len(value)} characters"
    return repr(value) if isinstance(value, int | float | None) else kind(value)


def names(columns: Iterable[object]) -> str:
    """Column names as a message may show them: a file without a header has texts in their place."""
    shorts = (
        c if _NAME.fullmatch(c) else f"a text of {len(c)} characters" for c in map(str, columns)
    )
    return ", ".join(shorts) or "none"


def kind(value: object) -> str:
    """What a value is, in words, where the value itself may be somebody's text."""
    words = {str: "text", dict: "record", NoneType: "nothing", int: "number", float: "number"}
    word = words.get(type(value), type(value).__name__)
    return word if word == "nothing" else f"a {word}"


def read_rows(
    name: str, *, config: str | None, split: str, leave: str | None = None
) -> Iterator[tuple[str, Row]]:
    """(place, row) of a local file, of the files of a folder, or of a data set on the hub.

    ``name``: a file .jsonl(.gz), .csv(.gz) or .parquet; a folder of such files; else a name on the
    hub. Of a folder: the files named ``split`` (train.jsonl, train-00000-of-00002.parquet), else
    those whose name begins with it, else, where no other split than "train" was asked for, all but
    ``leave``. Raises ``ValueError`` naming file and line for whatever cannot be read.
    """
    path = Path(name)
    if "://" in name:
        stop(name, "an address", "a file, a folder or a name on the hub", "Download it first.")
    if path.is_dir():
        for file in _files(path, split, leave):
            yield from file_rows(file)
    elif path.is_file() or _form(path) or name.startswith((".", "/", "~")):
        if path.is_file() and split != WHOLE and not path.name.startswith(split):
            needed = "a folder or a set on the hub: one file has no splits"
            stop(name, f"dataset_split {split!r}", needed, "Drop it, or name another file.")
        yield from file_rows(path)
    else:
        yield from _hub_rows(name, config, split)


def _form(path: Path) -> str | None:
    """How the file is read, by its name."""
    packed = path.suffix == ".gz"
    form = (path.with_suffix("") if packed else path).suffix
    return form if form in SUFFIXES and not (packed and form == ".parquet") else None


def _files(folder: Path, split: str, leave: str | None) -> list[Path]:
    left = Path(leave).resolve() if leave else None
    found = [p for p in sorted(folder.rglob("*")) if _form(p) and p.resolve() != left]
    if not found:
        stop(str(folder), "no file to read", f"files ending in {', '.join(SUFFIXES)}", "Add them.")
    named = re.compile(re.escape(split) + r"[-.]")
    own = [p for p in found if named.match(p.name)]
    own = own or [p for p in found if p.name.startswith(split)]
    if not own and split != WHOLE:
        needed = f"files whose names begin with {split!r}"
        stop(str(folder), f"no split {split!r}", needed, "Rename them, or change dataset_split.")
    return own or found


def file_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(place, row) of one local file; errors as ``read_rows``."""
    form = _form(path)
    if not path.is_file():
        found = "a folder or device" if path.exists() else "no such file"
        stop(str(path), found, "a readable file", "Check the path.")
    if form is None:
        stop(str(path), f"a file ending in {path.suffix!r}", ", ".join(SUFFIXES), "Convert it.")
    read = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(form, _json_rows)
    return read(path)


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for raw in file:
                number += 1
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        repair = "Convert the file (iconv -t UTF-8)."
        stop(f"{path}, line {number}", "bytes that are not UTF-8", "UTF-8 text", repair)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        repair = "Compress it again, or drop the suffix .gz if it is plain text."
        stop(f"{path}, line {number + 1}", "a damaged gzip stream", "a complete .gz file", repair)
    except OSError as error:
        stop(
            str(path), error.strerror or type(error).__name__, "a readable file", "Check the path."
        )


def _json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    for line, text in enumerate(_lines(path), start=1):
        if not text.strip():
            continue
        place = f"{path}, line {line}"
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            stop(place, f"no JSON ({why})", "one JSON object a line", "Repair the line.")
        if not isinstance(row, dict):
            stop(place, f"{kind(row)}", "a JSON object", "Repair the line.")
        yield place, row


def _csv_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """An empty cell is None: CSV cannot tell an empty text from none.

    Cells are divided by what divides the header: commas, or the semicolons or tabs that a
    spreadsheet writes where the comma is the decimal sign.
    """
    lines = _lines(path)
    first = next(lines, "")
    divider = max(",;\t", key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=divider, strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _different(place, header)
                continue
            if len(cells) != len(header):
                needed = f"{len(header)}, as in the header"
                stop(place, f"{len(cells)} cells", needed, f"Repair the row (quote {divider!r}).")
            if any(_MESSAGES.match(cell) for cell in cells):
                found, needed = "messages written as one text", "plain texts in CSV"
                stop(place, found, needed, "Write conversations as JSON lines or Parquet.")
            yield place, {k: v or None for k, v in zip(header, cells, strict=True)}
    except csv.Error as error:
        place, repair = f"{path}, line {reader.line_num}", "Repair it."
        if "field limit" in str(error):  # a quote that nobody closes, or a text too long for CSV
            repair = "Close its quotes, or write JSON lines."
        found = f"broken CSV ({str(error).split(' - ')[0]})"
        stop(place, found, "a CSV row", repair)


def _different(place: str, columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        stop(place, f"columns {names(columns)}", "different names", "Rename or drop one.")


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        _needs_extra(str(path), "a Parquet file", "pyarrow")
    number = 0
    try:
        with ParquetFile(path, page_checksum_verification=True) as file:
            _different(str(path), file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except UnicodeDecodeError:
        place = f"{path}, after row {number}"
        stop(place, "bytes that are not UTF-8", "UTF-8 text", "Write the file again.")
    except (ArrowException, OSError) as error:
        found = f"no readable Parquet ({type(error).__name__})"
        stop(f"{path}, after row {number}", found, "a whole .parquet file", "Write it again.")


def _hub_rows(name: str, config: str | None, split: str) -> Iterator[tuple[str, Row]]:
    try:
        import datasets
    except ImportError:
        _needs_extra(name, "no such file here, so a name on the hub", "datasets")
    place = f"{name} (split {split!r})"
    try:
        table = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # noqa: BLE001  whatever the hub answers; its text may hold addresses
        found = f"no such file here, and no data set on the hub ({type(error).__name__})"
        repair = "Check name, configuration and split; offline only what is already cached opens."
        stop(place, found, "a file, a folder, or a data set that can be loaded", repair)
    for number, row in enumerate(table, start=1):
        yield f"{place}, row {number}", row


def _needs_extra(place: str, found: str, package: str) -> NoReturn:
    repair = "Install it: pip install 'activeduel[llm]'."
    stop(place, found, f"the package {package} to read it", repair)

"""The file of a ledger: its tables, its lock, and the checks on whatever lies in its place."""

import hashlib
import json
import math
import os
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .._durable import TEMPORARY, sync_folder
from .ledger_rows import stop

APPLICATION = 0x61647565  # "adue", in the header of the file
FORMAT = 2
SHOWN = 80  # characters of a value that a message shows
PATIENCE = 60.0  # seconds to wait for another process's short transaction

ROW = (
    "key, arm, round, position, pair_id, teacher, price, score, state, kind, status, preference, "
    "note, asks"
)
RECORD = "arm, round, name, value"
META = "name, value"
EVENT = "arm, round, name, seconds, peak_bytes"
SEALED = {"query": ROW, "record": RECORD, "meta": META, "event": EVENT}  # by column ``seal``
SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, seal TEXT NOT NULL)",
    """CREATE TABLE query (
        key TEXT PRIMARY KEY NOT NULL,
        arm TEXT NOT NULL,
        round INTEGER NOT NULL CHECK (round >= 0),
        position INTEGER NOT NULL CHECK (position >= 0),
        pair_id TEXT NOT NULL,
        teacher TEXT NOT NULL,
        price REAL NOT NULL CHECK (price >= 0 AND price < 1e300),
        score REAL,
        state TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('label', 'pseudo')),
        status TEXT NOT NULL CHECK (status IN ('asked', 'answered', 'unparsable')),
        preference REAL CHECK (preference IN (0, 0.5, 1)),
        note TEXT NOT NULL,
        asks INTEGER NOT NULL,
        seal TEXT NOT NULL,
        UNIQUE (arm, round, position),
        CHECK ((status = 'answered') = (preference IS NOT NULL)),
        CHECK (CASE kind WHEN 'label' THEN asks >= 1
               ELSE asks = 0 AND price = 0 AND status = 'answered' END)
    )""",
    """CREATE TABLE record (
        arm TEXT NOT NULL,
        round INTEGER NOT NULL CHECK (round >= 0),
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        seal TEXT NOT NULL,
        PRIMARY KEY (arm, round, name)
    )""",
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        time TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
        arm TEXT NOT NULL,
        round INTEGER NOT NULL,
        name TEXT NOT NULL,
        seconds REAL NOT NULL,
        peak_bytes INTEGER NOT NULL,
        seal TEXT NOT NULL
    )""",
    *(  # a seal notices what was changed, not what was taken away
        f"CREATE TRIGGER {table}_stays BEFORE DELETE ON {table} BEGIN "
        "SELECT RAISE(ABORT, 'a ledger keeps every row'); END"
        for table in SEALED
    ),
)


def seal(values: Sequence[Any]) -> str:
    """Checksum of one row: SQLite notices broken pages, this notices broken contents."""
    return hashlib.sha256(
        json.dumps([_stored(v) for v in values], default=repr).encode()
    ).hexdigest()[:16]


def _stored(value: Any) -> Any:
    """A value as SQLite gives it back: NULL for NaN, 0.0 for -0.0."""
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else value + 0.0


def lock(path: Path) -> sqlite3.Connection:
    """Hold the lock beside ``path`` until closed or killed; ValueError where another process does.

    The lock is SQLite's own on an empty file, so it works where SQLite does.
    """
    base = None
    try:
        base = sqlite3.connect(f"{path}.lock", timeout=0.2, isolation_level=None)
        base.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        _close(base)
        if "locked" not in str(error):
            _refuse(path, f"no way to lock it ({path.name}.lock: {error})", "a folder to write in")
        raise ValueError(
            f"{path}: found another process working on this ledger; needed one at a time. Wait "
            "until it has ended, or stop it; 'activeduel llm report' reads it meanwhile."
        ) from error
    return base


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection whose commits are on the disk on return; each statement its own transaction."""
    # also a reader opens for writing: what a killed run left half-written must be undone first
    mode = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    address = f"{path.resolve().as_uri()}?mode={mode}"
    base = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
    try:
        base.execute("PRAGMA synchronous = EXTRA")  # FULL, and the folder after the journal is gone
        if not write:
            base.execute("PRAGMA query_only = ON")
    except BaseException:
        base.close()
        raise
    return base


def create(path: Path, identity: str, configuration: str) -> None:
    """A new empty ledger at ``path``: killed at any moment, it stands there whole or not at all.

    What stood there is replaced in one step; nobody else may be writing to it.
    """
    for partial in path.parent.glob(f"{TEMPORARY}{path.name}-*"):  # of a run killed right here
        partial.unlink()
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex}")
    temporary.touch(exist_ok=False)
    base = connect(temporary, write=True)
    try:
        base.execute("BEGIN")
        for statement in SCHEMA:
            base.execute(statement)
        for row in (("identity", identity), ("configuration", configuration)):
            base.execute("INSERT INTO meta VALUES (?, ?, ?)", (*row, seal(row)))
        base.execute(f"PRAGMA application_id = {APPLICATION}")
        base.execute(f"PRAGMA user_version = {FORMAT}")
        base.execute("COMMIT")
    finally:
        base.close()
    os.rename(temporary, path)
    sync_folder(path.parent)


def open_checked(path: Path, *, write: bool = True) -> tuple[sqlite3.Connection, str, str]:
    """(connection, identity, configuration as JSON) of the ledger at ``path``.

    Raises ``ValueError`` naming ``path``, and leaves the file as it is: no file, no ledger, a newer
    format, a file with broken pages, contents or checksums.
    """
    if not path.exists():
        raise ValueError(
            f"{path}: found no ledger; needed one. Use run first, or repair output_dir and run_name."
        )
    if not path.is_file():
        _refuse(path, "no plain file", "a ledger")
    if path.stat().st_size == 0:
        _refuse(path, "an empty file", "a ledger")
    base = None
    try:
        base = connect(path, write=write)
        _check_kind(path, base)
        meta = _check_contents(path, base)
        return base, meta["identity"], meta["configuration"]
    except (sqlite3.DatabaseError, KeyError, UnicodeDecodeError) as error:
        _close(base)
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise
        _refuse(path, f"a file that is damaged or no ledger ({error})", "a ledger", error)
    except BaseException:
        _close(base)
        raise


def _close(base: sqlite3.Connection | None) -> None:
    if base is not None:
        base.close()


def _check_kind(path: Path, base: sqlite3.Connection) -> None:
    (application,) = base.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        _refuse(path, "an SQLite file that is no ledger", "a ledger of activeduel")
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        needed = f"format {FORMAT}, which this version reads"
        _refuse(path, f"a ledger of format {version}", needed)
    made = base.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    if sorted(text for (text,) in made) != sorted(SCHEMA):
        _refuse(path, "tables that were changed by hand", "those of a ledger")


def _check_contents(path: Path, base: sqlite3.Connection) -> dict[str, str]:
    """Check pages, constraints and seals; the table ``meta``."""
    base.execute("BEGIN")  # one moment of the file, also while a run writes
    try:
        (state,) = base.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok":
            _refuse(path, f"a damaged ledger ({state})", "a whole one")
        for table, columns in SEALED.items():
            for *values, found in base.execute(f"SELECT {columns}, seal FROM {table}"):
                if seal(values) != found:
                    _refuse(path, f"a damaged row in its table {table!r}", "a whole ledger")
        return dict(base.execute(f"SELECT {META} FROM meta").fetchall())
    finally:
        base.execute("ROLLBACK")


def refuse_another(path: Path, before: str, text: str) -> NoReturn:
    """Say in what the ledger's configuration and this run's differ."""
    old, new = json.loads(before), json.loads(text)
    names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    both = ((k, *_where_they_differ(repr(old.get(k)), repr(new.get(k)))) for k in names[:5])
    differing = "; ".join(f"{k} {one}, here {other}" for k, one, other in both)
    stop(
        path,
        f"the ledger of another run ({differing or 'the same options, but other data or code'})",
        "this run's own",
        "It is kept: pass another run name, or the configuration it was made with.",
    )


def _where_they_differ(*texts: str) -> list[str]:
    """Texts as a message shows them: long ones from shortly before their first difference."""
    begin = max(0, len(os.path.commonprefix(texts)) - SHOWN // 4)
    if max(map(len, texts)) <= SHOWN:
        begin = 0
    cut = [text[begin : begin + SHOWN] for text in texts]
    return [
        f"{'...' * (begin > 0)}{part}{'...' * (begin + SHOWN < len(text))}"
        for part, text in zip(cut, texts, strict=True)
    ]


def _refuse(path: Path, found: str, needed: str, cause: Exception | None = None) -> NoReturn:
    raise ValueError(
        f"{path}: found {found}; needed {needed}. It is kept as it is: move it away, restore a "
        "copy, or pass another run name."
    ) from cause

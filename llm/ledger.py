"""The ledger: one row a query, on the disk before a teacher is asked and before an answer is used.

One SQLite file. A question is committed with status "asked" before anybody sees it, its answer
before anybody uses it, so a process killed at any moment leaves a ledger from which the run goes
on: a question without an answer is asked again under the same key, and counted in ``asks``. Rows
hold no times, so a resumed run ends with the rows of an unbroken one; times stand in ``event``.
"""

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .._provenance import canonical
from .ledger_file import EVENT, RECORD, ROW, create, lock, open_checked, refuse_another, seal
from .ledger_rows import Asked, Row, Stage, distinct, outcome, row, stop

__all__ = ["Asked", "Ledger", "Row", "Stage"]

MODELS = "models"  # beside the ledger: what was trained on its labels


class Ledger:
    """Every label bought, every pseudo-label, and the facts of every round; a context manager.

    ``path`` is created, or opened where it is this run's: the same ``identity`` (of everything that
    changes the rows). That of another run is replaced where it has no row and no ``models`` stand
    beside it, else ``ValueError`` that names the differing entries of ``configuration``. Also
    ``ValueError``: a file that is no ledger, is damaged or of a newer format, or that another process
    is working on. Such files are kept as they are. Reading while a run writes:
    ``Ledger.reading(path)``.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "ledger.sqlite"
    >>> key = Ledger.key("dual", "pair 7", "crowd", 0)
    >>> with Ledger(path, "abc", {"budget": 2}) as ledger:
    ...     ledger.ask([Asked(key, "dual", 0, 0, "pair 7", "crowd", 1.5, 0.25, "start")])
    ...     ledger.answer(key, 1.0)
    ...     row = ledger.rows("dual")[0]
    ...     row.status, row.preference, row.asks, ledger.money("dual")
    ('answered', 1.0, 1, 1.5)
    """

    def __init__(self, path: Path, identity: str, configuration: Mapping[str, Any]) -> None:
        self.path = Path(path)
        text = canonical(configuration)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock: sqlite3.Connection | None = lock(self.path)
        try:
            if not self.path.exists():
                create(self.path, identity, text)
            self._base, found, before = open_checked(self.path)
            if found != identity:
                begun = self._base.execute("SELECT 1 FROM query LIMIT 1").fetchone()
                self._base.close()
                if begun or self.path.with_name(MODELS).exists():
                    refuse_another(self.path, before, text)
                create(self.path, identity, text)  # its start failed: nothing was bought
                self._base, found, before = open_checked(self.path)
        except BaseException:
            self._lock.close()
            raise
        self.identity, self.configuration = found, json.loads(before)

    @classmethod
    def reading(cls, path: Path) -> Self:
        """The ledger at ``path`` to read only, also while a run writes it; ValueError as above."""
        ledger = cls.__new__(cls)
        ledger.path, ledger._lock = Path(path), None
        ledger._base, ledger.identity, before = open_checked(ledger.path, write=False)
        ledger.configuration = json.loads(before)
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others work on it."""
        self._base.close()
        if self._lock is not None:
            self._lock.close()

    @staticmethod
    def key(arm: str, pair_id: str, teacher: str, number: int) -> str:
        """Unique key of a query; ``number`` = labels of this (arm, pair, teacher) before it."""
        name = json.dumps([arm, pair_id, teacher, int(number)])
        return hashlib.sha256(name.encode()).hexdigest()[:32]

    def ask(self, questions: Sequence[Asked]) -> None:
        """Commit questions, all or none, before anybody is asked.

        A key that is there without an answer is counted once more in ``asks``; with an answer it
        stays as it is. ValueError: a key that is there with other content (the run no longer makes
        the picks it made), a place (arm, round, position) that is taken, a key twice.
        """
        with self._transaction():
            for asked in distinct(self.path, questions):
                before = self._find(asked.key)
                if before is None:
                    self._insert(Row(*asked, "label", "asked", None, "", 1))
                    continue
                self._same(before, asked, "label")
                if before.status == "asked":
                    self._update(before._replace(asks=before.asks + 1))

    def answer(self, key: str, preference: float | None, note: str = "") -> None:
        """Commit one answer, on the disk on return; None = asked and charged, but not usable.

        ValueError: a key that was not asked, a preference outside {1, 0.5, 0}, or a second answer
        that differs from the first.
        """
        self.answer_all([(key, preference, note)])

    def answer_all(self, answers: Iterable[tuple[str, float | None, str]]) -> None:
        """Commit answers (key, preference, note) as one: all of them are on the disk, or none."""
        with self._transaction():
            for key, preference, note in answers:
                before = self._find(key)
                if before is None or before.kind != "label":
                    stop(
                        self.path,
                        f"an answer to {key!r}, which was not asked",
                        "a question before its answer",
                        "Call ask first.",
                    )
                after = before._replace(**outcome(self.path, preference), note=str(note))
                if before.status == "asked":
                    self._update(after)
                elif before != after:
                    stop(
                        self.path,
                        f"a second answer of {before.teacher!r} on pair {before.pair_id!r}, "
                        f"{preference} after {before.preference}",
                        "one answer to a question",
                        "A teacher must answer the same question the same way.",
                    )

    def pseudo(self, questions: Sequence[Asked], preferences: Sequence[float]) -> None:
        """Commit pseudo-labels, all or none: price 0, nobody is asked; the same again is fine."""
        with self._transaction():
            different = distinct(self.path, questions)
            for asked, preference in zip(different, preferences, strict=True):
                fresh = Row(*asked, "pseudo", "answered", None, "", 0)
                fresh = fresh._replace(**outcome(self.path, preference))
                before = self._find(asked.key)
                if before is None:
                    self._insert(fresh)
                else:
                    self._same(before, asked, "pseudo", preference)

    def answers(self, keys: Iterable[str]) -> dict[str, float | None]:
        """The preferences that are there, by key: those of ``keys`` that are no longer open."""
        found = ((key, self._find(key)) for key in keys)
        return {k: at.preference for k, at in found if at and at.status != "asked"}

    def rows(self, arm: str, *, upto_round: int | None = None) -> list[Row]:
        """The rows of one arm, those of rounds 0..upto_round, in (round, position) order."""
        last = 2**62 if upto_round is None else int(upto_round)
        sql = f"SELECT {ROW} FROM query WHERE arm = ? AND round <= ? ORDER BY round, position"
        return [row(cells) for cells in self._base.execute(sql, (str(arm), last)).fetchall()]

    def arms(self) -> list[str]:
        """The arms that have rows, by name."""
        sql = "SELECT DISTINCT arm FROM query ORDER BY arm"
        return [arm for (arm,) in self._base.execute(sql).fetchall()]

    def money(self, arm: str) -> float:
        """Price of every label asked in one arm, unusable ones too; a repeated ask is free."""
        return math.fsum(at.price for at in self.rows(arm) if at.kind == "label")

    def record(self, arm: str, round: int, name: str, value: Mapping[str, Any]) -> None:
        """Commit one JSON fact of a round; the same again is fine, another value a ValueError."""
        text, place = canonical(value), (str(arm), int(round), str(name))
        with self._transaction():
            sql = "SELECT value FROM record WHERE arm = ? AND round = ? AND name = ?"
            before = self._base.execute(sql, place).fetchone()
            if before is None:
                cells = (*place, text)
                sql = "INSERT INTO record VALUES (?, ?, ?, ?, ?)"
                self._base.execute(sql, (*cells, seal(cells)))
            elif before[0] != text:
                stop(
                    self.path,
                    f"another {name!r} of arm {arm!r}, round {round}, than was recorded",
                    "the same facts from the same labels",
                    "Start a new run, or restore the code and machine that began this one.",
                )

    def records(
        self, arm: str | None = None, name: str | None = None
    ) -> list[tuple[str, int, str, dict[str, Any]]]:
        """(arm, round, name, value) of the recorded facts, sorted; of one arm or name, or of all."""
        sql = (
            f"SELECT {RECORD} FROM record WHERE (? IS NULL OR arm = ?) "
            "AND (? IS NULL OR name = ?) ORDER BY arm, round, name"
        )
        found = self._base.execute(sql, (arm, arm, name, name)).fetchall()
        return [(a, r, n, json.loads(value)) for a, r, n, value in found]

    def note_stage(self, arm: str, round: int, name: str, seconds: float, peak_bytes: int) -> None:
        """Append the time and memory of one stage; never compared, so a repeated stage adds one."""
        sql = f"INSERT INTO event ({EVENT}, seal) VALUES (?, ?, ?, ?, ?, ?)"
        cells = (str(arm), int(round), str(name), float(seconds), int(peak_bytes))
        with self._transaction():
            self._base.execute(sql, (*cells, seal(cells)))

    def stages(self) -> list[Stage]:
        """Time and memory by stage, in the order noted."""
        sql = f"SELECT {EVENT} FROM event ORDER BY id"
        return [Stage(*cells) for cells in self._base.execute(sql).fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that happens inside reaches the disk as one, or not at all."""
        if self._lock is None:
            raise ValueError(f"{self.path}: found open for reading; needed Ledger(...) to write.")
        try:
            self._base.execute("BEGIN IMMEDIATE")
            yield
            self._base.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                self._base.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(
                    f"{self.path}: found that nothing can be written to it ({error}); needed room, "
                    "and a disk that works. What was committed is kept: make room, then run again."
                ) from error
            raise

    def _find(self, key: str) -> Row | None:
        cells = self._base.execute(f"SELECT {ROW} FROM query WHERE key = ?", (key,)).fetchone()
        return None if cells is None else row(cells)

    def _insert(self, new: Row) -> None:
        marks = ", ".join("?" * (len(new) + 1))
        try:
            self._base.execute(f"INSERT INTO query VALUES ({marks})", (*new, seal(new)))
        except sqlite3.IntegrityError as error:
            stop(
                self.path,
                f"a question on pair {new.pair_id!r} that does not fit: arm {new.arm!r}, round "
                f"{new.round}, position {new.position}, price {new.price} ({error})",
                "rounds and positions from 0, each place taken once, prices >= 0 (pseudo-labels 0)",
                "A resumed run must make the picks it made before.",
            )

    def _update(self, new: Row) -> None:
        sql = (
            "UPDATE query SET status = ?, preference = ?, note = ?, asks = ?, seal = ? "
            "WHERE key = ?"
        )
        cells = (new.status, new.preference, new.note, new.asks, seal(new), new.key)
        self._base.execute(sql, cells)

    def _same(self, before: Row, asked: Asked, kind: str, preference: float | None = None) -> None:
        both = zip(Asked._fields, before[: len(asked)], asked, strict=True)
        names = [name for name, old, new in both if old is not new and old != new]
        if before.kind != kind:
            names.append("kind")
        if preference is not None and before.preference != preference:
            names.append("preference")
        if names:
            stop(
                self.path,
                f"for pair {before.pair_id!r} and teacher {before.teacher!r} (arm {before.arm!r}, "
                f"round {before.round}) other values of {', '.join(names)} than were committed",
                "the same questions again",
                "A resumed run must make the picks it made before: start a new run, or restore "
                "the code and machine that began this one.",
            )

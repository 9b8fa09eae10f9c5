"""The records of a ledger, and how they are checked before they are written."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

LEVELS = (1.0, 0.5, 0.0)  # a better, tie, b better


class Asked(NamedTuple):
    """One query as it is put: which pair, whom, at what price, and why."""

    key: str  # ``Ledger.key``
    arm: str  # the selector (and replicate) whose label it is
    round: int  # 0, 1, ...
    position: int  # place within the round, one question each
    pair_id: str
    teacher: str
    price: float  # charged when asked, whatever the answer
    score: float  # what the selector maximised; NaN: none
    state: str  # id of the model state that chose it


class Row(NamedTuple):
    """One line of the ledger: ``Asked``, and what came of it."""

    key: str
    arm: str
    round: int
    position: int
    pair_id: str
    teacher: str
    price: float
    score: float
    state: str
    kind: str  # "label" or "pseudo"
    status: str  # "asked", "answered" or "unparsable"
    preference: float | None  # 1 a better, 0.5 tie, 0 b better; None without a usable answer
    note: str  # what the teacher adds, as the verdicts of a judge in both orders
    asks: int  # times it was put to the teacher: more than 1 after a broken run

    @property
    def asked(self) -> Asked:
        """The query as it was put."""
        return Asked._make(self[: len(Asked._fields)])


class Stage(NamedTuple):
    """Time and memory of one stage of a run."""

    arm: str
    round: int
    name: str
    seconds: float
    peak_bytes: int


def stop(path: Path, found: str, needed: str, repair: str) -> NoReturn:
    """Raise the ``ValueError`` that names the ledger."""
    raise ValueError(f"{path}: found {found}; needed {needed}. {repair}")


def distinct(path: Path, questions: Sequence[Asked]) -> list[Asked]:
    """The questions in plain Python types; ValueError where a key comes twice."""
    plain = [
        Asked(
            str(q.key), str(q.arm), int(q.round), int(q.position), str(q.pair_id), str(q.teacher),
            float(q.price), _score(q.score), str(q.state),
        )
        for q in questions
    ]  # fmt: skip
    seen: set[str] = set()
    for asked in plain:
        if asked.key in seen:
            stop(
                path,
                f"the key of pair {asked.pair_id!r} and teacher {asked.teacher!r} twice",
                "one key a question",
                "Number repeated labels of one pair and teacher.",
            )
        seen.add(asked.key)
    return plain


def _score(score: float | None) -> float:
    # math.nan itself, so that rows are equal as tuples
    return math.nan if score is None or math.isnan(score) else float(score)


def row(cells: Sequence[Any]) -> Row:
    """A row as the file holds it."""
    raw = Row(*cells)
    return raw._replace(score=_score(raw.score))


def outcome(path: Path, preference: float | None) -> dict[str, Any]:
    """Status and preference that an answer leads to; ValueError outside {1, 0.5, 0, None}."""
    if preference is None:
        return {"status": "unparsable", "preference": None}
    if preference not in LEVELS:
        stop(path, f"the preference {preference!r}", "1, 0.5 (tie), 0 or None", "Recode it.")
    return {"status": "answered", "preference": float(preference)}

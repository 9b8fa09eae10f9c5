"""What a teacher is: a name, what it can still be asked, and its answers."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ...theory.checks import Ints
from ..data import Text


class Question(NamedTuple):
    """One question as a teacher sees it."""

    key: str  # of the ledger
    pair: int  # row of the pool
    number: int  # labels of this teacher on this pair before it, 0, 1, ...
    pair_id: str
    prompt: Text
    responses: tuple[Text, Text]  # a, b
    context: int  # index into the pool's context types


class Answer(NamedTuple):
    """What a teacher said."""

    key: str
    preference: float | None  # 1 a better, 0.5 tie, 0 b better; None: nothing usable
    note: str = ""  # how it came about, for the ledger


class Teacher(Protocol):
    """Answers questions; each answer is a function of (seed, teacher, pair, number) alone.

    So it is the same in every arm, batch and order, and when a broken run is resumed.
    """

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def instant(self) -> bool:
        """Whether answering again costs nothing, so that answers may be committed together."""

    def capacity(self) -> Ints:
        """Labels obtainable on each pair (n,): -1 unlimited, 0 none, k > 0 that many."""

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """The answers in any order, one by one; ``Waiting`` when the rest has to be waited for."""


class Waiting(Exception):
    """People have to answer first: where the questions are, and how many are open in each file."""

    def __init__(self, *places: tuple[Path, int]) -> None:
        self.places = places
        text = "; ".join(f"{count} open questions in {path}" for path, count in places)
        super().__init__(f"waiting for people: {text}")

    @classmethod
    def together(cls, several: Sequence["Waiting"]) -> "Waiting":
        """One for all. Of one file the last count holds: arms that share it add to what is in it."""
        return cls(*dict(place for waiting in several for place in waiting.places).items())

    @property
    def path(self) -> Path:
        """The first file."""
        return self.places[0][0]

    @property
    def open(self) -> int:
        """The number of open questions."""
        return sum(count for _, count in self.places)


def digest(*parts: Any) -> bytes:
    """SHA-256 of a list of plain JSON values: what the answers' randomness is made of."""
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def uniform(*parts: Any) -> float:
    """Uniform number in [0, 1) named by ``parts``: 53 bits of their SHA-256.

    >>> uniform(0, "crowd", "pair 7", 0) == uniform(0, "crowd", "pair 7", 0)
    True
    """
    return (int.from_bytes(digest(*parts)[:8]) >> 11) * 2.0**-53

"""An annotator of the data set: sells each of its recorded judgements once."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...theory.checks import Ints
from ..config import TeacherOptions
from ..data import TextPool
from .protocol import Answer, Question, digest
from .settings import read_settings, refuse


@dataclass(frozen=True)
class Settings:
    """The keys of this kind."""

    annotator: str | None = None  # as the data set names it; none: the teacher's own name


class Recorded:
    """Answers with the judgements of one annotator of the pool; its capacity is what there is.

    Where a pair was judged several times, the order in which its judgements are sold is drawn by
    (seed, teacher, pair id), not the file's.
    Raises ``ValueError`` on an unknown annotator, and when more is asked than was recorded.
    """

    instant = True

    def __init__(self, options: TeacherOptions, pool: TextPool, *, seed: int) -> None:
        self.name, self._pool, self._seed = options.name, pool, int(seed)
        annotator = read_settings(options, Settings).annotator or options.name
        if not pool.annotators:
            refuse(
                options,
                "no recorded judgement in the data set",
                "rows with chosen and rejected, or with a preference, or a file of judgements",
                "Add them, or pass 'judgements: FILE' (pair_id, annotator, preference).",
            )
        if annotator not in pool.annotators:
            close = difflib.get_close_matches(annotator, pool.annotators, n=1)
            meant = f"Did you mean {close[0]!r}?" if close else "Name it in 'annotator'."
            needed = f"one of the data set's {len(pool.annotators)}"
            refuse(options, f"no recorded judgement by {annotator!r}", needed, meant)
        number = pool.annotators.index(annotator)
        mine = np.flatnonzero(np.asarray(pool.annotator) == number)
        pair = np.asarray(pool.judged_pair)[mine]
        order = np.argsort(pair, kind="stable")
        self._preference = np.asarray(pool.preference)[mine][order]
        self._count = np.bincount(pair, minlength=len(pool.pair_ids)).astype(np.int64)
        self._start = np.concatenate(([0], np.cumsum(self._count)))

    def capacity(self) -> Ints:
        """Recorded judgements on each pair (n,)."""
        return self._count.copy()

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """The recorded preference to each question, in order."""
        for q in questions:
            count, start = int(self._count[q.pair]), int(self._start[q.pair])
            if not 0 <= q.number < count:
                raise ValueError(
                    f"teacher {self.name!r}: found a question for judgement number {q.number} on pair "
                    f"{q.pair_id!r}, which has {count}; needed one that was recorded. Ask within the "
                    "capacity."
                )
            names = [(digest(self._seed, self.name, q.pair_id, i), i) for i in range(count)]
            yield Answer(q.key, float(self._preference[start + sorted(names)[q.number][1]]))

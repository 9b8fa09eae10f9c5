"""People as teachers: open questions go into a file, answers come back from files or the terminal.

In ``folder``: ``questions.jsonl`` and ``questions.md`` hold what is open; every file ``answers*``
(.csv or .jsonl, UTF-8) holds answers, one a row: ``key`` (or ``pair_id``) and ``preference``: a, b or
tie (or 1, 0, 0.5), where a is the response SHOWN as a. Which response is shown as a is drawn for each
question, so that a habit of preferring the first one cannot look like a reward; it is undone when
the answer is read. A row whose preference is empty is still open.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from ...theory.checks import Ints
from ..config import TeacherOptions
from ..data import TextPool
from ..rows import shown as quoted
from ..rows import stop
from .people_files import (
    QUESTIONS,
    Reply,
    Shown,
    read_replies,
    readable,
    replies_in,
    show,
    write_questions,
)
from .protocol import Answer, Question, Waiting
from .settings import read_settings, refuse

_LEVELS = {"a": 1.0, "b": 0.0, "t": 0.5}


@dataclass(frozen=True)
class Settings:
    """The keys of this kind."""

    folder: str  # questions.md goes out there, answers*.csv come back
    labels_per_pair: int = 1  # how often the same people may be asked about one pair

    def check(self, options: TeacherOptions) -> None:
        """``ValueError`` where nobody may be asked."""
        if self.labels_per_pair < 1:
            found = f"labels_per_pair {self.labels_per_pair}"
            refuse(options, found, "1 or more", "Change it.")


class People:
    """Whoever answers through files or ``activeduel llm label``.

    An answer belongs to (teacher, pair id, number, the texts), not to the seed or the arm: people
    are never asked the same twice, and arms that share this teacher find the questions of all in one
    file, in an order that says nothing of who asks. Raises ``ValueError`` naming file and row: an answer to a
    question that this pool does not hold, two different answers to one, an unreadable preference.
    Raises ``Waiting`` while questions are open.
    """

    instant = True  # the answers are safe in their files

    def __init__(self, options: TeacherOptions, pool: TextPool, *, seed: int) -> None:
        del seed  # no draw of a seed changes what people say
        self.name, self._pool = options.name, pool
        settings = read_settings(options, Settings)
        self.folder, self._labels = Path(settings.folder), settings.labels_per_pair
        self._open: dict[str, Shown] = {}  # of every arm that has asked

    def capacity(self) -> Ints:
        """``labels_per_pair`` on each pair (n,)."""
        return np.full(len(self._pool.pair_ids), self._labels, dtype=np.int64)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """What has been answered; then ``Waiting`` if that was not all."""
        replies = self.replies()
        left: dict[str, Shown] = {}
        for q in questions:
            if not 0 <= q.number < self._labels:
                raise ValueError(
                    f"teacher {self.name!r}: found a question for answer number {q.number} on pair "
                    f"{q.pair_id!r}; needed fewer than labels_per_pair ({self._labels}). Ask within "
                    "the capacity."
                )
            seen = show(self.name, q.pair_id, q.number, q.prompt, q.responses)
            if seen.key in replies:
                said = replies[seen.key].preference
                note = "shown b, a" if seen.swapped else "shown a, b"
                yield Answer(q.key, 1 - said if seen.swapped else said, note)
            else:
                left[seen.key] = seen
        self._open = {k: q for k, q in (self._open | left).items() if k not in replies}
        write_questions(self.folder, self.name, [self._open[key] for key in sorted(self._open)])
        if left:
            raise Waiting((self.folder / QUESTIONS, len(self._open)))

    def replies(self, beside: Path | None = None) -> dict[str, Reply]:
        """The answers in the folder by the key of their question, checked against the pool.

        With ``beside`` also those in a file that is to join them. Raises ``ValueError`` as above.
        """
        found: dict[str, Reply] = {}
        joining = () if beside is None else replies_in(beside)
        for reply in chain(read_replies(self.folder), joining):
            key = self._key(reply)
            before = found.setdefault(key, reply)
            if before.preference != reply.preference:
                what = f"another answer to question {key} than {before.place} has"
                stop(reply.place, what, "one answer to a question", "Keep one of the two.")
        return found

    def knows(self, reply: Reply) -> bool:
        """Whether a reply can be about a question to these people."""
        if reply.key is not None:
            return reply.key in self._pair_id
        return reply.pair_id in self._only_key

    def _key(self, reply: Reply) -> str:
        """The question that a reply is about; ValueError where the pool holds no such."""
        if reply.key is not None:
            pair_id = self._pair_id.get(reply.key)
            if pair_id is None:
                needed = f"a key from {QUESTIONS}, of this teacher and these texts"
                stop(
                    reply.place,
                    f"the unknown key {quoted(reply.key, named=True)}",
                    needed,
                    "Drop the row.",
                )
            if reply.pair_id not in (None, pair_id):
                found = (
                    f"pair_id {quoted(reply.pair_id, named=True)} beside the key of another pair"
                )
                stop(reply.place, found, "key and pair_id of one question", "Drop one of them.")
            return reply.key
        if self._labels > 1:
            found = "a pair_id alone, where pairs are asked repeatedly"
            stop(reply.place, found, f"the key from {QUESTIONS}", "Add a column key.")
        key = self._only_key.get(str(reply.pair_id))
        if key is None:
            found = f"the unknown pair_id {quoted(reply.pair_id, named=True)}"
            stop(reply.place, found, "a pair of this data", "Drop the row.")
        return key

    @cached_property
    def _pair_id(self) -> dict[str, str]:
        """key -> pair id of everything that these people can be asked."""
        pool = self._pool
        return {
            show(self.name, pair_id, number, pool.prompts[i], pool.responses[i]).key: pair_id
            for i, pair_id in enumerate(pool.pair_ids)
            for number in range(self._labels)
        }

    @cached_property
    def _only_key(self) -> dict[str, str]:
        return {pair_id: key for key, pair_id in self._pair_id.items()}


def whose(groups: Sequence[People], path: Path) -> People:
    """The one group of people whose questions a file answers, by its keys.

    Raises ``ValueError`` naming file and row where keys of several groups stand in it, or none.
    """
    if len(groups) == 1:
        return groups[0]
    found: dict[str, People] = {}
    for reply in replies_in(path):
        able = [group for group in groups if group.knows(reply)]
        if reply.key is None and able:
            needed = f"the key from {QUESTIONS}: {len(able)} groups can be asked about this pair"
            stop(reply.place, "a pair_id alone", needed, "Add a column key.")
        if not able:
            what = f"the unknown key {quoted(reply.key, named=True)}"
            if reply.key is None:
                what = f"the unknown pair_id {quoted(reply.pair_id, named=True)}"
            stop(reply.place, what, f"a key from {QUESTIONS} of one group", "Drop the row.")
        found |= {group.name: group for group in able}
        if len(found) > 1:
            what = f"answers of several groups ({', '.join(map(repr, found))}) in one file"
            stop(reply.place, what, "a file for each group", "Divide it, and give each by itself.")
    if not found:
        names = ", ".join(repr(group.name) for group in groups)
        stop(str(path), "no answer", f"answers of one of the groups {names}", "Fill it in.")
    return next(iter(found.values()))


def label_in_terminal(
    teacher: str,
    questions: Sequence[Shown],
    commit: Callable[[Shown, float], None],
    source: TextIO,
    sink: TextIO,
) -> int:
    """Show ``teacher`` one question at a time, read a, b, t (tie) or q (stop); how many were answered.

    ``commit(question, preference of what is shown)`` is called after each answer, before the next
    question is shown; ``people_files.keep`` is made for it. The end of ``source`` means q.
    """
    for done, question in enumerate(questions):
        prompt, a, b = (_plain(readable(t)) for t in (question.prompt, *question.responses))
        place = f"{_plain(teacher)}: {done + 1} of {len(questions)}"
        sink.write(f"\n[{place}]\n\n{prompt}\n\n--- a ---\n{a}\n\n")
        sink.write(f"--- b ---\n{b}\n\n")
        answer = _read(teacher, source, sink)
        if answer == "q":
            return done
        commit(question, _LEVELS[answer])
    return len(questions)


def _read(teacher: str, source: TextIO, sink: TextIO) -> str:
    while True:
        sink.write(f"Which is better? a, b, t (tie), q (stop asking {_plain(teacher)}): ")
        sink.flush()
        line = source.readline()
        answer = {"tie": "t"}.get(line.strip().lower(), line.strip().lower()) if line else "q"
        if answer == "q" or answer in _LEVELS:
            return answer


def _plain(text: str) -> str:
    """Without control characters: a response must not steer the terminal."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )

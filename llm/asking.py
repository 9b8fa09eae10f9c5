"""Asking teachers through the ledger: nothing is asked or used before it is on the disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from .ledger import Asked, Ledger
from .teachers.protocol import Answer, Question, Teacher, Waiting

Progress = Callable[[int, int], None]


def ask_all(
    ledger: Ledger,
    teachers: Mapping[str, Teacher],
    questions: Sequence[tuple[Asked, Question]],
    progress: Progress | None = None,
) -> dict[str, float | None]:
    """Put questions to their teachers; the preference of each key, None where it is not usable.

    All questions are committed first, then each teacher answers those of its own that have no answer
    yet, and each answer is committed before the next is waited for. The ledger remembers: called
    again after a break with the same questions, it returns the same answers and asks only what is
    open. ``progress(done, total)`` is called after every commit.
    Raises ``Waiting`` once everything that can be answered without people is committed;
    ``ValueError`` on an unknown teacher, and on one that answers too little, twice, or what it was
    not asked.
    """
    _check(teachers, questions)
    ledger.ask([asked for asked, _ in questions])
    answers = ledger.answers([asked.key for asked, _ in questions])
    waiting: list[Waiting] = []
    for name in dict.fromkeys(asked.teacher for asked, _ in questions):
        mine = [q for asked, q in questions if asked.teacher == name and asked.key not in answers]
        if not mine:
            continue
        try:
            for key, preference in _answers(ledger, teachers[name], name, mine):
                answers[key] = preference
                if progress is not None:
                    progress(len(answers), len(questions))
        except Waiting as open_questions:
            waiting.append(open_questions)
    if waiting:
        raise Waiting.together(waiting)
    return {asked.key: answers[asked.key] for asked, _ in questions}


def _check(teachers: Mapping[str, Teacher], questions: Sequence[tuple[Asked, Question]]) -> None:
    for asked, question in questions:
        if asked.teacher not in teachers:
            raise ValueError(
                f"teachers: found a question on pair {asked.pair_id!r} to {asked.teacher!r}; needed "
                f"one of {sorted(teachers)}. Ask those."
            )
        if (asked.key, asked.pair_id) != (question.key, question.pair_id):
            raise ValueError(
                f"questions: found the ledger's pair {asked.pair_id!r} beside the teacher's pair "
                f"{question.pair_id!r} or two keys; needed one key and pair. Build both from one pick."
            )


def _answers(
    ledger: Ledger, teacher: Teacher, name: str, questions: Sequence[Question]
) -> Iterator[tuple[str, float | None]]:
    """One teacher's answers, each on the disk before it is handed out."""
    unanswered = {question.key: question.pair_id for question in questions}
    for batch in _batches(teacher, questions):
        for key, _, _ in batch:
            if unanswered.pop(key, None) is None:
                _stop(name, "an answer to a question that was not asked, or a second one")
        ledger.answer_all(batch)
        yield from ((key, preference) for key, preference, _ in batch)
    if unanswered:
        _stop(name, f"no answer on pair {next(iter(unanswered.values()))!r}")


def _batches(teacher: Teacher, questions: Sequence[Question]) -> Iterator[list[Answer]]:
    """What is committed together: a single answer, or all where answering again costs nothing."""
    answers = teacher.answers(questions)
    if not teacher.instant:
        yield from ([answer] for answer in answers)
        return
    batch: list[Answer] = []
    try:
        while (answer := next(answers, None)) is not None:
            batch.append(answer)
    except Waiting:  # what was answered before is kept
        yield batch
        raise
    yield batch


def _stop(name: str, found: str) -> NoReturn:
    raise ValueError(
        f"teacher {name!r}: found {found}; needed one answer to each question. Repair the teacher."
    )

"""The files that questions to people and their answers travel in."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..._durable import sync_folder, write_atomically
from ..data import Text, canonical
from ..forms import level, read_name
from ..rows import Row, file_rows, names, shown, stop
from ..texts import read_text
from .protocol import digest, uniform

QUESTIONS, READABLE, TYPED = "questions.jsonl", "questions.md", "answers-terminal.jsonl"
_ENDINGS = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")
_HEAD = """# {count} open questions to {teacher}

Which response is better? Answer in a file `answers*.csv` (any name that begins with answers) beside
this one, one row a question:

    key,preference
    {key},a

`a`, `b` or `tie`. Save as CSV with commas, UTF-8. Then start the run again.
"""


class Shown(NamedTuple):
    """One question as people see it: nothing in it tells the selector, the arm or the order."""

    key: str  # of the question, not of the ledger: arms that ask the same share the answer
    pair_id: str
    prompt: Text
    responses: tuple[Text, Text]  # in the order shown
    swapped: bool = False  # shown b first; not written


class Reply(NamedTuple):
    """One answer as it stands in a file."""

    place: str  # file and line
    key: str | None
    pair_id: str | None
    preference: float  # of what was shown


def show(
    teacher: str, pair_id: str, number: int, prompt: Text, responses: tuple[Text, Text]
) -> Shown:
    """A question with its key and the order in which its responses are shown.

    Both are functions of (teacher, pair id, number), the key also of the texts: an answer that was
    given on other texts is never taken for one on these.
    """
    texts = [canonical(text) for text in (prompt, *responses)]
    key = digest(teacher, pair_id, number, *texts).hex()[:16]
    swapped = uniform("shown first", teacher, pair_id, number) < 0.5
    order = (responses[1], responses[0]) if swapped else responses
    return Shown(key, pair_id, prompt, order, swapped)


def write_questions(folder: Path, teacher: str, questions: Sequence[Shown]) -> None:
    """Replace what is open in ``folder``; without questions the files go."""
    if not questions:
        for name in (QUESTIONS, READABLE):
            (folder / name).unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    lines, pages = [], [_HEAD.format(count=len(questions), teacher=teacher, key=questions[0].key)]
    for q in questions:
        row = {"key": q.key, "pair_id": q.pair_id, "prompt": q.prompt}
        row |= {"response_a": q.responses[0], "response_b": q.responses[1]}
        lines.append(_line(row))
        heads = ("Prompt", "Response a", "Response b")
        parts = zip(heads, (q.prompt, *q.responses), strict=True)
        body = "\n\n".join(f"**{head}**\n\n{_indented(text)}" for head, text in parts)
        pages.append(f"## {q.key}\n\n{body}\n")
    write_atomically(folder / READABLE, "\n".join(pages).encode())
    write_atomically(folder / QUESTIONS, ("\n".join(lines) + "\n").encode())


def _line(row: dict[str, Any]) -> str:
    """One line of JSON also for readers that split lines wherever Unicode allows it."""
    text = json.dumps(row, ensure_ascii=False)
    return re.sub("[\x85\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def readable(text: Text) -> str:
    """A text for the eye; a conversation of several messages with its roles."""
    if isinstance(text, str) or len(text) == 1:
        return text if isinstance(text, str) else text[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in text)


def _indented(text: Text) -> str:
    # a code block, in which no markup of the text counts
    return "\n".join(f"    {line}" for line in readable(text).splitlines())


def read_replies(folder: Path) -> Iterator[Reply]:
    """Every answer in the files ``answers*`` of ``folder``, file by file; errors as ``replies_in``.

    Also ``answers.xlsx`` is an error: nobody would read it, and the run would wait for ever.
    """
    for path in sorted(folder.glob("answers*")):
        if not path.name.endswith("~"):  # an editor's copy of what was there before
            yield from replies_in(path)


def replies_in(path: Path) -> Iterator[Reply]:
    """The answers in one file; empty ones are skipped.

    Raises ``ValueError`` naming file and row: a file of another ending than .csv or .jsonl (.gz), no
    column key or pair_id, no preference column, a preference that cannot be read.
    """
    if not path.name.endswith(_ENDINGS):
        stop(str(path), f"a file ending in {path.suffix!r}", ".csv or .jsonl", "Convert it.")
    for place, row in file_rows(path):
        if "preference" not in row or not {"key", "pair_id"} & set(row):
            needed = "preference, and key or pair_id"
            stop(place, f"columns {names(row)}", needed, "Repair the file.")
        if row["preference"] is None or str(row["preference"]).strip() == "":
            continue
        key, pair_id = _name(place, row, "key"), _name(place, row, "pair_id")
        if key is None and pair_id is None:
            stop(place, "no key and no pair_id", "one of them", "Fill it in.")
        yield Reply(place, key, pair_id, level(place, "preference", row["preference"]))


def _name(place: str, row: Row, column: str) -> str | None:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        stop(place, f"{column} = {shown(value)}", "text", "Copy it from the question.")
    return None if value is None else str(value).strip()


def open_questions(folder: Path) -> list[Shown]:
    """The questions in ``folder`` that no answer file answers, in the order written."""
    replies = list(read_replies(folder))
    answered = {r.key for r in replies} | {("pair", r.pair_id) for r in replies if not r.key}
    questions = _written(folder)
    return [q for q in questions if q.key not in answered and ("pair", q.pair_id) not in answered]


def _written(folder: Path) -> list[Shown]:
    path = folder / QUESTIONS
    if not path.exists():
        return []
    found = []
    for place, row in file_rows(path):
        key, pair_id = (read_name(place, row, name) for name in ("key", "pair_id"))
        if key is None or pair_id is None:
            stop(place, f"columns {names(row)}", "the file as it was written", "Run again.")
        prompt, a, b = (read_text(place, row, n) for n in ("prompt", "response_a", "response_b"))
        found.append(Shown(key, pair_id, prompt, (a, b)))
    return found


def keep(folder: Path, question: Shown, preference: float) -> None:
    """Append one answer (of what was shown) to the terminal's file; on the disk on return."""
    row = {"key": question.key, "pair_id": question.pair_id, "preference": preference}
    path = folder / TYPED
    fresh = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(row) + "\n").encode())  # one write: all of the line or none
        os.fsync(handle)
    finally:
        os.close(handle)
    if fresh:
        sync_folder(folder)

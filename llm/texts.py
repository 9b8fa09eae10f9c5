"""Texts as data sets hold them: plain strings or conversations, checked; where a prompt ends.

A text is a plain string or a list of messages (``role``, ``content``; other keys are left out), the
last of which is not empty.
"""

import re
from typing import Any, NamedTuple, NoReturn

from .rows import Row, kind, names, stop

Message = dict[str, str]
Text = str | tuple[Message, ...]
# where the answer begins in plain transcripts and in what chat templates write
_TURN = re.compile(
    r"\n\nAssistant:|<\|im_start\|>assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n\n"
    r"|<start_of_turn>model\n|<\|assistant\|>\n?|\[/INST\]|### Response:\n?"
)


def read_text(place: str, row: Row, name: str) -> Text:
    """A column's text; ``ValueError`` where there is none."""
    if row.get(name) is None:
        found = f"no {name}" if name in row else f"columns {names(row)}, no {name}"
        stop(place, found, f"a text or messages in {name}", "Fill it in or drop the row.")
    return checked_text(place, name, row[name])


def checked_text(place: str, name: str, value: Any) -> Text:
    """A value as a text; ``ValueError`` naming place and column where it is none, or an empty one."""
    if isinstance(value, str):
        return _filled(place, name, _content(place, name, value))
    if not isinstance(value, list):
        stop(place, f"{name} = {kind(value)}", "a text or a list of messages", "Repair the row.")
    if not value:
        stop(place, f"an empty {name}", "at least one message", "Fill it in or drop the row.")
    turns = tuple(_message(place, f"{name}[{i}]", message) for i, message in enumerate(value))
    _filled(place, f"{name}[{len(turns) - 1}].content", turns[-1]["content"])
    return turns


def _message(place: str, name: str, message: Any) -> Message:
    if not isinstance(message, dict) or "role" not in message or "content" not in message:
        found = f"keys {names(message)}" if isinstance(message, dict) else kind(message)
        stop(place, f"{name} with {found}", "a message with role and content", "Repair the row.")
    return {key: _content(place, f"{name}.{key}", message[key]) for key in ("role", "content")}


def _content(place: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        stop(place, f"{name} = {kind(value)}", "a text", "Repair the row.")
    try:
        value.encode()
    except UnicodeEncodeError:
        stop(place, f"half a surrogate pair in {name}", "text that is UTF-8", "Repair the row.")
    return value


def _filled(place: str, name: str, content: str) -> str:
    if not content.strip():
        stop(place, f"an empty {name}", "a text", "Fill it in or drop the row.")
    return content


def joined(place: str, prompt: Text, a: Text, b: Text) -> tuple[Text, Text, Text]:
    """Prompt and responses in one form: where one is a conversation, all are, the prompt in front only once."""
    if isinstance(a, str) and isinstance(b, str):
        if isinstance(prompt, str):
            return prompt, a, b
        return prompt, _said("assistant", a), _said("assistant", b)
    if isinstance(a, str) or isinstance(b, str):
        _two_forms(place)
    if isinstance(prompt, str):
        asked = _said("user", prompt)
        turns = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), 0)
        prompt = a[:turns] if asked[0] in a[:turns] else asked
    return prompt, _without(place, prompt, a), _without(place, prompt, b)


def _said(role: str, content: str) -> tuple[Message, ...]:
    return ({"role": role, "content": content},)


def _two_forms(place: str) -> NoReturn:
    found = "one response as text and one as messages"
    stop(place, found, "both in one form", "Repair the row.")


def _without(place: str, prompt: tuple[Message, ...], text: tuple[Message, ...]) -> Text:
    if text[: len(prompt)] != prompt:
        return text
    if len(text) == len(prompt):
        stop(place, "a response that only repeats the prompt", "a response", "Repair the row.")
    return text[len(prompt) :]


class Shared(NamedTuple):
    """Two texts as their shared beginning, and what follows it in each."""

    prompt: Text
    chosen: Text
    rejected: Text
    guessed: bool  # the prompt may end with words with which both responses happen to begin


def shared_prompt(place: str, chosen: Text, rejected: Text) -> Shared:
    """The prompt of two texts that both begin with it.

    Of conversations: the messages that are equal. Of plain strings: up to the last mark of an answer
    ("Assistant:" and what chat templates write) in the equal characters; without a mark it is a
    guess, the equal words. (TRL's ``extract_prompt`` takes all the equal characters.)
    """
    guessed = False
    if isinstance(chosen, str) and isinstance(rejected, str):
        end = _equal_characters(chosen, rejected)
        marks = list(_TURN.finditer(chosen, 0, end))
        guessed = not marks
        end = marks[-1].end() if marks else _whole_words(chosen, end)
    elif isinstance(chosen, str) or isinstance(rejected, str):
        _two_forms(place)
    else:
        short = len(chosen) - 1 if chosen == rejected else min(len(chosen), len(rejected))
        end = next((i for i in range(short) if chosen[i] != rejected[i]), short)
    prompt, rest = chosen[:end], (chosen[end:], rejected[end:])
    if not prompt or (isinstance(prompt, str) and not prompt.strip()):
        found = "no prompt, and responses without a shared beginning"
        stop(place, found, "a prompt", "Add a column prompt.")
    if any(not (part.strip() if isinstance(part, str) else part) for part in rest):
        stop(place, "a response that only repeats the prompt", "a response", "Repair the row.")
    return Shared(prompt, *rest, guessed)


def _whole_words(text: str, end: int) -> int:
    """Where the last whole word of ``text[:end]`` ends; the space after it is the response's."""
    while end > 0 and not text[end - 1].isspace():
        end -= 1
    return end - 1 if end > 1 and text[end - 1] == " " else end


def _equal_characters(a: str, b: str) -> int:
    """How many characters two strings share at their beginning, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low

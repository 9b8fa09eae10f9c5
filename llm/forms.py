"""The forms in which a row may hold pairs of responses, and how each becomes (prompt, a, b).

- ``prompt``, ``response_a``, ``response_b`` (+ ``preference`` or ``winner``, + ``annotator``): sides as stated.
- ``prompt``, ``chosen``, ``rejected``, or without prompt: then the responses' shared beginning is the
  prompt. There the first column always wins, so the sides are drawn anew: by a coin that depends on
  the pair id and the two texts alone, never on which of them was chosen.
- ``prompt``, ``completions``: every pair of the completions, with ids ``prompt id#i-j``.

A text is a plain string or a list of messages (``role``, ``content``; other keys are left out), the
last of which is not empty.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from .config import DataOptions
from .rows import Row, names, shown, stop

Message = dict[str, str]
Text = str | tuple[Message, ...]

DATASET = "dataset"  # who judged where no annotator is named
LEVELS: Mapping[str, float] = dict(
    [(name, 1.0) for name in ("1", "1.0", "a", "model_a", "response_a")]
    + [(name, 0.0) for name in ("0", "0.0", "b", "model_b", "response_b")]
    + [(name, 0.5) for name in ("0.5", "tie", "tie (bothbad)")]
)
_TURN = "\n\nAssistant:"  # where a turn begins in plain transcripts


class Pair(NamedTuple):
    """What one row says about one pair."""

    pair_id: str
    named: bool  # the id stands in the row, it is not made from the texts
    prompt: Text
    responses: tuple[Text, Text]  # (a, b)
    rewards: tuple[float, float]  # NaN unknown
    gold: float  # NaN unknown
    preference: float  # NaN: no judgement in this row
    annotator: str | None  # None: the row names nobody

    def turned(self) -> "Pair":
        """The same pair with a and b exchanged."""
        return self._replace(
            responses=(self.responses[1], self.responses[0]),
            rewards=(self.rewards[1], self.rewards[0]),
            gold=1 - self.gold,
            preference=1 - self.preference,
        )


def canonical(text: Text) -> str:
    """One string for one text; different texts have different ones."""
    turns = text if isinstance(text, str) else [[m["role"], m["content"]] for m in text]
    return json.dumps(turns, ensure_ascii=False)


def pairs_of(place: str, row: Row, options: DataOptions) -> Iterator[Pair]:
    """The pairs in a row; ``ValueError`` naming the place where there is none or it is broken."""
    if "response_a" in row or "response_b" in row:
        yield _stated(place, row, options)
    elif "chosen" in row or "rejected" in row:
        yield _preferred(place, row, options)
    elif "completions" in row:
        yield from _completions(place, row, options)
    else:
        needed = "prompt with response_a and response_b, chosen and rejected, or completions"
        stop(place, f"columns {names(row)}", needed, "Rename the columns.")


def _stated(place: str, row: Row, options: DataOptions) -> Pair:
    a, b = (read_text(place, row, name) for name in ("response_a", "response_b"))
    prompt, a, b = _joined(place, read_text(place, row, "prompt"), a, b)
    pair_id, named = _pair_id(place, row, prompt, a, b)
    rewards = _rewards(place, row, options, ("_a", "_b"))
    gold = _optional_level(place, row, options.gold_column)
    labels = [name for name in ("preference", "winner") if row.get(name) is not None]
    if len(labels) > 1:
        stop(place, "preference and winner", "one of the two", "Drop one column.")
    preference = level(place, labels[0], row[labels[0]]) if labels else math.nan
    return Pair(pair_id, named, prompt, (a, b), rewards, gold, preference, _annotator(place, row))


def _preferred(place: str, row: Row, options: DataOptions) -> Pair:
    chosen, rejected = (read_text(place, row, name) for name in ("chosen", "rejected"))
    if row.get("prompt") is None:
        prompt, chosen, rejected = _shared_prompt(place, chosen, rejected)
    else:
        prompt, chosen, rejected = _joined(place, read_text(place, row, "prompt"), chosen, rejected)
    pair_id, named = _pair_id(place, row, prompt, chosen, rejected)
    rewards = _rewards(place, row, options, ("_chosen", "_rejected"))
    gold = _optional_level(place, row, options.gold_column)
    annotator = _annotator(place, row)
    pair = Pair(pair_id, named, prompt, (chosen, rejected), rewards, gold, 1.0, annotator)
    return pair if _chosen_is_a(pair_id, chosen, rejected) else pair.turned()


def _chosen_is_a(pair_id: str, chosen: Text, rejected: Text) -> bool:
    """A fair coin on the set {chosen, rejected}: exchanging the two exchanges the answer."""
    coin = hashlib.sha256(f"side:{pair_id}".encode()).digest()[0] & 1
    return (canonical(chosen) < canonical(rejected)) == bool(coin)


def _completions(place: str, row: Row, options: DataOptions) -> Iterator[Pair]:
    found = row["completions"]
    if not isinstance(found, list) or len(found) < 2:
        what = f"{len(found)} completions" if isinstance(found, list) else shown(found)
        stop(place, what, "a list of at least two completions", "Repair or drop the row.")
    prompt = read_text(place, row, "prompt")
    texts = [_text(place, f"completions[{i}]", text) for i, text in enumerate(found)]
    rewards = [math.nan] * len(texts)
    if name := options.reward_column:
        values = row.get(name)
        if not isinstance(values, list) or len(values) != len(texts):
            stop(place, f"{name} = {shown(values)}", "one reward a completion", "Repair the row.")
        rewards = [_number(place, name, value) for value in values]
    name_of_prompt = _id(place, row, "pair_id") or _id(place, row, "prompt_id")
    start = name_of_prompt or _digest(canonical(prompt), *sorted(map(canonical, texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        pair_id = f"{start}#{i}-{j}"
        whole, a, b = _joined(place, prompt, texts[i], texts[j])
        both = _both(place, rewards[i], rewards[j])
        yield Pair(pair_id, bool(name_of_prompt), whole, (a, b), both, math.nan, math.nan, None)


def read_text(place: str, row: Row, name: str) -> Text:
    """A column's text; ``ValueError`` where there is none."""
    if row.get(name) is None:
        found = f"no {name}" if name in row else f"columns {names(row)}, no {name}"
        stop(place, found, f"a text or messages in {name}", "Fill it in or drop the row.")
    return _text(place, name, row[name])


def _text(place: str, name: str, value: Any) -> Text:
    if isinstance(value, str):
        return _filled(place, name, _content(place, name, value))
    if not isinstance(value, list):
        stop(place, f"{name} = {shown(value)}", "a text or a list of messages", "Repair the row.")
    if not value:
        stop(place, f"an empty {name}", "at least one message", "Fill it in or drop the row.")
    turns = tuple(_message(place, f"{name}[{i}]", message) for i, message in enumerate(value))
    _filled(place, f"{name}[{len(turns) - 1}].content", turns[-1]["content"])
    return turns


def _message(place: str, name: str, message: Any) -> Message:
    if not isinstance(message, dict) or "role" not in message or "content" not in message:
        found = f"keys {names(message)}" if isinstance(message, dict) else shown(message)
        stop(place, f"{name} with {found}", "a message with role and content", "Repair the row.")
    return {key: _content(place, f"{name}.{key}", message[key]) for key in ("role", "content")}


def _content(place: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        stop(place, f"{name} = {shown(value)}", "a text", "Repair the row.")
    try:
        value.encode()
    except UnicodeEncodeError:
        stop(place, f"half a surrogate pair in {name}", "text that is UTF-8", "Repair the row.")
    return value


def _filled(place: str, name: str, content: str) -> str:
    if not content.strip():
        stop(place, f"an empty {name}", "a text", "Fill it in or drop the row.")
    return content


def _joined(place: str, prompt: Text, a: Text, b: Text) -> tuple[Text, Text, Text]:
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


def _shared_prompt(place: str, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The shared beginning of two texts and what follows it in each.

    Of conversations: the messages that are equal. Of plain strings: up to the last "Assistant:" in
    the equal characters, or where there is none to their last white space (whole words).
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        end = _equal_characters(chosen, rejected)
        turn = chosen.rfind(_TURN, 0, end)
        if turn >= 0:
            end = turn + len(_TURN)
        while turn < 0 and end > 0 and not chosen[end - 1].isspace():
            end -= 1
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
    return prompt, *rest


def _equal_characters(a: str, b: str) -> int:
    """How many characters two strings share at their beginning, by bisection."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def _pair_id(place: str, row: Row, prompt: Text, a: Text, b: Text) -> tuple[str, bool]:
    if name := _id(place, row, "pair_id"):
        return name, True
    return _digest(canonical(prompt), *sorted((canonical(a), canonical(b)))), False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _id(place: str, row: Row, name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        stop(place, f"{name} = {shown(value)}", "a text or a whole number", "Repair the row.")
    return str(value)


def _annotator(place: str, row: Row) -> str | None:
    return _id(place, row, "annotator")


def level(place: str, name: str, value: Any) -> float:
    """A preference as a number: 1 a better, 0 b better, 0.5 tie."""
    key = str(value).strip().lower()
    if isinstance(value, bool) or not isinstance(value, str | int | float) or key not in LEVELS:
        needed = "1 or 'a' (a better), 0 or 'b', 0.5 or 'tie'"
        stop(place, f"{name} = {shown(value)}", needed, "Recode the column.")
    return LEVELS[key]


def _optional_level(place: str, row: Row, name: str | None) -> float:
    if name is None:
        return math.nan
    if name not in row:
        stop(place, f"columns {names(row)}", f"a column {name!r}", "Add it or change gold_column.")
    return math.nan if row[name] is None else level(place, name, row[name])


def _rewards(
    place: str, row: Row, options: DataOptions, endings: tuple[str, str]
) -> tuple[float, float]:
    if options.reward_column is None:
        return math.nan, math.nan
    columns = [options.reward_column + ending for ending in endings]
    for name in columns:
        if name not in row:
            repair = "Add it or change reward_column."
            stop(place, f"columns {names(row)}", f"a column {name!r}", repair)
    return _both(place, *(_number(place, name, row[name]) for name in columns))


def _both(place: str, a: float, b: float) -> tuple[float, float]:
    if math.isnan(a) != math.isnan(b):
        stop(place, "the reward of one response only", "both or none", "Repair the row.")
    return a, b


def _number(place: str, name: str, value: Any) -> float:
    """A finite number, NaN for None."""
    if value is None:
        return math.nan
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        stop(place, f"{name} = {shown(value)}", "a finite number", "Repair the row.")
    return number

"""The forms in which a row may hold pairs of responses, and how each becomes (prompt, a, b).

- ``prompt``, ``response_a``, ``response_b`` (+ ``preference`` or ``winner``, + ``annotator``): sides
  as stated. Rewards in NAME_a, NAME_b.
- ``prompt``, ``chosen``, ``rejected``, or without prompt: then the messages that both begin with are
  the prompt, of plain strings all up to the mark of the answer ("Assistant:"), or else the words that
  are equal. There the first column always wins, so the sides are drawn anew: by a coin that depends on
  the pair id and the two texts alone, never on which of them was chosen. What the row, or a file of
  judgements, says of a is meant of the chosen one, and turns with it. Rewards in NAME_chosen,
  NAME_rejected.
- ``prompt``, ``completions``: every pair of the completions, with ids ``prompt id#i-j``. Rewards in
  a list NAME.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .config import DataOptions
from .rows import Row, kind, names, shown, stop
from .texts import Text, checked_text, joined, read_text, shared_prompt

DATASET = "dataset"  # who judged where no annotator is named
LEVELS: Mapping[str, float] = dict(
    [(name, 1.0) for name in ("1", "1.0", "a", "model_a", "response_a")]
    + [(name, 0.0) for name in ("0", "0.0", "b", "model_b", "response_b")]
    + [(name, 0.5) for name in ("0.5", "tie", "tie (bothbad)")]
)


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
    chosen: str = ""  # side whose column says that it was chosen; "": sides as stated
    guessed: bool = False  # the prompt, from the words with which both responses begin

    def turned(self) -> "Pair":
        """The same pair with a and b exchanged."""
        return self._replace(
            responses=(self.responses[1], self.responses[0]),
            rewards=(self.rewards[1], self.rewards[0]),
            gold=1 - self.gold,
            preference=1 - self.preference,
            chosen={"a": "b", "b": "a"}.get(self.chosen, ""),
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
    prompt, a, b = joined(place, read_text(place, row, "prompt"), a, b)
    pair_id, named = _pair_id(place, row, prompt, a, b)
    rewards = _rewards(place, row, options, ("_a", "_b"))
    gold = _optional_level(place, row, options.gold_column)
    labels = [name for name in ("preference", "winner") if row.get(name) is not None]
    if len(labels) > 1:
        stop(place, "preference and winner", "one of the two", "Drop one column.")
    preference = level(place, labels[0], row[labels[0]]) if labels else math.nan
    annotator = read_name(place, row, "annotator")
    return Pair(pair_id, named, prompt, (a, b), rewards, gold, preference, annotator)


def _preferred(place: str, row: Row, options: DataOptions) -> Pair:
    chosen, rejected = (read_text(place, row, name) for name in ("chosen", "rejected"))
    guessed = False
    if row.get("prompt") is None:
        prompt, chosen, rejected, guessed = shared_prompt(place, chosen, rejected)
    else:
        prompt, chosen, rejected = joined(place, read_text(place, row, "prompt"), chosen, rejected)
    pair_id, named = _pair_id(place, row, prompt, chosen, rejected)
    rewards = _rewards(place, row, options, ("_chosen", "_rejected"))
    gold = _optional_level(place, row, options.gold_column)
    annotator = read_name(place, row, "annotator")
    both = (chosen, rejected)
    pair = Pair(pair_id, named, prompt, both, rewards, gold, 1.0, annotator, "a", guessed)
    return pair if _chosen_is_a(pair_id, chosen, rejected) else pair.turned()


def _chosen_is_a(pair_id: str, chosen: Text, rejected: Text) -> bool:
    """A fair coin on the set {chosen, rejected}: exchanging the two exchanges the answer."""
    coin = hashlib.sha256(f"side:{pair_id}".encode()).digest()[0] & 1
    return (canonical(chosen) < canonical(rejected)) == bool(coin)


def _completions(place: str, row: Row, options: DataOptions) -> Iterator[Pair]:
    found = row["completions"]
    if not isinstance(found, list) or len(found) < 2:
        what = f"{len(found)} completions" if isinstance(found, list) else kind(found)
        stop(place, what, "a list of at least two completions", "Repair or drop the row.")
    prompt = read_text(place, row, "prompt")
    texts = [checked_text(place, f"completions[{i}]", text) for i, text in enumerate(found)]
    rewards = [math.nan] * len(texts)
    if name := options.reward_column:
        values = row.get(name)
        if not isinstance(values, list) or len(values) != len(texts):
            stop(place, f"{name} = {kind(values)}", "one reward a completion", "Repair the row.")
        rewards = [_number(place, name, value) for value in values]
    name_of_prompt = read_name(place, row, "pair_id") or read_name(place, row, "prompt_id")
    start = name_of_prompt or _digest(canonical(prompt), *sorted(map(canonical, texts)))
    for i, j in itertools.combinations(range(len(texts)), 2):
        pair_id = f"{start}#{i}-{j}"
        whole, a, b = joined(place, prompt, texts[i], texts[j])
        both = _both(place, rewards[i], rewards[j])
        yield Pair(pair_id, bool(name_of_prompt), whole, (a, b), both, math.nan, math.nan, None)


def _pair_id(place: str, row: Row, prompt: Text, a: Text, b: Text) -> tuple[str, bool]:
    if name := read_name(place, row, "pair_id"):
        return name, True
    return _digest(canonical(prompt), *sorted((canonical(a), canonical(b)))), False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read_name(place: str, row: Row, name: str) -> str | None:
    """A column's id or name, None where there is none."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        stop(place, f"{name} = {shown(value)}", "a text or a whole number", "Repair the row.")
    return str(value)


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
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        stop(place, f"{name} = {shown(value)}", "a finite number", "Repair the row.")
    return number

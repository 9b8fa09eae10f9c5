"""A pool of pairs of responses, read from files or the hub, checked, and split by prompt.

Every row is checked before anything is computed on it; what is wrong is named with its row, and no
message shows a prompt or a response. The forms of rows are those of ``forms``.
"""

import hashlib
import math
from array import array
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..theory.checks import Floats, Ints
from .config import DataOptions
from .forms import DATASET, Pair, canonical, level, pairs_of, read_name
from .rows import Row, file_rows, names, read_rows, shown, stop
from .texts import Message, Text
from .whole_pool import check_guesses, check_sides, check_types, held_together

__all__ = ["Message", "Text", "TextPool", "canonical", "read_pool", "split"]


@dataclass(frozen=True, eq=False)
class TextPool:
    """n pairs of responses, with what is known of them; sides are called a and b."""

    pair_ids: tuple[str, ...]
    prompts: tuple[Text, ...]
    responses: tuple[tuple[Text, Text], ...]  # (a, b)
    context: Ints  # (n,) into context_types
    context_types: tuple[str, ...]  # sorted names; ("all",) without a context column
    group: Ints  # (n,) number of the pair's prompt: equal prompts share it
    gold: Floats  # (n,) 1 a better, 0 b, 0.5 tie, NaN unknown
    rewards: Floats  # (n, 2) hidden rewards of a and b, NaN unknown
    annotators: tuple[str, ...]  # sorted names, of the recorded judgements
    judged_pair: Ints  # (r,) recorded judgements in file order
    annotator: Ints  # (r,) into annotators
    preference: Floats  # (r,) 1, 0.5 or 0
    left_out: int = field(default=0)  # pairs whose two responses are the same text
    guessed: int = field(
        default=0
    )  # pairs whose prompt is the words that both responses begin with

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything above but counts: two pools with it equal are equal."""
        digest = hashlib.sha256()
        for lines in (self.pair_ids, self.context_types, self.annotators):
            digest.update(canonical("\0".join(map(canonical, lines))).encode())
        for prompt, (a, b) in zip(self.prompts, self.responses, strict=True):
            digest.update("\n".join((canonical(prompt), canonical(a), canonical(b), "")).encode())
        numbers = (self.context, self.group, self.gold, self.rewards)
        for values in (*numbers, self.judged_pair, self.annotator, self.preference):
            digest.update(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def truth(self) -> Floats:
        """(n,) what a label should say: gold where known, else the recorded majority, else NaN.

        The majority is the sign of the summed judgements (ties count nothing); even votes are 0.5.
        """
        n = len(self.pair_ids)
        votes = np.bincount(self.judged_pair, self.preference - 0.5, n)
        judged = np.bincount(self.judged_pair, minlength=n) > 0
        majority = np.where(judged, (1 + np.sign(votes)) / 2, np.nan)
        return np.where(np.isnan(self.gold), majority, self.gold)


def read_pool(options: DataOptions) -> TextPool:
    """The pool that the options name, checked.

    Pairs keep the order in which they first appear; ``max_pairs`` keeps the first ones. A pair
    without ``pair_id`` gets one made from its texts: the same for the same texts, in any row and in
    either order of the sides. Several rows of one pair are several judgements. Pairs of two equal
    responses teach nothing: they are left out and counted.
    Raises ``ValueError`` naming file and row: unreadable or not UTF-8; no or empty response;
    messages without role or content; a pair id twice with other texts, or twice without annotators;
    a label that is not a, b or tie; a reward that is not finite; a judgement of an unknown pair.
    Also where all decided labels (at least 6), or all of gold, are for one side: then the position
    carries the label.
    """
    reader = _Reader(options)
    rows = read_rows(
        options.dataset_name,
        config=options.dataset_config,
        split=options.dataset_split,
        leave=options.judgements,
    )
    for place, row in rows:
        for pair in pairs_of(place, row, options):
            reader.add(place, row, pair)
    if not reader.ids:
        found = f"no pair ({reader.left_out} of two equal responses)"
        stop(options.dataset_name, found, "at least one", "Pass the right data set.")
    if options.judgements:
        place = ""
        for place, row in file_rows(Path(options.judgements)):
            reader.judge(place, row)
        if not place:
            needed = "rows of pair_id, annotator, preference"
            stop(options.judgements, "no judgement", needed, "Fill it in or drop the option.")
    return reader.pool()


class _Reader:
    """What has been read so far: texts once each, numbers in compact arrays."""

    def __init__(self, options: DataOptions):
        self.options = options
        self.ids: dict[str, int] = {}
        self.skipped: set[str] = set()  # known ids that are not in the pool
        self.left_out = 0
        self.groups: dict[object, int] = {}
        self.guesses: dict[str, int] = {}  # guessed prompts and their groups
        self.guessed = 0
        self.prompts: list[Text] = []
        self.responses: list[tuple[Text, Text]] = []
        self.places: list[str] = []  # where each pair first stood
        self.chosen: list[str] = []  # side that was chosen by its column, "?" one here, one there
        self.contexts: list[str] = []
        self.group, self.gold, self.rewards = array("q"), array("d"), array("d")
        self.judges: dict[str, int] = {}
        self.judged_pair, self.annotator = array("q"), array("q")
        self.preference = array("d")
        self.labels: list[str] = []  # where each judgement stood

    def add(self, place: str, row: Row, pair: Pair) -> None:
        number = self.ids.get(pair.pair_id)
        if number is None:
            number = self.new(place, row, pair)
        else:
            pair = self.again(place, row, pair, number)
        if number is not None and not math.isnan(pair.preference):
            self.note(place, number, pair.annotator or DATASET, pair.preference)

    def new(self, place: str, row: Row, pair: Pair) -> int | None:
        """The pair's number, None where it does not enter the pool."""
        equal = pair.responses[0] == pair.responses[1]
        if equal or len(self.ids) == self.options.max_pairs:
            self.left_out += equal and pair.pair_id not in self.skipped
            self.skipped.add(pair.pair_id)
            return None
        prompt, key = pair.prompt, _key(pair.prompt)
        group = self.groups.setdefault(key, len(self.groups))
        if pair.guessed:
            self.guesses[str(prompt)] = group
            self.guessed += 1
        number = self.ids[pair.pair_id] = len(self.ids)
        self.prompts.append(prompt)
        self.responses.append(pair.responses)
        self.places.append(place)
        self.chosen.append(pair.chosen)
        self.contexts.append(self.context(place, row))
        self.group.append(group)
        self.gold.append(pair.gold)
        self.rewards.extend(pair.rewards)
        return number

    def again(self, place: str, row: Row, pair: Pair, number: int) -> Pair:
        """A pair that was seen before: the same in everything, its sides as they were first."""
        known = (self.prompts[number], self.responses[number], self.contexts[number])
        context = self.context(place, row)
        if not pair.named and pair.responses[::-1] == known[1]:
            pair = pair.turned()
        first = f"otherwise than in {self.places[number]}"
        if (pair.prompt, pair.responses) != known[:2]:
            self.twice(place, pair, f"with other texts, {first}", "one pair an id")
        if pair.named and pair.annotator is None:
            needed = "each id once, or an annotator on each of its rows"
            self.twice(place, pair, f"again, first in {self.places[number]}", needed)
        before = [self.gold[number], *self.rewards[2 * number : 2 * number + 2]]
        numbers = np.array_equal(before, [pair.gold, *pair.rewards], equal_nan=True)
        if context != known[2] or not numbers:
            what = "rewards or gold" if context == known[2] else "context type"
            self.twice(place, pair, f"with another {what}, {first}", "the same in every row")
        self.chosen[number] = pair.chosen if pair.chosen == self.chosen[number] else "?"
        return pair

    def twice(self, place: str, pair: Pair, found: str, needed: str) -> NoReturn:
        repair = "Make the rows agree, or use two pair ids."
        stop(place, f"pair_id {shown(pair.pair_id, named=True)} {found}", needed, repair)

    def context(self, place: str, row: Row) -> str:
        column = self.options.context_column
        if column is None:
            return "all"
        value = row.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            found = f"{column} = {shown(value)}" if column in row else f"columns {names(row)}"
            stop(place, found, f"a context type in {column!r}", "Fill it in or drop the option.")
        return str(value)

    def judge(self, place: str, row: Row) -> None:
        """One row of a judgements file."""
        pair_id, annotator = (read_name(place, row, name) for name in ("pair_id", "annotator"))
        for name in ("pair_id", "annotator", "preference"):
            if row.get(name) is None:
                found = f"no {name}" if name in row else f"columns {names(row)}"
                stop(place, found, f"a column {name!r} with a value", "Fill it in.")
        preference = level(place, "preference", row["preference"])
        number = self.ids.get(str(pair_id))
        if number is None:
            if pair_id not in self.skipped:
                found = f"unknown pair_id {shown(pair_id, named=True)}"
                needed = f"one of the pool's {len(self.ids)} pair ids"
                stop(place, found, needed, "Add the pair or drop the row.")
            return
        if self.chosen[number] == "?":
            found = f"pair_id {shown(pair_id, named=True)}, of which each response was chosen once"
            stop(place, found, "one that tells a from b", "Use response_a and response_b.")
        if self.chosen[number] == "b":
            preference = 1 - preference
        self.note(place, number, str(annotator), preference)

    def note(self, place: str, pair: int, annotator: str, preference: float) -> None:
        self.judged_pair.append(pair)
        self.annotator.append(self.judges.setdefault(annotator, len(self.judges)))
        self.preference.append(preference)
        self.labels.append(place)

    def pool(self) -> TextPool:
        gold, preference = _floats(self.gold), _floats(self.preference)
        stated = np.array([side == "" for side in self.chosen])
        judged = np.where(stated[_ints(self.judged_pair)], preference, math.nan)
        check_sides("preference", judged, self.labels)
        check_sides(str(self.options.gold_column), np.where(stated, gold, math.nan), self.places)
        context_types, context = _sorted_names(self.contexts)
        column, prompts = self.options.context_column, len(self.groups)
        check_types(self.options.dataset_name, column, len(context_types), prompts)
        annotators, order = _sorted_names(list(self.judges))
        group = held_together(self.guesses, prompts)[_ints(self.group)]
        check_guesses(self.options.dataset_name, group, self.guessed)
        return TextPool(
            pair_ids=tuple(self.ids),
            prompts=tuple(self.prompts),
            responses=tuple(self.responses),
            context=context,
            context_types=context_types,
            group=group,
            gold=gold,
            rewards=_floats(self.rewards).reshape(-1, 2),
            annotators=annotators,
            judged_pair=_ints(self.judged_pair),
            annotator=order[_ints(self.annotator)],
            preference=preference,
            left_out=self.left_out,
            guessed=self.guessed,
        )


def _sorted_names(values: list[str]) -> tuple[tuple[str, ...], Ints]:
    """The different names, sorted, and where each value stands among them."""
    different = sorted(set(values))
    index = {name: i for i, name in enumerate(different)}
    return tuple(different), np.array([index[v] for v in values], dtype=np.int64)


def _key(text: Text) -> object:
    """What equal prompts share, and different ones do not; a text is what its user says."""
    if isinstance(text, str):
        return text
    turns = tuple((m["role"], m["content"]) for m in text)
    return turns[0][1] if len(turns) == 1 and turns[0][0] == "user" else turns


def _ints(values: "array[int]") -> Ints:
    return np.array(values, dtype=np.int64)


def _floats(values: "array[float]") -> Floats:
    return np.array(values, dtype=np.float64)


def split(pool: TextPool, test_fraction: float, seed: int, replicate: int) -> tuple[Ints, Ints]:
    """Training and test pairs, divided by prompt: equal prompts never stand on both sides.

    The prompts with the smallest SHA-256 of (seed, replicate, prompt) are held out, the nearest
    whole number to ``test_fraction`` of them; so the division does not depend on the rows' order.
    Returns pair numbers (train,), (test,), each in ascending order. Raises ``ValueError`` where a
    side would be empty.
    """
    keys: dict[int, bytes] = {}
    for group, prompt in zip(pool.group.tolist(), pool.prompts, strict=True):
        text = f"{seed}:{replicate}:{canonical(prompt)}"
        key = hashlib.sha256(text.encode()).digest()
        keys[group] = min(key, keys.get(group, key))
    held = round(test_fraction * len(keys))
    if not 0 < held < len(keys):
        raise ValueError(
            f"test_fraction: found {test_fraction} of {len(keys)} prompts, which holds out {held}; "
            "needed at least one on each side. Change test_fraction, or pass more prompts."
        )
    tested = sorted(keys, key=keys.__getitem__)[:held]
    test = np.isin(pool.group, tested)
    return np.flatnonzero(~test), np.flatnonzero(test)

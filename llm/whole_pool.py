"""What only a pool as a whole can tell, although each of its rows is right."""

import sys
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from ..theory.checks import Floats, Ints
from .rows import stop

ONE_SIDED = 6  # decided labels all for one side are no accident: 1 in 32 for fair sides
FEW_PROMPTS = 20  # on so few, a context type each may be meant, or one prompt


def check_sides(column: str, values: Floats, places: list[str]) -> None:
    """Refuse labels that all say the same side."""
    decided = np.flatnonzero(np.abs(values - 0.5) == 0.5)
    if len(decided) < ONE_SIDED or len(np.unique(values[decided])) == 2:
        return
    side = "a" if values[decided[0]] == 1 else "b"
    found = f"one-sided labels: all {len(decided)} decided ones of {column!r} are for {side!r}"
    repair = (
        "Name the columns chosen and rejected where the first response always won (the sides are "
        "then drawn by a coin), or repair the labels."
    )
    last = places[decided[-1]]
    stop(f"{places[decided[0]]} to {last}", found, "labels for both sides", repair)


def check_types(place: str, column: str | None, types: int, prompts: int) -> None:
    """Refuse a column of texts or ids: what is learned of a teacher is learned by context type."""
    if prompts > FEW_PROMPTS and 2 * types > prompts:
        found = f"{types} context types on {prompts} prompts in the column {column!r}"
        repair = "Name another column, or drop context_column."
        stop(place, found, "types that several prompts share", repair)


def held_together(guesses: Mapping[str, int], groups: int) -> Ints:
    """For each of ``groups`` prompts the first one that must be held out with it: (groups,).

    A guessed prompt (text -> its group) is the prompt and, it may be, words with which two responses
    happen to begin; so a text and all that begin with its first half may be one prompt, and are not
    divided.

    >>> held_together({"why is the sky": 0, "why is the sky It": 1, "how tall is it": 2}, 3).tolist()
    [0, 0, 2]
    """
    first = np.arange(groups)
    if not guesses:
        return first
    texts = sorted(guesses)
    opened = np.zeros(len(texts) + 1, dtype=np.int64)
    for text in texts:  # in this order, all that begin with the same half stand in one run
        half = text[: (len(text) + 1) // 2]
        opened[bisect_left(texts, half)] += 1
        opened[bisect_left(texts, half + chr(sys.maxunicode)) - 1] -= 1
    bundle = np.cumsum([False, *(np.cumsum(opened)[:-2] == 0)])
    numbers, least = np.array([guesses[text] for text in texts]), np.full(len(texts), groups)
    np.minimum.at(least, bundle, numbers)
    first[numbers] = least[bundle]
    return first


def check_guesses(place: str, group: Ints, guessed: int) -> None:
    """Refuse guessed prompts that nearly all begin alike: most pairs would be held out, or none."""
    if guessed and 2 * np.bincount(group).max() > len(group) > FEW_PROMPTS:
        found = "guessed prompts of which most begin alike"
        repair = "Add a column prompt, or the mark of the answer ('Assistant:')."
        stop(place, found, "prompts that can be told apart", repair)

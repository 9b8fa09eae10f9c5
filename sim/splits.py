"""Training and held-out pairs of recorded judgements, and features made ready on the training side.

Whole groups (prompts, scenes, items) are held out, because two pairs of one scene share what is to
be learned. Features are scaled but never centred: z and -z are the same question.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.components import Components, components, second_moment
from .kernels.random import CounterRng
from .recorded import BLOCK, Recorded

HELD_OUT = 1 / 3  # share of the groups (items, pairs) that a split holds out
SPLIT = 101  # purpose of the draws that split
_ROWS = 20_000  # training pairs, at most, on which scale and components are computed
_TRIES = 50  # draws a wanted split, until it is said that there are no more


class Split(NamedTuple):
    """One division of the pairs."""

    train: Ints  # pairs that may be bought
    held_out: Ints  # pairs on which agreement is measured
    mixed: int  # pairs with one item on each side, dropped


class Splits(NamedTuple):
    """All divisions, what they divide, and how many different ones there are."""

    splits: list[Split]
    unit: str  # what is held out: a group column's name, "item" or "pair"
    units: int
    held_units: int
    distinct: int  # different divisions that exist


def divide(recorded: Recorded, group: str | None, count: int, seed: int) -> Splits:
    """``count`` different splits that hold out a third of the units (fewer where fewer exist).

    Raises ``ValueError`` where no two splits leave judgements on both sides and two annotators to buy from.
    """
    members = _members(recorded, group)
    units = int(members.max()) + 1
    held = min(max(1, round(units * HELD_OUT)), units - 1)
    found: dict[bytes, Split] = {}
    for chosen in _choices(units, held, count, seed):
        split = _split(members, chosen, group == "item")
        if _usable(recorded, split):
            found.setdefault(np.packbits(chosen).tobytes(), split)
        if len(found) == count:
            break
    unit = group or "pair"
    if len(found) < 2:
        raise ValueError(
            f"group {unit!r}: found {len(found)} usable splits of {units} into {held} held out and "
            f"{units - max(held, 0)} to train on; needed two with decided judgements held out and "
            "at least two annotators to buy from. Choose a column with more groups, or none."
        )
    return Splits(list(found.values()), unit, units, held, math.comb(units, held))


def _members(recorded: Recorded, group: str | None) -> Ints:
    """(n, 1 or 2) the units that each pair belongs to."""
    if group == "item":
        return np.unique(recorded.items, return_inverse=True)[1].reshape(-1, 2)
    if group:
        return recorded.group[:, None]
    return np.arange(len(recorded.pair_ids))[:, None]


def _choices(units: int, held: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Held-out units as masks: all subsets in random order where they are few, else random ones."""
    if held < 1:
        return
    if math.comb(units, held) <= 10 * count:
        subsets = list(itertools.combinations(range(units), held))
        for i in np.argsort(CounterRng(seed, 0, 0, SPLIT).random(len(subsets)), kind="stable"):
            mask = np.zeros(units, dtype=bool)
            mask[list(subsets[i])] = True
            yield mask
        return
    for attempt in range(_TRIES * count):
        order = np.argsort(CounterRng(seed, attempt, 0, SPLIT).random(units), kind="stable")
        mask = np.zeros(units, dtype=bool)
        mask[order[:held]] = True
        yield mask


def _split(members: Ints, held: np.ndarray, items: bool) -> Split:
    inside = held[members]
    out, train = inside.all(axis=1), ~inside.any(axis=1)
    mixed = int((~out & ~train).sum()) if items else 0
    return Split(np.flatnonzero(train), np.flatnonzero(out), mixed)


def _usable(recorded: Recorded, split: Split) -> bool:
    training = np.isin(recorded.pair, split.train)
    decided = np.isin(recorded.pair, split.held_out) & (recorded.preference != 0.5)
    return bool(decided.any()) and len(np.unique(recorded.annotator[training])) >= 2


def reduce_features(
    recorded: Recorded, train: Ints, most: int, mean_square: float, rng: CounterRng
) -> Components:
    """Scale by the root mean square, then at most ``most`` principal components (uncentred).

    Both are computed on the training pairs (on 20,000 random ones where there are more). Columns
    that never differ within a pair carry nothing and are dropped, as are components without variance.
    Raises ``ValueError`` where every column is constant.
    """
    if len(train) > _ROWS:
        train = train[np.sort(np.argsort(rng.random(len(train)))[:_ROWS])]
    blocks = (
        recorded.differences(train[start : start + BLOCK]) for start in range(0, len(train), BLOCK)
    )
    moment = second_moment(blocks, len(train), len(recorded.features.names))
    return components(moment, most, mean_square)


def reduced(recorded: Recorded, reduction: Components, pairs: Ints) -> Floats:
    """z (len(pairs), k) of these pairs, made block by block."""
    turn = reduction.basis / reduction.scale[:, None]
    z = np.empty((len(pairs), turn.shape[1]))
    for start in range(0, len(pairs), BLOCK):
        block = recorded.differences(pairs[start : start + BLOCK])
        z[start : start + BLOCK] = block[:, reduction.used] @ turn
    return z

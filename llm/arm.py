"""One arm of a run: a selector that buys labels on one split, round after round, and what it learns.

An arm is a function of the configuration, the data and the answers: every draw is named by what it
is for, and every answer comes through the ledger. So a run that was broken walks the same rounds
again, finds them answered, and goes on where the answers end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..theory.checks import Floats, Ints
from .asking import ask_all
from .config import Config
from .data import Text, TextPool, split
from .head import Fit, Projection, accuracy, length_margins, project, refit
from .ledger import Asked, Ledger, Row
from .stages import Say, quiet
from .teachers import Question, Teacher, make

BASE = "base"  # the state of the model as it was given


class Name(NamedTuple):
    """Who chooses, and on which split."""

    selector: str
    replicate: int

    def __str__(self) -> str:
        return f"{self.selector}/{self.replicate}"


class State(NamedTuple):
    """The model that phi comes from."""

    id: str
    phi: NDArray[np.floating]  # (n, 2, d_model)
    projection: Projection
    z: Floats  # (train, k)


@dataclass(frozen=True)
class Labels:
    """What an arm has bought, in the order asked: (r,) each."""

    pair: Ints  # row of the pool
    teacher: Ints
    preference: Floats  # NaN: could not be read
    money: float

    @property
    def usable(self) -> int:
        """How many could be read."""
        return int((~np.isnan(self.preference)).sum())

    @property
    def decided(self) -> int:
        """How many are no ties: a tie orders nothing."""
        return int(np.isin(self.preference, (0.0, 1.0)).sum())


@dataclass(frozen=True)
class Arm:
    """Everything that one arm works with."""

    name: Name
    config: Config
    pool: TextPool
    ledger: Ledger
    place: Mapping[str, int]  # pair id -> row of the pool
    truth: Floats  # (n,)
    lengths: Ints  # (n, 2) characters of the responses
    train: Ints
    test: Ints
    teachers: Mapping[str, Teacher]
    stated: Floats  # (m, K) rationality
    cost: Floats  # (m,)
    capacity: Ints  # (train, m) labels obtainable
    say: Say = quiet

    @classmethod
    def open(
        cls,
        name: Name,
        config: Config,
        pool: TextPool,
        ledger: Ledger,
        say: Say = quiet,
        shared: Mapping[str, Teacher] | None = None,
    ) -> Arm:
        """The arm on its split, with its own teachers, but for those that all arms share.

        Raises ``ValueError`` as ``split`` and the teachers say.
        """
        options = config.selection
        train, test = split(pool, config.data.test_fraction, options.seed, name.replicate)
        seed = named_seed(options.seed, name.replicate, "teachers")
        known = shared or {}
        teachers = {t.name: known.get(t.name) or make(t, pool, seed=seed) for t in config.teachers}
        return cls(
            name=name,
            config=config,
            pool=pool,
            ledger=ledger,
            place={pair_id: i for i, pair_id in enumerate(pool.pair_ids)},
            truth=pool.truth(),
            lengths=np.array([[characters(r) for r in both] for both in pool.responses]),
            train=train,
            test=test,
            teachers=teachers,
            stated=np.array([t.rationality_in(pool.context_types) for t in config.teachers]),
            cost=np.array([t.cost for t in config.teachers]),
            capacity=np.stack([t.capacity()[train] for t in teachers.values()], axis=1),
            say=say,
        )

    @property
    def expected_labels(self) -> float:
        """Labels that the budget buys at the mean price."""
        return self.config.selection.budget / float(self.cost.mean())

    def state(self, identity: str, phi: NDArray[np.floating]) -> State:
        """A model state with its projection, learned from the training pairs."""
        most = self.config.selection.max_dimensions
        projection = project(phi, self.train, self.expected_labels, most)
        return State(identity, phi, projection, projection.differences(phi, self.train))

    def labels(self, rows: Sequence[Row]) -> Labels:
        """What the ledger's rows say."""
        seat = {name: j for j, name in enumerate(self.teachers)}
        return Labels(
            np.array([self.place[row.pair_id] for row in rows], dtype=np.int64),
            np.array([seat[row.teacher] for row in rows], dtype=np.int64),
            np.array([np.nan if row.preference is None else row.preference for row in rows]),
            float(sum(row.price for row in rows)),
        )

    def counts(self, labels: Labels) -> Ints:
        """(train, m) labels asked so far."""
        counts = np.zeros(self.capacity.shape, dtype=np.int64)
        np.add.at(counts, (np.searchsorted(self.train, labels.pair), labels.teacher), 1)
        return counts

    def fit(self, state: State, labels: Labels) -> Fit:
        """The reward after these labels."""
        return refit(
            state.z,
            self.pool.context[self.train],
            np.searchsorted(self.train, labels.pair),
            labels.teacher,
            labels.preference,
            self.stated,
            estimate=self.config.selection.estimate_rationality,
        )

    def ask(self, rows: Sequence[Asked], numbers: Sequence[int]) -> dict[str, float | None]:
        """Put questions to their teachers, through the ledger; the answers by key.

        ``numbers``: how many labels of the same teacher on the same pair came before each.
        """
        questions = [
            (row, self._question(row.key, self.place[row.pair_id], number))
            for row, number in zip(rows, numbers, strict=True)
        ]
        what = f"{self.name}: labels of round {rows[0].round if rows else 0}"
        return ask_all(
            self.ledger, self.teachers, questions, lambda done, total: self.say(what, done, total)
        )

    def _question(self, key: str, pair: int, number: int) -> Question:
        pool = self.pool
        return Question(
            key=key,
            pair=pair,
            number=number,
            pair_id=pool.pair_ids[pair],
            prompt=pool.prompts[pair],
            responses=pool.responses[pair],
            context=int(pool.context[pair]),
        )

    def evaluation(self, state: State, fit: Fit, labels: Labels) -> dict[str, Any]:
        """What the head knows of the held-out pairs, and from how much."""
        rewards = state.projection.rewards(state.phi, fit.theta, self.test)
        return {
            **self.bought(labels),
            "accuracy": self.accuracy(rewards[:, 0] - rewards[:, 1]),
            "dimensions": state.z.shape[1],
            "kept_share": state.projection.kept_share,
            "status": fit.status,
            "rationality": {
                name: dict(zip(self.pool.context_types, map(float, row), strict=True))
                for name, row in zip(self.teachers, fit.rationality, strict=True)
            },
            "estimated": fit.rationality_status == "estimated",
            "state": state.id,
        }

    def accuracy(self, margins: Floats) -> float | None:
        """Of a reward's margins on the held-out pairs (NaN: left out); None where no truth is decided."""
        truth = np.where(np.isnan(margins), np.nan, self.truth[self.test])
        return accuracy(margins, truth) if np.isin(truth, (0.0, 1.0)).any() else None

    def bought(self, labels: Labels) -> dict[str, Any]:
        """What these labels cost, how far they are the truth, and what the lengths alone learn of them."""
        usable = ~np.isnan(labels.preference)
        longer = length_margins(self.lengths, labels.pair[usable], labels.preference[usable])
        return {
            "asked": len(labels.pair),
            "usable": labels.usable,
            "money": labels.money,
            "length_accuracy": self.accuracy(longer[self.test]),
            "agreement": self._agreement(labels),
        }

    def _agreement(self, labels: Labels) -> dict[str, dict[str, int]]:
        """How often each teacher's decided answers are the truth, where that is known."""
        truth = self.truth[labels.pair]
        known = np.isin(truth, (0.0, 1.0)) & np.isin(labels.preference, (0.0, 1.0))
        right = known & (labels.preference == truth)
        return {
            name: {
                "known": int(known[labels.teacher == j].sum()),
                "right": int(right[labels.teacher == j].sum()),
            }
            for j, name in enumerate(self.teachers)
        }

    def split_facts(self) -> dict[str, Any]:
        """What is held out."""
        gold, truth = self.pool.gold[self.test], self.truth[self.test]
        known = ~np.isnan(truth)
        from_gold = int((known & ~np.isnan(gold)).sum())
        kinds = {int(known.sum()): "gold", 0: "majority"}
        return {
            "train_pairs": len(self.train),
            "test_pairs": len(self.test),
            "train_prompts": len(np.unique(self.pool.group[self.train])),
            "test_prompts": len(np.unique(self.pool.group[self.test])),
            "decided_test_pairs": int(((truth == 0) | (truth == 1)).sum()),
            "truth": kinds.get(from_gold, "both"),
        }


def named_seed(seed: int, replicate: int, purpose: str, number: int = 0) -> int:
    """63 bits that are a function of what they are for."""
    text = json.dumps([seed, replicate, purpose, number])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def generator(seed: int, replicate: int, purpose: str, number: int) -> np.random.Generator:
    """Draws named by what they are for, so that they depend on no order."""
    return np.random.Generator(np.random.Philox(named_seed(seed, replicate, purpose, number)))


def characters(text: Text) -> int:
    """Length of a response in characters."""
    return len(text) if isinstance(text, str) else sum(len(m["content"]) for m in text)


def states_folder(run: Path, arm: Name) -> Path:
    """Where an arm's trained models stand."""
    return run / "models" / arm.selector / str(arm.replicate)

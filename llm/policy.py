"""The policy arms: ADPO, which asks on the way, and DPO with every training pair labelled.

Source: RLHF with Active Queries (arXiv 2402.09401), Algorithm 2; DPO is its full-label baseline.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..theory.checks import Ints
from .adpo import train_adpo
from .arm import Arm, Labels, generator, named_seed, states_folder
from .dpo import implicit_rewards, train_dpo
from .head import accuracy
from .ledger import Asked
from .stages import stage

READ = "the policy itself"  # who the pseudo-labels are from, in the ledger


class Questions:
    """What ADPO asks, put through the ledger; a pair asked in an earlier step is not bought again."""

    def __init__(self, arm: Arm) -> None:
        self.arm, self.name = arm, str(arm.name)
        self._bought: dict[str, tuple[int, float | None]] = {}  # pair id -> step, answer
        self._spent: dict[int, float] = {}  # step -> money
        for row in arm.ledger.rows(self.name):
            if row.kind == "label":
                self._bought[row.pair_id] = row.round, row.preference
                self._spent[row.round] = self._spent.get(row.round, 0.0) + row.price
        self._step, self._position, self._left = -1, 0, 0.0

    def ask(self, step: int, pairs: list[int], differences: list[float]) -> list[float | None]:
        """Preferences for these pairs; None where the answer cannot be read or the budget is spent."""
        self._begin(step)
        arm, fresh = self.arm, []
        for pair, difference in zip(pairs, differences, strict=True):
            j = self.teacher(pair)
            if self._known(pair) or j is None or arm.cost[j] > self._left:
                continue
            self._left -= float(arm.cost[j])
            fresh.append(self.asked(step, pair, j, -abs(difference)))
        if fresh:
            answers = arm.ask(fresh, [0] * len(fresh))
            self._bought |= {row.pair_id: (step, answers[row.key]) for row in fresh}
            self._spent[step] = self._spent.get(step, 0.0) + sum(row.price for row in fresh)
        now = {row.pair_id for row in fresh}
        return [
            self._bought[pair_id][1] if self._known(pair) or pair_id in now else None
            for pair, pair_id in ((pair, arm.pool.pair_ids[pair]) for pair in pairs)
        ]

    def _begin(self, step: int) -> None:
        """A step starts anew: what an interrupted try of it had bought is met again, not counted."""
        if step != self._step:
            self._step, self._position = step, 0
            self._spent = {r: money for r, money in self._spent.items() if r < step}
            self._left = self.arm.config.selection.budget - sum(self._spent.values())

    def _known(self, pair: int) -> bool:
        found = self._bought.get(self.arm.pool.pair_ids[pair])
        return found is not None and found[0] < self._step

    def pseudo(self, step: int, pairs: list[int], signs: list[int]) -> None:
        """Note what the policy said itself."""
        self._begin(step)
        rows = [self.asked(step, pair, None, math.nan) for pair in pairs]
        self.arm.ledger.pseudo(rows, [float(sign > 0) for sign in signs])

    def asked(self, step: int, pair: int, seat: int | None, score: float) -> Asked:
        """The next query of this step."""
        arm, position, pair_id = self.arm, self._position, self.arm.pool.pair_ids[pair]
        self._position += 1
        teacher = READ if seat is None else list(arm.teachers)[seat]
        number = step if seat is None else 0  # a pseudo-label may change from epoch to epoch
        key = arm.ledger.key(self.name, pair_id, teacher, number)
        price = 0.0 if seat is None else float(arm.cost[seat])
        state = f"step-{step}"
        return Asked(key, self.name, step, position, pair_id, teacher, price, score, state)

    def teacher(self, pair: int) -> int | None:
        """Who is asked about a pair; None where nobody can be."""
        arm, wish = self.arm, self.arm.config.training.adpo_teacher
        row = int(np.searchsorted(arm.train, pair))
        able = np.flatnonzero(arm.capacity[row] != 0)
        if wish not in ("best", "random"):
            able = able[able == list(arm.teachers).index(wish)]
        if not len(able):
            return None
        if wish == "random":
            seed = arm.config.selection.seed
            return int(
                able[generator(seed, arm.name.replicate, f"ask {pair}", 0).integers(len(able))]
            )
        sharp = arm.stated[able, arm.pool.context[pair]]
        return int(able[np.lexsort((arm.cost[able], -sharp))[0]])


def walk_adpo(arm: Arm, folder: Path, cache: Path) -> Path:
    """Train ADPO on the arm's training pairs; its adapter. Facts go into the ledger."""
    config, name, questions = arm.config, str(arm.name), Questions(arm)
    arm.ledger.record(name, 0, "split", arm.split_facts())
    with stage(arm.ledger, name, 0, "train adpo"):
        policy = train_adpo(
            arm.pool,
            [int(i) for i in arm.train],
            questions.ask,
            config.model,
            config.features,
            config.training,
            states_folder(folder, arm.name) / "policy",
            seed=named_seed(config.selection.seed, arm.name.replicate, "adpo"),
            cache=cache,
            pseudo=questions.pseudo,
            truth=arm.truth,
            progress=lambda done, total: arm.say(f"{name}: steps", done, total),
        )
    if arm.ledger.records(name, "policy"):
        return policy
    rows = arm.ledger.rows(name)
    labels = arm.labels([row for row in rows if row.kind == "label"])
    said = [row for row in rows if row.kind == "pseudo"]
    truth = [arm.truth[arm.place[row.pair_id]] for row in said]
    judged = [(row.preference, t) for row, t in zip(said, truth, strict=True) if t in (0.0, 1.0)]
    facts = {
        "pairs": len(arm.train),
        "asked": len(labels.pair),
        "usable": labels.usable,
        "pseudo": len(said),
        "pseudo_known": len(judged),
        "pseudo_right": sum(int(said == true) for said, true in judged),
        "money": labels.money,
    }
    arm.ledger.record(name, 0, "policy", {**facts, **_judged(arm, policy, cache)})
    return policy


def walk_dpo(arm: Arm, folder: Path, cache: Path) -> Path:
    """Train DPO with every training pair labelled once; its adapter. Facts go into the ledger."""
    config, name = arm.config, str(arm.name)
    arm.ledger.record(name, 0, "split", arm.split_facts())
    questions = Questions(arm)
    whom = {int(pair): questions.teacher(int(pair)) for pair in arm.train}
    rows = [questions.asked(0, i, j, math.nan) for i, j in whom.items() if j is not None]
    arm.ask(rows, [0] * len(rows))
    labels = arm.labels(arm.ledger.rows(name))
    with stage(arm.ledger, name, 0, "train dpo"):
        policy = train_dpo(
            arm.pool,
            usable(labels),
            config.model,
            config.features,
            config.training,
            states_folder(folder, arm.name) / "policy",
            seed=named_seed(config.selection.seed, arm.name.replicate, "dpo"),
            report_to=config.output.report_to,
        )
    if not arm.ledger.records(name, "policy"):
        facts = {"pairs": len(arm.train), "labels": labels.usable, "money": labels.money}
        arm.ledger.record(name, 0, "policy", {**facts, **_judged(arm, policy, cache)})
    return policy


def usable(labels: Labels) -> list[tuple[int, float]]:
    """The labels that could be read, as (pair, preference)."""
    both = zip(labels.pair.tolist(), labels.preference.tolist(), strict=True)
    return [(pair, preference) for pair, preference in both if not math.isnan(preference)]


def _judged(arm: Arm, policy: Path, cache: Path) -> dict[str, float]:
    """Held-out accuracy of the policy's implicit reward."""
    pairs: Ints = arm.test
    with stage(arm.ledger, str(arm.name), 0, "evaluate"):
        rewards = implicit_rewards(
            arm.pool, [int(i) for i in pairs], arm.config.model, arm.config.features,
            arm.config.training, policy, cache=cache,
        )  # fmt: skip
    margins = rewards[:, 0] - rewards[:, 1]
    read = np.flatnonzero(~np.isnan(margins))  # NaN: the prompt alone fills max_length
    truth = arm.truth[pairs][read]
    return {"accuracy": accuracy(margins[read], truth), "too_long": len(pairs) - len(read)}

"""The policy arms: ADPO, which asks on the way; DPO on random pairs for as much money; DPO on all.

Source: RLHF with Active Queries (arXiv 2402.09401), Algorithm 2; DPO is its full-label baseline.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..theory.checks import Ints
from .adpo import train_adpo
from .arm import Arm, Labels, Name, generator, named_seed, states_folder
from .dpo import implicit_rewards, train_dpo
from .ledger import Asked, Row
from .stages import stage
from .steps import step_count

READ = "the policy itself"  # who the pseudo-labels are from, in the ledger
CENT = 1e-9  # of money: prices are summed in another order than they were spent in


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
            held_out=_looked_at(arm),
            eval_steps=_steps_between_looks(arm),
            progress=lambda done, total: arm.say(f"{name}: steps", done, total),
            reference_progress=lambda done, total: arm.say(f"{name}: reference", done, total),
        )
    if not arm.ledger.records(name, "policy"):
        rows = arm.ledger.rows(name)
        labels = [row for row in rows if row.kind == "label"]
        told = json.loads((policy / "adpo.json").read_bytes())
        for look in told["curve"]:
            so_far = arm.labels([row for row in labels if row.round < look["step"]])
            facts = {**look, "wanted": look["asked"], **arm.bought(so_far)}
            arm.ledger.record(name, look["step"], "evaluation", facts)
        own = {
            "pairs": len(arm.train),
            "unanswered": told["unanswered"],
            **_pseudo_facts(arm, rows),
            **_judged(arm, policy, cache),
        }
        arm.ledger.record(name, 0, "policy", {**arm.bought(arm.labels(labels)), **own})
    return policy


def walk_random(arm: Arm, folder: Path, cache: Path) -> Path | None:
    """Train DPO on random training pairs, as many as ADPO's money of this replicate buys."""
    adpo = str(Name("adpo", arm.name.replicate))
    rng = generator(arm.config.selection.seed, arm.name.replicate, "random pairs", 0)
    return _walk_dpo(arm, folder, cache, rng.permutation(arm.train), arm.ledger.money(adpo))


def walk_dpo(arm: Arm, folder: Path, cache: Path) -> Path | None:
    """Train DPO with every training pair labelled once, whatever that costs."""
    return _walk_dpo(arm, folder, cache, arm.train, math.inf)


WALKS: dict[str, Callable[[Arm, Path, Path], Path | None]] = {
    "adpo": walk_adpo,
    "random": walk_random,
    "dpo": walk_dpo,
}


def _walk_dpo(arm: Arm, folder: Path, cache: Path, pairs: Ints, money: float) -> Path | None:
    """Label the pairs in this order while the money lasts, then train; None: nothing to train on."""
    config, name, questions = arm.config, str(arm.name), Questions(arm)
    arm.ledger.record(name, 0, "split", arm.split_facts())
    rows = []
    for pair in map(int, pairs):
        j = questions.teacher(pair)
        if j is not None and arm.cost[j] <= money + CENT:
            money -= float(arm.cost[j])
            rows.append(questions.asked(0, pair, j, math.nan))
    arm.ask(rows, [0] * len(rows))
    labels = arm.labels(arm.ledger.rows(name))
    if not labels.decided:
        arm.ledger.record(name, 0, "policy", {**arm.bought(labels), "accuracy": None})
        return None
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
            memory=cache.parent,
        )
    if not arm.ledger.records(name, "policy"):
        facts = {"pairs": len(arm.train), **_judged(arm, policy, cache)}
        arm.ledger.record(name, 0, "policy", {**arm.bought(labels), **facts})
    return policy


def usable(labels: Labels) -> list[tuple[int, float]]:
    """The labels that could be read, as (pair, preference)."""
    both = zip(labels.pair.tolist(), labels.preference.tolist(), strict=True)
    return [(pair, preference) for pair, preference in both if not math.isnan(preference)]


def _looked_at(arm: Arm) -> list[int]:
    """The held-out pairs that ADPO is looked at on its way: decided ones, a random choice of them."""
    decided = arm.test[np.isin(arm.truth[arm.test], (0.0, 1.0))]
    rng = generator(arm.config.selection.seed, arm.name.replicate, "looked at", 0)
    chosen = rng.permutation(decided)[: arm.config.training.max_eval_pairs]
    return [int(pair) for pair in np.sort(chosen)]


def _steps_between_looks(arm: Arm) -> int:
    """``eval_steps``, or that share of all steps where it is below 1; 0: none but the first and last."""
    training = arm.config.training
    if training.eval_steps >= 1:
        return int(training.eval_steps)
    return math.ceil(training.eval_steps * step_count(len(arm.train), training))


def _pseudo_facts(arm: Arm, rows: Sequence[Row]) -> dict[str, int]:
    """How often the policy believed itself, and in how many pairs, at the last, it was right.

    ``pseudo_known``: pairs with a pseudo-label whose truth is decided; an epoch more is no new evidence.
    """
    said = [row for row in rows if row.kind == "pseudo"]
    last = {arm.place[row.pair_id]: row.preference for row in said}  # rows are in order
    judged = [(at, arm.truth[pair]) for pair, at in last.items() if arm.truth[pair] in (0.0, 1.0)]
    right = sum(int(said == true) for said, true in judged)
    return {"pseudo": len(said), "pseudo_known": len(judged), "pseudo_right": right}


def _judged(arm: Arm, policy: Path, cache: Path) -> dict[str, float | None]:
    """Held-out accuracy of the policy's implicit reward."""
    with stage(arm.ledger, str(arm.name), 0, "evaluate"):
        rewards = implicit_rewards(
            arm.pool, [int(i) for i in arm.test], arm.config.model, arm.config.features,
            arm.config.training, policy, cache=cache,
        )  # fmt: skip
    margins = rewards[:, 0] - rewards[:, 1]  # NaN: the prompt alone fills max_length
    return {"accuracy": arm.accuracy(margins), "too_long": int(np.isnan(margins).sum())}

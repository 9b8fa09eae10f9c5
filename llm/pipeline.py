"""A run from beginning to end: open its folder, walk every arm, leave a ledger and a trained model.

``output_dir/run_name`` holds ``config.json``, ``ledger.sqlite``, ``models/`` and the report;
``output_dir/cache`` holds features and log-probabilities, shared by runs because their names say all
that they depend on. Broken at any moment, the same call goes on and ends the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._durable import TEMPORARY, write_atomically
from .._provenance import canonical, code_version, package_versions
from .arm import BASE, Arm, Labels, Name, State, named_seed, states_folder
from .config import Config, ModelOptions
from .data import TextPool, read_pool
from .ledger import Ledger
from .read_config import CACHE, flatten
from .reward_model import save_reward_model
from .stages import Say, quiet, stage
from .teachers import Teacher, Waiting, make
from .walk import walk

PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "accelerate",
    "bitsandbytes",
)
LOG_PROBABILITIES = "log-probabilities.sqlite"  # in the cache
# options that change where and how fast, not what
_NOT_IDENTITY = (
    "output_dir", "run_name", "report_to", "push_to_hub", "hub_model_id", "tokens_per_batch", "save_steps",
    "dataset_name", "judgements", "model_name_or_path", "model_revision",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """An open run."""

    config: Config
    folder: Path
    cache: Path
    pool: TextPool
    ledger: Ledger
    say: Say
    people: Mapping[str, Teacher]  # the same ones in every arm: nobody is asked a question twice

    @property
    def arms(self) -> list[Name]:
        """Every arm, replicate by replicate."""
        options, training = self.config.selection, self.config.training
        who = [options.selector, *options.baselines]
        if training.method == "adpo":
            who = ["adpo", *options.baselines, *["dpo"] * training.dpo_baseline]
        return [Name(name, k) for k in range(options.replicates) for name in dict.fromkeys(who)]

    def arm(self, name: Name) -> Arm:
        """One arm on its split."""
        return Arm.open(name, self.config, self.pool, self.ledger, self.say, self.people)


def folder_of(config: Config) -> Path:
    """Where the run stands."""
    return Path(config.output.output_dir) / config.output.run_name


@contextmanager
def open_run(config: Config, say: Say = quiet, *, trains: bool = True) -> Iterator[Run]:
    """The run of this configuration: begun, or as it was left.

    Raises ``ValueError`` where the data are broken, a teacher cannot be had, training (unless it
    ``trains`` nothing) cannot work here, or the folder's ledger belongs to another configuration,
    data set or model.
    """
    from .models import require_startable
    from .weights import weights_identity

    require_startable(config, trains=trains)
    folder = folder_of(config)
    cache = Path(config.output.output_dir) / CACHE
    pool = read_pool(config.data)
    teachers = {
        t.name: make(t, pool, seed=0) for t in config.teachers
    }  # a wrong one is refused first
    folder.mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    weights = weights_identity(config.model, memory=cache)
    options = flatten(config)
    what = {k: v for k, v in options.items() if k not in _NOT_IDENTITY}
    what |= {"pool": pool.identity, "weights": weights, "judges": _judges(config, cache)}
    identity = hashlib.sha256(canonical(what).encode()).hexdigest()
    _no_orphans(folder)
    with Ledger(folder / "ledger.sqlite", identity, what) as ledger:
        for leftover in folder.glob(
            f"{TEMPORARY}*"
        ):  # of a run that was killed; nobody else writes
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        text = json.dumps(options, indent=1, allow_nan=False, default=str)
        write_atomically(folder / "config.json", text.encode() + b"\n")
        _note_origin(ledger, config, pool, weights)
        people = {t.name: teachers[t.name] for t in config.teachers if t.kind == "people"}
        yield Run(config, folder, cache, pool, ledger, say, people)


def _no_orphans(folder: Path) -> None:
    """Trained models are taken as they stand, so they must not outlive the ledger they are from."""
    if (folder / "models").exists() and not (folder / "ledger.sqlite").exists():
        raise ValueError(
            f"{folder / 'models'}: found trained models without the ledger of their labels; needed "
            "both or neither. They are kept: move the folder away, or pass another run name."
        )


def _judges(config: Config, cache: Path) -> dict[str, str]:
    """The weights of every teacher that is a model: other weights give other answers."""
    from .weights import weights_identity

    found = {}
    for teacher in config.teachers:
        if name := teacher.settings.get("model_name_or_path"):
            revision = str(teacher.settings.get("model_revision", "main"))
            found[teacher.name] = weights_identity(ModelOptions(str(name), revision), memory=cache)
    return found


def _note_origin(ledger: Ledger, config: Config, pool: TextPool, weights: str) -> None:
    """What the run began with; a later call with newer packages leaves it as it was."""
    if ledger.records("", "origin"):
        return
    ledger.record(
        "",
        0,
        "pool",
        {
            "pairs": len(pool.pair_ids),
            "prompts": len(set(pool.group.tolist())),
            "left_out": pool.left_out,
            "guessed_prompts": pool.guessed,
            "context_types": list(pool.context_types),
            "judgements": len(pool.preference),
            "with_gold": int((pool.gold == pool.gold).sum()),
            "identity": pool.identity,
        },
    )
    origin = {
        "code": code_version(),
        "packages": package_versions(PACKAGES),
        "model": config.model.model_name_or_path,
        "weights": weights,
        "dtype": config.model.dtype,
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    ledger.record("", 0, "origin", origin)


def run(config: Config, say: Say = quiet) -> Path:
    """Walk every arm to the end of its budget; the run's folder.

    Raises ``Waiting`` where people have to answer first, ``ValueError`` as ``open_run`` and the
    stages say. Called again, also after kill -9, it goes on and ends the same.
    """
    with open_run(config, say) as opened:
        if config.training.method == "adpo":
            _walk_policies(opened)
        else:
            _walk_rewards(opened)
        if config.output.push_to_hub:
            _push(opened)
    return folder_of(config)


def _push(opened: Run) -> None:
    """Publish what the first arm trained."""
    from .hub import push

    first, name = opened.arms[0], str(opened.arms[0])
    if opened.config.training.method == "adpo":
        facts = opened.ledger.records(name, "policy")[-1][3]
        policy = states_folder(opened.folder, first) / "policy"
        push(policy, opened.config, "policy (ADPO)", facts)
    else:
        facts = opened.ledger.records(name, "evaluation")[-1][3]
        if trained := opened.ledger.records(name, "trained"):  # what is pushed has this adapter
            facts = {"accuracy": trained[-1][3]["head_accuracy"]}
        push(opened.folder / "reward", opened.config, "reward model", facts)


def _walk_policies(opened: Run) -> None:
    from .policy import WALKS

    cache = opened.cache / LOG_PROBABILITIES
    waiting: dict[int, list[Waiting]] = {}
    for name in opened.arms:
        if name.selector == "random" and name.replicate in waiting:
            continue  # ADPO has not spent its money yet, and random has as much
        try:
            WALKS[name.selector](opened.arm(name), opened.folder, cache)
        except Waiting as questions:
            waiting.setdefault(name.replicate, []).append(questions)
    if waiting:
        raise Waiting.together([one for some in waiting.values() for one in some])


def _walk_rewards(opened: Run) -> None:
    """Every arm to its end, or to where people have to answer: they find the questions of all arms."""
    base, start = compute_features(opened), None
    waiting: list[Waiting] = []
    for name in opened.arms:
        arm = opened.arm(name)
        if start is None or name.replicate != start[0]:  # all arms of a replicate share the split
            start = name.replicate, arm.state(BASE, base)
        try:
            _walk_reward(opened, arm, start[1])
        except Waiting as questions:
            waiting.append(questions)
    if waiting:
        raise Waiting.together(waiting)


def _walk_reward(opened: Run, arm: Arm, start: State) -> None:
    training = _Training(opened)
    state = walk(arm, start, training.after_round)
    if arm.name == opened.arms[0]:
        train_at_the_end(opened, arm, state)
    else:
        training.at_the_end(arm, state)


def train_at_the_end(opened: Run, arm: Arm, state: State) -> Path:
    """Train on all the labels bought, and leave the reward model in the run's folder."""
    training = _Training(opened)
    state = training.at_the_end(arm, state)
    fit = arm.fit(state, arm.labels(arm.ledger.rows(str(arm.name))))
    adapter = None if state.id == BASE else training.folder(arm.name, state.id)
    return save_reward_model(opened.folder / "reward", opened.config, state, fit, adapter)


def compute_features(
    opened: Run, adapter: Path | None = None, arm: str = "", round: int = 0
) -> Any:
    """phi of every pair (n, 2, d_model), from the cache or computed into it."""
    from .features import features

    what = "features" if adapter is None else f"{arm}: features"
    with stage(opened.ledger, arm, round, "features"):
        return features(
            opened.pool,
            opened.config.model,
            opened.config.features,
            opened.cache,
            adapter=adapter,
            progress=lambda done, total, rate: opened.say(
                f"{what}, {rate:,.0f} tokens/s", done, total
            ),
        )


class _Training:
    """LoRA reward training between rounds, where it is asked for."""

    def __init__(self, opened: Run) -> None:
        self.opened, self.options = opened, opened.config.training

    def folder(self, name: Name, state: str) -> Path:
        """Where a trained state stands."""
        return states_folder(self.opened.folder, name) / state

    def after_round(self, arm: Arm, number: int, labels: Labels) -> State | None:
        """Train every ``train_every`` rounds; the new state."""
        every = self.options.train_every
        if not self._wanted(labels) or not every or (number + 1) % every:
            return None
        return self.train(arm, number, labels)

    def at_the_end(self, arm: Arm, state: State) -> State:
        """Train on all the labels, unless the last round just did; the last state."""
        rows = arm.ledger.rows(str(arm.name))
        labels, last = arm.labels(rows), max((row.round for row in rows), default=-1)
        if not self._wanted(labels) or state.id == f"reward-{last}":
            return state
        return self.train(arm, last, labels)

    def _wanted(self, labels: Labels) -> bool:
        """Whether there is something to train, and on: ties and what cannot be read order nothing."""
        return self.options.method == "reward" and labels.decided > 0

    def train(self, arm: Arm, number: int, labels: Labels) -> State:
        """One LoRA stage from the base model: adapter, new features, new projection."""
        from .policy import usable
        from .reward import rewards, train_reward

        config, name = self.opened.config, str(arm.name)
        identity = f"reward-{number}"
        with stage(arm.ledger, name, number, "train reward"):
            adapter = train_reward(
                arm.pool,
                usable(labels),
                config.model,
                config.features,
                config.training,
                self.folder(arm.name, identity),
                seed=named_seed(config.selection.seed, arm.name.replicate, "reward", number),
                report_to=config.output.report_to,
                memory=self.opened.cache,
            )
        state = arm.state(identity, compute_features(self.opened, adapter, name, number))
        if not [r for _, r, _, _ in arm.ledger.records(name, "trained") if r == number]:
            scores = rewards(
                arm.pool, [int(i) for i in arm.test], config.model, config.features, adapter
            )
            fit = arm.fit(state, labels)
            log = json.loads((adapter / "reward.json").read_bytes())["log"]
            facts = {
                "state": identity,
                "labels": labels.usable,
                "ties_left_out": int((labels.preference == 0.5).sum()),
                "accuracy": arm.accuracy(scores[:, 0] - scores[:, 1]),
                "head_accuracy": arm.evaluation(state, fit, labels)["accuracy"],
                "loss": log[-1].get("loss"),  # absent where it was not finite
                "steps": len(log),
            }
            arm.ledger.record(name, number, "trained", facts)
        return state

"""What ``activeduel llm`` can do beside ``run``: each verb on the folder of one configuration."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from .._durable import write_atomically
from .arm import BASE, Arm, Name, State, states_folder
from .config import Config
from .data import TextPool, read_pool
from .footprint import Footprint, estimate
from .head import accuracy
from .pipeline import Run, compute_features, folder_of, open_run, train_at_the_end
from .read_config import CACHE
from .reward_model import load_reward_model
from .stages import Say, quiet
from .teachers import Waiting
from .teachers.people import People, label_in_terminal, whose
from .teachers.people_files import keep, open_questions
from .walk import choose

SAMPLE = 256  # pairs whose tokens are counted for the estimate
ENOUGH = 50  # decided held-out pairs: one of them is two points of accuracy


class Foreseen(NamedTuple):
    """What can be said before anything is bought."""

    footprint: Footprint  # memory and time by stage
    cautions: tuple[str, ...]  # what the report will not be able to say


def foresee(config: Config) -> Foreseen:
    """What a run will take, and what it cannot find out, before anything long starts."""
    from .models import load_tokenizer
    from .rendering import encode

    pool = read_pool(config.data)
    n = len(pool.pair_ids)
    some = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(int))
    rows = [(pool.prompts[i], response) for i in some for response in pool.responses[i]]
    tokens = encode(load_tokenizer(config.model), rows, config.features.max_length)
    footprint = estimate(config, n, [len(t.ids) for t in tokens])
    return Foreseen(footprint, (*_unjudged(pool, config.data.test_fraction), *_alone(config)))


def _alone(config: Config) -> tuple[str, ...]:
    """Whether nothing stands beside what chooses."""
    training = config.training
    if config.selection.baselines or (training.method == "adpo" and training.dpo_baseline):
        return ()
    asked = "; people answer a question once, whichever arms ask it"
    people = asked * any(teacher.kind == "people" for teacher in config.teachers)
    unknown = "Beside no baseline, what choosing gains will be unknown."
    return (f"{unknown} --baselines random would tell{people}.",)


def _unjudged(pool: TextPool, test_fraction: float) -> tuple[str, ...]:
    """Whether the held-out pairs can tell how good a reward is."""
    decided = round(test_fraction * np.isin(pool.truth(), (0.0, 1.0)).sum())
    if decided >= ENOUGH:
        return ()
    if decided == 0:
        found = "No held-out pair will have a decided truth: what is bought and trained can not be judged."
    else:
        found = (
            f"Only about {decided} held-out pairs will have a decided truth: accuracies will move in steps "
            f"of {100 / decided:.1f} points."
        )
    return (f"{found} A gold_column (some rows are enough) or recorded judgements would help.",)


def features(config: Config, say: Say = quiet) -> tuple[int, ...]:
    """Compute every pair's features into the cache; their shape (n, 2, d_model)."""
    with open_run(config, say, trains=False) as opened:
        return tuple(compute_features(opened).shape)


def select(config: Config, say: Say = quiet) -> Path:
    """Write what the chosen selector would ask next, on the first split; nothing is asked.

    The CSV says pair_id, teacher, price and score, in the order picked. Raises ``ValueError`` where
    the last round has questions without an answer, the budget is spent, or ADPO chooses as it trains.
    """
    if config.training.method == "adpo":
        raise ValueError(
            "select: found method adpo, which decides what to ask while it trains; needed head or "
            "reward. Use run."
        )
    with open_run(config, say, trains=False) as opened:
        arm = opened.arm(opened.arms[0])
        rows = arm.ledger.rows(str(arm.name))
        if waiting := [row for row in rows if row.status == "asked"]:
            raise ValueError(
                f"select: found {len(waiting)} questions without an answer; needed them answered "
                "before more are chosen. Use run, or label where people answer."
            )
        number = max((row.round for row in rows), default=-1) + 1
        labels, state = arm.labels(rows), _current(opened, arm)
        picks = choose(arm, state, arm.fit(state, labels), labels, number)
        if not picks:
            raise ValueError(
                f"select: found {labels.money:g} of the budget of {config.selection.budget:g} spent "
                "and nothing left that it affords; needed money or labels. Raise budget in a new run."
            )
        path = opened.folder / f"selected-{number}.csv"
        write_atomically(path, _csv(arm, picks).encode())
        return path


def _current(opened: Run, arm: Arm) -> State:
    """The state that the arm's last round left."""
    every = opened.config.training.train_every
    found = arm.ledger.records(str(arm.name), "trained")
    # what `train` or the end of the run left is no state that a round begins with
    trained = [record for record in found if every and (record[1] + 1) % every == 0]
    if not trained:
        return arm.state(BASE, compute_features(opened))
    _, number, _, facts = trained[-1]
    adapter = states_folder(opened.folder, arm.name) / str(facts["state"])
    return arm.state(str(facts["state"]), compute_features(opened, adapter, str(arm.name), number))


def _csv(arm: Arm, picks: Sequence[tuple[int, int, float]]) -> str:
    text, teachers = io.StringIO(), list(arm.teachers)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["position", "pair_id", "teacher", "price", "score"])
    for position, (row, j, score) in enumerate(picks):
        pair_id = arm.pool.pair_ids[arm.train[row]]
        table.writerow([position, pair_id, teachers[j], float(arm.cost[j]), score])
    return text.getvalue()


def label(
    config: Config,
    answers: Path | None,
    source: TextIO | None = None,
    sink: TextIO | None = None,
) -> int:
    """Take people's answers, from a file or in this terminal; how many questions are still open.

    A file goes to the group whose questions it answers. Raises ``ValueError`` where no teacher is
    people, and where ``run`` would refuse an answer: in the file, or already in a folder.
    """
    if not any(t.kind == "people" for t in config.teachers):
        raise ValueError(
            "label: found no teacher of the kind 'people'; needed one who can be asked. Other kinds "
            "answer by themselves: use run."
        )
    if answers is not None and not answers.is_file():
        raise ValueError(f"--answers: found no file {answers}; needed a CSV or JSONL file.")
    pool = read_pool(config.data)  # it says which questions there can be
    groups = [People(t, pool, seed=0) for t in config.teachers if t.kind == "people"]
    for group in groups:
        group.replies()  # nobody's time is taken where a file has to be repaired first
    if answers is not None:
        _adopt(answers, whose(groups, answers))
    for group in groups if answers is None else ():
        label_in_terminal(
            group.name,
            open_questions(group.folder),
            partial(keep, group.folder),
            source or sys.stdin,
            sink or sys.stdout,
        )
    return sum(len(open_questions(group.folder)) for group in groups)


def _adopt(answers: Path, group: People) -> None:
    """Copy a file of answers beside its questions, once; another file of its name is an error."""
    group.replies(beside=answers)  # else a wrong file would lie beside the questions for good
    folder = group.folder
    name = answers.name if answers.name.startswith("answers") else f"answers-{answers.name}"
    target = folder / name
    content = answers.read_bytes()
    if target.exists():
        if target.resolve() == answers.resolve() or target.read_bytes() == content:
            return
        raise ValueError(
            f"--answers: found other answers already in {target}; needed a new name. Nothing is "
            "overwritten: rename the file."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(target, content)


def train(config: Config, say: Say = quiet) -> Path:
    """Train on the labels that the first arm has bought so far; the folder of the reward model."""
    if config.training.method == "adpo":
        raise ValueError(
            "train: found method adpo, which buys labels while it trains; needed head or reward. Use "
            "run: it goes on from the last checkpoint."
        )
    from .ledger import Ledger

    first, path = str(Name(config.selection.selector, 0)), folder_of(config) / "ledger.sqlite"
    rows = []
    if path.exists():  # read first: open_run would begin a run
        with Ledger.reading(path) as ledger:
            rows = ledger.rows(first)
    if not any(row.preference is not None for row in rows):
        where = f"in {path}" if path.exists() else f"and no run in {path.parent}"
        raise ValueError(
            f"train: found no label of {first} {where}; needed some. Use run, or label, first."
        )
    with open_run(config, say) as opened:
        arm = opened.arm(opened.arms[0])
        rows = arm.ledger.rows(str(arm.name))
        waiting = sum(row.status == "asked" for row in rows)
        if waiting and config.training.method == "reward":  # a round's adapter is made once
            raise ValueError(
                f"train: found {waiting} questions of the last round without an answer; needed them "
                "answered before the model is trained on that round. Use run, or label."
            )
        return train_at_the_end(opened, arm, _current(opened, arm))


class Evaluation(NamedTuple):
    """How the saved reward model, the linear head on its last features, orders pairs."""

    model: Path
    pairs: int  # decided ones
    accuracy: float
    held_out: bool  # only pairs that training never saw


def evaluate(config: Config, say: Say = quiet) -> Evaluation:
    """Accuracy of the run's reward model on the configuration's data.

    Of the run's own data the held-out pairs count; a data set laid over it (``--dataset_name``)
    counts whole. Raises ``ValueError`` where no reward model stands there, or no pair is decided.
    """
    if config.training.method == "adpo":
        raise ValueError(
            "evaluate: found method adpo, whose policy is judged when it is trained; needed head or "
            "reward. Use report."
        )
    folder = folder_of(config)
    model, pool = load_reward_model(folder / "reward"), read_pool(config.data)
    rewards = model.rewards(pool, Path(config.output.output_dir) / CACHE)
    own = _own_test_pairs(folder, pool)
    chosen = np.arange(len(pool.pair_ids)) if own is None else own
    truth = pool.truth()[chosen]
    margins = (rewards[:, 0] - rewards[:, 1])[chosen]
    decided = int(((truth == 0) | (truth == 1)).sum())
    return Evaluation(folder / "reward", decided, accuracy(margins, truth), own is not None)


def _own_test_pairs(folder: Path, pool: TextPool) -> Any:
    """Rows that the first arm held out, None where the pool is another."""
    from .data import split
    from .ledger import Ledger

    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        made_with = ledger.configuration  # its split, whatever the options say now
    if made_with["pool"] != pool.identity:
        return None
    return split(pool, float(made_with["test_fraction"]), int(made_with["seed"]), 0)[1]


__all__ = ["Waiting", "evaluate", "features", "foresee", "label", "select", "train"]

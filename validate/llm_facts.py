"""What a run's ledger says, arm by arm, before anything is computed from it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from ..llm.config import Config
from ..llm.ledger import Ledger, Row, Stage
from ..llm.read_config import build, options

Record = tuple[str, int, str, dict[str, Any]]


class Use(NamedTuple):
    """What one teacher was asked in one arm."""

    asked: int
    money: float
    ties: int
    unparsable: int
    unparsable_money: float
    open: int  # asked, not answered yet
    repeated: int  # put to the teacher more than once, after a broken run


class Arm(NamedTuple):
    """One selector or policy on one split."""

    name: str  # "dual/0"
    split: dict[str, Any]
    evaluations: tuple[dict[str, Any], ...]  # those with an accuracy, in order of the rounds
    trained: tuple[dict[str, Any], ...]
    policy: dict[str, Any] | None
    uses: dict[str, Use]  # by teacher
    bought: bool  # at least one label
    finished: bool  # less is left than the dearest label costs, or nothing is left to buy


class Facts(NamedTuple):
    """One run."""

    config: Config
    configuration: dict[str, Any]
    pool: dict[str, Any]
    origin: dict[str, Any]
    families: dict[str, dict[int, Arm]]  # selector or policy -> replicate -> arm, all expected ones
    stages: tuple[Stage, ...]
    answers_of_people: int  # different questions that they answered

    @property
    def chosen(self) -> str:
        """The configured selector."""
        return self.config.selection.selector

    @property
    def policies(self) -> bool:
        """Whether the arms are policies, and not selectors."""
        return self.config.training.method == "adpo"

    @property
    def selectors(self) -> list[str]:
        """The selectors that are run, the chosen one first; none where policies are."""
        return [] if self.policies else list(self.families)

    @property
    def baselines(self) -> list[str]:
        """The selectors beside which it is judged."""
        return self.selectors[1:]

    def begun(self, family: str) -> dict[int, Arm]:
        """Its arms that have an accuracy, by replicate."""
        arms = self.families.get(family, {})
        return {r: arm for r, arm in arms.items() if arm.evaluations}


def read_facts(ledger: Ledger, options: Mapping[str, Any] | None = None) -> Facts:
    """Everything the report needs, from a ledger that may still be written.

    ``options``: where things stood, which is no part of the ledger's configuration.
    """
    rows = {arm: ledger.rows(arm) for arm in ledger.arms()}
    configuration = {**(options or {}), **ledger.configuration}
    return gather(configuration, ledger.records(), rows, ledger.stages())


def gather(
    configuration: Mapping[str, Any],
    records: Sequence[Record],
    rows: Mapping[str, Sequence[Row]],
    stages: Sequence[Stage],
) -> Facts:
    """The facts of a run from its configuration, records, rows by arm, and stages."""
    known = {k: v for k, v in configuration.items() if k in options() or k == "teachers"}
    whole = [record for record in records if record[0] == ""]
    origin = _last(whole, "origin")
    # a ledger belongs to what data and model hold, whatever they are called
    names = {"dataset_name": "unnamed", "model_name_or_path": origin.get("model", "unnamed")}
    config = build({**names, **known})
    selection = config.selection
    by_arm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r[0], r[1])):
        by_arm.setdefault(record[0], []).append(record)
    families = {
        family: {
            r: _arm(name := f"{family}/{r}", config, by_arm.get(name, []), rows.get(name, ()))
            for r in range(selection.replicates)
        }
        for family in _families(config)
    }
    return Facts(
        config, dict(configuration), _last(whole, "pool"), origin, families,
        tuple(stages), _answers_of_people(config, rows),
    )  # fmt: skip


def _families(config: Config) -> list[str]:
    """The selectors or policies that this configuration runs, the chosen one first."""
    options, training = config.selection, config.training
    if training.method != "adpo":
        return list(dict.fromkeys((options.selector, *options.baselines)))
    return list(dict.fromkeys(("adpo", *options.baselines, *["dpo"] * training.dpo_baseline)))


def _arm(name: str, config: Config, records: Sequence[Record], rows: Sequence[Row]) -> Arm:
    evaluations = [value for _, _, kind, value in records if kind == "evaluation"]
    policy = _last(records, "policy") or None
    spent = max((float(e["money"]) for e in evaluations), default=-math.inf)
    dearest = max(teacher.cost for teacher in config.teachers)
    finished = policy is not None
    if config.training.method != "adpo":
        finished = config.selection.budget - spent < dearest - 1e-9
        finished |= any(kind == "finished" for _, _, kind, _ in records)
    return Arm(
        name,
        _last(records, "split"),
        tuple(e for e in evaluations if e.get("accuracy") is not None),
        tuple(value for _, _, kind, value in records if kind == "trained"),
        policy,
        _uses(rows, people_of(config)),
        any(row.kind == "label" for row in rows) or any(e["asked"] for e in evaluations),
        finished,
    )


def _answers_of_people(config: Config, rows: Mapping[str, Sequence[Row]]) -> int:
    """A pair that several arms ask of the same people as often is answered once for all of them."""
    people, most = people_of(config), Counter[tuple[str, str]]()
    for found in rows.values():
        said = (
            r for r in found if r.kind == "label" and r.status != "asked" and r.teacher in people
        )
        most |= Counter((row.teacher, row.pair_id) for row in said)
    return most.total()


def people_of(config: Config) -> set[str]:
    """The teachers who are people: their answers are shared by the arms that ask the same."""
    return {teacher.name for teacher in config.teachers if teacher.kind == "people"}


def _last(records: Sequence[Record], name: str) -> dict[str, Any]:
    return next((value for _, _, kind, value in reversed(records) if kind == name), {})


def _uses(rows: Sequence[Row], people: AbstractSet[str]) -> dict[str, Use]:
    by_teacher: dict[str, list[Row]] = {}
    for row in rows:
        if row.kind == "label":
            by_teacher.setdefault(row.teacher, []).append(row)
    return {
        teacher: Use(
            len(found),
            math.fsum(row.price for row in found),
            sum(row.preference == 0.5 for row in found),
            sum(row.status == "unparsable" for row in found),
            math.fsum(row.price for row in found if row.status == "unparsable"),
            sum(row.status == "asked" for row in found),
            sum(row.asks > 1 for row in found if row.teacher not in people),  # they are waited for
        )
        for teacher, found in by_teacher.items()
    }

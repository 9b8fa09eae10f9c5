"""People are compared across arms honestly: all questions in one file, each asked once, each arm pays."""

import csv
import json

import pytest
import tiny_runs

from activeduel.llm import pipeline
from activeduel.llm.ledger import Ledger
from activeduel.llm.teachers import Waiting
from activeduel.llm.teachers.people_files import QUESTIONS

pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")


def test_two_arms_and_two_splits_ask_people_once(world, tiny_model, tmp_path):
    team = tmp_path / "team"
    config = tiny_runs.config(
        world.folder, tmp_path / "out", tiny_model,
        teachers=[{"name": "team", "kind": "people", "folder": str(team)}],
        baselines=["random"], replicates=2, budget=12, label_batch=4, warm_up=4,
    )  # fmt: skip
    asked: dict[str, int] = {}
    while True:
        try:
            folder = pipeline.run(config)
            break
        except Waiting as waiting:
            rows = [json.loads(line) for line in (team / QUESTIONS).read_text().splitlines()]
            assert waiting.places == ((team / QUESTIONS, len(rows)),)
            assert not asked.keys() & {row["key"] for row in rows}  # nobody is asked twice
            with (team / f"answers-{len(asked)}.csv").open("w", newline="") as sink:
                table = csv.writer(sink)
                table.writerow(["key", "preference"])
                for row in rows:
                    asked[row["key"]] = 1
                    longer = len(str(row["response_a"])) > len(str(row["response_b"]))
                    table.writerow([row["key"], "a" if longer else "b"])
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        arms = {arm: ledger.rows(arm) for arm in ledger.arms()}
        assert [ledger.money(arm) for arm in arms] == [12.0] * 4  # each arm pays its own
    said: dict[str, set] = {}
    for rows in arms.values():
        for row in rows:
            said.setdefault(row.pair_id, set()).add(row.preference)
    assert len(said) == len(asked) < 48 and all(len(answers) == 1 for answers in said.values())

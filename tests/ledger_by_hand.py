"""A language-model run's ledger, written by hand: every record as the pipeline would write it."""

from pathlib import Path
from typing import Any

import numpy as np

from activeduel.llm.ledger import Asked, Ledger
from activeduel.validate.llm_facts import Row, Stage, gather
from activeduel.validate.llm_summary import summarise

CHECKPOINTS = (100, 200, 300, 400, 500, 600)  # labels, and money where each costs 1
SPLIT = {
    "train_pairs": 300, "test_pairs": 100, "train_prompts": 150, "test_prompts": 50,
    "decided_test_pairs": 80, "truth": "gold",
}  # fmt: skip
TEACHERS = [
    {"name": "crowd", "kind": "simulated", "cost": 1.0, "rationality": 0.5},
    {"name": "expert", "kind": "simulated", "cost": 4.0, "rationality": {"code": 2.0, "talk": 1.5}},
]


class Run:
    """A ledger by hand: every record as the pipeline would write it."""

    def __init__(self, **options: Any) -> None:
        self.configuration = {
            "dataset_name": "pool.jsonl", "model_name_or_path": "tiny", "teachers": TEACHERS[:1],
            "selector": "dual", "baselines": ["random"], "budget": 600.0, "replicates": 5, **options,
        }  # fmt: skip
        pool = {
            "pairs": 400, "prompts": 200, "left_out": 0, "context_types": ["code", "talk"],
            "judgements": 0, "with_gold": 400, "identity": "abc",
        }  # fmt: skip
        self.records: list[tuple[str, int, str, dict[str, Any]]] = [("", 0, "pool", pool)]
        self.rows: dict[str, list[Row]] = {}
        self.stages: list[Stage] = []

    def arm(self, name, accuracy, x=CHECKPOINTS, money=None, **more):
        """One arm: its accuracy after x labels, money spent likewise."""
        self.records.append((name, 0, "split", SPLIT))
        for r, (asked, spent, value) in enumerate(
            zip(x, x if money is None else money, accuracy, strict=True)
        ):
            evaluation = {
                "asked": asked, "usable": asked, "money": float(spent), "accuracy": float(value),
                "length_accuracy": 0.55, "dimensions": max(1, asked // 10), "kept_share": 0.8,
                "status": "converged", "estimated": False, "state": f"{name} {r}",
                "rationality": {"crowd": {"code": 0.5, "talk": 0.5}},
            }  # fmt: skip
            self.records.append((name, r, "evaluation", evaluation | more))

    def arms(self, family, curves, **more):
        for r, accuracy in enumerate(curves):
            self.arm(f"{family}/{r}", accuracy, **more)

    def label(self, arm, teacher, price, preference=1.0, asks=1, status=None, kind="label"):
        rows = self.rows.setdefault(arm, [])
        place = len(rows)
        key = Ledger.key(arm, f"p{place}", teacher, 0)
        status = status or ("unparsable" if preference is None else "answered")
        rows.append(
            Row(key, arm, 0, place, f"p{place}", teacher, price, 0.1, "s", kind, status,
                preference, "", asks)
        )  # fmt: skip

    def summary(self):
        return summarise(gather(self.configuration, self.records, self.rows, self.stages))

    def write(self, folder: Path) -> Path:
        """The same through the ledger itself."""
        with Ledger(folder / "ledger.sqlite", "identity", self.configuration) as ledger:
            for record in self.records:
                ledger.record(*record)
            for row in (row for rows in self.rows.values() for row in rows):
                asked = Asked(*row[: len(Asked._fields)])
                if row.kind == "pseudo":
                    ledger.pseudo([asked], [row.preference])
                    continue
                for _ in range(row.asks):
                    ledger.ask([asked])
                if row.status != "asked":
                    ledger.answer(row.key, row.preference)
            for stage in self.stages:
                ledger.note_stage(*stage)
        return folder


def rising(last, noise=None, first=0.6):
    """Accuracies (J, 6) that rise to ``last``, plus one offset a replicate."""
    curve = np.linspace(first, last, len(CHECKPOINTS))
    return curve + np.zeros((5, 1)) if noise is None else curve + np.asarray(noise)[:, None]


SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])

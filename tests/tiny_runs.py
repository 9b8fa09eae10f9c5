"""Tiny runs on the machine-made text world: their options, and what must not depend on how they ran."""

import hashlib
import json
from pathlib import Path

from activeduel.llm.ledger import Ledger
from activeduel.llm.read_config import build

TEACHERS = [
    {"name": "crowd", "kind": "recorded", "cost": 0.5, "rationality": 0.5},
    {
        "name": "chef", "kind": "simulated",
        "rationality": {"cooking": 2.0, "travel": 0.8, "repair": 0.3},
    },
    {
        "name": "engineer", "kind": "simulated", "cost": 1.5,
        "rationality": {"cooking": 0.3, "travel": 1.0, "repair": 3.0},
    },
]  # fmt: skip

# runs to be killed: several TRL stages; ADPO with a checkpoint every third of its steps, which asks,
# believes itself, and runs out of money
KILLED = {
    "reward": {
        "method": "reward", "train_every": 2, "budget": 14, "label_batch": 6,
        "per_device_train_batch_size": 2,
    },
    "adpo": {
        "method": "adpo", "baselines": [], "budget": 40, "save_steps": 3, "confidence_threshold": 0.02,
        "per_device_train_batch_size": 8, "num_train_epochs": 1.5, "learning_rate": 2e-3,
    },
}  # fmt: skip


def options(world: Path, out: Path, model: Path | str = "no model", **changes):
    """Flat options of a run that takes seconds: 24 of money in three rounds, one replicate."""
    return {
        "dataset_name": str(world / "pool.jsonl"),
        "judgements": str(world / "judgements.csv"),
        "context_column": "context",
        "gold_column": "gold",
        "reward_column": "reward",
        "model_name_or_path": str(model),
        "dtype": "float32",
        "device": "cpu",
        "teachers": TEACHERS,
        "budget": 24,
        "label_batch": 10,
        "replicates": 1,
        "max_length": 96,
        "lora_r": 4,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "output_dir": str(out),
        **changes,
    }


def without_truth(flat):
    """The same options on a pool where nobody knows who is right."""
    unknown = {"gold_column": None, "judgements": None}
    return {**flat, **unknown, "teachers": [t for t in TEACHERS if t["kind"] == "simulated"]}


def config(*where, **changes):
    return build(options(*where, **changes))


def write_yaml(path: Path, flat):
    """JSON is YAML."""
    path.write_text(json.dumps(flat))
    return path


def rows(folder: Path):
    """The ledger's rows by arm, without how often each was asked; NaN scores can be compared."""
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        return {
            arm: [row._replace(asks=1, score=repr(row.score)) for row in ledger.rows(arm)]
            for arm in ledger.arms()
        }


def facts(folder: Path):
    """What the ledger records of each round."""
    with Ledger.reading(folder / "ledger.sqlite") as ledger:
        return ledger.records()


def weights(folder: Path):
    """Hashes of every file of weights that the run left."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def outcome(folder: Path):
    """All that an unbroken and a resumed run must agree on."""
    return {"rows": rows(folder), "facts": facts(folder), "weights": weights(folder)}

"""Public sets of answers judged by several teachers, written as a pool that ``activeduel llm`` reads.

    python -m activeduel.benchmarks.text_sets llmbar SRC OUT

SRC is the folder of the set (``pairs.jsonl.gz``, ``judgements.csv.gz``), OUT gets ``pool.jsonl``,
``judgements.csv`` and ``run.yaml``. The command to run them is printed. Pairs with an empty answer
are dropped with their judgements, and counted. Where a set lists its models in a fixed order, the
position carries the label: there the sides are exchanged by a coin that depends on the pair id.
"""

import argparse
import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .._durable import write_atomically
from ..llm.forms import level
from ..llm.rows import Row, file_rows, stop

TEACHER_SHARE = (
    0.05  # of the pairs: who judged fewer is no teacher here, but counts in the majority
)


class Set(NamedTuple):
    """How one set is read."""

    context: str | None  # column that becomes the context type
    ordered: bool  # sides are models in a fixed order
    teachers: str = ""  # pattern in the names of the teachers that run.yaml lists


SETS = {
    "llmbar": Set("subset", ordered=False, teachers="/Vanilla$"),  # six models, one way to ask
    "mtbench_human": Set("category", ordered=True),
    "pandalm_testset": Set(None, ordered=False),
    "qlora_vicuna": Set("category", ordered=True),
}
COLUMNS = ("pair_id", "prompt", "response_a", "response_b")


def _rows(path: Path, *columns: str) -> Iterator[tuple[str, Row]]:
    """(place, row) of one file of the set, every column there and filled."""
    for place, row in file_rows(path):
        if missing := [name for name in columns if row.get(name) is None]:
            stop(place, f"no {missing[0]}", ", ".join(columns), "Pass the set's own folder as SRC.")
        yield place, row


def convert(name: str, source: Path, out: Path) -> tuple[int, int]:
    """Write one of ``SETS`` to ``out``; the number of pairs, and of pairs dropped.

    Raises ``ValueError`` naming file and row: one that is missing, damaged or not of this set.
    """
    kind = SETS[name]
    columns = [*COLUMNS, *([kind.context] if kind.context else [])]
    rows = [row for _, row in _rows(source / "pairs.jsonl.gz", *columns)]
    kept = {r["pair_id"]: r for r in rows if r["response_a"].strip() and r["response_b"].strip()}
    turned = {i for i in kept if kind.ordered and _coin(i)}
    judgements = [
        (
            r["pair_id"],
            r["annotator"],
            _side(level(place, "preference", r["preference"]), r["pair_id"] in turned),
        )
        for place, r in _rows(source / "judgements.csv.gz", "pair_id", "annotator", "preference")
        if r["pair_id"] in kept
    ]
    pool = [_pair(row, kind, row["pair_id"] in turned) for row in kept.values()]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pool)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([("pair_id", "annotator", "preference"), *judgements])
    settings = _settings(kind, out, _teachers(kind, judgements, len(kept)), "gold" in pool[0])
    write_atomically(out / "pool.jsonl", lines.encode())
    write_atomically(out / "judgements.csv", table.getvalue().encode())
    write_atomically(out / "run.yaml", settings.encode())
    return len(kept), len(rows) - len(kept)


def _coin(pair_id: str) -> bool:
    return bool(hashlib.sha256(f"balance:{pair_id}".encode()).digest()[-1] & 1)


def _side(preference: float, turned: bool) -> float:
    return 1 - preference if turned else preference


def _pair(row: Row, kind: Set, turned: bool) -> Row:
    sides = ("response_b", "response_a") if turned else ("response_a", "response_b")
    pair = {"pair_id": row["pair_id"], "prompt": row["prompt"]}
    pair.update(zip(("response_a", "response_b"), (row[side] for side in sides), strict=True))
    if kind.context:
        pair["context"] = row[kind.context]
    if "gold" in row:
        pair["gold"] = _side(row["gold"], turned)
    return pair


def _teachers(kind: Set, judgements: Sequence[tuple[str, str, float]], pairs: int) -> list[str]:
    judged = Counter(annotator for _, annotator in {(pair, who) for pair, who, _ in judgements})
    return sorted(
        who
        for who, count in judged.items()
        if count >= TEACHER_SHARE * pairs and re.search(kind.teachers, who)
    )


def _settings(kind: Set, out: Path, teachers: Sequence[str], gold: bool) -> str:
    """A configuration: every option on a line of its own, values as JSON, which is YAML."""
    options = {
        "dataset_name": str(out / "pool.jsonl"),
        "judgements": str(out / "judgements.csv"),
        **({"context_column": "context"} if kind.context else {}),
        **({"gold_column": "gold"} if gold else {}),
        "estimate_rationality": True,
        "run_name": out.resolve().name,
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in options.items()]
    rows = [f"  - {json.dumps({'name': who, 'kind': 'recorded'})}" for who in teachers]
    return "\n".join([*lines, "teachers:", *rows, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m activeduel.benchmarks.text_sets", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("out", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        pairs, dropped = convert(options.set, options.source, out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{pairs} pairs; dropped {dropped} with an empty answer")
    print(f"activeduel llm run --config {out / 'run.yaml'} --model_name_or_path MODEL")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

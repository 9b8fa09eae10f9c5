"""Two public sets of recorded judgements, written as the two files that ``activeduel replay`` reads.

    python -m activeduel.benchmarks.recorded_sets light_field SRC OUT
    python -m activeduel.benchmarks.recorded_sets food SRC OUT

SRC is the folder of the set (``judgements.csv.gz``; food also ``items.csv.gz``), OUT gets
``judgements.csv`` and ``features.csv``. The command to replay them is printed.
"""

import argparse
import csv
import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

Row = dict[str, str]


def _read(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise ValueError(
            f"{path}: found no such file, needed it there; pass the set's folder as SRC."
        )
    with gzip.open(path, "rb") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    temporary = path.with_suffix(".partial")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    os.replace(temporary, path)


def light_field(source: Path, out: Path) -> str:
    """Item = condition (type, level): one-hot type, level and level^2 within the type; group scene.

    Levels are divided by the largest one of all types, so that level and level^2 lie in [0, 1].
    """
    rows = list(_read(source / "judgements.csv.gz"))
    conditions = {(r[f"type_{side}"], int(r[f"level_{side}"])) for r in rows for side in "ab"}
    types, top = sorted({kind for kind, _ in conditions}), max(level for _, level in conditions)
    header = ["item", *(f"{kind} {what}" for what in ("is", "level", "level^2") for kind in types)]
    features = (
        [
            f"{kind}-{level}",
            *((level / top) ** power if kind == t else 0 for power in range(3) for t in types),
        ]
        for kind, level in sorted(conditions)
    )
    _write(out / "features.csv", header, features)
    judgements = (
        [
            r["pair_id"],
            r["annotator"],
            r["preference"],
            f"{r['type_a']}-{r['level_a']}",
            f"{r['type_b']}-{r['level_b']}",
            r["scene"],
        ]
        for r in rows
    )
    _write(out / "judgements.csv", [*_JUDGEMENT, "scene"], judgements)
    return "scene"


def food(source: Path, out: Path) -> str:
    """Item = recipe: its numeric columns, category_id one-hot; group item."""
    items = list(_read(source / "items.csv.gz"))
    categories = sorted({r["category_id"] for r in items}, key=int)
    numeric = [name for name in items[0] if name not in ("item", "name", "category_id")]
    header = ["item", *numeric, *(f"category {c}" for c in categories)]
    features = (
        [
            r["item"],
            *(r[name] for name in numeric),
            *(int(r["category_id"] == c) for c in categories),
        ]
        for r in items
    )
    _write(out / "features.csv", header, features)
    judgements = (
        [r["pair_id"], r["annotator"], r["preference"], *r["pair_id"].split("_")]
        for r in _read(source / "judgements.csv.gz")
    )
    _write(out / "judgements.csv", _JUDGEMENT, judgements)
    return "item"


_JUDGEMENT = ["pair_id", "annotator", "preference", "item_a", "item_b"]
SETS: dict[str, Callable[[Path, Path], str]] = {"light_field": light_field, "food": food}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m activeduel.benchmarks.recorded_sets", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("out", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        group = SETS[options.set](options.source, out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(
        f"activeduel replay --judgements {out / 'judgements.csv'} "
        f"--features {out / 'features.csv'} --group {group}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

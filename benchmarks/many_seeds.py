"""Do the checks keep their error rates? The whole validation at smoke scale on many seeds.

    python -m activeduel.benchmarks.many_seeds --seeds 20 --out results/many-seeds

Prints, for each test, how often each verdict came out and how often its sabotage was caught. A true
claim may come out NOT SUPPORTED with a probability of at most alpha_c, the level of one end of its
interval; and UNDERPOWERED, where SUPPORTED is expected, with 1 - power. Exit status 0: no test was
more often NOT SUPPORTED, or missed its sabotage more often, than these rates allow (binomial, 1 % over
all tests); 1: some were. Measurements are kept under --out, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ..validate.claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED

FIRST_SEED = 1000  # far from the default seed and from the pilots'
FAMILY_WISE_ERROR = 0.01


def most_allowed(seeds: int, rate: float, tests: int) -> int:
    """The count that a binomial(seeds, rate) exceeds with a probability below 1 % / tests.

    >>> most_allowed(20, 0.0002, 41), most_allowed(20, 0.1, 41)
    (1, 8)
    """
    from scipy.special import bdtrc

    level = FAMILY_WISE_ERROR / tests
    return next(k for k in range(seeds + 1) if bdtrc(k, seeds, rate) <= level)


def judge_test(rows: list[dict[str, Any]], tests: int) -> tuple[list[str], bool]:
    """One line of the table for one test's rows over the seeds, and whether its rates hold."""
    verdicts = Counter(row["verdict"] for row in rows)
    expected = Counter(row["expected"] for row in rows).most_common(1)[0][0]
    alpha, power = rows[0]["alpha"], rows[0]["power"]
    able = [row for row in rows if row["sabotage"] and row["verdict"] == SUPPORTED]
    missed = sum(not row["sabotage"]["caught"] for row in able)
    wrong = verdicts[NOT_SUPPORTED] > most_allowed(len(rows), alpha, tests)
    blind = missed > most_allowed(len(able), 1 - power, tests) if able else False
    weak = expected == SUPPORTED and not rows[0].get("open")
    if weak and verdicts[UNDERPOWERED] > most_allowed(len(rows), 1 - power, tests):
        blind = True
    counts = [str(verdicts[name]) for name in (SUPPORTED, UNDERPOWERED, NOT_SUPPORTED)]
    line = [rows[0]["id"], *counts, f"{len(able) - missed}/{len(able)}"]
    return [*line, "too often" if wrong or blind else ""], not (wrong or blind)


def main() -> int:
    """Run the seeds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="as of validate")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("results", "many-seeds"))
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from rich.console import Console
    from rich.table import Table

    from ..validate.claims import CLAIMS
    from ..validate.runner import Options, run_claims

    console = Console(width=110)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(args.first, args.first + args.seeds):
        options = Options(
            scale="smoke", seed=seed, workers=args.workers, only=tuple(args.only), out=args.out
        )
        report, _ = run_claims(CLAIMS, options)
        for row in report["claims"]:
            rows.setdefault(row["id"], []).append(row)
        off = [r["id"] for r in report["claims"] if r["verdict"] != r["expected"]]
        console.print(f"seed {seed}: {', '.join(off) or 'all as expected'}", highlight=False)
    table = Table(title=f"smoke scale, seeds {args.first} to {args.first + args.seeds - 1}")
    for name in ("test", SUPPORTED, UNDERPOWERED, NOT_SUPPORTED, "caught", ""):
        table.add_column(name, justify="left" if name in ("test", "") else "right")
    good = True
    for found in rows.values():
        line, holds = judge_test(found, len(rows))
        table.add_row(*line)
        good &= holds
    console.print(table)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

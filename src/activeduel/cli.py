"""The command line. Each command is one ``register`` function, listed in COMMANDS.

Heavy imports stand inside the functions that run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

OK, NOT_AS_EXPECTED, BAD_USAGE, STOPPED = 0, 1, 2, 130


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``low`` (and below ``high``)."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number >= high):
            span = f">= {low}" if high is None else f"in {low}..{high - 1}"
            raise argparse.ArgumentTypeError(f"found {text!r}, needed a whole number {span}")
        return number

    return parse


def register_validate(commands: Commands) -> None:
    """``activeduel validate``."""
    parser = commands.add_parser(
        "validate",
        allow_abbrev=False,
        help="check the papers' claims in worlds with known truth",
        description="Check the papers' claims in worlds with known truth, each beside a deliberately "
        "broken twin. Writes report.json and report.html. Exit status: 0 every verdict is the "
        "expected one and every sabotage was caught, 1 not, 2 bad usage. Finished measurements are "
        "kept, so the same command goes on where it was stopped.",
    )
    add = parser.add_argument
    add("--only", metavar="ID", nargs="+", action="extend", default=[],
        help="claims, tests, or a start such as 'dual'")  # fmt: skip
    add("--scale", choices=("smoke", "quick", "full"), default="quick", help="default: quick")
    add("--seed", type=whole(0, 2**64), default=0, metavar="N", help="default: 0")
    add("--workers", type=whole(1), default=os.cpu_count() or 1, metavar="N",
        help="threads; the results do not depend on it; default: all cores (%(default)s)")  # fmt: skip
    add("--device", choices=("cpu", "cuda"), default="cpu",
        help="where worlds are simulated; cuda: an NVIDIA GPU and the extra 'cuda'; default: cpu")  # fmt: skip
    add("--out", type=Path, metavar="DIR",
        help="report and measurements; default: results/validate/<scale>-<seed> and results")  # fmt: skip
    add("--list", action="store_true", help="print the tests and their statements, then stop")
    parser.set_defaults(run=run_validate)


def run_validate(args: argparse.Namespace) -> int:
    """List, or run the selected claims."""
    from .validate.claims import CLAIMS
    from .validate.runner import Options, select, validate

    if args.list:
        for claim, tests in select(CLAIMS, args.only):
            print(f"{claim.id}: {claim.statement}")
            for test in tests:
                print(f"    {test.id}: {test.statement}")
        return OK
    options = Options(
        scale=args.scale,
        seed=args.seed,
        workers=args.workers,
        device=args.device,
        only=tuple(args.only),
        out=args.out,
    )
    return validate(CLAIMS, options)


def register_replay(commands: Commands) -> None:
    """``activeduel replay``."""
    parser = commands.add_parser(
        "replay",
        allow_abbrev=False,
        help="would active selection have saved labels on judgements already bought?",
        description="Replay recorded judgements: every selector buys recorded answers until the budget is "
        "spent, and its reward is held against judgements of groups it never saw. Writes replay.html and "
        "replay.json. Exit status: 0 done, 2 bad usage or a broken file.",
    )
    add = parser.add_argument
    add("--judgements", type=Path, metavar="FILE", required=True,
        help="CSV or JSONL (.gz): pair_id, annotator, preference (1, 0.5, 0); with item features item_a, item_b")  # fmt: skip
    add("--features", type=Path, metavar="FILE", required=True,
        help="CSV (.gz), first column pair_id or item, else numbers; or NPY beside FILE.ids")  # fmt: skip
    add("--group", metavar="COL",
        help="column whose groups are held out whole, or 'item'; default: by pair")  # fmt: skip
    add("--budget", type=whole(2), metavar="N",
        help="labels to buy; default: a third of the training judgements, at most 600")  # fmt: skip
    add("--batch", type=whole(1), metavar="B", help="labels between refits; default: budget / 30")
    add("--selectors", nargs="+", metavar="NAME", help="default: random, dual and their rivals")
    add("--splits", type=whole(2), default=20, metavar="N", help="default: 20")
    add("--seed", type=whole(0, 2**64), default=0, metavar="N", help="default: 0")
    add("--out", type=Path, metavar="DIR", help="default: results/replay/<judgements>-<id>")
    parser.set_defaults(run=run_replay)


def run_replay(args: argparse.Namespace) -> int:
    """Replay the two files and report."""
    from .sim.replay import DEFAULT_SELECTORS
    from .validate import replay_report

    replay_report.run_replay(
        replay_report.Options(
            judgements=args.judgements,
            features=args.features,
            group=args.group,
            budget=args.budget,
            batch=args.batch,
            selectors=tuple(args.selectors or DEFAULT_SELECTORS),
            splits=args.splits,
            seed=args.seed,
            out=args.out,
        )
    )
    return OK


def register_figures(commands: Commands) -> None:
    """``activeduel figures``."""
    parser = commands.add_parser(
        "figures",
        allow_abbrev=False,
        help="draw the figures, after computing the saved results that are missing",
        description="Draw the figures: a PDF, a PNG and the CSV behind both, each. Simulations that are not "
        "yet saved are run first; finished ones are kept, so the same command goes on where it was "
        "stopped. Exit status: 0 done, 2 bad usage.",
    )
    add = parser.add_argument
    add("--only", metavar="NAME", nargs="+", action="extend", default=[],
        help="figures; default: all")  # fmt: skip
    add("--scale", choices=("smoke", "quick", "full"), default="quick", help="default: quick")
    add("--seed", type=whole(0, 2**64), default=0, metavar="N", help="default: 0")
    add("--workers", type=whole(1), default=os.cpu_count() or 1, metavar="N",
        help="threads; the results do not depend on it; default: all cores (%(default)s)")  # fmt: skip
    add("--out", type=Path, metavar="DIR",
        help="figures and simulations; default: results/figures/<scale>-<seed> and results")  # fmt: skip
    parser.set_defaults(run=run_figures)


def run_figures(args: argparse.Namespace) -> int:
    """Draw the selected figures."""
    from .paper_figs import FIGURES
    from .paper_figs.engine import Options, make_figures

    options = Options(
        scale=args.scale,
        seed=args.seed,
        workers=args.workers,
        only=tuple(args.only),
        out=args.out,
    )
    return make_figures(FIGURES, options)


def register_bench(commands: Commands) -> None:
    """``activeduel bench``."""
    parser = commands.add_parser(
        "bench",
        allow_abbrev=False,
        help="how fast is it, side by side with what others do?",
        description="Measure ours and a peer in turns, in one process: a table and a JSON file of ratios, "
        "distances to the arithmetic floor and checks of every answer. BLAS runs on one thread unless "
        "OMP_NUM_THREADS or its like say otherwise. Exit status: 0 every answer is right, 1 not, 2 bad "
        "usage. Whether a target is met is shown, and does not change the exit status.",
    )
    add = parser.add_argument
    add("--only", metavar="NAME", nargs="+", action="extend", default=[],
        help="rows, or a start such as 'design'; default: all but the slow ones")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help="a new file for the JSON; default: results/bench/<date>.json")  # fmt: skip
    add("--list", action="store_true", help="print the rows and their targets, then stop")
    parser.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> int:
    """List, or measure the selected rows."""
    from .benchmarks import bench

    if args.list:
        rows = bench.chosen(bench.ROWS, args.only) if args.only else list(bench.ROWS.values())
        print(bench.listing(rows))
        return OK
    return bench.bench(bench.ROWS, args.only, args.out)


def register_llm(commands: Commands) -> None:
    """``activeduel llm``; its verbs and options stand in ``llm/command_line.py``."""
    from .llm.command_line import add_verbs

    parser = commands.add_parser(
        "llm",
        allow_abbrev=False,
        help="the same selectors on real language models (extra 'llm')",
        description="Choose which pairs of responses to have judged, and by whom; train a reward model "
        "or an ADPO policy on the answers; report what selection gained. Exit status: 0 done, 2 bad "
        "usage or a broken file, 3 people have to answer first.",
    )
    add_verbs(parser)
    parser.set_defaults(run=run_llm)


def run_llm(args: argparse.Namespace) -> int:
    """Run one verb."""
    from ._llm import run_verb

    return run_verb(args)


COMMANDS: tuple[Callable[[Commands], None], ...] = (
    register_validate,
    register_replay,
    register_figures,
    register_bench,
    register_llm,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    parser = argparse.ArgumentParser(
        prog="activeduel",
        description="Which preference pair should be labelled next, and by whom?",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"activeduel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for register in COMMANDS:
        register(commands)
    return parser


def _meant(args: argparse.Namespace, unknown: str) -> str:
    """What an argument that ``llm`` does not know may have been meant as."""
    if not hasattr(args, "verb"):
        return ""
    from .llm.read_config import options

    if not unknown.startswith("-"):
        return ". A configuration is named by --config FILE."
    known = [f"--{name}" for name in (*options(), *vars(args)) if name not in ("run", "verb")]
    close = difflib.get_close_matches(unknown.partition("=")[0], known, n=1)
    return (
        f". Did you mean {close[0]}?"
        if close
        else f". 'activeduel llm {args.verb} --help' lists them."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Bad input is a message and 2, never a traceback."""
    parser = build_parser()
    try:
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(args, unknown[0])}")
    except SystemExit as stop:  # argparse has printed its message
        return stop.code if isinstance(stop.code, int) else BAD_USAGE
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # small matrices: BLAS threads would wait for each other
    try:
        return int(args.run(args))
    except KeyboardInterrupt as stop:
        print(f"activeduel: {str(stop) or 'stopped'}", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError) as error:
        print(f"activeduel: error: {error}", file=sys.stderr)
        return BAD_USAGE

"""Does a run that was killed at a random moment end as an unbroken one? ``make kill-test``.

    python tests/kill_twenty.py [--moments 20] [--seed N]

Two tiny runs of ``activeduel llm run``, one that trains reward models with TRL between its rounds, one
with the ADPO loop and DPO beside it, are killed with -9 after a random time and run again. Compared
are every row of the ledger (but how often a question was put), every recorded fact and the bytes of
every file of weights. Each moment is a function of (seed, number) and the time an unbroken run took;
where a run happened to end sooner, the next draw is taken. Exit status: 0 all alike, 1 not.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import tiny_runs
from killed_runs import Runs, timed

from activeduel.llm.text_world import write_world
from activeduel.llm.tiny_model import write_model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, help="default: drawn, and printed")
    options = parser.parse_args()
    seed = np.random.SeedSequence().entropy % 2**32 if options.seed is None else options.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as scratch, Runs(Path(scratch) / "log") as runs:
        return moments(Path(scratch), runs, seed, options.moments)


def moments(scratch, runs, seed, count):
    world = write_world(scratch / "world", pairs=120, seed=7)
    model = write_model(scratch / "model", size="test", seed=0)
    unbroken = {}
    for method in METHODS:
        words, folder = command(scratch / f"unbroken-{method}", method, world, model)
        seconds, status = timed(runs, words)
        if status:
            print(runs.log.read_text()[-2000:])
            return 1
        unbroken[method] = seconds, tiny_runs.outcome(folder)
        print(f"{method}: an unbroken run took {seconds:.1f} s: {told(unbroken[method][1])}")
    alike = 0
    for number in range(count):
        method = METHODS[number % len(METHODS)]
        seconds, wanted = unbroken[method]
        words, folder, moment = kill_once(
            scratch, runs, seed, number, method, seconds, world, model
        )
        before = state(folder)
        status = runs(words)
        same = status == 0 and tiny_runs.outcome(folder) == wanted
        alike += same
        ending = "the same rows, facts and weights" if same else f"ANOTHER END, status {status}"
        print(
            f"{number + 1:2}  {method:6}  killed after {moment:5.2f} s ({before}): {ending}",
            flush=True,
        )
        if not same:
            print(differences(folder, wanted) if status == 0 else runs.log.read_text()[-2000:])
    print(f"{alike} of {count} resumed runs ended as the unbroken one")
    return int(alike < count)


METHODS = tuple(tiny_runs.KILLED)


def command(place, method, world, model):
    """A run's command line and folder."""
    place.mkdir()
    flat = tiny_runs.options(world, place, model, **tiny_runs.KILLED[method])
    if method == "adpo":
        flat["dpo_baseline"] = True
    return ["llm", "run", "--config", tiny_runs.write_yaml(place / "run.yaml", flat)], place / "run"


def kill_once(scratch, runs, seed, number, method, seconds, world, model):
    """A run killed at a random moment: its command line, its folder, the moment."""
    rng = np.random.default_rng([seed, number])
    for attempt in range(100):
        words, folder = command(scratch / f"{number}-{attempt}", method, world, model)
        moment = float(rng.uniform(0, seconds))
        if runs(words, after=moment) == -signal.SIGKILL:
            return words, folder, moment
    raise RuntimeError("no run lived long enough to be killed")


def told(outcome):
    rows = sum(map(len, outcome["rows"].values()))
    return f"{rows} rows, {len(outcome['facts'])} facts, {len(outcome['weights'])} files of weights"


def state(folder):
    """Where the killed run stood."""
    if not (folder / "ledger.sqlite").exists():
        return "no ledger yet"
    trained = len(tiny_runs.weights(folder))
    rows = sum(map(len, tiny_runs.rows(folder).values()))
    half = len(
        {
            path.name
            for path in folder.rglob("*")
            if ".tmp-" in path.name or ".training" in path.name
        }
    )
    return f"{rows} rows, {trained} files of weights, {half} unfinished"


def differences(folder, wanted):
    found = tiny_runs.outcome(folder)
    return "\n".join(f"    {part} differ" for part in wanted if found[part] != wanted[part])


if __name__ == "__main__":
    sys.exit(main())

"""Runs claims: look into the store, measure what is missing, judge, report.

``report.json`` and ``report.html`` go to the output folder. Measurements are kept one by one, so
that a run that was stopped, or killed, goes on from where it was.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .._durable import write_atomically
from .._provenance import code_version, package_versions
from ..sim.store import Store, algorithm_version, sources_version
from .claim import SUPPORTED, Claim, Observations, Run, Statistic, Test
from .progress import Display
from .verdict import caught, holm, p_value, refuted, smallest_detectable, verdict

FAMILY_WISE_ERROR = 0.01
PROGRAM = "activeduel validate"


class ClaimFailed(Exception):
    """A claim's own code broke; the message names the claim, the cause is attached."""


@dataclass(frozen=True)
class Options:
    """What the command line asked for; ``out`` None means results/validate/<scale>-<seed>."""

    scale: str = "quick"
    seed: int = 0
    workers: int = 1
    device: str = "cpu"
    only: tuple[str, ...] = ()
    out: Path | None = None

    @property
    def report_folder(self) -> Path:
        return self.out or Path("results", "validate", f"{self.scale}-{self.seed}")

    @property
    def store_root(self) -> Path:
        return self.out or Path("results")


@dataclass(frozen=True)
class Measured:
    """Observations of one claim, as it is or sabotaged, and what they cost."""

    observations: Observations
    seconds: float
    reused: bool


@dataclass(frozen=True)
class Judged:
    """A claim with what was seen and its rows of the report."""

    claim: Claim
    tests: tuple[Test, ...]
    run: Run
    true: Measured
    sabotaged: Measured | None
    rows: tuple[dict[str, Any], ...]


def check_registry(claims: Sequence[Claim]) -> None:
    """ValueError unless every claim id and every test id is there once."""
    for kind, ids in (
        ("claim", [c.id for c in claims]),
        ("test", [t.id for c in claims for t in c.tests]),
    ):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"registry: found the {kind} id {twice[0]!r} twice; rename one.")
    if not any(claim.tests for claim in claims):
        raise ValueError("registry: found no tests; register at least one claim.")


def count_tests(claims: Sequence[Claim]) -> int:
    """The registered tests that have a region."""
    return sum(test.kind != "ESTIMATE" for claim in claims for test in claim.tests)


def level(claims: Sequence[Claim]) -> float:
    """alpha_c = 1 % / number of registered tests with a region, whatever is selected."""
    return FAMILY_WISE_ERROR / max(count_tests(claims), 1)


def select(claims: Sequence[Claim], only: Sequence[str]) -> list[tuple[Claim, tuple[Test, ...]]]:
    """The tests named by claim id, test id or a prefix that ends at a "/"; all without names.

    Raises ValueError that lists what exists when a name fits nothing.
    """

    def fits(name: str, identity: str) -> bool:
        name = name.rstrip("/")
        return identity == name or identity.startswith(name + "/")

    for name in only:
        if not any(fits(name, i) for c in claims for i in (c.id, *(t.id for t in c.tests))):
            known = "\n".join(f"  {t.id}" for c in claims for t in c.tests)
            raise ValueError(
                f"--only: found {name!r}, needed one of these, or a start of one:\n{known}"
            )
    chosen = []
    for claim in claims:
        whole = not only or any(fits(name, claim.id) for name in only)
        tests = tuple(t for t in claim.tests if whole or any(fits(name, t.id) for name in only))
        if tests:
            chosen.append((claim, tests))
    return chosen


@contextmanager
def naming(claim: Claim, doing: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ClaimFailed(f"{claim.id}: {doing} failed: {error}") from error


def measurement_version(claim: Claim) -> str:
    """Hash of the file that holds ``measure`` and of the neighbours that it imports from."""
    function = claim.measure
    while isinstance(function, partial):
        function = function.func
    found: set[Path] = set()
    waiting = [Path(inspect.getfile(function))]
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                waiting += [path.parent / f"{name.split('.')[0]}.py" for name in names]
    return sources_version(found)


def observe(claim: Claim, sabotaged: bool, run: Run, store: Store) -> Measured:
    """The stored observations of this setting, or new ones, measured and stored."""
    experiment = f"validate/{claim.id}"
    settings = dict(claim.settings[run.scale])
    configuration = {
        "settings": settings,
        "scale": run.scale,
        "seed": run.seed,
        "sabotaged": sabotaged,
        "device": run.device,
        "alpha": run.alpha,
        "measurement": measurement_version(claim),
    }
    stored = store.find(experiment, configuration)
    if stored is not None:
        return Measured(stored[0], float(stored[1]["seconds"]), True)
    start = time.perf_counter()
    with naming(claim, f"measuring{' the sabotage' * sabotaged}"):
        observations = claim.measure(settings, run, sabotaged)
    seconds = time.perf_counter() - start
    counts = {
        name: int(array.shape[0]) if array.ndim else 1 for name, array in observations.items()
    }
    store.save(
        experiment,
        configuration,
        observations,
        seed=run.seed,
        device=run.device,
        seconds=seconds,
        counts=counts,
    )
    return Measured(observations, seconds, False)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _interval(statistic: Statistic, alpha: float) -> list[float | None]:
    return [_finite(end) for end in statistic.interval(alpha)]


def command(test_id: str, run: Run) -> str:
    """What to type to measure one test again from nothing, beside the kept results."""
    return shlex.join(
        ["activeduel", "validate", "--only", test_id, "--scale", run.scale]
        + ["--seed", str(run.seed), "--device", run.device, "--out", "results/again"]
    )


def row(
    claim: Claim,
    test: Test,
    run: Run,
    statistic: Statistic,
    broken: Statistic | None,
    seconds: float,
) -> dict[str, Any]:
    """One test's row of report.json."""
    found = verdict(test, statistic, run.alpha, run.scale)
    expected = found if test.open else test.expected[run.scale]
    judged = test.kind != "ESTIMATE"
    measured = judged and test.kind != "EXACT"
    p = p_value(test, statistic, run.scale)
    detectable = smallest_detectable(statistic, run.alpha, test.power) if measured else None
    out = {
        "id": test.id,
        "statement": test.statement,
        "source": claim.source,
        "kind": test.kind,
        "unit": test.unit,
        "verdict": found,
        "expected": expected,
        "estimate": float(statistic.estimate),
        "interval": _interval(statistic, run.alpha),
        "threshold": float(test.target or 0.0) if judged else None,
        "margin": test.margin_at(run.scale) if judged else None,
        "margin_reason": test.margin_reason,
        "n": int(statistic.n),
        "alpha": run.alpha,
        "power": test.power,
        "smallest_detectable": None if detectable is None else _finite(detectable),
        "p_value": p,
        "sabotage": None if broken is None else _sabotage_row(test, run, broken, found, expected),
        "command": command(test.id, run),
        "seconds": seconds,
    }
    if test.open:
        out |= {"open": True, "pilot": (test.pilot or {}).get(run.scale)}
    return out


def _sabotage_row(
    test: Test, run: Run, broken: Statistic, found: str, expected: str
) -> dict[str, Any]:
    return {
        "name": test.sabotage,
        "verdict": verdict(test, broken, run.alpha, run.scale),
        "estimate": float(broken.estimate),
        "interval": _interval(broken, run.alpha),
        "n": int(broken.n),
        "caught": caught(found, expected, refuted(test, broken, run.alpha, run.scale)),
    }


def _judge(claim: Claim, measured: Measured, run: Run, sabotaged: bool) -> dict[str, Statistic]:
    with naming(claim, f"judging{' the sabotage' * sabotaged}"):
        return claim.judge(measured.observations, run)


def try_claim(
    claim: Claim, tests: Sequence[Test], run: Run, store: Store, display: Display
) -> Judged:
    """Measure (or find) and judge one claim, true and sabotaged."""
    seen: list[Measured] = []
    for sabotaged in (False, True)[: measurements(tests)]:
        progress = display.measurement(claim.id + ", sabotaged" * sabotaged)
        seen.append(observe(claim, sabotaged, replace(run, progress=progress), store))
        display.measured()
    statistics = _judge(claim, seen[0], run, False)
    broken = _judge(claim, seen[1], run, True) if len(seen) > 1 else {}
    seconds = sum(m.seconds for m in seen)
    with naming(claim, "judging"):
        for test in tests:
            if test.id not in statistics or (test.sabotage and test.id not in broken):
                raise ValueError(f"judge gave no statistic for {test.id}.")
        rows = tuple(
            row(claim, t, run, statistics[t.id], broken[t.id] if t.sabotage else None, seconds)
            for t in tests
        )
    return Judged(claim, tuple(tests), run, seen[0], seen[1] if len(seen) > 1 else None, rows)


def measurements(tests: Sequence[Test]) -> int:
    """1, or 2 where a sabotage is measured too."""
    return 1 + any(test.sabotage for test in tests)


def as_expected(found: dict[str, Any]) -> bool:
    """Whether a row's verdict is the expected one and, with SUPPORTED, its sabotage was caught."""
    broken = found["sabotage"]
    uncaught = found["expected"] == SUPPORTED and broken is not None and not broken["caught"]
    return bool(found["verdict"] == found["expected"] and not uncaught)


def run_claims(
    claims: Sequence[Claim], options: Options, display: Display | None = None
) -> tuple[dict[str, Any], list[Judged]]:
    """The content of report.json, and the claims with their observations for drawing.

    Raises ValueError for unknown names and damaged results, ClaimFailed when a claim's code breaks,
    KeyboardInterrupt, with a message that says what is kept, when stopped.
    """
    check_registry(claims)
    chosen = select(claims, options.only)
    able = [(c, tests) for c, tests in chosen if options.scale in c.settings]
    skipped = [
        {"id": test.id, "reason": f"{claim.id} has no settings at scale {options.scale}"}
        for claim, tests in chosen
        if options.scale not in claim.settings
        for test in tests
    ]
    alpha, start = level(claims), time.time()
    run = Run(options.scale, options.seed, options.workers, options.device, alpha, lambda _: None)
    store, total = Store(options.store_root), sum(measurements(tests) for _, tests in able)
    judged: list[Judged] = []
    with display or Display(total) as shown:
        for claim, tests in able:
            here = replace(run, device=device_of(claim, options.device))
            try:
                judged.append(try_claim(claim, tests, here, store, shown))
            except KeyboardInterrupt as stop:
                raise KeyboardInterrupt(
                    f"stopped: {len(judged)} of {len(able)} claims are finished and kept under "
                    f"{store.root}; the same command goes on from there."
                ) from stop
            shown.finished(_line(judged[-1]))
    rows = [found for done in judged for found in done.rows]
    adjusted = holm({r["id"]: r["p_value"] for r in rows}, count_tests(claims))
    manifest = {
        "program": PROGRAM,
        "scale": options.scale,
        "seed": options.seed,
        "only": list(options.only),
        "device": options.device,
        "measured_on_cpu": {
            claim.id: claim.cpu_only
            for claim, _ in able
            if device_of(claim, options.device) != options.device
        },
        "workers": options.workers,
        "family_wise_error": FAMILY_WISE_ERROR,
        "alpha": alpha,
        "registered_tests": count_tests(claims),
        "holm": adjusted,
        "as_expected": all(as_expected(r) for r in rows),
        "seconds": round(time.time() - start, 3),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start)),
        "code": code_version(),
        "algorithm_version": algorithm_version(),
        "packages": package_versions(),
    }
    return {"manifest": manifest, "claims": rows, "skipped": skipped}, judged


def device_of(claim: Claim, asked: str) -> str:
    """Where a claim is measured: as asked, or on the CPU, where nothing else can measure it."""
    return "cpu" if claim.cpu_only else asked


def check_device(device: str) -> None:
    """ValueError, before anything is measured, where ``device`` cannot be used here."""
    if device == "cuda":
        from ..sim.kernels.cuda.launch import require_device

        require_device()


def _line(done: Judged) -> str:
    verdicts = ", ".join(sorted({r["verdict"] for r in done.rows}))
    reused = done.true.reused and (done.sabotaged is None or done.sabotaged.reused)
    spent = sum(m.seconds for m in (done.true, done.sabotaged) if m is not None)
    return f"{done.claim.id}: {verdicts} ({'found in the store' if reused else f'{spent:.1f} s'})"


def refuse_foreign(folder: Path) -> None:
    """ValueError unless the report can be written to ``folder`` without harming anything else."""
    from .page import MARK

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise ValueError(
            f"--out: found {folder}, where nothing can be written ({error.strerror}); needed a folder; "
            "pass another one with --out."
        ) from error
    page, data = folder / "report.html", folder / "report.json"
    ours = True
    try:
        if page.exists():
            ours = MARK.encode() in page.read_bytes()[:1000]
        if data.exists():
            ours &= json.loads(data.read_bytes())["manifest"]["program"] == PROGRAM
    except (OSError, KeyError, TypeError, ValueError):
        ours = False
    if not ours:
        raise ValueError(
            f"--out: found a report in {folder} that this program did not write; needed a folder "
            "without one. It is kept as it is: move it away or pass another folder with --out."
        )


def validate(claims: Sequence[Claim], options: Options) -> int:
    """Run, write report.json and report.html, print the table; 0 when all is as expected, else 1."""
    from .page import page
    from .report import print_table

    check_registry(claims)
    select(claims, options.only)
    check_device(options.device)
    folder = options.report_folder
    refuse_foreign(folder)
    report, judged = run_claims(claims, options)
    text = json.dumps(report, indent=1, allow_nan=False)
    write_atomically(folder / "report.json", text.encode() + b"\n")
    write_atomically(folder / "report.html", page(report, judged).encode())
    print_table(report, judged, folder)
    return 0 if report["manifest"]["as_expected"] else 1

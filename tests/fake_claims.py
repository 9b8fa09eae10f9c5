"""Small claims with known truth: a true one, a false one, weak, uncaught, open, exact ones."""

from pathlib import Path
from typing import Any

import numpy as np

from activeduel.validate.claim import Claim, Observations, Run, Test
from activeduel.validate.verdict import Exact, Frequency, Mean

SIGNS = {"smoke": "SUPPORTED"}


def a_test(identity: str, kind: str = "EQUAL", **changes: Any) -> Test:
    parts: dict[str, Any] = {
        "statement": f"{identity} is what it should be",
        "kind": kind,
        "unit": "mean of normal draws",
        "target": 0.0 if kind in ("EQUAL", "BOUND") else None,
        "margin": 0.25,
        "margin_reason": "a quarter of a standard deviation, nobody minds <less>",
        "power": 0.9,
        "expected": SIGNS,
        "sabotage": "the mean is moved by one",
    }
    return Test(id=identity, **{**parts, **changes})


def a_claim(
    identity: str, *tests: Test, true: float = 0.0, broken: float = 1.0, n: int = 800
) -> Claim:
    """``n`` normal draws around ``true``, or around ``broken`` when sabotaged."""

    def measure(settings: Any, run: Run, sabotaged: bool) -> Observations:
        rng = np.random.default_rng([run.seed, 7])
        run.progress(0.5)
        return {
            "x": rng.standard_normal(settings["n"]) + settings["broken" if sabotaged else "true"]
        }

    def judge(seen: Observations, run: Run) -> dict[str, Any]:
        x = seen["x"]
        by_kind = {
            "EXACT": Exact(int((x > 6).sum()), x.size),
            "BOUND": Frequency(int((x > 2).sum()), x.size),
        }
        return {test.id: by_kind.get(test.kind, Mean(x)) for test in tests}

    def draw(figure: Any, seen: Observations, run: Run) -> None:
        axes = figure.subplots()
        axes.hist(seen["x"], bins=30, color="#38618c")
        axes.set_xlabel("value")

    return Claim(
        id=identity,
        statement=f"The mean of {identity} is 0, & <nothing> else",
        source="made up",
        how="Draw normal numbers, take their mean.",
        tests=tests,
        settings={"smoke": {"n": n, "true": true, "broken": broken}},
        measure=measure,
        judge=judge,
        draw=draw,
    )


def true_claim() -> Claim:
    return a_claim("fake/true", a_test("fake/true/mean"))


def false_claim() -> Claim:
    return a_claim("fake/false", a_test("fake/false/mean"), true=1.0)


def weak_claim() -> Claim:
    return a_claim("fake/weak", a_test("fake/weak/mean", expected={"smoke": "UNDERPOWERED"}), n=20)


def uncaught_claim() -> Claim:
    return a_claim("fake/uncaught", a_test("fake/uncaught/mean"), broken=0.01)


def open_claim() -> Claim:
    pilot = {"smoke": "SUPPORTED"}
    test = a_test("fake/open/better", "BETTER", expected={}, open=True, pilot=pilot, margin=0.5)
    return a_claim("fake/open", test, true=-1.0, broken=-2.0)


def exact_claim() -> Claim:
    tests = (
        a_test("fake/exact/never", "EXACT", sabotage="the mean is moved by ten"),
        a_test("fake/exact/share", "BOUND", target=0.05, margin=0.01, sabotage=None),
        a_test("fake/exact/size", "ESTIMATE", expected={"smoke": "ESTIMATE"}, sabotage=None),
    )
    return a_claim("fake/exact", *tests, broken=10.0)


ALL = (true_claim, false_claim, weak_claim, uncaught_claim, open_claim, exact_claim)


def slow_claim(marker: Path, seconds: float) -> Claim:
    """Two measurements; the first is instant, the sabotage's touches ``marker`` and then sleeps."""
    import time
    from dataclasses import replace

    quick = a_claim("fake/slow", a_test("fake/slow/mean"))

    def measure(settings: Any, run: Run, sabotaged: bool) -> Observations:
        if sabotaged:
            marker.touch()
            time.sleep(seconds)
        return quick.measure(settings, run, sabotaged)

    return replace(quick, measure=measure)

"""Intervals of a replay, over its splits and over annotators, and how they read in words.

Splits of one set of judgements overlap, so their spread alone is too optimistic. All intervals over
splits are Nadeau and Bengio's corrected resampled t intervals ("Inference for the generalization
error", 2003): mean -+ t_{J-1} sd sqrt(1/J + held out / training), level 95 %.
"""

import math

import numpy as np

from ..theory.checks import Floats

LEVEL = 0.95
Interval = dict[str, float | None]


def resampled_interval(values: Floats, held_per_training: float, step: float = 0.0) -> Interval:
    """Mean of one value a split (J,) with the corrected resampled t interval of level 95 %.

    ``step``: the grid on which the values lie; the variance of rounding to it, step^2 / 12, is added,
    or two values that happen to be equal would be a proof. One value has no interval (ends None).

    >>> i = resampled_interval(np.array([0.4, 0.6]), 0.5)      # 0.5 -+ 12.7062 x 0.1414 x 1
    >>> round(i["estimate"], 9), round(i["low"], 3), round(i["high"], 3)
    (0.5, -1.297, 2.297)
    """
    from scipy.special import stdtrit

    count, mean = len(values), float(np.mean(values))
    if count == 1:
        return {"estimate": mean, "low": None, "high": None}
    variance = float(np.var(values, ddof=1)) + step**2 / 12
    spread = math.sqrt(variance * (1 / count + held_per_training))
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * spread
    return {"estimate": mean, "low": mean - half, "high": mean + half}


def annotators_interval(values: Floats) -> Interval:
    """Mean of one value an annotator with Student's t interval of level 95 %; NaN = not measured."""
    from scipy.special import stdtrit

    known = values[np.isfinite(values)]
    if len(known) < 2:
        return {
            "estimate": number(known.mean()) if len(known) else None,
            "low": None,
            "high": None,
        }
    half = stdtrit(len(known) - 1, (1 + LEVEL) / 2) * known.std(ddof=1) / math.sqrt(len(known))
    mean = float(known.mean())
    return {"estimate": mean, "low": float(mean - half), "high": float(mean + half)}


def end_of(interval: Interval, end: str) -> float:
    """An end of the interval as a number; -inf where it has none."""
    value = interval[end]
    return -math.inf if value is None else value


def number(value: float) -> float | None:
    """The value for JSON, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def percent(value: float | None) -> str:
    """A share in whole per cent; "?" where there is none."""
    return "?" if value is None else f"{round(100 * value)} %"


def points(interval: Interval) -> str:
    """A difference of shares with its interval, in points.

    >>> points({"estimate": 0.012, "low": -0.0004, "high": 0.02})
    '+1.2 points (95 %: 0.0 to +2.0)'
    """
    estimate, low, high = (
        f"{x:+.1f}" if (x := round(100 * end_of(interval, end), 1)) else "0.0"
        for end in ("estimate", "low", "high")
    )
    return f"{estimate} points (95 %: {low} to {high})"

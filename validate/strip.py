"""A row's strip: the region, the interval and the sabotage's interval on one small axis."""

from __future__ import annotations

import math
from typing import Any

from .claim import Test
from .verdict import region

WIDTH, TRUE_LANE, SABOTAGE_LANE = 150.0, 7.0, 16.0
REACH = 3.0  # a sabotage further away than this many spans is drawn as an arrow at the edge


def _window(low: float, high: float, row: dict[str, Any]) -> tuple[float, float]:
    near = [row["estimate"], *row["interval"], low, high]
    seen = [x for x in near if x is not None and math.isfinite(x)]
    left, right = min(seen), max(seen)
    span = right - left or abs(left) or 1.0
    far = row["sabotage"]["interval"] if row["sabotage"] else []
    for end in (x for x in far if x is not None):
        left = min(left, max(end, left - REACH * span))
        right = max(right, min(end, right + REACH * span))
    pad = 0.08 * (right - left or 1.0)
    return left - pad, right + pad


def strip(test: Test, row: dict[str, Any], scale: str) -> str:
    """Inline SVG: green the region, a dot the estimate, a cross the sabotage's."""
    low, high = region(test, scale)
    left, right = _window(low, high, row)

    def x(value: float | None, otherwise: float) -> float:
        value = otherwise if value is None else value
        return round(WIDTH * (min(max(value, left), right) - left) / (right - left), 1)

    parts = []
    if test.kind != "ESTIMATE":
        start, end = x(low, left), x(high, right)
        parts.append(
            f'<rect class="region" x="{start}" y="0" width="{max(end - start, 3):.1f}" height="22"/>'
        )
    a, b, at = x(row["interval"][0], left), x(row["interval"][1], right), x(row["estimate"], left)
    y = TRUE_LANE
    parts.append(f'<line class="true" x1="{a}" y1="{y}" x2="{b}" y2="{y}"/>')
    parts.append(f'<circle class="true" cx="{at}" cy="{y}" r="2.6"/>')
    if row["sabotage"]:
        broken = row["sabotage"]
        a, b, y = x(broken["interval"][0], left), x(broken["interval"][1], right), SABOTAGE_LANE
        at = x(broken["estimate"], left)
        parts.append(f'<line class="sabotage" x1="{a}" y1="{y}" x2="{b}" y2="{y}"/>')
        if left <= broken["estimate"] <= right:
            cross = f"M{at - 3} {y - 3}l6 6m0 -6l-6 6"
        else:
            way = 5 if broken["estimate"] > right else -5
            cross = f"M{at - 1.2 * way} {y - 5}l{way} 5l{-way} 5"
        parts.append(f'<path class="sabotage" stroke-width="1.6" d="{cross}"/>')
    return (
        f'<svg class="strip" role="img" width="{WIDTH:.0f}" height="22" viewBox="0 0 {WIDTH:.0f} 22">'
        f"<title>region, interval and sabotage on one axis</title>{''.join(parts)}</svg>"
    )

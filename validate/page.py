"""report.html: one self-contained page; the verdicts at a glance, then the evidence claim by claim."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .claim import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED, Observations, Test
from .report import Row, expectation, needed, number, sabotage_word, summary, with_interval
from .runner import Judged, as_expected, naming
from .strip import strip
from .verdict import SMALLEST_P

MARK = '<meta name="generator" content="activeduel validate">'
LARGEST_SVG = 400_000  # bytes; a plot with more marks than this is drawn as pixels
PLOT_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "activeduel",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BADGES = {
    SUPPORTED: ("ok", "✓"),
    NOT_SUPPORTED: ("no", "✗"),
    UNDERPOWERED: ("weak", "?"),
    "ESTIMATE": ("plain", "≈"),
}

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5c6670; --line: #d9dee3; --paper: #fff;
  --card: #f6f8f9; --ok: #1a7f4b; --no: #b3261e; --weak: #8a6100; --plain: #38618c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b0; --line: #39424b;
  --paper: #15191d; --card: #1d2329; --ok: #5cc48d; --no: #ff8a80; --weak: #e3b341; --plain: #8ab4e0; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 0 0 .4rem }
a { color: inherit; text-decoration-color: var(--soft) } code, pre { font-size: .86em }
.answer { font-size: 1.15rem; margin: 0; padding: .7rem 1rem; border-left: 5px solid var(--ok);
  background: var(--card) } .answer.bad { border-color: var(--no) }
.soft, figcaption, dt { color: var(--soft) } .soft { font-size: .9rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .85rem }
th, td { padding: .38rem .6rem .38rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.num { font-variant-numeric: tabular-nums; white-space: nowrap } th.n, td.n { text-align: right }
td.id { overflow-wrap: anywhere; min-width: 11rem }
.badge { font-weight: 600; white-space: nowrap } .ok { color: var(--ok) } .no { color: var(--no) }
.weak { color: var(--weak) } .plain { color: var(--plain) }
section { margin-top: 2.2rem; padding-top: 1.2rem; border-top: 2px solid var(--line) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0 } figure img { width: 100%; background: #fff; border: 1px solid var(--line);
  border-radius: 4px; padding: .3rem } figcaption { font-size: .88rem; margin-top: .2rem }
dl { display: grid; grid-template-columns: 8.5rem 1fr; gap: .2rem 1rem; margin: .5rem 0 1rem }
dd { margin: 0 } pre { background: var(--card); padding: .6rem .8rem; overflow-x: auto; margin: .5rem 0 }
.test { margin: .9rem 0; padding: .7rem .9rem; background: var(--card); border-radius: 4px }
.test p { margin: .2rem 0 } .test summary { cursor: pointer }
.strip .region { fill: var(--ok); opacity: .2 } .strip .true { stroke: var(--ink); fill: var(--ink) }
.strip .sabotage { stroke: var(--no); fill: none } .strip line { stroke-width: 2 }
@media print { body { max-width: none; padding: 0; font-size: 10pt } .wide { overflow: visible }
  figure, .test, tr { break-inside: avoid } h2, dl { break-after: avoid } }
"""


def anchor(identity: str) -> str:
    """An id that links can point to."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", identity)


def plot(done: Judged, observations: Observations, what: str) -> str:
    """The claim's drawing of these observations as the address of an inline image."""
    import matplotlib
    from matplotlib.figure import Figure

    with naming(done.claim, f"drawing{what}"), matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        done.claim.draw(figure, observations, done.run)
        stream, kind = io.BytesIO(), "svg+xml"
        figure.savefig(stream, format="svg", metadata={"Date": None})
        if stream.tell() > LARGEST_SVG:
            stream, kind = io.BytesIO(), "png"
            figure.savefig(stream, format="png", dpi=160)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def badge(verdict: str) -> str:
    """A verdict with its sign, readable without colour."""
    name, sign = BADGES[verdict]
    return f'<span class="badge {name}">{sign} {escape(verdict)}</span>'


def _sabotage(row: Row) -> str:
    word = sabotage_word(row)
    style = {"caught": "ok", "NOT CAUGHT": "no"}.get(word, "soft")
    return f'<span class="badge {style}">{escape(word)}</span>'


def _verdict(row: Row) -> str:
    note = expectation(row)
    return badge(row["verdict"]) + (f'<br><span class="soft">{escape(note)}</span>' if note else "")


def _table_row(test: Test, row: Row, scale: str) -> str:
    estimate = with_interval(row["estimate"], row["interval"])
    return (
        f'<tr><td class="id"><a href="#{anchor(row["id"])}">{escape(row["id"])}</a></td>'
        f"<td>{_verdict(row)}</td><td>{strip(test, row, scale)}</td>"
        f'<td class="num">{escape(estimate)}</td><td class="num">{escape(needed(test, scale))}</td>'
        f'<td class="num n">{row["n"]}</td><td>{_sabotage(row)}</td></tr>'
    )


def _overview(report: dict[str, Any], judged: Sequence[Judged]) -> str:
    scale = report["manifest"]["scale"]
    head = "".join(
        f"<th{' class=n' * (title == 'n')}>{title}</th>"
        for title in ("test", "verdict", "", "estimate [interval]", "needed", "n", "sabotage")
    )
    rows = "".join(
        _table_row(test, row, scale)
        for done in judged
        for test, row in zip(done.tests, done.rows, strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{v}</dd>" for k, v in pairs) + "</dl>"


def _test(test: Test, row: Row, scale: str, holm: dict[str, float], unfold: bool) -> str:
    facts = [f"{row['kind']}, n = {row['n']}"]
    if row["kind"] != "ESTIMATE":
        facts.append(f"needed {needed(test, scale)}")
    if row["smallest_detectable"] is not None:
        facts.append(
            f"smallest detectable difference {number(row['smallest_detectable'])} with power {row['power']:g}"
        )
    if row["p_value"] is not None:
        most = "at most " * (row["p_value"] <= SMALLEST_P)
        facts.append(f"p {most}{number(row['p_value'])} (Holm {number(holm.get(row['id']))})")
    if row.get("open"):
        facts.append(f"outcome open; the pilot said {row['pilot'] or 'nothing at this scale'}")
    broken, caught = row["sabotage"], ""
    if broken is not None:
        found = with_interval(broken["estimate"], broken["interval"])
        caught = (
            f"<p><b>Sabotage:</b> {escape(broken['name'])}. {escape(found)}: "
            f"{escape(broken['verdict'])}, {_sabotage(row)}</p>"
        )
    reason = (
        ""
        if row["kind"] in ("ESTIMATE", "EXACT")
        else f"<b>Margin:</b> {escape(row['margin_reason'])}"
    )
    estimate = with_interval(row["estimate"], row["interval"])
    unfolded = " open" * (unfold or not as_expected(row))
    return (
        f'<details class="test" id="{anchor(row["id"])}"{unfolded}><summary>{badge(row["verdict"])} '
        f'<b>{escape(row["id"])}</b> <span class="soft">{escape(expectation(row))}</span></summary>'
        f"<p>{escape(row['statement'])}</p>"
        f"<p>{strip(test, row, scale)} {escape(row['unit'])}: <b>{escape(estimate)}</b></p>"
        f'<p class="soft">{escape("; ".join(facts))}.</p>{caught}<p class="soft">{reason}</p>'
        f"<pre>{escape(row['command'])}</pre></details>"
    )


def _figure(source: str, caption: str) -> str:
    return (
        f'<figure><img src="{source}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _claim(done: Judged, holm: dict[str, float]) -> str:
    claim, scale = done.claim, done.run.scale
    plots = [_figure(plot(done, done.true.observations, ""), "As it is")]
    if done.sabotaged is not None:
        words = list(dict.fromkeys(t.sabotage for t in done.tests if t.sabotage))
        source = plot(done, done.sabotaged.observations, " the sabotage")
        plots.append(_figure(source, f"Sabotaged: {'; '.join(words)}"))
    settings = ", ".join(f"{k} = {json.dumps(v)}" for k, v in claim.settings[scale].items())
    facts = [
        ("source", escape(claim.source)),
        ("how it is tested", escape(claim.how)),
        (f"settings, {scale}", f"<code>{escape(settings) or '-'}</code>"),
        ("measured in", f"{done.rows[0]['seconds']:.1f} s, the sabotage included"),
        (
            "measured on",
            f"{done.run.device}; on the CPU only: {escape(claim.cpu_only)}"
            if claim.cpu_only
            else done.run.device,
        ),
    ]
    unfold = len(done.tests) <= 5
    tests = "".join(
        _test(t, r, scale, holm, unfold) for t, r in zip(done.tests, done.rows, strict=True)
    )
    return (
        f'<section id="claim-{anchor(claim.id)}"><h2>{escape(claim.statement)}</h2>'
        f'<p class="soft"><code>{escape(claim.id)}</code></p>{_pairs(facts)}'
        f'<div class="plots">{"".join(plots)}</div>{tests}</section>'
    )


def _attention(rows: Sequence[Row]) -> str:
    off = [row for row in rows if not as_expected(row)]
    if not off:
        return ""
    items = "".join(
        f'<li><a href="#{anchor(row["id"])}">{escape(row["id"])}</a>: {escape(row["verdict"])}'
        f" (expected {escape(row['expected'])}), sabotage {escape(sabotage_word(row))}</li>"
        for row in off
    )
    return f"<p>Needs attention:</p><ul>{items}</ul>"


def _how_to_read(manifest: dict[str, Any]) -> str:
    return (
        f'<p class="soft">Each statement has a region in which it is true (green), fixed beforehand; the dot is the estimate. '
        f"SUPPORTED: the whole interval lies inside. NOT SUPPORTED: it lies outside. UNDERPOWERED: neither. "
        f"The intervals share a family-wise error of {manifest['family_wise_error']:.0%} over "
        f"{manifest['registered_tests']} registered tests: level 1 − 2 × {manifest['alpha']:.2g} each. "
        "Every check also runs on a deliberately broken twin (crosses, red), which must fall outside.</p>"
    )


def page(report: dict[str, Any], judged: Sequence[Judged]) -> str:
    """The whole page; it refers to nothing outside itself."""
    manifest, rows = report["manifest"], report["claims"]
    code = manifest["code"]
    commit = (code["commit"] or "no git")[:12] + ", uncommitted changes" * bool(code["dirty"])
    origin = (
        f"{manifest['scale']} scale, seed {manifest['seed']}, {manifest['device']}, workers {manifest['workers']}; "
        f"{manifest['started']}, {manifest['seconds']:.0f} s; activeduel {code['version']} ({commit})"
    )
    skipped = "".join(
        f"<li>{escape(s['id'])}: {escape(s['reason'])}</li>" for s in report["skipped"]
    )
    good = "" if manifest["as_expected"] and rows else " bad"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{MARK}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>activeduel: validation, {escape(manifest['scale'])} scale</title><style>{STYLE}</style>"
        f'</head><body><h1>activeduel: do the claims hold?</h1><p class="soft">{escape(origin)}</p>'
        f'<p class="answer{good}">{escape(summary(report))}</p>{_attention(rows)}'
        f"{_how_to_read(manifest)}{_overview(report, judged)}"
        + (f"<p>Skipped:</p><ul>{skipped}</ul>" if skipped else "")
        + "".join(_claim(done, manifest["holm"]) for done in judged)
        + f"<section><h2>Manifest</h2><pre>{escape(json.dumps(manifest, indent=1))}</pre></section>"
        "</body></html>\n"
    )

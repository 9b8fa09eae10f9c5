"""replay.html: one self-contained page; the answer in words, the curves, the annotators, the method."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Collection, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .page import PLOT_STYLE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind eyes; line styles tell the rest
COLOURS = {
    "random": ("#000000", "--"),
    "dual": ("#D55E00", "-"),
    "conversation_only": ("#0072B2", "-"),
    "teacher_only": ("#009E73", "-"),
    "apo": ("#CC79A7", "-"),
    "uncertainty": ("#E69F00", "-"),
    "random_best_teacher": ("#56B4E9", "-"),
    "practical_apo": ("#0072B2", "-."),
    "conversation_only_best_teacher": ("#0072B2", ":"),
    "apo_best_teacher": ("#CC79A7", ":"),
    "practical_apo_best_teacher": ("#009E73", ":"),
    "uncertainty_best_teacher": ("#E69F00", ":"),
    "adpo": ("#D55E00", "-"),
    "dpo": ("#0072B2", "-"),
}
WIDE = ".plots { grid-template-columns: repeat(auto-fit, minmax(27rem, 1fr)) } .answer + .answer { margin-top: .5rem }"
ENDS = ("estimate", "low", "high")
BANDED = ("random", "dual")
Summary = dict[str, Any]


def interval_text(
    value: dict[str, float | None] | None,
    form: str = "{:.1f}",
    by: float = 100,
    missing: str = "none",
) -> str:
    """Estimate and interval, scaled by ``by``; an end that is None reads ``missing``.

    >>> interval_text({"estimate": 0.5, "low": None, "high": 0.75})
    '50.0 [none, 75.0]'
    """
    if value is None:
        return "-"
    ends = (value["estimate"], value["low"], value["high"])
    estimate, low, high = (missing if end is None else form.format(by * end) for end in ends)
    return f"{estimate} [{low}, {high}]"


def image(figure: Figure, caption: str, dark: Figure | None = None) -> str:
    """The figure as an image inside the page, with its caption; ``dark``: its twin for dark screens."""
    shown = f'<img src="{_source(figure)}" alt="{escape(caption)}">'
    if dark is not None:
        when = 'media="(prefers-color-scheme: dark)"'
        shown = f'<picture><source {when} srcset="{_source(dark)}">{shown}</picture>'
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _source(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def style(name: str) -> dict[str, Any]:
    """How a selector's line looks, everywhere the same."""
    colour, line = COLOURS.get(name, ("#666666", "-"))
    return {"color": colour, "linestyle": line, "linewidth": 2.4 if name == "dual" else 1.5}


def draw_band(
    axes: Axes,
    x: Sequence[float],
    band: dict[str, list[Any]],
    name: str,
    filled: Collection[str] = BANDED,
) -> None:
    """A curve in %; those of ``filled`` above the band of their interval."""
    mean, low, high = ([100 * v for v in band[k] if v is not None] for k in ENDS)
    axes.plot(x, mean, label=name, zorder=3 if name in filled else 2, **style(name))
    if name in filled and len(low) == len(high) == len(x):
        axes.fill_between(x, low, high, color=style(name)["color"], alpha=0.15, lw=0, zorder=1)


def _draw_agreement(axes: Axes, summary: Summary) -> None:
    labels, judged = summary["labels"], summary["one_reward"]
    for name, band in summary["curves"].items():
        draw_band(axes, labels, band, name)
    feature = [100 * x for x in summary["best_feature"]["estimate"]]
    axes.plot(labels, feature, color="#777777", linestyle=":", label="best single feature")
    for key, text, line in (
        ("shared", "all training labels", "-."),
        ("majority", "bound: each pair's majority", "-"),
    ):
        axes.axhline(
            100 * judged[key]["estimate"], color="#777777", linewidth=1, linestyle=line, label=text
        )
    axes.set(xlabel="labels bought", ylabel="held-out agreement, in %")
    axes.figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")


def _draw_differences(axes: Axes, summary: Summary) -> None:
    axes.axhline(0, color="#000000", linewidth=1.2, linestyle="--")
    for name, band in summary["differences"].items():
        draw_band(axes, summary["labels"], band, name)
    axes.set(xlabel="labels bought", ylabel="agreement minus random's, in points")
    if summary["differences"]:
        axes.figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")


def _draw_savings(axes: Axes, summary: Summary) -> None:
    """Intervals of the saving; an arrow where no saving at all is not ruled out."""
    rows = [row for row in summary["selectors"] if "saving" in row][::-1]
    for y, row in enumerate(rows):
        colour = style(row["selector"])["color"]
        estimate, low, high = (row["saving"][k] for k in ("estimate", "low", "high"))
        ends = [-8.0 if low is None else 100 * low, -8.0 if high is None else 100 * high]
        axes.plot(ends, [y, y], color=colour, linewidth=2)
        if low is None:
            axes.plot(-8.0, y, "<", color=colour)
        if estimate is not None:
            axes.plot(100 * estimate, y, "o", color=colour)
    most = 100 * (1 - summary["labels"][0] / summary["labels"][-1])
    axes.axvline(0, color="#000000", linewidth=1.2, linestyle="--")
    axes.axvline(most, color="#777777", linewidth=1, linestyle=":")
    axes.text(most + 1, len(rows) - 0.55, "warm-up:\nno more\nto see", fontsize=8, va="top")
    axes.set_yticks(range(len(rows)), [row["selector"] for row in rows])
    axes.set(xlabel="labels saved against random, in % (bar: 95 %; arrow: none shown)")
    axes.set(xlim=(-12, 100), ylim=(-0.6, len(rows) - 0.4))


def _draw_annotators(axes: Axes, summary: Summary) -> None:
    rows = [row for row in summary["annotators"] if row["rationality"] is not None]
    if not rows:
        return
    name = rows[0]["bought_by"]
    for row in rows:
        axes.plot(
            [row["low"], row["high"]], [row["bought"]] * 2, color="#56B4E9", linewidth=1, alpha=0.7
        )
    b = [row["rationality"] for row in rows]
    axes.plot(b, [row["bought"] for row in rows], "o", color="#0072B2", ms=4.5, label=name)
    if name != "random":
        chance = [row["bought_by_random"] for row in rows]
        axes.plot(b, chance, "o", color="#555555", mfc="none", ms=4.5, label="random")
    axes.axvline(0, color="#777777", linewidth=1, linestyle="--")
    axes.axvline(1, color="#777777", linewidth=1, linestyle=":")
    axes.set(
        xlabel="rationality (bar: 95 %; 0: a coin, 1: the typical judgement)",
        ylabel="labels bought, mean over splits",
    )
    axes.legend(title="bought by", frameon=False, fontsize=8)


def plots(summary: Summary) -> list[str]:
    """The four figures as inline images with captions."""
    import matplotlib
    from matplotlib.figure import Figure

    drawings = (
        (_draw_agreement, "Held-out agreement against labels bought; bands: 95 % over splits"),
        (
            _draw_differences,
            "The difference to random, split by split; band: dual, 95 % over splits",
        ),
        (
            _draw_savings,
            "Labels saved on the way to what random reaches at the end, with 95 % intervals",
        ),
        (
            _draw_annotators,
            "Whose answers were worth asking: one dot an annotator, by all their judgements",
        ),
    )
    out = []
    for draw, caption in drawings:
        with matplotlib.rc_context(PLOT_STYLE):
            figure = Figure(figsize=(6.4, 4.4), layout="constrained")
            draw(figure.add_subplot(), summary)
            out.append(image(figure, caption))
    return out


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first ``texts`` columns are text, the others numbers."""
    kind = ["" if i < texts else ' class="num n"' for i in range(len(head))]
    top = "".join(f"<th{k}>{escape(h)}</th>" for k, h in zip(kind, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kind, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def selector_cells(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the selectors' table."""
    head = [
        "selector",
        "agreement\nat the end, %",
        "minus random,\npoints",
        "labels\nneeded",
        "saves,\n% of labels",
    ]
    budget = summary["labels"][-1]
    rows = [
        [
            row["selector"],
            interval_text(row["end"]),
            interval_text(row.get("difference"), "{:+.1f}"),
            interval_text(row["labels_needed"], "{:.0f}", 1, f">{budget}")
            if "labels_needed" in row
            else str(budget),
            interval_text(row.get("saving"), "{:.0f}"),
        ]
        for row in summary["selectors"]
    ]
    feature = {k: summary["best_feature"][k][-1] for k in ("estimate", "low", "high")}
    rows.append(["best single feature", interval_text(feature), "-", "-", "-"])
    return head, rows


def annotator_cells(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the annotators' table, the most rational first, unknown rationality last."""
    by = summary["annotators"][0]["bought_by"]
    head = ["annotator", "rationality", "agrees with\nthe others, %", "judgements"]
    head += [f"bought\nby {name}" for name in (by, "random")]
    ordered = sorted(
        summary["annotators"],
        key=lambda r: (r["rationality"] is None, -(r["rationality"] or 0.0), r["annotator"]),
    )
    rows = []
    for row in ordered:
        b = {"estimate": row["rationality"], "low": row["low"], "high": row["high"]}
        text = "-" if row["rationality"] is None else interval_text(b, "{:.2f}", 1)
        agreement = "-" if row["agreement"] is None else f"{100 * row['agreement']:.0f}"
        bought = [f"{row[key]:.1f}" for key in ("bought", "bought_by_random")]
        rows.append([row["annotator"], text, agreement, str(row["labels"]), *bought])
    return head, rows


def page(summary: Summary) -> str:
    """The whole page; it refers to nothing outside itself."""
    judged = summary["one_reward"]
    rows = [row for row in summary["selectors"] if "in_words" in row]
    answer = summary["answer"]
    bad = "" if any(r["in_words"] == answer and r["finding"] == "saves" for r in rows) else " bad"
    wrong = "" if judged["verdict"].startswith(("no sign", "tastes differ")) else " bad"
    caution = (
        f'<p class="answer{wrong}"><b>{escape(judged["verdict"].capitalize())}</b>, so savings on the way '
        'to it mean little: <a href="#one-reward">see below</a>.</p>'
        if wrong
        else ""
    )
    others = "".join(f"<li>{escape(r['in_words'])}</li>" for r in rows if r["in_words"] != answer)
    method = "".join(f"<li>{escape(m)}</li>" for m in summary["method"])
    selectors, people = table(*selector_cells(summary)), table(*annotator_cells(summary))
    manifest = json.dumps(summary["configuration"], indent=1)
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>activeduel: replay</title><style>{STYLE}{WIDE}</style></head><body>"
        "<h1>Would active selection have saved labels?</h1>"
        f'<p class="soft">{escape(summary["origin"])}</p>'
        f'{caution}<p class="answer{bad}"><b>{escape(answer)}</b> {escape(summary["room"]["in_words"])}</p>'
        f'<ul class="soft">{others}</ul><div class="plots">{"".join(plots(summary))}</div><p></p>{selectors}'
        f'<section id="one-reward"><h2>Is one shared reward right?</h2><p class="answer{wrong}">'
        f"<b>{escape(judged['verdict'].capitalize())}.</b> {escape(judged['in_words'])}</p></section>"
        f"<section><h2>Whose answers were worth asking?</h2><p>{escape(summary['worth_asking'])}</p>{people}"
        f'<p class="soft">{escape(summary["annotators_note"])}</p></section>'
        f"<section><h2>How it was done</h2><ul>{method}</ul><pre>{escape(manifest)}</pre></section>"
        "</body></html>\n"
    )
    return whole.replace(" %", "&nbsp;%")

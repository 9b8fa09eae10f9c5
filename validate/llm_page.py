"""report.html: one self-contained page; the answer in words, the curves, teachers, costs, method."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from html import escape
from typing import TYPE_CHECKING, Any

from .llm_cells import POLICIES, tables
from .llm_curves import LENGTH
from .llm_summary import Summary, good, origin_text
from .page import PLOT_STYLE, STYLE
from .replay_page import WIDE, draw_band, image, style, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BANDS = 3  # more bands than that hide each other
LOOK = """.plots { grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)) }
.answer.open { border-color: var(--weak) } td:first-child { overflow-wrap: anywhere; min-width: 7rem }
th { white-space: pre-line; vertical-align: bottom }
@media (prefers-color-scheme: dark) { figure img { background: var(--card) } }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem } dl { grid-template-columns: 1fr } }
@media (max-width: 40rem) { .plots { grid-template-columns: 1fr !important } }
"""
INK, CARD = "#e4e8ec", "#1d2329"  # of the page's dark colours
DARK = {f"{where}.color": INK for where in ("text", "xtick", "ytick")} | {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": CARD,
    "figure.facecolor": CARD,
}
TEXTS = {"teachers": 2, "rationality": 2}  # columns of text, elsewhere one


def _draw_accuracy(axes: Axes, summary: Summary, axis: str) -> None:
    found = summary["curves"][axis]
    several = [name for name in found if name != LENGTH]
    filled = several if len(several) < MOST_BANDS else [summary["run"]["selector"], "random"]
    for name, band in found.items():
        if name == LENGTH:
            mean = [100 * v for v in band["estimate"]]
            axes.plot(band["x"], mean, color="#777777", linestyle=":", label=name)
        else:
            draw_band(axes, band["x"], band, name, filled)
        if len(band["x"]) == 1:
            axes.plot(band["x"], [100 * band["estimate"][0]], "o", color=style(name)["color"])
    axes.set(xlabel=_axis(summary, axis), ylabel="held-out reward accuracy, in %")
    axes.figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")


def _axis(summary: Summary, axis: str) -> str:
    if summary["money_is_labels"]:
        return "labels bought = money spent (every label costs 1)"
    return {"labels": "labels bought", "money": "money spent"}[axis]


def _draw_lead(axes: Axes, summary: Summary) -> None:
    found = summary["differences"]["money"]
    axes.axhline(0, color="#000000", linewidth=1.2, linestyle="--")
    for name, band in found.items():
        draw_band(axes, band["x"], band, name, [*found] if len(found) < MOST_BANDS else ["random"])
    chosen = summary["run"]["selector"]
    axes.set(
        xlabel=_axis(summary, "money"), ylabel=f"accuracy of {chosen} minus the baseline's, points"
    )
    axes.figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")


def _draw_policies(axes: Axes, summary: Summary, axis: str) -> None:
    """ADPO on its way, and where each policy ends."""
    found = summary["policies"]
    for name, band in found["curves"][axis].items():
        if name == LENGTH:
            mean = [100 * v for v in band["estimate"]]
            axes.plot(band["x"], mean, color="#777777", linestyle=":", label=name)
        else:
            draw_band(axes, band["x"], band, name, [name])
    ends = {n: end for n, end in found["ends"].items() if end and end["accuracy"]}
    apart = 0.012 * max(
        (end[axis] for end in ends.values()), default=0.0
    )  # or they hide each other
    for place, (name, end) in enumerate(ends.items()):
        mean, low, high = (end["accuracy"][key] for key in ("estimate", "low", "high"))
        reach = None if low is None else [[100 * (mean - low)], [100 * (high - mean)]]
        axes.errorbar(
            end[axis] + place * apart, 100 * mean, reach, fmt="o", capsize=3,
            color=style(name)["color"], label=f"{POLICIES[name]}, at the end",
        )  # fmt: skip
    axes.set(xlabel=_axis(summary, axis), ylabel="accuracy of the implicit reward, in %")
    axes.figure.legend(fontsize=8, frameon=False, ncols=2, loc="outside lower center")


def _drawings(summary: Summary) -> list[tuple[Callable[[Axes], None], str]]:
    """What there is to draw, with captions."""
    out: list[tuple[Callable[[Axes], None], str]] = []
    bands = _bands({b["replicates"] for b in summary["curves"]["money"].values()})
    for axis in ("labels", "money"):
        if summary["curves"][axis] and not (axis == "money" and summary["money_is_labels"]):
            spent = f"Held-out reward accuracy against {_axis(summary, axis)}"
            out.append((lambda axes, a=axis: _draw_accuracy(axes, summary, a), f"{spent}; {bands}"))  # type: ignore[misc]
    if summary["differences"]["money"]:
        caption = (
            "What selection gained over each baseline, replicate by replicate; above 0 is better"
        )
        out.append((lambda axes: _draw_lead(axes, summary), f"{caption}; {bands}"))
    for axis in ("labels", "money"):
        drawn = summary["policies"] and summary["policies"]["curves"][axis]
        if drawn and not (axis == "money" and summary["money_is_labels"]):
            caption = f"ADPO on its way, against {_axis(summary, axis)}; dots: at the end, on all held-out pairs"
            bands = _bands({curve["replicates"] for curve in drawn.values()})
            out.append(
                (lambda axes, a=axis: _draw_policies(axes, summary, a), f"{caption}; {bands}")  # type: ignore[misc]
            )
    return out


def _bands(counts: AbstractSet[int]) -> str:
    """Over how many replicates the means are."""
    if counts == {1}:
        return "one replicate, no band"
    over = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else "".join(map(str, counts))
    return f"means over {over} replicates; bands: 95 %"


def plots(summary: Summary) -> list[str]:
    """The figures as inline images with captions."""
    import matplotlib
    from matplotlib.figure import Figure

    out = []
    for draw, caption in _drawings(summary):
        both = []
        for look in ({}, DARK):
            with matplotlib.rc_context(PLOT_STYLE | look):
                figure = Figure(figsize=(6.4, 4.4), layout="constrained")
                draw(figure.add_subplot())
                if look:
                    _brighten(figure)
                both.append(figure)
        with matplotlib.rc_context(PLOT_STYLE):  # the salt of its ids: the same page every time
            out.append(image(both[0], caption, both[1]))
    return out


def _brighten(figure: Figure) -> None:
    """What is black or grey on white, bright on the dark card."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D

    for line in figure.findobj(Line2D):
        swap = {"#000000": INK, "#777777": "#9aa5b0", "#666666": "#9aa5b0"}.get(
            str(line.get_color())
        )
        if swap is not None:
            line.set_color(swap)
    for band in figure.findobj(PolyCollection):
        if to_hex(band.get_facecolor()[0]) == "#000000":  # type: ignore[arg-type]
            band.set_facecolor(INK)


def _box(words: str, finding: str, strong: bool = True) -> str:
    kind = good(finding)
    text = f"<b>{escape(words)}</b>" if strong else escape(words)
    return f'<p class="answer{" " + kind if kind else ""}">{text}</p>'


def _top(summary: Summary) -> str:
    """The answer and what stands right beside it."""
    answer, parts = summary["answer"], []
    parts.append(_box(answer["in_words"], answer["finding"]))
    caution = _caution(summary)
    if caution:
        parts.append(_box(caution, "no better", strong=False))
    against = [] if summary["policies"] is None else list(summary["policies"]["against"].values())
    for found in against:
        if found["in_words"] != answer["in_words"]:
            parts.append(_box(found["in_words"], found["finding"], strong=False))
    boxed = {caution, *(found["in_words"] for found in against)}
    return "".join(parts) + _list(said for said in other_words(summary) if said not in boxed)


def _caution(summary: Summary) -> str:
    """What must not be overlooked: a finished run whose reward may only know the length."""
    length = summary["length"]
    if length is None or length["beaten"] or length["replicates"] == 1:
        return ""
    return "" if summary["progress"]["unfinished"] else str(length["in_words"])


def other_words(summary: Summary) -> list[str]:
    """What is said besides the answer, in order."""
    answer, said = summary["answer"]["in_words"], []
    for found in summary["comparisons"]:
        if found["in_words"] not in answer:
            said.append(found["in_words"])
        if "needed_in_words" in found:
            said.append(found["needed_in_words"])
    if (policy := summary["policies"]) is not None:
        verdicts = [found["in_words"] for found in policy["against"].values()]
        said += [words for words in (policy["in_words"], *verdicts) if words != answer]
    if summary["quality"] is not None:
        said.append(summary["quality"]["in_words"])
    if summary["length"] is not None:
        said.append(summary["length"]["in_words"])
    if summary["progress"]["in_words"] not in answer:
        said.append(summary["progress"]["in_words"])
    return [*said, summary["ledger"]["in_words"]]


def _list(items: Any) -> str:
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="soft">{found}</ul>' if found else ""


NOTES = {
    "teachers": (
        "Labels and money: mean over replicates; share: of the labels. Unreadable answers and ties: of the first "
        "selector's labels; agreement: of its answers that are no ties, on pairs whose truth is known and decided. "
        "Where truth is the majority, a recorded teacher's own vote is part of it."
    ),
    "rationality": "0: a coin; larger: follows the reward more sharply.",
    "policies": "DPO on random pairs has as much money as ADPO spent in the same replicate.",
    "replicates": (
        "Accuracies in %. Pseudo-labels right: the last one of each pair, of those on pairs whose truth is "
        "known and decided, with Clopper and Pearson's exact "
        "95 % interval (it takes pairs as independent); the mean's interval is over replicates."
    ),
    "trainings": (
        "The score is that of the trained model itself; the head is refitted on the features that this model gives."
    ),
    "stages": "A stage that was repeated after a broken run counts each time. Memory: the most that was seen.",
}
ESTIMATED = (
    " An estimate is of the last fit of each replicate; estimates have root mean square 1 over the labels, so "
    "only ratios compare with the stated ones."
)
TITLES = {
    "teachers": "Who was asked",
    "rationality": "How rational the teachers are held to be",
    "policies": "ADPO and what it is judged beside",
    "replicates": "Replicate by replicate",
    "trainings": "LoRA reward training",
    "stages": "Time and memory",
}


def _sections(summary: Summary) -> str:
    out = ""
    for name, cells in tables(summary):
        drawn = table(*cells, TEXTS.get(name, 1))
        if name == "selectors":
            out += f"<p></p>{drawn}"
        else:
            estimated = name == "rationality" and summary["rationality"]["estimated"]
            note = f'<p class="soft">{escape(NOTES[name] + ESTIMATED * estimated)}</p>'
            out += f'<section id="{name}"><h2>{TITLES[name]}</h2>{drawn}{note}</section>'
    return out


def page(summary: Summary) -> str:
    """The whole page; it refers to nothing outside itself."""
    manifest = {key: summary[key] for key in ("configuration", "pool", "splits", "origin")}
    gain, cost = "What did selection gain?", "What did asking for fewer labels cost?"
    rivals = {*(summary["policies"] or {"rivals": ()})["rivals"]}
    question = cost if rivals == {"dpo"} else gain
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>activeduel: report</title><style>{STYLE}{WIDE}{LOOK}</style></head><body>"
        f'<h1>{question}</h1><p class="soft">{escape(origin_text(summary))}</p>'
        f'{_top(summary)}<div class="plots">{"".join(plots(summary))}</div>{_sections(summary)}'
        f"<section><h2>How it was done</h2>{_list(summary['method'])}"
        f"<details><summary>Configuration, pool, splits and origin</summary>"
        f"<pre>{escape(json.dumps(manifest, indent=1))}</pre></details></section></body></html>\n"
    )
    return whole.replace(" %", "&nbsp;%")


__all__: Sequence[str] = ["other_words", "page", "plots"]

"""The table and the page: every verdict is shown, nothing is unescaped, nothing comes from outside."""

import html.parser
import re
from io import StringIO

import fake_claims
import pytest
from fake_claims import a_test
from rich.console import Console

from activeduel.validate.claim import UNDERPOWERED
from activeduel.validate.page import BADGES, MARK, page
from activeduel.validate.report import STYLES, needed, print_table, summary, table, with_interval
from activeduel.validate.runner import Options, run_claims
from activeduel.validate.strip import WIDTH, strip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    options = Options(scale="smoke", out=tmp_path_factory.mktemp("out"))
    return run_claims([make() for make in fake_claims.ALL], options)


@pytest.fixture(scope="module")
def text(outcome):
    return page(*outcome)


class Reader(html.parser.HTMLParser):
    """Collects ids, links, image sources, and checks that tags close."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.images += [found["src"]] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def test_the_page_is_whole_and_its_links_lead_somewhere(read, outcome):
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)
    assert len(read.links) >= len(outcome[0]["claims"])


def test_nothing_is_loaded_from_outside(text, read):
    assert all(source.startswith("data:image/") for source in read.images)
    assert not re.search(r"https?://|<script|<link|url\(", text)


def test_each_claim_shows_its_plot_and_its_sabotages(read, outcome):
    assert len(read.images) == sum(1 + (done.sabotaged is not None) for done in outcome[1])


def test_every_fact_of_a_row_is_on_the_page(read, outcome):
    words = " ".join(read.words)
    report, judged = outcome
    assert summary(report) in words
    for done in judged:
        for fact in (done.claim.statement, done.claim.source, done.claim.how):
            assert fact in words
    for row in report["claims"]:
        for fact in (row["id"], row["verdict"], row["statement"], row["command"], str(row["n"])):
            assert fact in words
        assert with_interval(row["estimate"], row["interval"]) in words


def test_markup_in_a_claim_is_text(text):
    assert "<nothing>" not in text and "&lt;nothing&gt;" in text
    assert "<less>" not in text and "&lt;less&gt;" in text


def test_the_page_is_marked_as_ours(text):
    assert MARK in text[:1000]


def test_what_needs_attention_stands_first(text):
    head = text[: text.index("<table>")]
    assert "fake/false/mean" in head and "fake/uncaught/mean" in head
    assert "fake/true/mean" not in head


def test_the_same_observations_give_the_same_page(outcome, text):
    assert page(*outcome) == text


def test_a_plot_with_very_many_marks_becomes_pixels(outcome, monkeypatch):
    monkeypatch.setattr("activeduel.validate.page.LARGEST_SVG", 100)
    report, judged = outcome
    assert "data:image/png" in page(report, judged[:1])


def test_the_terminals_table_fits_100_columns(outcome):
    console = Console(width=100, file=StringIO())
    console.print(table(*outcome, console.width))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    for row in outcome[0]["claims"]:
        assert any(row["id"].split("/")[1] in line and row["verdict"] in line for line in lines)


def test_the_printed_table_has_one_line_a_test_and_is_plain(outcome, tmp_path, capsys):
    print_table(*outcome, tmp_path)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    for row in outcome[0]["claims"]:
        assert sum(row["id"] in line and row["verdict"] in line for line in lines) == 1
    assert "NOT CAUGHT" in shown and "\x1b" not in shown
    assert "[0.95, 1.17]" in shown or re.search(
        r"\[0\.9\d+, 1\.\d+\]", shown
    )  # not eaten as markup


def test_the_summary_counts(outcome):
    assert summary(outcome[0]) == (
        "8 tests: 4 SUPPORTED, 2 NOT SUPPORTED, 1 UNDERPOWERED, 1 ESTIMATE; 1 not as expected. "
        "Sabotages caught: 2 of 4."
    )
    nothing = {"claims": [], "skipped": [{"id": "a", "reason": "b"}]}
    assert summary(nothing) == "Nothing was tested; 1 tests were skipped."


def test_every_verdict_has_a_sign_and_a_colour():
    assert set(BADGES) == set(STYLES) and UNDERPOWERED in BADGES
    assert len({sign for _, sign in BADGES.values()}) == len(BADGES)


@pytest.mark.parametrize(
    "interval, expected",
    [
        ([0.9, 1.1], "1.00 [0.90, 1.10]"),
        ([None, 1.1], "1.00 [-, 1.10]"),
        ([1.0, 1.0], "1"),
        ([1 - 1e-9, 1 + 1e-9], "1 [1, 1]"),
        ([-500.0, 502.0], "1 [-500, 502]"),
    ],
)
def test_numbers_show_as_many_digits_as_they_know(interval, expected):
    assert with_interval(1.0, interval) == expected


@pytest.mark.parametrize(
    "kind, parts, expected",
    [
        ("EQUAL", {"target": 1.0, "margin": 0.02}, "1 ± 0.02"),
        ("BOUND", {"target": 1.0, "margin": 0.0}, "≤ 1"),
        ("BOUND", {"target": 1.0, "margin": 0.1, "side": "lower"}, "≥ 1 − 0.1"),
        ("BETTER", {}, "> 0"),
        ("EXACT", {}, "= 0"),
    ],
)
def test_regions_in_words(kind, parts, expected):
    assert needed(a_test("t", kind, **parts), "smoke") == expected


@pytest.mark.parametrize("sabotage", [None, 1.0, 1e9, -1e9])
@pytest.mark.parametrize("kind", ["EQUAL", "BOUND", "BETTER", "EXACT", "ESTIMATE"])
@pytest.mark.parametrize("interval", [[-0.1, 0.1], [None, 0.1], [0.0, 0.0]])
def test_strips_stay_on_their_axis(kind, interval, sabotage):
    test = a_test("t", kind, sabotage=None, expected={})
    row = {"estimate": 0.0, "interval": interval, "sabotage": None}
    if sabotage is not None:
        row["sabotage"] = {"estimate": sabotage, "interval": [sabotage - 1, sabotage + 1]}
    drawn = strip(test, row, "smoke")
    at = [float(x) for x in re.findall(r'(?:x1|x2|cx)="([^"]*)"', drawn)]
    assert all(0 <= x <= WIDTH for x in at) and "nan" not in drawn

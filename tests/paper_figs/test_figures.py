"""Every registered figure, at a tiny scale: its table, its drawing, its caption, its files."""

import csv
import io
import json
import math
from itertools import pairwise

import numpy as np
import pytest

from activeduel.paper_figs import FIGURES, labelling_runs, look, policies, teacher_choice
from activeduel.paper_figs.figure import SCALES, Table
from activeduel.paper_figs.generalized_variance import crossover
from activeduel.paper_figs.shift_map import number
from activeduel.sim import named_worlds
from activeduel.theory.preference import fisher_weight

COLUMNS = {
    "generalized_variance": "selector labels replicates without_estimate value value_low value_high "
    "bound ratio ratio_low ratio_high",
    "efficiency": "selector labels replicates value value_low value_high",
    "accuracy": "world selector labels replicates value value_low value_high",
    "teacher_choice": "kind rationality margin_low margin_high value value_low value_high labels pools",
    "suboptimality": "selector quantity labels replicates without_estimate value value_low value_high",
    "shift_map": "rare_label_share rare_best_share labels replicates greedy pessimistic value "
    "value_low value_high",
    "appo_paths": "algorithm rounds replicates value value_low value_high queries queries_low queries_high "
    "last_query late_zero inside inside_late_zero inside_costly_unasked",
    "appo_rates": "kind axis quantity x replicates still_asking value value_low value_high",
    "appo_tradeoff": "algorithm setting replicates queries queries_low queries_high value value_low "
    "value_high late_zero",
    "appo_radius": "kind divisor radius rounds replicates value value_low value_high late_median",
}
BY_NAME = pytest.mark.parametrize("name", sorted(FIGURES))


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def changed(table, column, change):
    """The table with one column replaced by ``change(column)``."""
    rows = rows_of(table.csv())
    columns = {name: table[name] for name in rows[0]}
    return Table({**columns, column: change(columns[column])})


def axes_of(figure, table):
    """The figure's axes after drawing, in the program's style or not."""
    from matplotlib.figure import Figure

    page = Figure(figsize=figure.size)
    figure.draw(page, table)
    return page.axes


def sketch(figure, table):
    """A small quick picture, as bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=figure.size, dpi=30)
    figure.draw(page, table)
    canvas = FigureCanvasAgg(page)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def test_every_figure_has_its_promise_here():
    assert set(COLUMNS) == set(FIGURES)


@BY_NAME
def test_a_figure_has_settings_for_every_scale_that_are_plain_json(name):
    settings = FIGURES[name].experiment.settings
    assert tuple(settings) == SCALES
    assert json.loads(json.dumps(dict(settings))) == settings
    for scale in SCALES:
        parts = FIGURES[name].experiment.parts(settings[scale])
        assert len(set(parts)) == len(parts) > 0


@BY_NAME
def test_the_csv_has_the_promised_columns_and_reads_back(name, made, tables):
    found = rows_of((made.folder / f"{name}.csv").read_text())
    assert list(found[0]) == COLUMNS[name].split()
    assert len(found) == len(tables[name]) > 0
    for column in found[0]:
        kept = tables[name][column]
        if kept.dtype.kind == "f":
            read = np.array([float(row[column] or "nan") for row in found])
        else:
            read = np.array([row[column] for row in found]).astype(kept.dtype)
        np.testing.assert_array_equal(read, kept)


@BY_NAME
def test_values_are_finite_and_inside_their_intervals(name, tables):
    """Empty fields only where promised: no estimate, no labels, or too few pools."""
    table = tables[name]
    value, low, high = (table[n] for n in ("value", "value_low", "value_high"))
    assert not np.isinf([value, low, high]).any()
    missing, unsure = np.isnan(value), np.isnan(low)
    if "without_estimate" in COLUMNS[name]:
        np.testing.assert_array_equal(missing, table["without_estimate"] > 0)
    elif name == "teacher_choice":
        asked = table["kind"] == "asked"
        np.testing.assert_array_equal(missing, asked & (table["pools"] == 0))
        np.testing.assert_array_equal(unsure, asked & (table["pools"] < 10))
    else:
        assert not missing.any()
    if name != "teacher_choice":
        np.testing.assert_array_equal(missing, unsure)
    np.testing.assert_array_equal(unsure, np.isnan(high))
    assert ((low <= value) & (value <= high))[~unsure].all()
    assert (~missing).mean() > 0.3


@BY_NAME
def test_pdf_and_png_are_written_whole(name, made):
    pdf, png = ((made.folder / f"{name}.{kind}").read_bytes() for kind in ("pdf", "png"))
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert png.startswith(b"\x89PNG") and b"IEND" in png[-12:]


def test_drawing_prints_no_messages(first_run):
    """Warnings are errors here already; fonts that do not fit are complained of by logging."""
    assert first_run[2] == []


@BY_NAME
def test_all_text_lies_on_the_page_and_no_names_on_one_another(name, pages):
    page = pages[name]
    for axes in page.axes:
        for text in [*page.texts, *axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]:
            box = text.get_window_extent()
            if text.get_text():
                assert box.x0 > -1 and box.y0 > -1, text.get_text()
                assert box.x1 < page.bbox.x1 + 1 and box.y1 < page.bbox.y1 + 1, text.get_text()
        boxes = [text.get_window_extent().shrunk(0.95, 0.7) for text in axes.texts]
        for k, box in enumerate(boxes):
            assert box.count_overlaps(boxes[:k]) == 0, axes.texts[k].get_text()


@BY_NAME
def test_no_letters_are_smaller_than_print_needs(name, pages):
    page = pages[name]
    for axes in page.axes:
        ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        for text in [*page.texts, *axes.texts, *ticks, axes.title, axes.xaxis.label]:
            assert text.get_fontsize() >= 7, text.get_text()


@BY_NAME
def test_the_caption_states_the_interval_and_that_the_world_is_ours(name, tiny, tables):
    figure = tiny[name]
    caption = figure.caption(tables[name], figure.experiment.settings["smoke"])
    assert "95 %" in caption and "interval" in caption
    ours = "Our world, not a reproduction of the paper's figure."
    new = "Our worlds and no figure of the paper: it has no bandit experiment, so this is new work."
    assert caption.endswith(new if name.startswith("appo") else ours)
    assert str(figure.experiment.settings["smoke"]["replicates"]) in caption


@BY_NAME
def test_another_table_gives_another_picture(name, tiny, tables):
    """The negative control: what is drawn is the table, so a shuffled one changes the picture."""
    figure, table = tiny[name], tables[name]
    before = sketch(figure, table)
    assert sketch(figure, table) == before
    rng = np.random.default_rng(1)
    column = {"generalized_variance": "ratio", "appo_rates": "value_high"}.get(name, "value")
    assert sketch(figure, changed(table, column, rng.permutation)) != before


def test_nothing_is_computed_for_figures_that_were_made(tiny, observations):
    """The fixture reads what ``made`` saved: its ``compute`` refuses to run."""
    assert set(observations) == set(tiny)


def test_every_selector_has_a_look_and_no_two_looks_are_alike():
    for selector in ("dual", *named_worlds.RIVALS):
        assert look.look(selector).label
    for part in ("colour", "marker", "label"):
        assert len({getattr(a, part) for a in look.LOOKS.values()}) == len(look.LOOKS)


class TestGeneralizedVariance:
    def test_the_bound_is_certified_by_the_equivalence_theorem(self, tables):
        """log det M <= log det M* <= log det M + d log(max w z'M^-1 z / d) for any design's M."""
        pool, d = labelling_runs.hard_margin_pool(), labelling_runs.DIM
        weight = fisher_weight(
            (pool.z @ pool.theta)[:, None], pool.teachers.rationality[:, pool.context].T
        )
        points = (np.sqrt(weight)[..., None] * pool.z[:, None]).reshape(-1, d)
        share = np.full(len(points), 1 / len(points))
        for _ in range(3000):  # Titterington's multiplicative algorithm
            m = points.T @ (share[:, None] * points)
            v = np.einsum("id,de,ie->i", points, np.linalg.inv(m), points)
            share *= v / d
        low = np.linalg.slogdet(m)[1]
        high = low + d * math.log(v.max() / d)
        assert high - low < 0.02
        table = tables["generalized_variance"]
        optimum = -d * np.log(table["bound"] * table["labels"])
        assert (optimum > low - 1e-5).all() and (optimum < high + 1e-5).all()

    def test_ratios_are_values_over_the_bound(self, tables):
        table = tables["generalized_variance"]
        for end in ("", "_low", "_high"):
            np.testing.assert_allclose(
                table[f"ratio{end}"] * table["bound"], table[f"value{end}"], rtol=1e-12
            )

    def test_the_value_is_the_determinant_of_the_mean_squared_error(self, tables, observations):
        errors = observations["generalized_variance"]["random"]["error"][:, -1]
        plain = np.linalg.det(errors.T @ errors / len(errors)) ** (1 / errors.shape[1])
        value = tables["generalized_variance"].where(selector="random")["value"][-1]
        r = len(errors)  # Wishart: E log det (of r errors) lies below log det by this much
        bias = np.mean([_digamma((r - k) / 2) + math.log(2 / r) for k in range(5)])
        assert value == pytest.approx(plain * math.exp(-bias), rel=1e-9)

    @pytest.mark.parametrize(
        "dual, rival, expected",
        [
            ([3, 1, 1], [2, 2, 2], 20),
            ([1, 1, 1], [2, 2, 2], 10),
            ([1, 3, 1], [2, 2, 2], 30),
            ([1, 1, 2], [2, 2, 2], None),
            ([math.nan, 1, 1], [2, math.nan, 2], 20),
            ([1, 1, math.nan], [2, 2, 2], None),
        ],
    )
    def test_the_crossover_is_the_start_of_the_lead_that_lasts(self, dual, rival, expected):
        rows = [
            {"selector": s, "labels": 10 * (k + 1), "value": float(v)}
            for s, values in (("dual", dual), ("random", rival))
            for k, v in enumerate(values)
        ]
        assert crossover(Table.of(rows)) == expected

    def test_a_lead_of_whole_intervals_needs_them_apart(self):
        rows = [
            {"selector": s, "labels": t, "value": v, "value_low": v - 1.0, "value_high": v + 1.0}
            for s, t, v in (
                ("dual", 1, 3.0),
                ("random", 1, 4.0),
                ("dual", 2, 1.0),
                ("random", 2, 4.0),
            )
        ]
        assert crossover(Table.of(rows)) == 1
        assert crossover(Table.of(rows), "value_high", "value_low") == 2

    def test_the_crossover_is_drawn(self, tiny, tables):
        table = tables["generalized_variance"]
        ahead = changed(table, "value", lambda v: np.where(table["selector"] == "dual", 1e-9, v))
        assert crossover(ahead) == 100
        dotted = [a.get_lines() for a in axes_of(tiny["generalized_variance"], ahead)]
        for lines in dotted:
            assert any(list(line.get_xdata()) == [100, 100] for line in lines)


def _digamma(x):
    from scipy.special import digamma

    return float(digamma(x))


def test_efficiency_is_at_most_one_and_dual_beats_random(tables):
    table = tables["efficiency"]
    assert ((table["value"] > 0) & (table["value"] <= 1)).all()
    last = table.where(labels=400)
    low = last.where(selector="dual")["value_low"]
    assert (low > last.where(selector="random")["value_high"]).all()


def test_accuracy_is_the_share_of_fresh_pairs_ranked_rightly(tables):
    """1 - angle / pi against a million Gaussian pairs: off by 6 standard errors at most."""
    rng = np.random.default_rng(1)
    theta, other = rng.standard_normal((2, 5))
    z = rng.standard_normal((1_000_000, 5))
    agree = np.mean((z @ theta > 0) == (z @ other > 0))
    cosine = theta @ other / np.linalg.norm(theta) / np.linalg.norm(other)
    assert abs(agree - (1 - np.arccos(cosine) / np.pi)) < 6 * 0.0005
    assert ((tables["accuracy"]["value"] > 50) & (tables["accuracy"]["value"] < 100)).all()


class TestTeacherChoice:
    def test_the_switch_solves_the_equation_of_equal_information(self):
        """b1 / cosh(b1 m / 2) = b2 / cosh(b2 m / 2), and each side of it has the right winner."""
        for duller, sharper in ((0.5, 1.0), (1.0, 2.0), (0.25, 4.0), (1.0, 1.01)):
            m = teacher_choice.switch_margin(duller, sharper)
            sides = [b / math.cosh(b * m / 2) for b in (duller, sharper)]
            assert sides[0] == pytest.approx(sides[1], rel=1e-9)
            assert fisher_weight(0.99 * m, sharper) > fisher_weight(0.99 * m, duller)
            assert fisher_weight(1.01 * m, sharper) < fisher_weight(1.01 * m, duller)

    def test_the_closed_form_of_twice_the_rationality(self):
        """b2 = 2 b1 = 2: 2 cosh(m/2) = cosh(m) = 2 cosh(m/2)^2 - 1, so cosh(m/2) = (1 + sqrt 3)/2."""
        m = 2 * math.acosh((1 + math.sqrt(3)) / 2)
        assert teacher_choice.switch_margin(1.0, 2.0) == pytest.approx(m, abs=1e-9)
        assert teacher_choice.switch_margin(0.5, 1.0) == pytest.approx(2 * m, abs=1e-9)

    def test_the_marked_switches_are_where_the_drawn_curves_cross(self, tables):
        """The table's own curves change order between the neighbours of a switch; a wrong one fails."""
        table = tables["teacher_choice"]
        assert _crossings_are_marked(table)
        wrong = changed(
            table, "margin_low", lambda m: np.where(table["kind"] == "switch", m + 0.1, m)
        )
        assert not _crossings_are_marked(wrong)

    def test_switches_are_drawn_in_every_panel(self, tiny, tables):
        expected = [teacher_choice.switch_margin(*b) for b in pairwise(teacher_choice.RATIONALITY)]
        for panel in axes_of(tiny["teacher_choice"], tables["teacher_choice"]):
            vertical = [x.get_xdata()[0] for x in panel.get_lines() if len(x.get_xdata()) == 2]
            np.testing.assert_allclose(sorted(vertical), sorted(expected))

    def test_shares_add_up_and_count_every_label(self, tiny, tables):
        asked = tables["teacher_choice"].where(kind="asked")
        settings = tiny["teacher_choice"].experiment.settings["smoke"]
        late = settings["labels"] - settings["labels"] // 2
        assert asked["labels"].sum() == late * settings["worlds"] * settings["replicates"]
        for margin in asked.distinct("margin_low"):
            here = asked.where(margin_low=margin)
            total = here["labels"].sum()
            assert (
                np.isnan(here["value"]).all()
                if total == 0
                else here["value"].sum() == (pytest.approx(1))
            )

    def test_far_below_the_first_switch_the_sharpest_teacher_gets_most_labels(self, tables):
        asked = tables["teacher_choice"].where(kind="asked")
        near = asked["margin_high"] <= 1.0
        sharpest = asked["labels"][near & (asked["rationality"] == 2.0)].sum()
        assert sharpest > asked["labels"][near].sum() / 2


def _crossings_are_marked(table):
    found = []
    for duller, sharper in pairwise(teacher_choice.RATIONALITY):
        curves = [table.where(kind="weight", rationality=b) for b in (duller, sharper)]
        ahead = curves[0]["value"] > curves[1]["value"]
        k = int(np.argmax(ahead))
        (marked,) = table.where(kind="switch", rationality=sharper)["margin_low"]
        grid = curves[0]["margin_low"]
        found.append(grid[k - 1] <= marked <= grid[k])
    return all(found)


class TestPolicies:
    def test_the_bound_holds_and_the_guides_have_their_slopes(self, tiny, tables):
        table = tables["suboptimality"]
        for selector in table.distinct("selector"):
            loss = table.where(selector=selector, quantity="pessimistic")["value"]
            assert (loss <= table.where(selector=selector, quantity="bound")["value"]).all()
        (panel,) = axes_of(tiny["suboptimality"], table)
        slopes = []
        for line in panel.get_lines():
            x, y = np.log(np.asarray(line.get_xydata(), dtype=float)).T
            slopes.append(round((y[-1] - y[0]) / (x[-1] - x[0]), 9))
        assert -0.5 in slopes and -1.0 in slopes

    def test_information_is_summed_over_the_labels(self):
        pool, _ = named_worlds.smooth_world()
        rng = np.random.default_rng(1)
        pair = rng.integers(len(pool.z), size=(2, 30))
        teacher = rng.integers(3, size=(2, 30))
        theta = rng.standard_normal((2, policies.SMOOTH_DIM))
        expected = np.zeros((2, policies.SMOOTH_DIM, policies.SMOOTH_DIM))
        for r in range(2):
            for i, j in zip(pair[r], teacher[r], strict=True):
                z, b = pool.z[i], pool.teachers.rationality[j, pool.context[i]]
                p = 1 / (1 + math.exp(-b * theta[r] @ z))
                expected[r] += b**2 * p * (1 - p) * np.outer(z, z)
        found = named_worlds.information_at(pool, pair, teacher, theta)
        np.testing.assert_allclose(found, expected, rtol=1e-10)

    def test_the_map_holds_the_paired_difference(self, tables, observations):
        table, seen = tables["shift_map"], observations["shift_map"]["0.03"]
        np.testing.assert_allclose(table["value"], table["pessimistic"] - table["greedy"])
        (cell,) = table.where(rare_label_share=0.03, rare_best_share=1.0, labels=400)["value"]
        assert cell == pytest.approx((seen["pessimistic"] - seen["greedy"])[1, :, 1].mean())

    def test_the_share_of_prompts_with_a_rare_best_action_is_the_one_asked_for(self):
        for share in (0.0, 0.25, 1.0):
            world = named_worlds.shifted_world(share)
            best = (world.features @ world.theta).argmax(axis=1)
            assert np.mean(best >= named_worlds.USUAL) == share

    def test_every_number_of_the_map_is_its_cells(self, tiny, tables):
        table = tables["shift_map"]
        panels = axes_of(tiny["shift_map"], table)[:2]
        for panel, share in zip(panels, table.distinct("rare_label_share"), strict=True):
            rows = table.where(rare_label_share=share)
            assert [t.get_text().strip("()") for t in panel.texts] == [
                number(x) for x in rows["value"].tolist()
            ]

"""The figures of APPO, at a tiny scale: the runs behind them, what the tables hold, what is drawn."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint

from activeduel.paper_figs import appo_rates, dueling_runs
from activeduel.paper_figs.appo_look import LOOKS, RADIUS_LOOKS
from activeduel.paper_figs.appo_radius import exact_interval
from activeduel.paper_figs.dueling_runs import RADIUS, theory_threshold, world
from activeduel.sim import DUELING, simulate


def lines_of(axes):
    return [np.asarray(line.get_xydata(), dtype=float) for line in axes.get_lines()]


class TestRuns:
    @pytest.mark.parametrize("dim, gap", [(2, 0.8), (4, 0.8), (4, 0.2)])
    def test_worlds_have_their_gap_and_every_replicate_its_own(self, dim, gap):
        first, second = world(dim, gap, 0), world(dim, gap, 1)
        assert first.gap == pytest.approx(gap, abs=1e-9)
        assert abs(first.features - second.features).max() > 0.1
        np.testing.assert_array_equal(first.features, world(dim, gap, 0).features)

    def test_a_replicate_is_simulates_whatever_the_number_of_workers(self, observations, tiny):
        settings = tiny["appo_paths"].experiment.settings["smoke"]
        found = observations["appo_paths"]["appo_tuned/8"]
        again = dueling_runs.DUELS.compute(
            settings, "appo_tuned/8", seed=0, workers=2, progress=lambda share: None
        )
        for name, values in found.items():
            np.testing.assert_array_equal(again[name], values)
        run = simulate(
            "appo",
            world(4, 0.8, 3),
            horizon=settings["horizon"],
            replicates=1,
            first_replicate=3,
            seed=0,
            checkpoints=found["rounds"],
            radius=RADIUS[4],
            step_size=dueling_runs.TUNED_STEP,
            uncertainty_threshold=8 * 0.99 * 0.8 / (2 * RADIUS[4]),
        )
        np.testing.assert_array_equal(found["regret"][3], run.regret[0])
        np.testing.assert_array_equal(found["queries"][3], run.queries[0])
        assert found["last_query"][3] == run.last_query[0]

    def test_inside_the_confidence_set_the_curve_is_exactly_flat_after_the_last_query(
        self, observations
    ):
        for name in dueling_runs.APPOS:
            seen = observations["appo_paths"][f"{name}/1"]
            inside = seen["largest_distance"] <= RADIUS[4]
            assert inside.any() and (seen["costly_inside"] == 0).all()
            for r in np.flatnonzero(inside):
                flat = seen["regret"][r, seen["rounds"] > seen["last_query"][r]]
                assert len(flat) > 1 and (flat == flat[0]).all()
                if 2 * seen["last_query"][r] < seen["rounds"][-1]:
                    assert seen["late_regret"][r] == 0

    def test_the_negative_control_a_threshold_eight_times_theorys_pays_inside_the_set(
        self, observations
    ):
        seen = observations["appo_paths"]["appo/8"]
        assert (seen["costly_inside"] > 0).all() and (seen["late_regret"] > 0).all()

    def test_the_radius_covers_other_runs_than_the_pilots(self):
        """At coverage 95 % 100 runs leave the set more than 15 times with probability below 1e-4."""
        settings = {"replicates": 100, "horizons": {"2/0.8": 8000}}
        seen = dueling_runs.CROSS.compute(
            settings, "2/0.8", seed=1, workers=1, progress=lambda share: None
        )
        assert (seen["largest_distance"] > RADIUS[2]).sum() <= 15
        assert (seen["largest_distance"] > RADIUS[2] / 4).sum() > 90

    def test_every_algorithm_and_radius_has_a_look_and_no_two_are_alike(self):
        assert set(LOOKS) == set(DUELING) | set(dueling_runs.APPOS)
        for looks in (LOOKS, RADIUS_LOOKS):
            for part in ("colour", "marker", "label"):
                assert len({getattr(a, part) for a in looks.values()}) == len(looks)


class TestPaths:
    def test_means_and_counts_are_those_of_the_runs(self, tables, observations):
        table, seen = tables["appo_paths"], observations["appo_paths"]
        parts = {"appo": "appo/1", "random_query": "random_query/3100", "greedy": "greedy"}
        for name, part in parts.items():
            rows, runs = table.where(algorithm=name), seen[part]
            np.testing.assert_allclose(rows["value"], runs["regret"].mean(axis=0))
            np.testing.assert_allclose(rows["queries"], runs["queries"].mean(axis=0))
            assert (rows["late_zero"] == (runs["late_regret"] == 0).sum()).all()
            assert (rows["last_query"] == np.percentile(runs["last_query"], 95)).all()

    def test_the_last_query_is_marked_in_both_panels(self, pages, tables):
        (at,) = set(tables["appo_paths"].where(algorithm="appo")["last_query"].tolist())
        for panel in pages["appo_paths"].axes:
            assert any(len(xy) == 2 and (xy[:, 0] == at).all() for xy in lines_of(panel))

    def test_the_picture_says_in_how_many_runs_the_last_half_was_free(self, pages, tables):
        zero = tables["appo_paths"].where(algorithm="appo")["late_zero"][0]
        said = " ".join(text.get_text() for text in pages["appo_paths"].axes[0].texts)
        assert f"regret exactly 0 in {zero} of 4 runs" in said


class TestRates:
    def test_slopes_are_least_squares_slopes(self):
        rng = np.random.default_rng(1)
        x, y = rng.standard_normal(5), rng.standard_normal((3, 5))
        expected = [sm.OLS(row, sm.add_constant(x)).fit().params[1] for row in y]
        np.testing.assert_allclose(appo_rates.slopes(x, y), expected, rtol=1e-10)

    def test_queries_are_divided_by_the_theorems_logarithm(self, tables, observations):
        seen = observations["appo_rates"]["2/0.8"]
        features = [world(2, 0.8, r).features for r in range(4)]
        longest = [2 * math.sqrt((f**2).sum(axis=2).max()) for f in features]
        logs = np.log(3 * np.array(longest) / theory_threshold(2, 0.8))
        np.testing.assert_allclose(seen["longest"], longest)
        row = tables["appo_rates"].where(kind="cell", axis="dim", quantity="queries", x=2.0)
        expected = np.exp(np.log(seen["queries"][:, -1] / logs).mean())
        assert row["value"][0] == pytest.approx(expected)

    def test_a_cell_off_the_cross_is_left_out(self, tables):
        cells = tables["appo_rates"].where(kind="cell", quantity="regret")
        assert cells["axis"].tolist() == ["gap"] * 2 + ["dim"] * 2
        np.testing.assert_allclose(cells["x"], [1 / 0.8, 1 / 0.57, 2, 4])

    def test_fits_and_guides_have_their_slopes(self, pages, tables):
        table, panels = tables["appo_rates"], pages["appo_rates"].axes
        keys = [(axis, q) for q in ("regret", "queries") for axis in ("gap", "dim")]
        for panel, (axis, quantity) in zip(panels, keys, strict=True):
            fit, guide = (np.log(xy) for xy in lines_of(panel)[:2])
            found = [np.ptp(xy[:, 1]) / np.ptp(xy[:, 0]) for xy in (fit, guide)]
            slope = table.where(kind="slope", axis=axis, quantity=quantity)["value"][0]
            promised = {"gap": {"regret": 1, "queries": 2}, "dim": {"regret": 2, "queries": 2}}
            np.testing.assert_allclose(found, [abs(slope), promised[axis][quantity]], rtol=1e-9)

    def test_cells_that_are_too_short_are_hollow(self, tiny, tables, pages):
        hollow = [
            len(line.get_xdata())
            for panel in pages["appo_rates"].axes
            for line in panel.get_lines()
            if line.get_markerfacecolor() == "white"
        ]
        cells = tables["appo_rates"].where(kind="cell")
        assert sum(hollow) == (cells["still_asking"] > 0).sum()


class TestTradeoff:
    def test_theorys_threshold_is_ringed_on_every_curve_of_appo(self, pages, tables):
        rings = [
            xy
            for line, xy in zip(
                pages["appo_tradeoff"].axes[0].get_lines(),
                lines_of(pages["appo_tradeoff"].axes[0]),
                strict=True,
            )
            if line.get_markerfacecolor() == "none" and len(xy)
        ]
        table = tables["appo_tradeoff"]
        for ring, name in zip(rings, dueling_runs.APPOS, strict=True):
            here = table.where(algorithm=name, setting=1.0)
            np.testing.assert_array_equal(ring, [[here["queries"][0], here["value"][0]]])

    def test_a_larger_threshold_asks_less_and_others_ask_in_every_round(self, tables):
        table = tables["appo_tradeoff"]
        for name in dueling_runs.APPOS:
            low, high = table.where(algorithm=name)["queries"]
            assert high < low / 10
        for name in dueling_runs.ALWAYS_ASK:
            assert table.where(algorithm=name)["queries"].tolist() == [30_000]
        assert table.where(algorithm="random_query")["queries"].tolist() == [100, 3100]


class TestRadius:
    @pytest.mark.parametrize("hits, runs", [(0, 10), (3, 10), (10, 10), (57, 200)])
    def test_the_interval_is_clopper_and_pearsons(self, hits, runs):
        share, *found = exact_interval(hits, runs)
        assert share == hits / runs
        np.testing.assert_allclose(found, proportion_confint(hits, runs, method="beta"), atol=1e-9)

    def test_shares_are_those_of_the_runs_and_a_small_radius_is_left(self, tables, observations):
        table = tables["appo_radius"]
        for divisor in (1, 8):
            seen = observations["appo_radius"][str(divisor)]
            left = table.where(kind="left", divisor=divisor)["value"][0]
            late = table.where(kind="late", divisor=divisor)["value"][0]
            assert left == np.mean(seen["largest_distance"] > RADIUS[4] / divisor)
            assert late == np.mean(seen["late_regret"] > 0)
        assert left == 1  # the eighth

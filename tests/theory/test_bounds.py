"""Theorem 5.1's constants: written out again, their inequalities over a grid, and the ceiling by force."""

import itertools
import math

import numpy as np
import pytest

from activeduel.theory.bounds import (
    appo_constants,
    appo_horizon,
    appo_query_bound,
    appo_step_size,
    query_ceiling,
)
from activeduel.theory.confidence import appo_confidence_radius

WORLD = {"kappa": 0.19, "norm_bound": 1.0, "feature_bound": 2.0, "delta": 0.05}
GRID = list(  # d, gap, kappa, (B, L), delta
    itertools.product(
        [1, 2, 8, 64, 1000],
        [1.0, 0.3, 1e-2, 1e-5],
        [0.25, 0.1, 1e-4],
        [(1.0, 1.0), (0.5, 4.0), (30.0, 2.0)],
        [0.5, 0.05, 1e-12],
    )
)


def test_constants_are_the_written_formulas():
    """d = 4, |A| = 6, gap = 0.4, kappa = 0.19, B = 1, L = 2, delta = 0.05, by hand."""
    c = appo_constants(4, 6, 0.4, **WORLD)
    iota1 = 42 * math.log(126 * 2 * 2 / (0.4 * 0.19)) + math.sqrt(8 * math.log(20))
    threshold = 0.19 * 0.4 / (2 * 2 * iota1)
    iota2 = math.log(6 / threshold)
    iota3 = math.log((1 + 16 * 4 / threshold**2 * iota2) / 0.05)
    expected = (
        1.0,
        threshold,
        (1 + 4 * math.sqrt(4 * iota2) + math.sqrt(8 * iota3)) / 0.19,
        math.sqrt(threshold**2 * math.log(6) / (32 * 4 * iota2)),
        iota1,
        iota2,
        iota3,
    )
    assert c == pytest.approx(expected, rel=1e-12)


def test_theory_s_own_constants_keep_unasked_rounds_free_of_regret():
    """2 radius Gamma < gap, exactly and everywhere; Gamma lies where the step size is defined."""
    for d, gap, kappa, (norm, feature), delta in GRID:
        bounds = {"norm_bound": norm, "feature_bound": feature}
        c = appo_constants(d, 5, gap, kappa=kappa, delta=delta, **bounds)
        assert 2 * c.radius * c.uncertainty_threshold < gap
        assert 0 < c.uncertainty_threshold < 3 * norm * feature
        assert c.ridge == pytest.approx(norm**-2)


def test_the_radius_is_lemma_e2_s_at_the_most_queries_and_a_further_term():
    """radius - 4 sqrt(d iota2)/kappa = the radius of Lemma E.2 after E.1's number of queries."""
    for d, gap, kappa, (norm, feature), delta in GRID:
        bounds = {"norm_bound": norm, "feature_bound": feature}
        c = appo_constants(d, 5, gap, kappa=kappa, delta=delta, **bounds)
        queries = int(appo_query_bound(d, c.uncertainty_threshold, **bounds))
        confidence = appo_confidence_radius(
            queries, d, ridge=c.ridge, kappa=kappa, delta=delta, **bounds
        )
        further = 4 * math.sqrt(d * c.iota2) / kappa
        assert c.radius - further == pytest.approx(confidence, rel=1e-6)


def test_the_printed_threshold_of_lemma_e3_would_be_smaller():
    """It divides by d, the theorem by sqrt(d): the same at d = 1 only."""
    one, four = (appo_constants(d, 5, 0.4, **WORLD) for d in (1, 4))
    assert one.uncertainty_threshold == pytest.approx(0.19 * 0.4 / (2 * one.iota1))
    assert four.uncertainty_threshold == pytest.approx(0.19 * 0.4 / (4 * four.iota1))


def greatest_count(d, threshold, ridge, feature_bound):
    """The largest whole N that satisfies the potential inequality, by trying them all."""
    n = np.arange(1, 200_000)
    left = n * math.log1p(threshold**2)
    right = d * np.log1p(n * feature_bound**2 / (d * ridge))
    return int(n[left <= right].max(initial=0))


@pytest.mark.parametrize("d", [1, 3, 10])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_the_ceiling_solves_its_inequality(d, threshold, ridge):
    ceiling = query_ceiling(d, threshold, ridge=ridge, feature_bound=2.0)
    assert math.floor(ceiling) == greatest_count(d, threshold, ridge, 2.0)
    assert appo_horizon(d, threshold, ridge=ridge, feature_bound=2.0) == 2 * ceiling


@pytest.mark.parametrize("threshold", [1e-8, 1e-4])
def test_the_ceiling_is_accurate_at_theory_s_tiny_thresholds(threshold):
    n = query_ceiling(5, threshold, ridge=1.0, feature_bound=2.0)
    assert n * math.log1p(threshold**2) == pytest.approx(5 * math.log1p(n * 4 / 5), rel=1e-9)


def hardest_sequence(d, threshold, ridge, length):
    """Vectors that enter gram: always the direction it knows least, at full length."""
    gram, count = ridge * np.eye(d), 0
    while True:
        z = length * np.linalg.eigh(gram)[1][:, 0]
        if z @ np.linalg.solve(gram, z) < threshold**2:
            return count
        gram += np.outer(z, z)
        count += 1


def test_no_sequence_of_vectors_passes_the_ceiling():
    count = hardest_sequence(4, 0.3, 0.5, 1.5)
    ceiling = query_ceiling(4, 0.3, ridge=0.5, feature_bound=1.5)
    assert 0.1 * ceiling < count <= ceiling


def test_negative_control_an_understated_length_is_found_out():
    """With L understated ten times the same sequence exceeds the ceiling."""
    assert hardest_sequence(4, 0.3, 0.5, 1.5) > query_ceiling(4, 0.3, ridge=0.5, feature_bound=0.15)


@pytest.mark.parametrize("d", [2, 8, 32])
@pytest.mark.parametrize("gap", [0.1, 0.8])
def test_the_ceiling_is_several_times_below_lemma_e1(d, gap):
    bounds = {"norm_bound": 1.0, "feature_bound": 2.0}
    threshold = appo_constants(d, 5, gap, **WORLD).uncertainty_threshold
    ratio = appo_query_bound(d, threshold, **bounds) / query_ceiling(
        d, threshold, ridge=1.0, feature_bound=2.0
    )
    assert 6 < ratio < 10


def test_bounds_move_the_way_the_theorem_says():
    """Queries like 1/Gamma^2 up to the logarithm; Gamma like gap and 1/sqrt(d) up to iota1."""
    bounds = {"norm_bound": 1.0, "feature_bound": 2.0}
    few, many = (appo_query_bound(4, g, **bounds) for g in (0.02, 0.01))
    assert many / few == pytest.approx(4 * math.log(600) / math.log(300))
    steps = [appo_step_size(g, 4, 6, **bounds) for g in np.geomspace(1e-6, 5.9 / math.e, 20)]
    assert (np.diff(steps) > 0).all()
    wide, narrow = (appo_constants(4, 6, gap, **WORLD) for gap in (0.4, 0.2))
    ratio = wide.uncertainty_threshold / narrow.uncertainty_threshold
    assert ratio == pytest.approx(2 * narrow.iota1 / wide.iota1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gap": 1.1}, "gap: found 1.1, needed at most 1"),
        ({"gap": 0.5, "feature_bound": 0.2}, "gap: found 0.5, needed at most 0.2"),
        ({"gap": 0.0}, "gap: found 0"),
        ({"kappa": 0.3}, "kappa: found 0.3, needed <= 0.25"),
        ({"delta": 1.0}, "delta: found 1"),
        ({"actions": 1}, "actions: found 1"),
        ({"dim": 2.5}, "dim: found 2.5"),
        ({"norm_bound": np.nan}, "norm_bound"),
    ],
)
def test_constants_refuse_by_name(changes, says):
    with pytest.raises(ValueError, match=says):
        appo_constants(**{"dim": 4, "actions": 6, "gap": 0.4, **WORLD, **changes})


@pytest.mark.parametrize("threshold", [6.0, 7.0, 0.0, -1.0, np.inf])
def test_thresholds_outside_the_theorem_s_range_are_refused(threshold):
    for call in (
        lambda: appo_step_size(threshold, 4, 6, norm_bound=1.0, feature_bound=2.0),
        lambda: appo_query_bound(4, threshold, norm_bound=1.0, feature_bound=2.0),
    ):
        with pytest.raises(ValueError, match="uncertainty_threshold"):
            call()


@pytest.mark.parametrize("field", ["ridge", "feature_bound"])
def test_the_ceiling_refuses_by_name(field):
    with pytest.raises(ValueError, match=f"{field}: found -1"):
        query_ceiling(4, 0.1, **{"ridge": 1.0, "feature_bound": 2.0, field: -1.0})

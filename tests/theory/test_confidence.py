"""Radii against independent formulas, their monotonicity, and bad input."""

import math

import numpy as np
import pytest

from activeduel.theory.confidence import (
    appo_confidence_radius,
    asymptotic_radius,
    ellipsoid_distance,
    finite_sample_radius,
)

APPO = {"ridge": 0.5, "kappa": 0.1, "norm_bound": 2.0, "feature_bound": 1.5, "delta": 0.05}
FINITE = {"ridge": 1e-3, "norm_bound": 2.0, "feature_bound": 1.5, "delta": 0.05}


@pytest.mark.parametrize("delta", [1e-8, 0.01, 0.05, 0.5, 0.99])
def test_asymptotic_radius_has_closed_forms_in_one_and_two_dimensions(delta):
    from statistics import NormalDist

    assert asymptotic_radius(2, delta) == pytest.approx(math.sqrt(-2 * math.log(delta)), rel=1e-12)
    quantile = -NormalDist().inv_cdf(delta / 2)
    assert asymptotic_radius(1, delta) == pytest.approx(quantile, rel=1e-9)


def test_asymptotic_radius_in_four_dimensions_solves_the_tail_equation():
    """P(chi2_4 > x) = e^{-x/2} (1 + x/2)."""
    half = asymptotic_radius(4, 0.05) ** 2 / 2
    assert math.exp(-half) * (1 + half) == pytest.approx(0.05, rel=1e-12)


def test_radii_are_the_written_formulas():
    n, d, g = 400, 3, 1 / (2 + math.exp(-3.0) + math.exp(3.0))
    rate = math.sqrt((d + math.log(20)) / (g**2 * n) + 1e-3 * 4)
    assert finite_sample_radius(n, d, **FINITE) == pytest.approx(rate, rel=1e-13)
    inside = (0.5 + n * 1.5**2 / d) / (0.5 * 0.05)
    e2 = (math.sqrt(0.5) * 2 + math.sqrt(2 * d * math.log(inside))) / 0.1
    assert appo_confidence_radius(n, d, **APPO) == pytest.approx(e2, rel=1e-13)


def test_radii_grow_with_dimension_and_confidence():
    for radius in (
        lambda d, delta: asymptotic_radius(d, delta),
        lambda d, delta: finite_sample_radius(100, d, **{**FINITE, "delta": delta}),
        lambda d, delta: appo_confidence_radius(100, d, **{**APPO, "delta": delta}),
    ):
        assert (np.diff([radius(d, 0.05) for d in range(1, 40)]) > 0).all()
        assert (np.diff([radius(3, delta) for delta in np.linspace(0.01, 0.99, 40)]) < 0).all()


def test_labels_shrink_the_finite_sample_radius_and_slowly_widen_appo_s():
    counts = [1, 10, 100, 1000, 10_000]
    assert (np.diff([finite_sample_radius(n, 3, **FINITE) for n in counts]) < 0).all()
    assert (np.diff([appo_confidence_radius(n, 3, **APPO) for n in [0, *counts]]) > 0).all()


def test_ellipsoid_distance_is_euclid_s_after_a_square_root():
    rng = np.random.default_rng(0)
    root, a, b = rng.standard_normal((4, 4)), rng.standard_normal(4), rng.standard_normal(4)
    distance = ellipsoid_distance(a, b, root.T @ root)
    assert distance == pytest.approx(float(np.linalg.norm(root @ (a - b))), rel=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: asymptotic_radius(0, 0.05),
        lambda: asymptotic_radius(2.5, 0.05),
        lambda: asymptotic_radius(2, 0.0),
        lambda: asymptotic_radius(2, 1.0),
        lambda: asymptotic_radius(2, float("nan")),
        lambda: finite_sample_radius(0, 2, **FINITE),
        lambda: finite_sample_radius(9, 2, **{**FINITE, "ridge": -1.0}),
        lambda: finite_sample_radius(9, 2, **{**FINITE, "norm_bound": 1e3}),
        lambda: appo_confidence_radius(-1, 2, **APPO),
        lambda: appo_confidence_radius(9, 2, **{**APPO, "kappa": 0.3}),
        lambda: appo_confidence_radius(9, 2, **{**APPO, "ridge": 0.0}),
        lambda: appo_confidence_radius(9, 2, **{**APPO, "delta": 2.0}),
        lambda: ellipsoid_distance([0.0], [0.0, 1.0], [[1.0]]),
        lambda: ellipsoid_distance([0.0], [1.0], [[-1.0]]),
        lambda: ellipsoid_distance([np.nan], [1.0], [[1.0]]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match="needed|finite"):
        call()

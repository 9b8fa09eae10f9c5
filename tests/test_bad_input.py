"""Every public function against broken input: a ValueError that names the argument, nothing else.

``CALLS`` holds one good call a function; a test keeps it complete, each argument is then broken in
turn. Selectors and ``simulate`` have their own tables (tests/theory/test_selectors.py,
tests/sim/test_simulate.py), files of recorded judgements theirs.
"""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from activeduel import theory
from activeduel.sim import DuelingWorld, PairPool, StreamingWorld, Teachers
from activeduel.sim.kernels.random import CounterRng
from activeduel.theory import Pool

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((8, 2))
WINS = np.array([0.0, 1, 1, 0, 0.5, 1, 0, 1])
FEATURES = RNG.standard_normal((3, 4, 2))
TEACHERS = Teachers([[1.0, 2.0], [0.5, 0.5]])
CONTEXT = np.array([0, 1] * 4)
POOL = Pool(Z, CONTEXT, np.array([[1.0, 2.0], [0.5, 0.5]]), np.ones(2), np.full((8, 2), -1))

GOOD_BOUND = {"ridge": 0.1, "norm_bound": 1.0, "feature_bound": 1.0, "delta": 0.1}
GOOD_POLICY = {"theta": np.ones(2), "information": np.eye(2), "features": FEATURES, "radius": 0.5}
CALLS = {
    theory.win_probability: {"z": Z, "theta": np.ones(2), "rationality": np.ones(8)},
    theory.fisher_weight: {"margin": np.ones(3), "rationality": np.ones(3)},
    theory.log_likelihood: {
        "z": Z, "wins": WINS, "theta": np.ones(2), "trials": np.ones(8), "rationality": np.ones(8)
    },
    theory.fit_preferences: {
        "z": Z, "wins": WINS, "trials": np.ones(8), "rationality": np.ones(8), "ridge": 0.1
    },
    theory.fit_jointly: {
        "z": Z, "wins": WINS, "teacher": np.array([0, 0, 1, 1] * 2), "context": CONTEXT,
        "trials": np.ones(8), "reference": 0, "ridge": 0.1,
    },
    theory.d_optimal: {"points": Z, "tol": 1e-6, "start": np.ones(8)},
    theory.d_optimal_pairs: {"items": Z, "tol": 1e-6},
    theory.dual_design: {"theta": np.ones(2), "labels": 5, "tol": 1e-6, "pool": POOL},
    theory.exact_design: {"weights": np.ones(8), "labels": 5, "points": Z},
    theory.d_efficiency: {"information": np.eye(2), "log_det_optimum": 0.0, "labels": 5.0},
    theory.asymptotic_radius: {"dim": 2, "delta": 0.1},
    theory.finite_sample_radius: {"count": 10, "dim": 2, **GOOD_BOUND},
    theory.appo_confidence_radius: {"count": 10, "dim": 2, "kappa": 0.1, **GOOD_BOUND},
    theory.appo_constants: {
        "dim": 2, "actions": 3, "gap": 0.5, "kappa": 0.1, "norm_bound": 1.0, "feature_bound": 1.0,
        "delta": 0.1,
    },
    theory.appo_horizon: {
        "dim": 2, "uncertainty_threshold": 0.1, "ridge": 1.0, "feature_bound": 1.0
    },
    theory.appo_step_size: {
        "uncertainty_threshold": 0.1, "dim": 2, "actions": 3, "norm_bound": 1.0, "feature_bound": 1.0
    },
    theory.appo_query_bound: {
        "dim": 2, "uncertainty_threshold": 0.1, "norm_bound": 1.0, "feature_bound": 1.0
    },
    theory.query_ceiling: {
        "dim": 2, "uncertainty_threshold": 0.1, "ridge": 1.0, "feature_bound": 1.0
    },
    theory.ellipsoid_distance: {
        "theta_hat": np.ones(2), "theta": np.zeros(2), "information": np.eye(2)
    },
    theory.lower_confidence_values: GOOD_POLICY,
    theory.pointwise_policy: GOOD_POLICY,
    theory.policy_level: {**GOOD_POLICY, "distribution": np.full(3, 1 / 3)},
    theory.suboptimality: {
        "features": FEATURES, "theta": np.ones(2), "policy": np.array([0, 1, 2]),
        "distribution": np.full(3, 1 / 3),
    },
    theory.pointwise_bound: {**GOOD_POLICY, "reference": np.array([0, 1, 0])},
    theory.policy_level_bound: {**GOOD_POLICY, "distribution": np.full(3, 1 / 3)},
    DuelingWorld: {"features": FEATURES, "theta": np.ones(2)},
    DuelingWorld.with_gap: {"prompts": 3, "actions": 2, "dim": 2, "gap": 0.1, "rng": RNG},
    StreamingWorld: {"theta": np.ones(2), "actions": 3},
    PairPool: {"z": Z, "context": CONTEXT, "theta": np.ones(2), "teachers": TEACHERS,
               "available": np.ones((8, 2), dtype=int)},
    PairPool.synthetic: {"pairs": 5, "dim": 2, "context_types": 2, "teachers": TEACHERS, "rng": RNG,
                         "margins": (1.0, 2.0)},
    Teachers: {"rationality": np.ones((2, 2)), "cost": np.ones(2), "lapse": np.zeros(2),
               "bias": np.zeros(2), "drift": np.zeros(2)},
    CounterRng: {"seed": 1},
}  # fmt: skip
BROADCAST = {
    (theory.fisher_weight, "margin"),
    (theory.fisher_weight, "rationality"),
    (theory.lower_confidence_values, "theta"),  # leading axes are replicates
    (theory.pointwise_policy, "theta"),
}
RECORDS = {"pool", "teachers", "rng"}  # not arrays: they check themselves when they are made


def broken(value):
    """(what is wrong, the broken value) for an argument whose good value is ``value``."""
    yield "text", "three"
    yield "a set", {1.0}
    if isinstance(value, np.ndarray):
        holed = value.astype(float)
        holed.flat[-1] = np.nan
        yield "nan", holed
        holed = value.astype(float)
        holed.flat[0] = -np.inf
        yield "inf", holed
        yield "empty", np.zeros((0, *value.shape[1:]))
        yield "complex", value + 1j
        yield "objects", np.full(value.shape, None)
        yield "text array", value.astype(str)
        yield "too many axes", np.zeros((*value.shape, 2, 2, 2))
        yield "ragged", [[1.0, 2.0], [1.0]]
    elif isinstance(value, float):
        yield "nan", np.nan
        yield "inf", np.inf
        yield "an array", [value, value]
    elif isinstance(value, int):
        yield "a fraction", value + 0.5
        yield "negative", -1
        yield "nan", np.nan


def cases():
    for function, good in CALLS.items():
        for argument in good.keys() - RECORDS:
            for what, value in broken(good[argument]):
                if what == "too many axes" and (function, argument) in BROADCAST:
                    continue
                yield pytest.param(
                    function, argument, value, id=f"{function.__qualname__}-{argument}-{what}"
                )


def test_every_public_function_has_a_good_call():
    public = [getattr(theory, name) for name in theory.__all__]
    functions = {f for f in public if inspect.isfunction(f)}
    assert functions <= set(CALLS)
    for function, good in CALLS.items():
        function(**good)
        missing = set(inspect.signature(function).parameters) - set(good) - {"method", "world"}
        assert missing <= {"distribution", "reference", "replicate", "round_", "purpose"}


@pytest.mark.parametrize(("function", "argument", "value"), sorted(cases(), key=lambda c: c.id))
def test_a_broken_argument_is_named(function, argument, value):
    with pytest.raises(ValueError, match=f"{argument}|inhomogeneous"):  # NumPy's word for ragged
        function(**{**CALLS[function], argument: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("z", np.full((8, 2), np.nan)),
        ("z", np.zeros((0, 2))),
        ("context", np.full(8, 2)),
        ("context", np.zeros(7, dtype=int)),
        ("rationality", np.full((2, 2), np.inf)),
        ("rationality", np.ones(2)),
        ("available", np.ones((8, 3), dtype=int)),
    ],
)
def test_dual_design_names_a_broken_field_of_its_pool(field, value):
    with pytest.raises(ValueError, match=field):
        theory.dual_design(POOL._replace(**{field: value}), [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: theory.fit_preferences(Z, WINS + 1), "wins"),
        (lambda: theory.fit_preferences(Z, WINS, ridge=-1.0), "ridge"),
        (lambda: theory.fit_jointly(Z, WINS, [0] * 8, [0] * 8, reference=1), "reference"),
        (lambda: theory.d_optimal(Z, method="simplex"), "method.*simplex"),
        (lambda: theory.d_optimal(Z[:, :1] * [[1.0, 2.0]]), "rank 1.*drop"),
        (lambda: theory.dual_design(POOL._replace(z=Z * [1.0, 0.0]), [1.0, 1.0]), "rank 1"),
        (lambda: theory.exact_design(np.ones(8), 1, points=Z), "labels"),
        (lambda: theory.d_efficiency(np.ones((2, 2)), 0.0, 5), "singular"),
        (lambda: DuelingWorld.with_gap(3, 2, 2, 1.5, RNG), "gap: found 1.5"),
        (lambda: DuelingWorld.with_gap(3, 1, 2, 0.1, RNG), "actions: found 1"),
        (lambda: PairPool.synthetic(5, 2, 1, TEACHERS, RNG, margins=(2.0, 1.0)), "margins"),
        (lambda: PairPool(Z, [2] * 8, [1.0, 1.0], TEACHERS), "context: found 2"),
        (lambda: DuelingWorld(FEATURES, [1.0, 1.0]).pairs(TEACHERS, [0, 1]), "context_type"),
        (lambda: DuelingWorld(FEATURES, [1.0, 1.0]).pairs(TEACHERS, [0, 1, 2]), "context: found 2"),
    ],
)
def test_values_that_do_not_fit_together_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


anything = arrays.arrays(
    st.sampled_from([np.float64, np.float32, np.int8, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(z=anything, wins=anything)
def test_a_fit_answers_or_refuses_whatever_it_is_given(z, wins):
    """Never another exception, never a theta that is not finite beside the word converged."""
    try:
        fit = theory.fit_preferences(z, wins)
    except ValueError:
        return
    assert fit.status in {"converged", "separable", "singular", "iteration_limit"}
    assert np.isfinite(fit.theta).all() == (fit.status in {"converged", "iteration_limit"})


@given(points=anything)
def test_a_design_is_certified_or_refused_whatever_it_is_given(points):
    try:
        design = theory.d_optimal(points)
    except ValueError:
        return
    assert design.gap <= 1e-6 and design.weights.sum() == pytest.approx(1)


@given(z=anything, theta=anything, b=anything)
def test_probabilities_are_probabilities_or_refused(z, theta, b):
    try:
        p = theory.win_probability(z, theta, b)
    except ValueError:
        return
    assert ((p >= 0) & (p <= 1)).all()

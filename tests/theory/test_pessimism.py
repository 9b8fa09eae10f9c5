"""Pessimistic policies: by hand, by brute force over policies, and the bounds on the confidence event."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activeduel.theory.confidence import ellipsoid_distance
from activeduel.theory.pessimism import (
    lower_confidence_values,
    pointwise_bound,
    pointwise_policy,
    policy_level,
    policy_level_bound,
    suboptimality,
)


def a_problem(seed, prompts=3, actions=3, d=3):
    """Features, an estimate, its information, the truth inside the ellipsoid, and the radius."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((prompts, actions, d)) * 10 ** rng.uniform(-1, 1)
    root = rng.standard_normal((d, d + 1)) * 10 ** rng.uniform(-1, 1, (d, 1))
    information = root @ root.T
    theta = rng.standard_normal(d)
    step = np.linalg.solve(np.linalg.cholesky(information).T, rng.standard_normal(d))
    truth = theta + 0.999 * step * rng.uniform()
    radius = ellipsoid_distance(theta, theta + step, information)
    share = rng.dirichlet(np.ones(prompts))
    assert ellipsoid_distance(theta, truth, information) <= radius
    return features, theta, information, truth, radius, share


def policy_value(policy, theta, information, centred, radius, share):
    """theta'm - radius ||m||_{H^-1}, from its definition."""
    m = np.einsum("x,xa,xad->d", share, policy, centred)
    return theta @ m - radius * np.sqrt(m @ np.linalg.inv(information) @ m)


class TestByHand:
    PHI = np.array([[[0.0, 0.0], [3.0, 0.0], [0.0, 3.3]]])
    H = np.array([[9.0, 0.0], [0.0, 1.0]])  # norms of the three centred features: 0, 1, 3.3

    def test_lower_values_are_value_less_radius_times_norm(self):
        found = lower_confidence_values([1, 1], self.H, self.PHI, 0.5, reference=[0])
        assert np.allclose(found, [[0.0, 2.5, 1.65]])

    @pytest.mark.parametrize("radius, action", [(0, 2), (0.5, 1), (4, 0)])
    def test_more_pessimism_turns_to_what_is_known_and_then_to_the_reference(self, radius, action):
        found = pointwise_policy([1, 1], self.H, self.PHI, radius, reference=[0])
        assert found.tolist() == [action]

    def test_the_reference_decides_what_is_uncertain(self):
        """Centred at action 2, it is the others that are far away."""
        found = [pointwise_policy([1, 1], self.H, self.PHI, 4, reference=[r])[0] for r in range(3)]
        assert found == [0, 1, 2]

    def test_a_reference_policy_subtracts_its_mean_feature(self):
        mixed = lower_confidence_values([1, 1], self.H, self.PHI, 0, reference=[[0.5, 0.5, 0.0]])
        assert np.allclose(mixed, [[-1.5, 1.5, 1.8]])
        uniform = lower_confidence_values([1, 1], self.H, self.PHI, 2)
        third = np.full((1, 3), 1 / 3)
        assert np.array_equal(
            uniform, lower_confidence_values([1, 1], self.H, self.PHI, 2, reference=third)
        )

    def test_suboptimality_of_actions_and_of_policies(self):
        phi = [[[1.0], [3.0]], [[2.0], [0.0]]]
        assert suboptimality(phi, [1.0], [0, 0]) == 1.0
        assert suboptimality(phi, [1.0], [1, 0]) == 0.0
        assert suboptimality(phi, [1.0], [[0, 1], [0.5, 0.5]], distribution=[0.75, 0.25]) == 0.25
        assert suboptimality(phi, [1.0], [[0, 0], [1, 0], [0, 1]]).tolist() == [1, 0, 2]
        both = np.array([[[1.0, 0.0]] * 2, [[0.5, 0.5]] * 2])
        assert suboptimality(phi, [1.0], both).tolist() == [1, 1]

    def test_averaging_over_prompts_halves_the_policy_s_uncertainty(self):
        phi = [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]
        alone = pointwise_policy([2, 2], np.eye(2), phi, 2.5, reference=[0, 0])
        assert alone.tolist() == [0, 0]  # 2 - 2.5 < 0 for each prompt by itself
        together = policy_level([2, 2], np.eye(2), phi, 2.5, reference=[0, 0])
        assert np.allclose(together.policy, [[0, 1], [0, 1]], atol=1e-4)
        assert together.value == pytest.approx(2 - 2.5 / np.sqrt(2), abs=1e-6)

    def test_a_mixture_can_be_strictly_best(self):
        """Two actions of value 1 with opposite risks: each alone costs 0.9 sqrt 2, half and half 0.9."""
        phi = [[[0, 0], [1, 1], [1, -1]]]
        assert pointwise_policy([1, 0], np.eye(2), phi, 0.9, reference=[0]).tolist() == [0]
        found = policy_level([1, 0], np.eye(2), phi, 0.9, reference=[0])
        assert found.value == pytest.approx(0.1, abs=1e-6)
        assert np.allclose(found.policy, [[0, 0.5, 0.5]], atol=1e-3)


def test_radius_zero_is_the_greedy_policy():
    features, theta, information, *_ = a_problem(0)
    greedy = (features @ theta).argmax(axis=1)
    assert np.array_equal(pointwise_policy(theta, information, features, 0), greedy)
    found = policy_level(theta, information, features, 0)
    assert np.array_equal(found.policy.argmax(axis=1), greedy)
    assert found.policy.max(axis=1).tolist() == [1, 1, 1] and found.gap < 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_policy_level_beats_a_fine_grid_of_policies(seed):
    """Two prompts, three actions: every pair of rows on a grid of 1/20, and the certificate."""
    features, theta, information, _, radius, share = a_problem(seed, prompts=2)
    reference = [1, 0]
    centred = features - features[[0, 1], reference][:, None]
    found = policy_level(
        theta, information, features, radius, reference=reference, distribution=share
    )
    rows = [(i, j, 20 - i - j) for i in range(21) for j in range(21 - i)]
    grid = np.array(list(product(rows, rows))) / 20  # (231^2, 2, 3)
    means = np.einsum("x,gxa,xad->gd", share, grid, centred)
    risk = np.sqrt(np.einsum("gi,ij,gj->g", means, np.linalg.inv(information), means))
    best = (means @ theta - radius * risk).max()
    assert found.value == pytest.approx(
        policy_value(found.policy, theta, information, centred, radius, share), abs=1e-9
    )
    size = np.abs(means).max() * np.abs(theta).max() + radius * risk.max()
    assert best <= found.value + found.gap + 1e-12
    assert found.gap <= 1e-5 * size


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))
def test_on_the_confidence_event_the_pointwise_bound_holds(seed, prompts, actions, d):
    features, theta, information, truth, radius, share = a_problem(seed, prompts, actions, d)
    for reference in (None, np.random.default_rng(seed).integers(actions, size=prompts)):
        chosen = pointwise_policy(theta, information, features, radius, reference=reference)
        loss = suboptimality(features, truth, chosen, distribution=share)
        bound = pointwise_bound(
            information, features, truth, radius, reference=reference, distribution=share
        )
        assert loss <= bound * (1 + 1e-9) + 1e-12


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_on_the_confidence_event_the_policy_level_bound_holds(seed, prompts, actions, d):
    features, theta, information, truth, radius, share = a_problem(seed, prompts, actions, d)
    found = policy_level(theta, information, features, radius, distribution=share)
    loss = suboptimality(features, truth, found.policy, distribution=share)
    bound = policy_level_bound(information, features, truth, radius, distribution=share)
    assert loss <= bound + found.gap + 1e-9 * (1 + bound)
    assert bound <= pointwise_bound(information, features, truth, radius, distribution=share) + 1e-9


def test_the_policy_level_bound_does_not_hold_for_the_pointwise_policy():
    """Two prompts whose optimal features (1, 0.1) and (-1, 0.1) cancel in the badly known direction.

    H = diag(1, 400), radius 1: each prompt's norm is about 1, so pointwise stays at the reference
    and loses 0.099 (the truth is (0, 0.99)). The mean optimal feature (0, 0.1) has norm 0.1 / 20,
    so the policy-level bound is 2 * 0.005.
    """
    phi = [[[0, 0], [1, 0.1]], [[0, 0], [-1, 0.1]]]
    information, estimate, truth, radius = np.diag([1.0, 400.0]), [0.0, 1.0], [0.0, 0.99], 1.0
    assert ellipsoid_distance(estimate, truth, information) < radius
    chosen = pointwise_policy(estimate, information, phi, radius, reference=[0, 0])
    loss = suboptimality(phi, truth, chosen)
    optimum = {"features": phi, "theta": truth, "radius": radius, "reference": [0, 0]}
    assert loss == pytest.approx(0.099)
    assert policy_level_bound(information, **optimum) == pytest.approx(0.01)
    assert loss > policy_level_bound(information, **optimum)
    assert loss <= pointwise_bound(information, **optimum)
    level = policy_level(estimate, information, phi, radius, reference=[0, 0])
    assert suboptimality(phi, truth, level.policy) <= 0.01 + level.gap


def test_a_radius_too_small_breaks_the_bound():
    """Negative control: outside the confidence event the loss can be anything."""
    phi, information, estimate, truth = [[[0.0], [1.0]]], [[1.0]], [5.0], [-5.0]
    chosen = pointwise_policy(estimate, information, phi, 0.1, reference=[0])
    bound = pointwise_bound(information, phi, truth, 0.1, reference=[0])
    assert suboptimality(phi, truth, chosen) == 5 and bound == 0


def test_replicates_side_by_side_are_each_by_itself():
    problems = [a_problem(seed) for seed in range(5)]
    features, truth = problems[0][0], problems[0][3]
    theta, information = (np.stack([p[k] for p in problems]) for k in (1, 2))
    values = lower_confidence_values(theta, information, features, 0.7)
    actions = pointwise_policy(theta, information, features, 0.7)
    losses = suboptimality(features, truth, actions)
    levels = {
        f: f(information, features, truth, 0.7) for f in (pointwise_bound, policy_level_bound)
    }
    assert values.shape == (5, 3, 3) and actions.shape == (5, 3) and losses.shape == (5,)
    for r in range(5):
        one = lower_confidence_values(theta[r], information[r], features, 0.7)
        assert np.allclose(values[r], one, rtol=1e-12, atol=1e-12)
        assert losses[r] == pytest.approx(suboptimality(features, truth, actions[r]), rel=1e-12)
        for f, bounds in levels.items():
            assert bounds[r] == pytest.approx(f(information[r], features, truth, 0.7), rel=1e-12)
    shared = lower_confidence_values(theta, information[0], features, 0.7)
    assert np.allclose(shared[0], values[0])
    alone = lower_confidence_values(theta[0], information, features, 0.7)
    assert np.allclose(alone[0], values[0]) and alone.shape == (5, 3, 3)


GOOD = {
    "theta": [1.0, 1.0],
    "information": np.eye(2),
    "features": np.arange(12.0).reshape(2, 3, 2),
    "radius": 1.0,
}


@pytest.mark.parametrize("function", [lower_confidence_values, pointwise_policy, policy_level])
@pytest.mark.parametrize(
    "change, words",
    [
        ({"theta": [1.0, np.nan]}, "theta: found a value that is not finite"),
        ({"theta": [1.0]}, "theta: found shape"),
        ({"information": np.diag([1.0, 0.0])}, "positive definite.*ridge"),
        ({"information": np.ones((2, 2))}, "positive definite.*ridge"),
        ({"information": [[1.0, 0.5], [0.0, 1.0]]}, "not symmetric"),
        ({"information": np.eye(3)}, "information: found shape"),
        ({"features": np.zeros((2, 0, 2))}, "features: .*empty"),
        ({"features": np.full((2, 3, 2), np.inf)}, "features: .*not finite"),
        ({"features": np.zeros((3, 2))}, "features: found shape"),
        ({"radius": -1.0}, "radius: found -1"),
        ({"radius": np.nan}, "radius: .*not finite"),
        ({"reference": [0, 3]}, "reference: found 3"),
        ({"reference": [0]}, "reference: found shape"),
        ({"reference": np.full((2, 3), 0.5)}, "reference: .*divide each row by its sum"),
    ],
)
def test_bad_input_is_refused_with_advice(function, change, words):
    with pytest.raises(ValueError, match=words):
        function(**{**GOOD, **change})


@pytest.mark.parametrize(
    "policy, words",
    [
        ([0, 3], "policy: found 3"),
        ([0, 1, 2], "policy: found shape"),
        ([[0.5, 0.4, 0.0]] * 2, "divide each row"),
        ([[1.5, -0.5, 0.0]] * 2, "smallest entry -0.5"),
        ("best", "policy: found dtype"),
    ],
)
def test_bad_policies_are_refused(policy, words):
    with pytest.raises(ValueError, match=words):
        suboptimality(GOOD["features"], GOOD["theta"], policy)


def test_bad_distributions_and_batches_are_refused():
    with pytest.raises(ValueError, match="distribution: "):
        suboptimality(GOOD["features"], GOOD["theta"], [0, 0], distribution=[1.0, 1.0])
    with pytest.raises(ValueError, match="information: found shape"):
        policy_level(**{**GOOD, "information": np.eye(2)[None]})
    with pytest.raises(ValueError, match="theta: found shape"):
        pointwise_policy(np.ones((3, 2)), np.stack([np.eye(2)] * 4), GOOD["features"], 1.0)

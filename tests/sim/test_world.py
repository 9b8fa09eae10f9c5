"""Worlds whose truth can be read off: exact gaps, margins as asked, pairs in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activeduel.sim import DuelingWorld, PairPool, Teachers

ONE = Teachers([[1.0]])


@settings(max_examples=40)
@given(
    prompts=st.integers(1, 12),
    actions=st.integers(2, 6),
    dim=st.integers(1, 7),
    gap=st.floats(1e-3, 1.0),
    seed=st.integers(0, 1000),
)
def test_with_gap_has_exactly_that_gap(prompts, actions, dim, gap, seed):
    world = DuelingWorld.with_gap(prompts, actions, dim, gap, np.random.default_rng(seed))
    rewards = np.einsum("xad,d->xa", world.features, world.theta)
    short = rewards.max(axis=1, keepdims=True) - rewards
    assert world.features.shape == (prompts, actions, dim)
    assert short[short > 1e-9].min() == pytest.approx(gap, abs=1e-9)
    assert world.gap == pytest.approx(gap, abs=1e-9)
    assert rewards.min() >= -1e-12 and rewards.max() <= 1 + 1e-12
    assert (np.linalg.norm(world.features, axis=2) <= 1 + 1e-12).all()
    assert np.linalg.norm(world.theta) == pytest.approx(1)


def test_gap_of_a_world_one_can_read():
    world = DuelingWorld([[[1.0], [0.75], [0.75]], [[0.5], [0.5], [0.4]]], [2.0])
    assert world.gap == pytest.approx(0.2)
    assert world.rewards.tolist() == [[2.0, 1.5, 1.5], [1.0, 1.0, 0.8]]


def test_gap_where_all_actions_tie_is_infinite():
    assert DuelingWorld(np.ones((2, 3, 1)), [1.0]).gap == np.inf


def test_the_best_action_stands_anywhere():
    """40 prompts, 4 actions: the chance that some place stays empty is below 1e-4."""
    world = DuelingWorld.with_gap(40, 4, 5, 0.1, np.random.default_rng(0))
    assert set(world.rewards.argmax(axis=1)) == {0, 1, 2, 3}


def test_pairs_are_every_two_actions_of_a_prompt():
    world = DuelingWorld(np.arange(12.0).reshape(2, 3, 2) ** 2, [1.0, 0.5])
    pool = world.pairs(Teachers([[1.0, 2.0]]), [1, 0])
    phi = world.features
    expected = [phi[x, a] - phi[x, b] for x in (0, 1) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_array_equal(pool.z, expected)
    assert pool.context.tolist() == [1, 1, 1, 0, 0, 0]
    assert pool.world is world and pool.theta.tolist() == [1.0, 0.5]


@settings(max_examples=25)
@given(lo=st.floats(0, 3), width=st.floats(0.01, 2), dim=st.integers(1, 5))
def test_synthetic_margins_are_where_they_were_asked(lo, width, dim):
    rng = np.random.default_rng(1)
    pool = PairPool.synthetic(200, dim, 1, ONE, rng, margins=(lo, lo + width))
    margin = pool.z @ pool.theta
    assert np.abs(margin).min() >= lo - 1e-9 and np.abs(margin).max() <= lo + width + 1e-9
    assert 0.2 < (margin > 0).mean() < 0.8  # both signs; a coin leaves this once in 1e17


def test_margins_change_nothing_across_theta():
    """The same draws with and without margins differ along theta only."""
    plain = PairPool.synthetic(50, 4, 1, ONE, np.random.default_rng(2))
    hard = PairPool.synthetic(50, 4, 1, ONE, np.random.default_rng(2), margins=(1, 2))
    np.testing.assert_array_equal(plain.theta, hard.theta)
    difference = hard.z - plain.z
    np.testing.assert_allclose(
        difference - np.outer(difference @ plain.theta, plain.theta), 0, atol=1e-12
    )


def test_synthetic_pools_are_their_generators_alone():
    teachers = Teachers([[1.0, 2.0, 0.5]])
    one, two = (PairPool.synthetic(60, 3, 3, teachers, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.z, two.z)
    assert set(one.context) == {0, 1, 2} and np.linalg.norm(one.theta) == pytest.approx(1)
    assert (one.available == -1).all()


def test_a_selector_does_not_see_the_truth():
    pool = PairPool.synthetic(5, 2, 1, Teachers([[1.0]], [2.0]), np.random.default_rng(0))
    asked = pool.ask()
    assert asked._fields == ("z", "context", "rationality", "cost", "available")
    assert asked.cost.tolist() == [2.0]


def test_worlds_cannot_be_changed():
    pool = PairPool.synthetic(5, 2, 1, ONE, np.random.default_rng(0))
    for array in (pool.z, pool.theta, pool.available, pool.teachers.rationality):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    stocked = pool.with_available(np.ones((5, 1), dtype=int))
    assert (stocked.available == 1).all() and (pool.available == -1).all()

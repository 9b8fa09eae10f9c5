"""What a round shows, on finite worlds and on streams."""

import numpy as np
import pytest

from activeduel.sim import DuelingWorld
from activeduel.sim.draws import Draws
from activeduel.sim.stream import StreamingWorld, rounds, shortfall

STREAM = StreamingWorld([0.6, 0.0, -0.8], 5)


def test_a_stream_s_features_are_standard_normal_over_root_d():
    """15,000 entries: mean within 5 and variance within 5 standard errors."""
    x = np.array([STREAM.features(Draws(1, 0, t)) for t in range(1000)]) * np.sqrt(3)
    assert x.shape == (1000, 5, 3)
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / x.size)
    correlation = np.corrcoef(x.reshape(1000, 15).T) - np.eye(15)
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)


def test_a_round_is_named_by_its_draws():
    look = rounds(STREAM)
    one, again = look(Draws(1, 2, 3)), rounds(STREAM)(Draws(1, 2, 3))
    np.testing.assert_array_equal(one.features, again.features)
    assert one.prompt == 3
    for other in (Draws(2, 2, 3), Draws(1, 3, 3), Draws(1, 2, 4)):
        assert (look(other).features != one.features).all()


@pytest.mark.parametrize(
    "world", [STREAM, DuelingWorld.with_gap(4, 3, 3, 0.2, np.random.default_rng(0))]
)
def test_rewards_are_theta_phi_and_regret_is_what_the_best_action_adds(world):
    look = rounds(world)
    for t in range(20):
        scene = look(Draws(5, 0, t))
        expected = [world.theta @ phi for phi in scene.features]
        np.testing.assert_allclose(scene.rewards, expected, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(scene.regret, max(expected) - scene.rewards, atol=1e-12)
        assert scene.regret[scene.rewards.argmax()] == 0.0


def test_prompts_of_a_finite_world_are_uniform():
    """3,000 rounds, 5 prompts: every count within 5 standard errors."""
    look = rounds(DuelingWorld(np.ones((5, 2, 1)), [1.0]))
    counts = np.bincount([look(Draws(2, 0, t)).prompt for t in range(3000)], minlength=5)
    assert (np.abs(counts - 600) < 5 * np.sqrt(600 * 0.8)).all()


def test_ties_up_to_rounding_cost_nothing():
    short = shortfall(np.array([0.1 + 0.2, 0.3, 0.2]))
    assert short[:2].tolist() == [0.0, 0.0] and short[2] == pytest.approx(0.1)
    world = DuelingWorld([[[0.1, 0.2], [0.3, 0.0], [0.0, 0.2]]], [1.0, 1.0])
    scene = rounds(world)(Draws(0, 0, 0))
    assert scene.regret[:2].tolist() == [0.0, 0.0]
    assert scene.regret[2] == pytest.approx(world.gap)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: StreamingWorld([1.0, np.nan], 3), "theta"),
        (lambda: StreamingWorld([[1.0]], 3), "theta: found shape"),
        (lambda: StreamingWorld([1.0], 1), "actions: found 1"),
        (lambda: StreamingWorld([1.0], 2.5), "actions: found 2.5"),
        (lambda: rounds(DuelingWorld(np.ones((2, 1, 1)), [1.0])), "found 1 action a prompt"),
    ],
)
def test_refuses_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()

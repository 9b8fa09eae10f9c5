"""The linear head: projection, refit, belief and accuracy on features made for the test."""

import numpy as np
import pytest

from activeduel.llm.head import accuracy, belief, length_margins, project, refit
from activeduel.theory import SELECTORS
from activeduel.theory.preference import win_probability
from activeduel.theory.refit import MEAN_SQUARE, RIDGE, estimate_rationality

RNG = np.random.default_rng(5)
N, D = 300, 40
PHI = (RNG.standard_normal((N, 2, D)) * np.geomspace(10, 0.1, D) + 3).astype(np.float32)
REWARD = RNG.standard_normal(D) / np.geomspace(10, 0.1, D) * 0.2
CONTEXT = np.arange(N) % 2
TRAIN, TEST = np.arange(200), np.arange(200, N)
TRUE_MARGINS = (PHI[:, 0] - PHI[:, 1]).astype(float) @ REWARD  # of standard deviation about 2


def answers(pair, rationality, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.random(len(pair)) < win_probability(TRUE_MARGINS[pair, None], [1.0], rationality)
    ) * 1.0


def questions(count, teachers):
    rng = np.random.default_rng(count)
    return rng.integers(0, 200, count), rng.integers(0, teachers, count)


@pytest.fixture(scope="module")
def projected():
    projection = project(PHI, TRAIN, labels=2000)
    return projection, projection.differences(PHI)


def test_at_most_a_tenth_of_the_labels_and_the_length_of_the_prior(projected):
    projection, z = projected
    assert z.shape == (N, D)  # 2000 / 10 is above d_model
    assert np.mean((z[TRAIN] ** 2).sum(axis=1)) == pytest.approx(MEAN_SQUARE)
    second = z[TRAIN].T @ z[TRAIN]
    assert np.allclose(second, np.diag(np.diag(second)), atol=1e-3 * second.max())
    assert project(PHI, TRAIN, labels=120).turn.shape == (D, 12)
    assert project(PHI, TRAIN, labels=2000, most=8).turn.shape == (D, 8)
    assert project(PHI, TRAIN, labels=3).turn.shape == (D, 1)
    assert projection.kept_share == pytest.approx(1.0)


def test_only_the_training_pairs_are_looked_at(projected):
    other = PHI.copy()
    other[TEST] = 0
    again = project(other, TRAIN, labels=2000)
    assert np.array_equal(again.turn, projected[0].turn)
    with pytest.raises(AssertionError):  # negative control: they would be seen
        everything = np.arange(N)
        a, b = (project(p, everything, labels=2000).turn for p in (PHI, other))
        assert np.array_equal(a, b)


def test_rewards_differ_by_the_margin_and_average_to_zero(projected):
    projection, z = projected
    theta = RNG.standard_normal(D)
    rewards = projection.rewards(PHI, theta)
    assert np.allclose(rewards[:, 0] - rewards[:, 1], z @ theta)
    assert np.allclose(rewards, projection.features(PHI) @ theta)
    assert rewards[TRAIN].mean() == pytest.approx(0, abs=1e-5)
    assert np.allclose(projection.rewards(PHI, theta, TEST), rewards[TEST])
    assert np.array_equal(projection.differences(PHI, TEST), z[TEST])
    assert projection.differences(PHI, TEST[:0]).shape == (0, D)


def test_the_directions_signs_do_not_depend_on_rounding():
    """An eigenvector's sign is arbitrary, and a random selector along theta would notice."""
    shaken = PHI * (1 + 1e-6 * RNG.standard_normal(PHI.shape)).astype(np.float32)
    one, two = (project(p, TRAIN, labels=100).turn for p in (PHI, shaken))
    assert np.allclose(one, two, rtol=1e-3, atol=1e-4 * np.abs(one).max())


def test_features_that_are_not_finite_or_never_differ():
    broken = PHI.copy()
    broken[3, 1, 2] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        project(broken, TRAIN, labels=100)
    with pytest.raises(ValueError, match="40 columns that never differ"):
        project(PHI[:, :1].repeat(2, axis=1), TRAIN, labels=100)
    with pytest.raises(ValueError, match="pairs"):
        project(PHI, np.array([N]), labels=100)


def test_known_rationality_is_believed(projected):
    z = projected[1]
    pair, teacher = questions(2000, 2)
    rationality = np.array([[1.0, 0.2], [0.0, 2.0]])
    wins = answers(pair, rationality[teacher, CONTEXT[pair]])
    fit = refit(z, CONTEXT, pair, teacher, wins, rationality)
    assert (fit.status, fit.rationality_status, fit.labels) == ("converged", "stated", 2000)
    assert np.array_equal(fit.rationality, rationality)
    assert np.corrcoef(z[TEST] @ fit.theta, TRUE_MARGINS[TEST])[0, 1] > 0.9
    assert accuracy(z[TEST] @ fit.theta, (TRUE_MARGINS[TEST] > 0) * 1.0) > 0.85


def test_unknown_rationality_is_estimated_in_every_context(projected):
    z = projected[1]
    pair, teacher = questions(6000, 2)
    true = np.array([[1.5, 0.3], [0.3, 1.5]])
    wins = answers(pair, true[teacher, CONTEXT[pair]])
    fit = refit(z, CONTEXT, pair, teacher, wins, np.ones((2, 2)), estimate=True)
    assert fit.rationality_status == "estimated"
    assert np.allclose(fit.rationality, true / np.sqrt(np.mean(true**2)), atol=0.25)
    counts = np.bincount(2 * teacher + CONTEXT[pair])
    assert counts @ fit.rationality.ravel() ** 2 / len(pair) == pytest.approx(1)


def test_one_context_type_is_what_a_replay_does(projected):
    """The same estimate as theory's, the label of a cell being the teacher's number."""
    z = projected[1]
    pair, teacher = questions(300, 3)
    wins = answers(pair, 1.0)
    fit = refit(z, 0 * CONTEXT, pair, teacher, wins, np.ones((3, 1)), estimate=True)
    same = estimate_rationality(z[pair], wins, np.ones(300, dtype=int), teacher, 3)
    assert np.array_equal(fit.rationality[:, 0], same)


def test_what_could_not_be_read_teaches_nothing_and_a_tie_is_half_a_win(projected):
    z = projected[1]
    pair, teacher = np.array([0, 1, 2, 2]), np.array([0, 1, 0, 1])
    said = np.array([1.0, np.nan, 0.5, 0.0])
    fit = refit(z, CONTEXT, pair, teacher, said, np.ones((2, 2)))
    kept = [0, 2, 3]
    same = refit(z, CONTEXT, pair[kept], teacher[kept], said[kept], np.ones((2, 2)))
    assert fit.labels == 3 and np.array_equal(fit.theta, same.theta)
    assert np.array_equal(fit.information, same.information)
    tie = refit(z, CONTEXT, [7], [0], [0.5], np.ones((1, 2)))
    assert np.allclose(tie.theta, 0) and tie.gram[0, 0] > RIDGE
    with pytest.raises(ValueError, match=r"found 0.3; needed 1, 0.5 \(tie\), 0"):
        refit(z, CONTEXT, [0], [0], [0.3], np.ones((1, 2)))


def test_before_any_label(projected):
    z = projected[1]
    for said in ([], [np.nan]):
        none = [0] * len(said)
        fit = refit(z, CONTEXT, none, none, said, np.ones((2, 2)), estimate=True)
        assert (fit.status, fit.rationality_status, fit.labels) == ("none", "assumed", 0)
        assert np.array_equal(fit.information, RIDGE * np.eye(D)) and not fit.theta.any()


def test_one_sided_labels_have_a_finite_fit(projected):
    """Ten labels on 40 dimensions are separable: the ridge keeps the reward finite."""
    fit = refit(projected[1], CONTEXT, np.arange(10), [0] * 10, [1.0] * 10, np.ones((1, 2)))
    assert fit.status == "converged" and np.isfinite(fit.theta).all()


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_takes_the_belief(projected, name):
    z = projected[1]
    pair, teacher = np.arange(60), np.arange(60) % 2
    rationality = np.array([[1.0, 0.5], [0.5, 1.0]])
    fit = refit(z, CONTEXT, pair, teacher, answers(pair, 1.0), rationality)
    counts = np.zeros((N, 2), dtype=int)
    counts[pair, teacher] = 1
    capacity = np.where(np.arange(N)[:, None] < 200, [[1, -1]], 0)  # no teacher on the test pairs
    pool, known = belief(z, CONTEXT, fit, [1.0, 2.0], capacity, counts)
    assert pool.available[0].tolist() == [0, -1] and not pool.available[TEST].any()
    picks = SELECTORS[name](pool, known, 20.0, np.random.default_rng(0))
    assert np.array([1.0, 2.0])[picks.teacher].sum() <= 20 and picks.pair.max() < 200
    assert not ((picks.teacher == 0) & (picks.pair < 60) & (picks.pair % 2 == 0)).any()


def test_more_labels_than_there_were(projected):
    z = projected[1]
    fit = refit(z, CONTEXT, [], [], [], np.ones((1, 2)))
    counts = np.zeros((N, 1), dtype=int)
    counts[4] = 2
    with pytest.raises(ValueError, match="found 2 labels of teacher 0 on pair 4.*capacity, 1"):
        belief(z, CONTEXT, fit, [1.0], np.ones((N, 1), dtype=int), counts)


def test_accuracy_leaves_out_what_is_not_decided():
    margins, truth = np.array([1.0, -1.0, 0.0, 3.0, 3.0]), np.array([1, 0, 1, 0.5, np.nan])
    assert accuracy(margins, truth) == pytest.approx(2.5 / 3)
    with pytest.raises(ValueError, match="no decided one among 2 pairs"):
        accuracy(margins[:2], np.array([0.5, np.nan]))


def test_length_learns_its_sign_from_the_labels():
    lengths = np.array([[5, 1], [2, 9], [4, 4]])
    pair = np.array([0, 1, 1, 2])
    longer = length_margins(lengths, pair, np.array([1, 0, 0.5, 1.0]))
    assert longer.tolist() == [4, -7, 0]
    assert length_margins(lengths, pair, np.array([0, 1, np.nan, 1.0])).tolist() == [-4, 7, 0]
    assert not length_margins(lengths, pair[:0], np.zeros(0)).any()  # nothing is known

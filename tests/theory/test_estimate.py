"""fit_preferences and fit_jointly against closed forms, statsmodels, a linear program and coverage."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from activeduel.theory.estimate import fit_preferences
from activeduel.theory.joint_estimate import fit_jointly


def drawn(seed, n=300, d=4, trials=1):
    rng = np.random.default_rng(seed)
    z, theta = rng.standard_normal((n, d)), rng.standard_normal(d)
    b = rng.choice([-1.0, 0.0, 0.5, 2.0], n)
    return z, rng.binomial(trials, expit(b * (z @ theta))).astype(float), b, theta


def score(z, wins, trials, b, theta, ridge=0.0):
    """Gradient of the penalised log-likelihood, written out again."""
    return (b * (wins - trials * expit(b * (z @ theta)))) @ z - ridge * theta


def separable_by_program(z, wins, trials):
    """The independent truth: max sum |s v'z| over |v| <= 1, s v'z >= 0, v'z = 0 on ties."""
    import cvxpy as cp

    v, lost, won = cp.Variable(z.shape[1]), wins == 0, wins == trials
    m = z @ v
    rules = [v <= 1, v >= -1]
    if won.any():
        rules.append(m[won] >= 0)
    if lost.any():
        rules.append(m[lost] <= 0)
    if (~lost & ~won).any():
        rules.append(m[~lost & ~won] == 0)
    side = won.astype(float) - lost
    problem = cp.Problem(cp.Maximize(side @ m), rules)
    return float(problem.solve(solver=cp.CLARABEL)) > 1e-5


# --- known rationality ---------------------------------------------------------------------------


@pytest.mark.parametrize("b", [0.3, 1.0, -2.0])
@pytest.mark.parametrize(("wins", "trials"), [(3.0, 4.0), (0.5, 1.0), (1.0, 1e9), (2.5, 7.0)])
def test_one_direction_is_the_logit_of_the_share(wins, trials, b):
    fit = fit_preferences([[2.0]], [wins], trials, b)
    share = wins / trials
    assert fit.status == "converged"
    assert fit.theta[0] == pytest.approx(logit(share) / (2 * b), rel=1e-12, abs=1e-15)
    expected = trials * (2 * b) ** 2 * share * (1 - share)
    assert fit.information[0, 0] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_statsmodels_on_fractional_counts(seed):
    from statsmodels.api import GLM, families

    rng = np.random.default_rng(seed)
    z, wins, b, _ = drawn(seed, trials=5)
    trials = np.full(len(z), 5.0)
    wins = np.clip(wins + rng.uniform(-0.5, 0.5, len(z)), 0, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own about fractional counts
        peer = GLM(wins / 5, z * b[:, None], family=families.Binomial(), var_weights=trials)
        peer = peer.fit(tol=1e-14, maxiter=200)
    fit = fit_preferences(z, wins, trials, b)
    np.testing.assert_allclose(fit.theta, peer.params, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.inv(fit.information), peer.cov_params(), rtol=1e-7)


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 1.0, 1e6])
def test_gradient_vanishes_at_the_optimum(ridge):
    z, wins, b, _ = drawn(7)
    fit = fit_preferences(z, wins, 1, b, ridge=ridge)
    assert fit.status == "converged"
    gradient = score(z, wins, 1, b, fit.theta, ridge)
    hessian = fit.information + ridge * np.eye(4)
    assert np.abs(np.linalg.solve(hessian, gradient)).max() < 1e-12 * np.abs(fit.theta).max()
    weight = b**2 * expit(b * (z @ fit.theta)) * expit(-b * (z @ fit.theta))
    np.testing.assert_allclose(fit.information, (z * weight[:, None]).T @ z, rtol=1e-10)


def test_counts_are_the_expanded_list():
    rng = np.random.default_rng(3)
    z, wins, trials = rng.standard_normal((20, 3)), rng.integers(0, 5, 20), 5
    rows = np.repeat(z, trials, axis=0)
    answers = (np.tile(np.arange(trials), 20) < np.repeat(wins, trials)).astype(float)
    counted, listed = fit_preferences(z, wins, trials), fit_preferences(rows, answers)
    np.testing.assert_allclose(counted.theta, listed.theta, rtol=1e-12)
    np.testing.assert_allclose(counted.information, listed.information, rtol=1e-11, atol=1e-13)


def test_columns_of_any_scale_give_the_same_fit():
    z, wins, b, _ = drawn(5)
    scale = np.array([1e-8, 1e8, 1.0, 1e3])
    plain, scaled = fit_preferences(z, wins, 1, b), fit_preferences(z * scale, wins, 1, b)
    assert scaled.status == "converged"
    np.testing.assert_allclose(scaled.theta * scale, plain.theta, rtol=1e-12)


def test_nearly_dependent_columns_are_still_fitted():
    z, wins, b, _ = drawn(6)
    mix = np.eye(4)
    mix[:, 1] = mix[:, 0] + 1e-6 * mix[:, 1]
    fit = fit_preferences(z @ mix, wins, 1, b)
    assert fit.status == "converged"
    np.testing.assert_allclose(mix @ fit.theta, fit_preferences(z, wins, 1, b).theta, rtol=1e-6)


def test_rows_without_answers_change_nothing():
    z, wins, b, _ = drawn(8)
    trials = np.ones(len(z))
    wins[::3] = trials[::3] = 0
    asked = trials > 0
    one = fit_preferences(z, wins, trials, b)
    two = fit_preferences(z[asked], wins[asked], 1, b[asked])
    np.testing.assert_array_equal(one.theta, two.theta)


# --- when no finite optimum exists -----------------------------------------------------------------

X, Y = [1.0, 0.0], [0.0, 1.0]


@pytest.mark.parametrize(
    ("z", "wins", "trials", "status"),
    [
        ([[1.0]], [1], 1, "separable"),
        ([[1.0], [-1.0]], [1, 1], 1, "converged"),  # all wins, yet finite
        ([[1.0], [-2.0]], [1, 0], 1, "separable"),
        ([X, Y, Y], [1, 1, 0], 1, "separable"),  # quasi: only the first direction runs away
        ([X, Y, [1.0, 1.0]], [1, 0.5, 1], 1, "separable"),  # the tie lies in the plane
        ([X, Y, [-1.0, 1e-6]], [1, 0.5, 1], 1, "converged"),  # the same plane, tilted
        ([X, Y, [-1.0, -1.0]], [1, 1, 1], 1, "converged"),
        ([X, Y, [-1.0, -1.0], [1.0, 1e-3]], [1, 1, 0, 1], 1, "separable"),
        ([X, Y], [1e13 - 1, 0.5], [1e13, 1], "converged"),  # margin 29.9: far, but finite
        ([X, X], [1, 0], 1, "singular"),
        ([X, Y], [1, 0], [1, 0], "singular"),
        ([X, Y], [0, 0], 0, "singular"),
        ([X, [2.0, 0.0], [0.0, 0.0]], [1, 0, 1], 1, "singular"),
    ],
)
def test_status_by_hand(z, wins, trials, status):
    fit = fit_preferences(z, wins, trials)
    assert fit.status == status
    assert np.isfinite(fit.theta).all() == (status == "converged")
    assert np.isfinite(fit.information).all() == (status == "converged")


@pytest.mark.parametrize("size", [1e-308, 1e-200, 1e-150, 1e150, 1e200])
def test_extreme_magnitudes_end_in_an_answer(size):
    fit = fit_preferences([[size], [size]], [1, 0.5])
    assert fit.status == ("singular" if size < 1e-280 else "converged")
    if fit.status == "converged":
        assert fit.theta[0] * size == pytest.approx(np.log(3), rel=1e-12)
    assert fit_preferences([[size], [size]], [1, 0.5], ridge=1e-3).status == "converged"
    with pytest.raises(ValueError, match="rescale"):
        fit_preferences([[1e200]], [0.5], 1, 1e200)


def test_useless_teachers_make_the_fit_singular():
    assert fit_preferences([X, Y], [1, 0], 1, 0.0).status == "singular"
    assert fit_preferences([X, Y], [1, 0], 1, [1.0, 0.0]).status == "singular"


def test_nothing_asked_with_ridge_is_zero():
    fit = fit_preferences([X, Y], [0, 0], 0, ridge=0.1)
    assert fit.status == "converged"
    assert not fit.theta.any()
    assert not fit.information.any()


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 3), st.sampled_from([1, 2]))
@settings(max_examples=150, deadline=None)
def test_separable_exactly_when_a_second_program_says_so(seed, n, d, trials):
    """Small whole numbers make ties, planes and quasi-separation frequent."""
    rng = np.random.default_rng(seed)
    z = rng.integers(-2, 3, (n, d)).astype(float)
    wins = rng.integers(0, trials + 1, n).astype(float)
    status = fit_preferences(z, wins, trials).status
    if np.linalg.matrix_rank(z) < d:
        assert status == "singular"
    else:
        assert status == ("separable" if separable_by_program(z, wins, trials) else "converged")


def test_ridge_makes_separable_data_finite_and_its_path_grows():
    z, wins = [X, Y, [1.0, 1.0]], [1, 0, 1]
    lengths = []
    for ridge in (10.0, 1.0, 1e-3, 1e-8, 1e-30):
        fit = fit_preferences(z, wins, ridge=ridge)
        assert fit.status == "converged"
        lengths.append(float(np.linalg.norm(fit.theta)))
    assert (np.diff(lengths) > 0).all()


def test_ridge_on_dependent_columns_takes_the_smallest_theta():
    fit = fit_preferences([[1.0, 1.0], [2.0, 2.0]], [1, 0.5], ridge=1e-14)
    assert fit.status == "converged"
    assert fit.theta[0] == pytest.approx(fit.theta[1], rel=1e-9)


# --- properties --------------------------------------------------------------------------------------

number = st.floats(-3, 3, allow_subnormal=False)


@st.composite
def problems(draw):
    n, d = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    z = np.array(draw(st.lists(number, min_size=n * d, max_size=n * d))).reshape(n, d)
    trials = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=float)
    share = np.array(draw(st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=n, max_size=n)))
    return z, share * trials, trials, np.array(draw(st.lists(number, min_size=n, max_size=n)))


@given(problems(), st.sampled_from([0.0, 0.1]))
@settings(max_examples=150, deadline=None)
def test_every_outcome_keeps_its_promise(problem, ridge):
    z, wins, trials, b = problem
    fit = fit_preferences(z, wins, trials, b, ridge=ridge)
    assert fit.theta.shape == (z.shape[1],)
    assert fit.information.shape == (z.shape[1],) * 2
    if ridge:
        assert fit.status == "converged"
        assert np.abs(score(z, wins, trials, b, fit.theta, ridge)).max() < 1e-9
    if fit.status in ("separable", "singular"):
        assert np.isnan(fit.theta).all()
        assert np.isnan(fit.information).all()


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_order_and_sign_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    z, wins, b, _ = drawn(seed, n=60, d=3, trials=3)
    fit = fit_preferences(z, wins, 3, b)
    order = rng.permutation(len(z))
    shuffled = fit_preferences(z[order], wins[order], 3, b[order])
    mirrored = fit_preferences(-z, 3 - wins, 3, b)
    turned = fit_preferences(z, wins, 3, -b)
    for other, sign in ((shuffled, 1), (mirrored, 1), (turned, -1)):
        assert other.status == fit.status
        np.testing.assert_allclose(sign * other.theta, fit.theta, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"z": [[np.nan, 0.0], Y]},
        {"z": [1.0, 2.0]},
        {"z": np.empty((0, 2))},
        {"z": [["a", "b"], ["c", "d"]]},
        {"wins": [1.0]},
        {"wins": [1.0, np.inf]},
        {"wins": [1.0, 1.5]},
        {"wins": [1.0, -0.1]},
        {"trials": [1.0, -1.0]},
        {"trials": [1.0]},
        {"ridge": -1.0},
        {"ridge": np.nan},
    ],
)
def test_bad_input_is_refused_by_both_fits(change):
    good = {"z": [X, Y], "wins": [1.0, 0.5], "trials": 1, "ridge": 0.0} | change
    with pytest.raises(ValueError, match="needed|repair|pass"):
        fit_preferences(**good)
    with pytest.raises(ValueError, match="needed|repair|pass"):
        fit_jointly(**good, teacher=[0, 1], context=[0, 0])


@pytest.mark.parametrize("rationality", [[1.0], [1.0, np.nan], [[1.0], [1.0]]])
def test_bad_rationality_is_refused(rationality):
    with pytest.raises(ValueError, match="rationality"):
        fit_preferences([X, Y], [1, 0], 1, rationality)


@pytest.mark.parametrize(
    "change",
    [{"teacher": [0, -1]}, {"context": [0, 0.5]}, {"teacher": [0]}, {"reference": 2}],
)
def test_bad_indices_are_refused(change):
    good = {"z": [X, Y], "wins": [1, 0.5], "teacher": [0, 1], "context": [0, 0]} | change
    with pytest.raises(ValueError, match="needed"):
        fit_jointly(**good)


# --- rationality estimated as well ---------------------------------------------------------------------

THETA = np.array([1.0, -0.7, 0.4])
RATIONALITY = np.array([[1.0, 0.5], [2.0, -0.8], [-1.0, 1.5]])
FIXED = 3  # position of rationality[0, 0] among the unknowns


def judged(seed, n=3000):
    rng = np.random.default_rng(seed)
    z, teacher, context = (
        rng.standard_normal((n, 3)),
        rng.integers(3, size=n),
        rng.integers(2, size=n),
    )
    chance = expit(RATIONALITY[teacher, context] * (z @ THETA))
    return z, (rng.random(n) < chance).astype(float), teacher, context


def joint_loss(p, data, ridge=0.0):
    z, wins, teacher, context = data
    b = p[3:].reshape(3, 2)
    u = b[teacher, context] * (z @ p[:3])
    loss = (wins * np.logaddexp(0, -u) + (1 - wins) * np.logaddexp(0, u)).sum()
    return loss + ridge / 2 * ((p[:3] ** 2).sum() + ((b - b.mean()) ** 2).sum())


def test_joint_estimate_covers_the_truth_as_often_as_it_says():
    """300 replicates of a 95 % ellipsoid: misses are Binomial(300, 0.05), inside its 1e-4 band."""
    from scipy.stats import binom, chi2

    truth = np.append(THETA, RATIONALITY.ravel())
    free = np.delete(np.arange(9), FIXED)
    misses = 0
    for seed in range(300):
        fit = fit_jointly(*judged(seed))
        assert fit.status == "converged"
        error = (np.append(fit.theta, fit.rationality.ravel()) - truth)[free]
        distance = error @ np.linalg.solve(fit.covariance[np.ix_(free, free)], error)
        misses += distance > chi2.ppf(0.95, len(free))
    assert binom.ppf(5e-5, 300, 0.05) <= misses <= binom.ppf(1 - 5e-5, 300, 0.05)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0, 100.0])
def test_joint_optimum_is_stationary_and_a_general_optimiser_finds_no_better(ridge):
    from scipy.optimize import approx_fprime, minimize

    data = judged(1, n=600)
    fit = fit_jointly(*data, ridge=ridge)
    p = np.append(fit.theta, fit.rationality.ravel())
    free = np.delete(np.arange(9), FIXED)

    def loss(part):
        full = p.copy()
        full[free] = part
        return joint_loss(full, data, ridge)

    assert fit.status == "converged"
    assert np.abs(approx_fprime(p[free], loss, 1e-6)).max() < 1e-3
    truth = np.append(THETA, RATIONALITY.ravel())[free]
    assert loss(p[free]) <= minimize(loss, truth, method="L-BFGS-B").fun + 1e-7


def test_the_fixed_cell_is_one_and_has_no_variance():
    fit = fit_jointly(*judged(2), reference=1)
    cell = 3 + 2
    assert fit.rationality[1, 0] == 1.0
    assert fit.covariance.shape == (9, 9)
    assert not fit.covariance[cell].any()
    assert not fit.covariance[:, cell].any()
    np.testing.assert_allclose(fit.covariance, fit.covariance.T, rtol=1e-10, atol=1e-14)
    first = fit_jointly(*judged(2))  # the same fit, told on another scale
    scale = first.rationality[1, 0]
    np.testing.assert_allclose(fit.theta, first.theta * scale, rtol=1e-9)
    np.testing.assert_allclose(fit.rationality, first.rationality / scale, rtol=1e-9)


def test_a_weak_reference_changes_the_scale_but_not_the_fit():
    """The weak teacher's estimate is near 0, of either sign: theta's sign then hangs on it."""
    both = signs = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        z, teacher = rng.standard_normal((150, 3)), rng.integers(2, size=150)
        chance = expit(np.array([0.1, 1.5])[teacher] * (z @ THETA))
        data = z, (rng.random(150) < chance).astype(float), teacher, np.zeros(150)
        strong, weak = fit_jointly(*data, reference=1), fit_jointly(*data)
        if strong.status == weak.status == "converged":
            both += 1
            scale = strong.rationality[0, 0]
            signs += scale < 0
            np.testing.assert_allclose(weak.theta, strong.theta * scale, rtol=1e-6)
            assert weak.rationality[1, 0] == pytest.approx(1 / scale, rel=1e-6)
    assert both == 30
    assert 0 < signs < both  # both signs were met


def test_swapped_answers_of_a_teacher_flip_the_sign_of_his_rationality():
    z, wins, teacher, context = judged(3)
    swapped = np.where(teacher == 2, 1 - wins, wins)
    plain, flipped = (fit_jointly(z, w, teacher, context) for w in (wins, swapped))
    np.testing.assert_allclose(flipped.theta, plain.theta, rtol=1e-9)
    np.testing.assert_allclose(flipped.rationality[:2], plain.rationality[:2], rtol=1e-9)
    np.testing.assert_allclose(flipped.rationality[2], -plain.rationality[2], rtol=1e-9)


def test_one_cell_is_the_fit_with_known_rationality():
    z, wins, _, _ = drawn(4)
    zeros = np.zeros(len(z))
    joint, known = fit_jointly(z, wins, zeros, zeros), fit_preferences(z, wins)
    np.testing.assert_allclose(joint.theta, known.theta, rtol=1e-10)
    np.testing.assert_allclose(
        joint.covariance[:4, :4], np.linalg.inv(known.information), rtol=1e-8
    )
    assert joint.rationality.tolist() == [[1.0]]


def test_joint_counts_are_the_expanded_list():
    z, _, teacher, context = judged(5, n=200)
    wins = np.random.default_rng(5).binomial(4, expit(RATIONALITY[teacher, context] * (z @ THETA)))
    answers = (np.tile(np.arange(4), 200) < np.repeat(wins, 4)).astype(float)
    listed = fit_jointly(
        *(np.repeat(a, 4, axis=0) for a in (z,)),
        answers,
        np.repeat(teacher, 4),
        np.repeat(context, 4),
    )
    counted = fit_jointly(z, wins, teacher, context, trials=4)
    np.testing.assert_allclose(counted.rationality, listed.rationality, rtol=1e-9)


def test_a_cell_without_labels_needs_ridge_which_sets_it_to_the_mean():
    z, wins, teacher, context = judged(6)
    kept = (teacher != 1) | (context != 1)
    data = z[kept], wins[kept], teacher[kept], context[kept]
    assert fit_jointly(*data).status == "singular"
    fit = fit_jointly(*data, ridge=0.01)
    assert fit.status == "converged"
    others = np.delete(fit.rationality.ravel(), 3)
    assert fit.rationality[1, 1] == pytest.approx(others.mean(), rel=1e-9)


def test_unconnected_teachers_are_singular():
    """One teacher sees only the first direction, the other only the second: b theta_2 is all we learn."""
    z = np.repeat([X, Y], 10, axis=0)
    wins = np.tile([1.0, 0.0, 1.0, 1.0, 0.0], 4)
    assert fit_jointly(z, wins, np.repeat([0, 1], 10), np.zeros(20)).status == "singular"


@pytest.mark.parametrize("teacher_in_perfect_agreement", [0, 1])
def test_a_teacher_who_always_agrees_has_no_finite_rationality(teacher_in_perfect_agreement):
    z, wins, teacher, context = judged(7)
    perfect = (teacher == teacher_in_perfect_agreement) & (context == 0)
    wins = np.where(perfect, z @ THETA > 0, wins).astype(float)
    fit = fit_jointly(z, wins, teacher, context)
    assert fit.status == "separable"
    assert np.isnan(fit.theta).all()
    assert fit_jointly(z, wins, teacher, context, ridge=1e-2).status == "converged"


def test_joint_fit_of_separable_labels():
    z = [X, Y, [1.0, 1.0], X, Y]
    assert fit_jointly(z, [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0] * 5).status == "separable"
    quasi = fit_jointly([X, Y, Y], [1, 1, 0], [0] * 3, [0] * 3)
    assert quasi.status == "separable"

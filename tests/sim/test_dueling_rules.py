"""What each dueling algorithm chooses: rounds by hand, the named draws, and the theorem's mechanism."""

import math

import numpy as np
import pytest

from activeduel.sim import DuelingWorld
from activeduel.sim.algorithms.appo import appo
from activeduel.sim.algorithms.colstim import colstim
from activeduel.sim.algorithms.dueling import Duel, Knowledge, plan_rounds, play
from activeduel.sim.algorithms.greedy import greedy
from activeduel.sim.algorithms.maxinp import maxinp
from activeduel.sim.algorithms.oppo import oppo
from activeduel.sim.algorithms.optimism import RememberedPolicy, optimistic_advantage
from activeduel.sim.algorithms.random_query import random_query
from activeduel.sim.algorithms.thompson import thompson
from activeduel.sim.draws import Draws
from activeduel.sim.kernels.random import CONTEXT, LABEL, PLAY, SELECT
from activeduel.sim.stream import Round
from activeduel.theory.bounds import appo_step_size, query_ceiling

WORLD = DuelingWorld.with_gap(6, 4, 3, 0.4, np.random.default_rng(3))
EASY = DuelingWorld.with_gap(4, 3, 2, 0.8, np.random.default_rng(8))
DRAWS = Draws(3, 1, 4)


def knowing(theta, gram=None, information=None):
    """A state of knowledge; gram and information default to the identity."""
    one = np.eye(len(theta))
    gram = one if gram is None else np.asarray(gram, dtype=float)
    return Knowledge(
        np.asarray(theta, dtype=float),
        gram,
        np.linalg.inv(gram),
        one if information is None else np.asarray(information, dtype=float),
        0.0,
    )


def scene(features, prompt=0):
    features = np.asarray(features, dtype=float)
    nothing = np.zeros(len(features))
    return Round(prompt, features, nothing, nothing)


def draws_with_second(arm, actions):
    """Draws of the first round in which the uniform second arm is ``arm``."""
    return next(d for t in range(99) if (d := Draws(0, 0, t)).below(SELECT, 0, actions) == arm)


class Spy:
    """A rule that remembers every (policy before, knowledge, round, draws, choice, policy after)."""

    def __init__(self, rule):
        self.rule, self.ridge, self.radius, self.seen = rule, rule.ridge, rule.radius, []

    def start(self):
        return self.rule.start()

    def choose(self, policy, scene, know, draws):
        duel, after = self.rule.choose(policy, scene, know, draws)
        self.seen.append((policy, know, scene, draws, duel, after))
        return duel, after


def spied(rule, world=WORLD, horizon=200, seed=1):
    spy = Spy(rule)
    return play(world, spy, plan_rounds(horizon, seed), 0), spy.seen


def runs(rule, world, horizon, replicates, seed=1):
    plan = plan_rounds(horizon, seed)
    return [play(world, rule, plan, replicate) for replicate in range(replicates)]


# --- APPO: every step written out again ----------------------------------------------------------


def naive_fit(z, label, ridge):
    """Root of ridge theta + sum [mu(theta'z) - o] z, by Newton's method with halved steps."""
    theta = np.zeros(z.shape[1])

    def loss(t):
        u = z @ t
        return np.sum(np.logaddexp(0, u) - label * u) + ridge / 2 * t @ t

    for _ in range(60):
        p = 1 / (1 + np.exp(-z @ theta))
        step = np.linalg.solve(
            (z.T * (p * (1 - p))) @ z + ridge * np.eye(len(theta)),
            ridge * theta + (p - label) @ z,
        )
        size = 1.0
        while loss(theta - size * step) > loss(theta) + 1e-12 and size > 1e-9:
            size /= 2
        theta = theta - size * step
    return theta


def naive_appo(world, horizon, seed, radius, threshold, ridge, step_size):
    """(prompt, first, second, asked) of every round, in loops over actions and prompts."""
    x_count, actions, d = world.features.shape
    phi, pi = world.features, np.full((x_count, actions), 1 / actions)
    gram, z, label, out = ridge * np.eye(d), [], [], []
    for t in range(horizon):
        draws = Draws(seed, 0, t)
        x, y2 = draws.below(CONTEXT, 0, x_count), draws.below(SELECT, 0, actions)
        theta = naive_fit(np.array(z), np.array(label), ridge) if z else np.zeros(d)

        def dhat(x, y, y2=y2, theta=theta, gram=gram):
            v = phi[x, y] - phi[x, y2]
            return min(theta @ v + radius * math.sqrt(v @ np.linalg.solve(gram, v)), 1.0)

        scores = [dhat(x, y) for y in range(actions)]
        y1 = next(
            y for y in range(actions) if scores[y] >= max(scores) - 1e-9 * max(map(abs, scores))
        )
        v = phi[x, y1] - phi[x, y2]
        if math.sqrt(v @ np.linalg.solve(gram, v)) <= threshold:
            out.append((x, y1, y2, False))
            continue
        u, upto = draws.uniform(PLAY, 0), np.cumsum(pi[x])
        y1 = next(y for y in range(actions) if u < upto[y])
        v = phi[x, y1] - phi[x, y2]
        win = 1 / (1 + math.exp(-(phi[x, y1] - phi[x, y2]) @ world.theta))
        z.append(v)
        label.append(draws.uniform(LABEL, 0) < win)
        for every in range(x_count):
            pi[every] *= [math.exp(step_size * dhat(every, y)) for y in range(actions)]
            pi[every] /= pi[every].sum()
        gram = gram + np.outer(v, v)
        out.append((x, y1, y2, True))
    return out


def test_appo_is_its_algorithm_1_written_in_loops():
    """150 rounds, asked and unasked, a step size that makes the policy matter."""
    options = {"radius": 1.5, "uncertainty_threshold": 0.3, "ridge": 0.7, "step_size": 0.5}
    _, seen = spied(appo(WORLD, 150, **options), horizon=150)
    found = [(s.prompt, duel.first, duel.second, duel.ask) for _, _, s, _, duel, _ in seen]
    assert found == naive_appo(WORLD, 150, 1, 1.5, 0.3, 0.7, 0.5)
    assert 20 < sum(asked for *_, asked in found) < 130


def test_one_round_of_appo_by_hand():
    """theta_hat = (1, 0), gram = diag(4, 1), y2 = 0 at the origin, radius 1/2.

    Dhat: 0; 0.2 + 0.1/2 = 0.25; 0 + 0.6/2 = 0.3; min(1 + 1/2 * 1/2, 1) = 1.
    """
    features = [[[0.0, 0.0], [0.2, 0.0], [0.0, 0.6], [1.0, 0.0]]]
    know = knowing([1.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(
        optimistic_advantage(know, np.array(features), 0, 0.5), [[0, 0.25, 0.3, 1]]
    )
    world, draws = DuelingWorld(features, [1.0, 0.0]), draws_with_second(0, 4)
    for threshold, asked in ((0.5, False), (0.499, True)):  # ||z||_{gram^-1} = 1/2
        options = {"radius": 0.5, "uncertainty_threshold": threshold, "step_size": 2.0}
        rule = appo(world, 10, **options)
        duel, policy = rule.choose(rule.start(), scene(features[0]), know, draws)
        assert duel.ask == asked
        if asked:
            assert duel == Duel(draws.weighted(PLAY, 0, np.zeros(4)), 0, True)
            np.testing.assert_allclose(policy.log_weights, [[0, 0.5, 0.6, 2.0]])
        else:
            assert duel == Duel(3, 0, False)
            np.testing.assert_array_equal(policy.log_weights, np.zeros((1, 4)))
    tested = appo(world, 10, radius=0.5, uncertainty_threshold=0.499, tested_pair=True)
    assert tested.choose(tested.start(), scene(features[0]), know, draws)[0] == Duel(3, 0, True)


def test_appo_s_defaults_are_those_of_the_claims():
    rule = appo(WORLD, 100, radius=2.0)
    assert rule.uncertainty_threshold == pytest.approx(0.99 * 0.4 / 4)
    assert rule.ridge == pytest.approx(1 / np.sum(WORLD.theta**2))
    length = 2 * np.linalg.norm(WORLD.features, axis=2).max()
    step = appo_step_size(rule.uncertainty_threshold, 3, 4, norm_bound=1.0, feature_bound=length)
    assert rule.step_size == pytest.approx(step)


def test_the_policy_of_every_prompt_is_the_sum_of_the_steps_so_far():
    rule = appo(WORLD, 200, radius=2.0)
    out, seen = spied(rule)
    expected = np.zeros((6, 4))
    for _, know, _, _, duel, after in seen:
        if duel.ask:
            for x, y in np.ndindex(6, 4):
                z = WORLD.features[x, y] - WORLD.features[x, duel.second]
                bonus = 2.0 * math.sqrt(z @ np.linalg.solve(know.gram, z))
                expected[x, y] += rule.step_size * min(know.theta @ z + bonus, 1.0)
        np.testing.assert_allclose(after.log_weights, expected, rtol=1e-9, atol=1e-12)
    assert out.queries[-1] > 20 and np.ptp(expected) > 0


def test_a_round_without_a_query_changes_nothing_in_appo():
    _, seen = spied(appo(WORLD, 600, radius=2.0), horizon=600)
    unasked = [k for k, (*_, duel, _) in enumerate(seen[:-1]) if not duel.ask]
    assert len(unasked) > 50
    for k in unasked:
        assert seen[k][0] is seen[k][5] and seen[k + 1][1] is seen[k][1]  # policy and knowledge


def test_a_remembered_policy_is_the_table_s():
    """The form for streams, on a finite world: the same run."""

    class Remembering(Spy):
        def start(self):
            return RememberedPolicy()

    rule, plan = appo(WORLD, 200, radius=2.0, step_size=0.5), plan_rounds(200, 1)
    table, remembered = play(WORLD, rule, plan, 0), play(WORLD, Remembering(rule), plan, 0)
    np.testing.assert_array_equal(table.queried, remembered.queried)
    np.testing.assert_array_equal(table.regret, remembered.regret)


def test_with_radius_0_the_tested_arm_is_the_greedy_one():
    _, seen = spied(appo(WORLD, 300, radius=0.0, uncertainty_threshold=0.5), horizon=300)
    played = [
        (s.features @ know.theta, duel.first) for _, know, s, _, duel, _ in seen if not duel.ask
    ]
    assert len(played) > 50
    assert all(estimate[first] == estimate.max() for estimate, first in played)


# --- APPO: why it works ---------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("tested_pair", [False, True])
def test_inside_the_confidence_set_an_unasked_round_costs_nothing(radius, tested_pair):
    """The theorem's mechanism, exact at any radius: the threshold is below gap/(2 radius)."""
    outs = runs(appo(EASY, 800, radius=radius, tested_pair=tested_pair), EASY, 800, 4)
    assert sum(out.costly_inside for out in outs) == 0
    assert sum(800 - out.queries[-1] for out in outs) > 500


def test_negative_control_a_threshold_of_4_gap_over_radius_breaks_it():
    threshold = 4 * EASY.gap / 2.0
    rule = appo(EASY, 300, radius=2.0, uncertainty_threshold=threshold, step_size=0.1)
    assert sum(out.costly_inside for out in runs(rule, EASY, 300, 4)) > 100


def test_negative_control_a_radius_that_does_not_cover_costs_regret():
    """Outside the confidence set unasked rounds do cost: some run of 40 never stops paying."""
    outs = runs(appo(EASY, 300, radius=0.1), EASY, 300, 40)
    assert sum(out.costly_unasked for out in outs) > 0
    assert sum(out.costly_inside for out in outs) == 0
    assert max(out.largest_distance for out in outs) > 0.1
    assert max(out.late_regret for out in outs) > 0


def test_the_last_half_costs_nothing_once_queries_have_stopped():
    """In every run whose estimate never left the confidence set: most of these 6."""
    outs = runs(appo(EASY, 4000, radius=5.0, tested_pair=True), EASY, 4000, 6)
    covered = [out for out in outs if out.largest_distance <= 5.0]
    assert len(covered) >= 3
    for out in covered:
        assert out.last_query < 2000 and out.late_regret == 0.0 and out.costly_unasked == 0
        assert out.regret[-1] > 0


def test_tested_pairs_are_all_above_the_threshold_and_below_the_ceiling():
    """T is more than twice the ceiling, so that the bound says something."""
    rule = appo(EASY, 2000, radius=3.0, tested_pair=True)
    features = EASY.features[:, :, None] - EASY.features[:, None]
    ceiling = query_ceiling(
        2,
        rule.uncertainty_threshold,
        ridge=rule.ridge,
        feature_bound=np.linalg.norm(features, axis=3).max(),
    )
    assert 2000 > 2 * ceiling
    for out in runs(rule, EASY, 2000, 3):
        assert (out.norm > rule.uncertainty_threshold).all()
        assert 0 < out.queries[-1] <= ceiling


def test_as_printed_some_queried_pairs_are_below_the_threshold():
    """y1 is drawn again after the test; with probability near 1/|A| it is y2 itself."""
    rule = appo(EASY, 1000, radius=3.0)
    norms = np.concatenate([out.norm for out in runs(rule, EASY, 1000, 4)])
    assert 0.1 < (norms <= rule.uncertainty_threshold).mean() < 0.6
    assert (norms == 0).any()


def test_with_an_infinite_threshold_appo_never_asks_nor_learns():
    rule = appo(WORLD, 300, radius=2.0, uncertainty_threshold=np.inf, step_size=0.1)
    out = play(WORLD, rule, plan_rounds(300, 1, [150, 300]), 0)
    assert out.queries.tolist() == [0, 0] and (out.theta == 0).all()
    assert out.last_query == -1 and out.queried.shape == (0, 3)
    assert out.regret[1] > 1.5 * out.regret[0] > 0


# --- OPPO ------------------------------------------------------------------------------------------


def test_oppo_asks_always_plays_its_policy_and_moves_it_for_every_prompt():
    rule = oppo(WORLD, 100, radius=2.0)
    assert rule.step_size == pytest.approx(math.sqrt(2 * math.log(4) / 100))
    out, seen = spied(rule, horizon=100)
    assert out.queries[-1] == 100
    for policy, know, s, draws, duel, after in seen:
        assert duel.second == draws.below(SELECT, 0, 4)
        assert duel.first == draws.weighted(PLAY, 0, policy.log_weights[s.prompt])
        moved = rule.step_size * optimistic_advantage(know, WORLD.features, duel.second, 2.0)
        np.testing.assert_allclose(after.log_weights, policy.log_weights + moved, rtol=1e-12)


def test_negative_control_oppo_with_step_0_plays_uniformly():
    """400 rounds: counts within 5 standard errors of 100, and twice the regret of the real one."""
    still, moving = (oppo(WORLD, 400, radius=2.0, step_size=s) for s in (0.0, 1.0))
    out, plan = play(WORLD, still, plan_rounds(400, 2), 0), plan_rounds(400, 2)
    counts = np.bincount(out.queried[:, 1], minlength=4)
    assert (np.abs(counts - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)).all()
    assert out.regret[-1] > 2 * play(WORLD, moving, plan, 0).regret[-1]


def test_appo_at_threshold_0_differs_from_oppo_only_where_the_tested_pair_is_one_arm():
    options = {"radius": 0.2, "step_size": 0.3}
    _, seen = spied(appo(WORLD, 150, uncertainty_threshold=0.0, **options), horizon=150)
    assert all(duel.ask or duel.first == duel.second for *_, duel, _ in seen)
    assert any(not duel.ask for *_, duel, _ in seen)


# --- the rivals --------------------------------------------------------------------------------------


def test_maxinp_takes_the_widest_pair_of_promising_actions():
    """theta_hat = (1, 0), gram = I, radius 1/2: the action at (-2, 0) is out, the widest pair is the
    other two far apart; at radius 0 only the best is left and meets itself."""
    features = [[0.5, 0.0], [-2.0, 0.0], [0.4, 0.9], [0.4, -0.9]]
    rule = maxinp(WORLD, 10, radius=0.5)
    duel, _ = rule.choose(None, scene(features), knowing([1.0, 0.0]), DRAWS)
    assert duel == Duel(2, 3, True)
    tilted, _ = rule.choose(None, scene(features), knowing([1.0, -0.1]), DRAWS)
    assert tilted == Duel(3, 2, True)  # the better estimate is the first arm
    alone, _ = maxinp(WORLD, 10, radius=0.0).choose(
        None, scene(features), knowing([1.0, 0.0]), DRAWS
    )
    assert alone == Duel(0, 0, True)


def test_maxinp_is_its_rule_pair_by_pair():
    out, seen = spied(maxinp(WORLD, 100, radius=1.0), horizon=100)
    assert out.queries[-1] == 100
    for _, know, s, _, duel, _ in seen:
        phi, inverse = s.features, np.linalg.inv(know.gram)

        def width(i, j, phi=phi, inverse=inverse):
            return math.sqrt((phi[i] - phi[j]) @ inverse @ (phi[i] - phi[j]))

        promising = [
            i
            for i in range(4)
            if all((phi[i] - phi[j]) @ know.theta + width(i, j) >= -1e-9 for j in range(4))
        ]
        widest = max(width(i, j) for i in promising for j in promising)
        assert {duel.first, duel.second} <= set(promising)
        assert width(duel.first, duel.second) == pytest.approx(widest, rel=1e-9)
        assert phi[duel.first] @ know.theta >= phi[duel.second] @ know.theta - 1e-9


def test_colstim_s_first_arm_wins_the_perturbed_contest_its_second_the_optimistic_one():
    rule = colstim(WORLD, 100, radius=1.0, trim=0.5)
    _, seen = spied(rule, horizon=100)
    for _, know, s, draws, duel, _ in seen:
        phi, inverse = s.features, np.linalg.inv(know.gram)
        noise = [-math.log(-math.log(draws.uniform(SELECT, a))) for a in range(4)]
        score = [
            phi[a] @ know.theta
            + max(-0.5, min(0.5, noise[a])) * math.sqrt(phi[a] @ inverse @ phi[a])
            for a in range(4)
        ]
        assert duel.first == np.argmax(score)
        z = phi - phi[duel.first]
        rival = [z[a] @ know.theta + math.sqrt(z[a] @ inverse @ z[a]) for a in range(4)]
        assert rival[duel.second] == pytest.approx(max(rival), rel=1e-8)
        assert duel.ask
    natural = colstim(WORLD, 100)
    assert natural.radius == natural.trim == pytest.approx(math.sqrt(3 * math.log(100)))
    assert maxinp(WORLD, 100).radius == natural.radius


def test_without_noise_colstim_s_first_arm_is_the_greedy_one():
    rule = colstim(WORLD, 100, trim=0.0)
    features = [[0.1, 0.0], [0.9, 0.0], [0.0, 5.0]]
    assert rule.choose(None, scene(features), knowing([1.0, 0.0]), DRAWS)[0].first == 1


def test_thompson_draws_two_thetas_from_the_posterior():
    """The named normals n: theta = theta_hat + scale L'^-1 n with H = L L', so its covariance is
    scale^2 H^-1."""
    information = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
    rule, features = thompson(WORLD, 10, scale=0.7), WORLD.features[0]
    root = np.linalg.inv(np.linalg.cholesky(information)).T
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(information), atol=1e-12)
    for t in range(30):
        draws = Draws(2, 0, t)
        know = knowing(WORLD.theta, information=information)
        thetas = [WORLD.theta + 0.7 * root @ draws.normals(SELECT, k, 3) for k in (0, 4)]
        expected = [int(np.argmax(features @ theta)) for theta in thetas]
        assert rule.choose(None, scene(features), know, draws)[0] == Duel(*expected, True)


def test_the_information_behind_thompson_is_the_hessian_at_the_estimate():
    out, seen = spied(thompson(WORLD, 60), horizon=60)
    know = seen[-1][1]
    expected = np.eye(3) / np.sum(WORLD.theta**2)
    for prompt, first, second in out.queried[:-1]:
        z = WORLD.features[prompt, first] - WORLD.features[prompt, second]
        p = 1 / (1 + np.exp(-know.theta @ z))
        expected += p * (1 - p) * np.outer(z, z)
    np.testing.assert_allclose(know.information, expected, rtol=1e-9)


def test_random_query_plays_greedily_and_asks_by_a_coin():
    out, seen = spied(random_query(WORLD, 400, probability=0.25), horizon=400)
    for _, know, s, draws, duel, _ in seen:
        estimate = s.features @ know.theta
        assert estimate[duel.first] == estimate.max()
        others = [a for a in range(4) if a != duel.first]
        assert duel.second == others[draws.below(SELECT, 0, 3)]
        assert duel.ask == (draws.uniform(SELECT, 1) < 0.25)
    assert abs(out.queries[-1] - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize(
    ("probability", "budget", "queries"), [(1, None, 50), (1.0, 7, 7), (0, 9, 0)]
)
def test_random_query_keeps_to_its_budget(probability, budget, queries):
    rule = random_query(WORLD, 50, probability=probability, budget=budget)
    out = play(WORLD, rule, plan_rounds(50, 1), 0)
    assert out.queries[-1] == queries
    assert out.last_query == queries - 1


def test_greedy_compares_the_two_best_estimates():
    rule = greedy(WORLD, 10)
    features = [[0.1, 0.0], [0.3, 0.0], [0.2, 9.0], [0.3, 1.0]]
    assert rule.choose(None, scene(features), knowing([1.0, 0.0]), DRAWS)[0] == Duel(1, 3, True)
    assert rule.choose(None, scene(features), knowing([-1.0, 0.0]), DRAWS)[0] == Duel(0, 2, True)
    assert rule.choose(None, scene(features), knowing([0.0, 0.0]), DRAWS)[0] == Duel(0, 1, True)

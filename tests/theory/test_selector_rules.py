"""What the rules are for: their gains, prices and bounds against brute force on small pools."""

from itertools import combinations, combinations_with_replacement

import naive
import numpy as np
import pytest
from selector_pools import OnlyTwoDraws, a_pool, pairs_and_teachers

from activeduel.theory import SELECTORS, Belief, Pool

NAMES = list(SELECTORS)


# --- what the rules are for ------------------------------------------------------------------------


def test_dual_takes_the_cheap_less_rational_teacher_where_it_tells_more_for_the_money():
    pool, belief = a_pool(1, m=2)
    belief = belief._replace(theta=np.zeros(3))
    sharp_and_dear = pool._replace(
        rationality=np.array([[2.0, 2.0], [1.5, 1.5]]), cost=np.array([4.0, 1.0])
    )
    assert SELECTORS["dual"](sharp_and_dear, belief, 4, OnlyTwoDraws(0)).teacher.tolist() == [1] * 4
    best = max(batches(sharp_and_dear, 4), key=lambda b: naive.gain(sharp_and_dear, belief, b))
    assert [j for _, j in best] == [1] * 4  # rightly so: the best of all affordable batches
    equal_prices = sharp_and_dear._replace(cost=np.ones(2))
    assert SELECTORS["dual"](equal_prices, belief, 4, OnlyTwoDraws(0)).teacher.tolist() == [0] * 4


@pytest.mark.parametrize(("margin", "chosen"), [(0.1, 0), (3.0, 1)])
def test_a_sharp_teacher_tells_nothing_about_an_easy_pair(margin, chosen):
    """b = 3 against 0.8: at margin 3 the sharp answer is certain (w = 0.001 against 0.05)."""
    pool = Pool(
        np.array([[margin]]), np.zeros(1, int), np.array([[3.0], [0.8]]), np.ones(2), -np.ones((1, 2), int)
    )  # fmt: skip
    belief = Belief(np.ones(1), np.eye(1), np.eye(1), np.zeros((1, 2), int), 1.0)
    for name in ("dual", "teacher_only"):
        assert SELECTORS[name](pool, belief, 1, OnlyTwoDraws(0)).teacher.tolist() == [chosen]
    for name in NAMES:
        if name.endswith("_best_teacher"):
            assert SELECTORS[name](pool, belief, 1, OnlyTwoDraws(0)).teacher.tolist() == [0]


@pytest.mark.parametrize("seed", range(8))
def test_dual_against_every_batch_there_is(seed):
    """Log det gains are submodular: greedy reaches at least 1 - 1/e of the best batch of 3."""
    pool, belief = a_pool(seed, n=5, m=2)
    cells = list(np.ndindex(5, 2))
    best = max(naive.gain(pool, belief, batch) for batch in combinations_with_replacement(cells, 3))
    first = max(naive.gain(pool, belief, [cell]) for cell in cells)
    picks = SELECTORS["dual"](pool, belief, 3, OnlyTwoDraws(0))
    greedy = naive.gain(pool, belief, pairs_and_teachers(picks))
    assert picks.score[0] == pytest.approx(first, rel=1e-10)
    assert picks.score.sum() == pytest.approx(greedy, rel=1e-10)
    assert (1 - 1 / np.e) * best <= greedy <= best * (1 + 1e-12)


def batches(pool, budget):
    """Every batch that can be bought, smaller ones too, any label as often as one likes."""
    cells = list(np.ndindex(*pool.available.shape))
    most = int(budget / pool.cost.min() + 1e-9)
    for size in range(1, most + 1):
        for batch in combinations_with_replacement(cells, size):
            if sum(pool.cost[j] for _, j in batch) <= budget + 1e-9:
                yield batch


@pytest.mark.parametrize("seed", range(6))
def test_dual_with_prices_against_every_affordable_batch(seed):
    """Submodular gains per money: while every teacher is affordable, with spent money c out of B
    greedy has at least 1 - exp(-c/B) of what the best batch of price B gains (Wolsey 1982)."""
    pool, belief = a_pool(seed, n=4, m=2, cost=[1.0, 0.4])
    budget = 2.0
    best = max(naive.gain(pool, belief, batch) for batch in batches(pool, budget))
    first = max(naive.gain(pool, belief, [c]) / pool.cost[c[1]] for c in np.ndindex(4, 2))
    picks = SELECTORS["dual"](pool, belief, budget, OnlyTwoDraws(0))
    taken, prices = pairs_and_teachers(picks), pool.cost[picks.teacher]
    greedy = naive.gain(pool, belief, taken)
    assert picks.score[0] == pytest.approx(first, rel=1e-10)
    assert (picks.score * prices).sum() == pytest.approx(greedy, rel=1e-10)
    spent = np.cumsum(prices)[budget - (np.cumsum(prices) - prices) >= pool.cost.max() - 1e-9][-1]
    assert (1 - np.exp(-spent / budget)) * best <= greedy <= best * (1 + 1e-12)
    assert (1 - np.exp(-spent / budget)) > 0.4


def one_ranking(pool, belief, size):
    """The negative control: the top scores of one ranking, nothing updated between the picks."""
    scores = {c: naive.gain(pool, belief, [c]) for c in np.ndindex(*pool.available.shape)}
    return sorted(scores, key=lambda c: -scores[c])[:size]


def test_a_batch_is_not_the_top_of_one_ranking():
    """Two copies of the best pair: one ranking takes both, dual goes on to a new direction."""
    z = np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    pool = Pool(z, np.zeros(3, int), np.ones((1, 1)), np.ones(1), np.ones((3, 1), dtype=int))
    belief = Belief(np.zeros(2), 0.1 * np.eye(2), 0.1 * np.eye(2), np.zeros((3, 1), int), 0.1)
    assert one_ranking(pool, belief, 2) == [(0, 0), (1, 0)]
    assert SELECTORS["dual"](pool, belief, 2, OnlyTwoDraws(0)).pair.tolist() == [0, 2]


@pytest.mark.parametrize("name", ["random", "uncertainty", "apo", "practical_apo"])
def test_pair_only_rules_ask_every_teacher_equally_often(name):
    """Chi-square over 3 teachers with 3,000 picks; error rate 1e-6 at this fixed seed."""
    pool, belief = a_pool(4)
    picks = SELECTORS[name](pool, belief, 3000, np.random.default_rng(11))
    counts = np.bincount(picks.teacher, minlength=3)
    assert ((counts - 1000) ** 2 / 1000).sum() < -2 * np.log(1e-6)


# --- coreset ---------------------------------------------------------------------------------------


def radius_and_optimum(seed, centres_of):
    """The radius at which 3 centres of the rule cover 9 pairs, and the smallest possible."""
    pool, belief = a_pool(3 * seed, n=9, m=1)
    assert not belief.counts.any()
    best = min(naive.covering_radius(pool.z, c) for c in combinations(range(9), 3))
    return naive.covering_radius(pool.z, centres_of(pool, belief)), best


def test_coreset_covers_the_pool_within_twice_the_smallest_radius():
    def centres(pool, belief):
        return SELECTORS["coreset"](pool, belief, 3, OnlyTwoDraws(0)).pair.tolist()

    cases = [radius_and_optimum(seed, centres) for seed in range(30)]
    assert all(best <= radius * (1 + 1e-9) <= 2 * best * (1 + 1e-9) for radius, best in cases)


def test_three_arbitrary_pairs_do_not():
    """The negative control: the first three pairs break the bound somewhere."""
    cases = [radius_and_optimum(seed, lambda pool, belief: [0, 1, 2]) for seed in range(30)]
    assert any(radius > 2 * best for radius, best in cases)


def test_coreset_does_not_care_which_response_comes_first():
    pool, belief = a_pool(1, n=30)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (30, 1))
    one = SELECTORS["coreset"](pool, belief, 12, OnlyTwoDraws(0))
    other = SELECTORS["coreset"](pool._replace(z=signs * pool.z), belief, 12, OnlyTwoDraws(0))
    assert pairs_and_teachers(one) == pairs_and_teachers(other)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-12)


def test_coreset_starts_from_what_was_labelled():
    """Three points on a line: with 0 labelled the far end comes first, at its distance."""
    z = np.array([[0.0], [1.0], [5.0]])
    pool = Pool(z, np.zeros(3, int), np.ones((1, 1)), np.ones(1), np.ones((3, 1), dtype=int))
    belief = Belief(np.zeros(1), np.eye(1), np.eye(1), np.array([[1], [0], [0]]), 1.0)
    picks = SELECTORS["coreset"](pool, belief, 2, OnlyTwoDraws(0))
    assert picks.pair.tolist() == [2, 1] and picks.score.tolist() == [5.0, 1.0]
    with pytest.raises(ValueError, match="counts"):
        SELECTORS["coreset"](pool, belief._replace(counts=np.zeros((2, 1))), 2, OnlyTwoDraws(0))


# --- entropy and thompson --------------------------------------------------------------------------


def two_pairs(margins, lengths, rationality=1.0):
    """Pairs along two axes, so that nothing learned of one says anything of the other."""
    pool = Pool(
        np.diag(lengths), np.zeros(2, int), np.full((1, 1), rationality), np.ones(1), -np.ones((2, 1), int)
    )  # fmt: skip
    return pool, Belief(
        np.array(margins) / lengths, np.eye(2), np.eye(2), np.zeros((2, 1), int), 1.0
    )


def test_entropy_weighs_the_margin_against_its_error():
    """Margin 1 known to 0.1 is more foreseeable than margin 1.5 known to 3."""
    pool, belief = two_pairs([1.0, 1.5], np.array([0.1, 3.0]))
    picks = SELECTORS["entropy"](pool, belief, 1, OnlyTwoDraws(0))
    assert picks.pair.tolist() == [1]
    assert picks.score[0] == pytest.approx(naive.predictive_entropy(1.5, 9.0), rel=1e-12)
    assert SELECTORS["uncertainty"](pool, belief, 1, OnlyTwoDraws(0)).pair.tolist() == [0]


def test_entropy_moves_on_where_uncertainty_repeats_its_pair():
    pool, belief = two_pairs([0.5, 0.55], np.array([3.0, 3.0]))
    assert set(SELECTORS["uncertainty"](pool, belief, 8, OnlyTwoDraws(0)).pair.tolist()) == {0}
    picks = SELECTORS["entropy"](pool, belief, 8, OnlyTwoDraws(0))
    assert set(picks.pair.tolist()) == {0, 1}
    assert (np.diff(picks.score) < 0).all()  # every answer makes the next one easier to foresee


def test_thompson_asks_in_proportion_to_the_posterior():
    """|s_1 x_1| > |s_2 x_2| for standard normals has probability (2/pi) arctan(s_1 / s_2).

    The teacher's weight is 1e-12, so the 4,000 picks are alike; error rate 1e-6 at this seed.
    """
    pool, belief = two_pairs([0.0, 0.0], np.array([2.0, 1.0]), rationality=1e-6)
    picks = SELECTORS["thompson"](pool, belief, 4000, np.random.default_rng(7))
    p = 2 / np.pi * np.arctan(2.0)
    assert abs((picks.pair == 0).mean() - p) < 4.9 * np.sqrt(p * (1 - p) / 4000)


def test_thompsons_root_stays_a_root_of_the_posterior():
    pool, belief = a_pool(0)
    taken = [(0, 1), (3, 2), (0, 1), (9, 0)]
    root = naive.root_after(pool, belief, taken)
    information, _ = naive.information_after(pool, belief, taken)
    np.testing.assert_allclose(root @ root.T @ information, np.eye(3), atol=1e-10)

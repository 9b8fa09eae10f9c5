"""Every entry of SELECTORS keeps the same promises; each rule picks what its slow twin picks.

A new selector is held by the tests over ``NAMES``; its rule goes into ``naive.next_pick``.
"""

import inspect
from itertools import combinations_with_replacement

import naive
import numpy as np
import pytest

from activeduel.theory import SELECTORS, Belief, Pool

NAMES = list(SELECTORS)
DETERMINISTIC = [
    "dual",
    "conversation_only_best_teacher",
    "apo_best_teacher",
    "practical_apo_best_teacher",
    "uncertainty_best_teacher",
]


def a_pool(seed, n=10, d=3, m=3, cost=None, available=None):
    """A random pool and a belief as after a few labels."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d))
    pool = Pool(
        z=z,
        context=rng.integers(2, size=n),
        rationality=rng.uniform(0.2, 3.0, (m, 2)),
        cost=np.ones(m) if cost is None else np.asarray(cost, dtype=float),
        available=np.full((n, m), -1) if available is None else available,
    )
    root = rng.standard_normal((d, 2 * d))
    belief = Belief(
        theta=rng.standard_normal(d),
        information=root @ root.T / 4 + 0.01 * np.eye(d),
        gram=root @ root.T + 0.01 * np.eye(d),
        counts=np.zeros((n, m), dtype=np.int64),
        ridge=0.01,
    )
    return pool, belief


def pairs_and_teachers(picks):
    return list(zip(picks.pair.tolist(), picks.teacher.tolist(), strict=True))


class OnlyTwoDraws:
    """``random`` and ``integers`` of a Generator, and nothing else."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        self.random = lambda size=None: generator.random(size)
        self.integers = lambda n: generator.integers(n)


def settings(seed):
    """The four kinds of pool: plain, with prices, with a finite stock, with both."""
    rng = np.random.default_rng(seed)
    stock, prices = rng.integers(0, 3, (10, 3)), [1.0, 0.5, 2.5]
    stock[0, 0] = 1
    yield a_pool(seed), 7.0
    yield a_pool(seed, cost=prices), 7.0
    yield a_pool(seed, available=stock), float(min(7, stock.sum()))
    yield a_pool(seed, cost=prices, available=stock), 0.6 * float((stock * prices).sum())


# --- the conformance test: what every selector promises ------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_signature(name):
    assert list(inspect.signature(SELECTORS[name]).parameters) == [
        "pool",
        "belief",
        "budget",
        "rng",
    ]
    assert SELECTORS[name].__doc__


@pytest.mark.parametrize("name", NAMES)
def test_picks_what_its_slow_twin_picks(name):
    """Log determinants, leverages and weights recomputed from scratch before every pick."""
    for seed in range(6):
        for (pool, belief), budget in settings(seed):
            picks = SELECTORS[name](pool, belief, budget, OnlyTwoDraws(seed))
            twin = naive.select(name, pool, belief, budget, OnlyTwoDraws(seed))
            assert pairs_and_teachers(picks) == twin
            assert np.isfinite(picks.score).all() and len(picks.score) == len(twin)


@pytest.mark.parametrize("name", NAMES)
def test_stays_within_budget_and_stock(name):
    for seed in range(6):
        for (pool, belief), budget in settings(seed):
            before = [np.array(a) for a in (*pool, *belief)]
            picks = SELECTORS[name](pool, belief, budget, np.random.default_rng(seed))
            spent = pool.cost[picks.teacher].sum()
            taken = np.zeros(pool.available.shape, dtype=int)
            np.add.at(taken, (picks.pair, picks.teacher), 1)
            assert spent <= budget * (1 + 1e-9)
            assert ((taken <= pool.available) | (pool.available < 0)).all()
            assert not naive.affordable(pool, pairs_and_teachers(picks), budget)
            for old, new in zip(before, (*pool, *belief), strict=True):
                np.testing.assert_array_equal(old, new)  # nothing handed in is changed


@pytest.mark.parametrize("name", NAMES)
def test_can_empty_the_pool(name):
    pool, belief = a_pool(3, n=4, available=np.full((4, 3), 2))
    picks = SELECTORS[name](pool, belief, 24, np.random.default_rng(0))
    assert sorted(pairs_and_teachers(picks)) == sorted(2 * list(np.ndindex(4, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_is_the_sequence_of_its_prefixes(name):
    pool, belief = a_pool(5)
    long = SELECTORS[name](pool, belief, 9, OnlyTwoDraws(1))
    short = SELECTORS[name](pool, belief, 4, OnlyTwoDraws(1))
    assert pairs_and_teachers(long)[:4] == pairs_and_teachers(short)
    np.testing.assert_array_equal(long.score[:4], short.score)


@pytest.mark.parametrize("name", NAMES)
def test_accepts_a_float_budget_an_exact_sum_of_prices(name):
    """Three labels at 0.1 are affordable with 0.3, although 0.1 + 0.1 + 0.1 > 0.3 in floats."""
    pool, belief = a_pool(5, cost=[0.1, 0.1, 0.1])
    assert len(SELECTORS[name](pool, belief, 0.3, OnlyTwoDraws(1)).pair) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("part", "change", "budget", "names"),
    [
        ("pool", {}, 0.0, "budget"),
        ("pool", {}, -1.0, "budget"),
        ("pool", {}, float("nan"), "budget"),
        ("pool", {}, float("inf"), "budget"),
        ("pool", {"available": np.ones((10, 3), dtype=int)}, 31.0, "budget"),
        ("pool", {"available": np.zeros((10, 3), dtype=int)}, 1.0, "available"),
        ("pool", {"available": np.ones((9, 3), dtype=int)}, 1.0, "available"),
        ("pool", {"z": np.full((10, 3), np.nan)}, 1.0, "z"),
        ("pool", {"z": np.zeros((0, 3))}, 1.0, "z"),
        ("pool", {"z": np.zeros(10)}, 1.0, "z"),
        ("pool", {"rationality": np.full((3, 2), np.inf)}, 1.0, "rationality"),
        ("pool", {"context": np.full(10, 2)}, 1.0, "context"),
        ("pool", {"context": np.zeros(9, dtype=int)}, 1.0, "context"),
        ("pool", {"cost": np.array([1.0, 0.0, 1.0])}, 1.0, "cost"),
        ("pool", {"cost": np.ones(2)}, 1.0, "cost"),
        ("belief", {"theta": np.zeros(4)}, 1.0, "theta"),
        ("belief", {"theta": np.full(3, np.nan)}, 1.0, "theta"),
        ("belief", {"information": np.eye(4)}, 1.0, "information"),
        ("belief", {"gram": np.full((3, 3), np.nan)}, 1.0, "gram"),
    ],
)
def test_refuses_bad_input_by_name(name, part, change, budget, names):
    pool, belief = a_pool(0)
    pool = pool._replace(**change) if part == "pool" else pool
    belief = belief._replace(**change) if part == "belief" else belief
    with pytest.raises(ValueError, match=names):
        SELECTORS[name](pool, belief, budget, OnlyTwoDraws(0))


@pytest.mark.parametrize("name", [n for n in NAMES if n.split("_")[0] in {"dual", "apo"}])
def test_refuses_a_singular_information(name):
    pool, belief = a_pool(0)
    with pytest.raises(ValueError, match="positive definite.*ridge"):
        SELECTORS[name](
            pool, belief._replace(information=np.diag([1.0, 1.0, 0.0])), 1, OnlyTwoDraws(0)
        )


# --- ties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_ties_go_to_the_lowest_index(name):
    """Three copies of every pair and of every teacher: only the first of each is ever asked."""
    pool, belief = a_pool(2, n=4, m=2)
    copies = Pool(
        np.tile(pool.z, (3, 1)),
        np.tile(pool.context, 3),
        np.tile(pool.rationality, (3, 1)),
        np.ones(6),
        np.full((12, 6), -1),
    )
    one = SELECTORS[name](pool, belief, 6, OnlyTwoDraws(0))
    many = SELECTORS[name](copies, belief, 6, OnlyTwoDraws(0))
    assert pairs_and_teachers(one) == pairs_and_teachers(many)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_difference_in_the_last_bits_is_a_tie(name):
    pool, belief = a_pool(2, n=1, m=1)
    z = pool.z[0] * (1 + np.array([[0.0], [2.0], [-2.0]]) * np.finfo(float).eps)
    near = Pool(z, np.zeros(3, int), pool.rationality, np.ones(1), np.full((3, 1), -1))
    assert SELECTORS[name](near, belief, 1, OnlyTwoDraws(0)).pair.tolist() == [0]


# --- what the rules are for ------------------------------------------------------------------------


def test_dual_takes_the_cheap_less_rational_teacher_where_it_tells_more_for_the_money():
    pool, belief = a_pool(1, m=2)
    belief = belief._replace(theta=np.zeros(3))
    sharp_and_dear = pool._replace(
        rationality=np.array([[2.0, 2.0], [1.5, 1.5]]), cost=np.array([4.0, 1.0])
    )
    assert SELECTORS["dual"](sharp_and_dear, belief, 4, OnlyTwoDraws(0)).teacher.tolist() == [1] * 4
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


def test_torch_tensors_give_the_same_picks():
    torch = pytest.importorskip("torch", reason="needs torch: selectors on tensors")
    pool, belief = a_pool(6, cost=[1.0, 0.5, 2.5])
    tensors = (
        Pool(*(torch.as_tensor(a) for a in pool)),
        Belief(*(torch.as_tensor(a) for a in belief[:4]), belief.ridge),
    )
    for name in NAMES:
        picks = SELECTORS[name](pool, belief, 7, OnlyTwoDraws(2))
        found = SELECTORS[name](*tensors, 7, OnlyTwoDraws(2))
        assert isinstance(found.pair, torch.Tensor)
        assert pairs_and_teachers(found) == pairs_and_teachers(picks), name

"""Every entry of SELECTORS keeps the same promises; each rule picks what its slow twin picks.

A new selector is held by the tests over ``NAMES``; its rule goes into ``naive.next_pick``.
"""

import inspect

import naive
import numpy as np
import pytest
from selector_pools import OnlyTwoDraws, a_pool, pairs_and_teachers, settings

from activeduel.theory import SELECTORS, Pool
from activeduel.theory.selectors import lazy

NAMES = list(SELECTORS)
DETERMINISTIC = [
    "dual",
    "conversation_only_best_teacher",
    "apo_best_teacher",
    "practical_apo_best_teacher",
    "uncertainty_best_teacher",
    "entropy_best_teacher",
    "coreset_best_teacher",
]


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
@pytest.mark.parametrize("block", [None, 2])
def test_picks_what_its_slow_twin_picks(name, block, monkeypatch):
    """Log determinants, leverages and weights from scratch before every pick; ours lazily as well."""
    if block:
        monkeypatch.setattr(lazy, "block_size", lambda z: block)
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
        ("pool", {"z": np.ones((10, 3), dtype=int)}, 1.0, "float64"),
        ("pool", {"z": np.ones((10, 3), dtype=np.float16)}, 1.0, "float64"),
        ("pool", {"rationality": np.full((3, 2), np.inf)}, 1.0, "rationality"),
        ("pool", {"context": np.full(10, 2)}, 1.0, "context"),
        ("pool", {"context": np.zeros(10)}, 1.0, "context"),
        ("pool", {"available": np.full((10, 3), 1.5)}, 1.0, "available"),
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


USE_INFORMATION = {"dual", "conversation", "apo", "entropy", "thompson"}


@pytest.mark.parametrize("name", [n for n in NAMES if n.split("_")[0] in USE_INFORMATION])
def test_refuses_a_singular_information(name):
    pool, belief = a_pool(0)
    with pytest.raises(ValueError, match="positive definite.*ridge"):
        SELECTORS[name](
            pool, belief._replace(information=np.diag([1.0, 1.0, 0.0])), 1, OnlyTwoDraws(0)
        )


# --- ties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("block", [None, 2])
def test_ties_go_to_the_lowest_index(name, block, monkeypatch):
    """Three copies of every pair and of every teacher: only the first of each is ever asked."""
    if block:
        monkeypatch.setattr(lazy, "block_size", lambda z: block)
    pool, belief = a_pool(2, n=4, m=2)
    copies = Pool(
        np.tile(pool.z, (3, 1)),
        np.tile(pool.context, 3),
        np.tile(pool.rationality, (3, 1)),
        np.ones(6),
        np.full((12, 6), -1),
    )
    one = SELECTORS[name](pool, belief, 6, OnlyTwoDraws(0))
    counts = np.pad(belief.counts, ((0, 8), (0, 4)))
    many = SELECTORS[name](copies, belief._replace(counts=counts), 6, OnlyTwoDraws(0))
    assert pairs_and_teachers(one) == pairs_and_teachers(many)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("block", [None, 2])
def test_a_difference_in_the_last_bits_is_a_tie(name, block, monkeypatch):
    if block:
        monkeypatch.setattr(lazy, "block_size", lambda z: block)
    pool, belief = a_pool(2, n=1, m=1)
    z = pool.z[0] * (1 + np.array([[0.0], [2.0], [-2.0]]) * np.finfo(float).eps)
    near = Pool(z, np.zeros(3, int), pool.rationality, np.ones(1), np.full((3, 1), -1))
    belief = belief._replace(counts=np.array([[1], [0], [0]]))
    assert SELECTORS[name](near, belief, 1, OnlyTwoDraws(0)).pair.tolist() == [0]

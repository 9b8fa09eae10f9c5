"""Designs over all pairs of items equal designs on the differences, formed one by one."""

import itertools
import math
import tracemalloc

import naive
import numpy as np
import pytest

from activeduel.theory import d_optimal, d_optimal_pairs
from activeduel.theory.kernels.passes import largest_pairs


def gaussian(k, d, seed=0):
    return np.random.default_rng(seed).standard_normal((k, d))


def differences(items):
    i, j = np.triu_indices(len(items), 1)
    return np.asarray(items)[i] - np.asarray(items)[j]


def gap_by_hand(items, design):
    z = differences(items)
    held = np.asarray(items)[design.pairs[:, 0]] - np.asarray(items)[design.pairs[:, 1]]
    inverse = np.linalg.inv(held.T @ (held * design.weights[:, None]))
    return max(x @ inverse @ x for x in z) / z.shape[1] - 1


@pytest.mark.parametrize("k, d", [(2, 1), (5, 4), (30, 3), (60, 8), (200, 5), (300, 4)])
def test_the_optimum_is_that_of_the_formed_differences(k, d):
    items = gaussian(k, d, seed=k)
    design, formed = d_optimal_pairs(items), d_optimal(differences(items), tol=1e-9)
    assert design.gap <= 1e-6
    assert gap_by_hand(items, design) == pytest.approx(design.gap, abs=1e-9)
    assert formed.log_det - d * 1e-6 <= design.log_det <= formed.log_det + 1e-8
    assert design.weights.min() > 0 and design.weights.sum() == pytest.approx(1)
    assert (design.pairs[:, 0] < design.pairs[:, 1]).all()
    assert design.pairs.tolist() == sorted(design.pairs.tolist())


@pytest.mark.parametrize("k", [3, 8, 40])
def test_a_tournament_of_equals_asks_every_pair_equally(k):
    """Items e_1 .. e_k, the last coordinate dropped: all k (k - 1) / 2 pairs, equal weights."""
    design = d_optimal_pairs(np.eye(k)[:, :-1])
    pairs = k * (k - 1) / 2
    assert len(design.pairs) == pairs
    np.testing.assert_allclose(design.weights, 1 / pairs, rtol=1e-4)
    expected = -(k - 1) * math.log(pairs) + (k - 2) * math.log(k)
    assert design.log_det == pytest.approx(expected, abs=1e-6)


def test_the_origin_does_not_matter_and_scales_only_shift_the_log_det():
    items = gaussian(80, 3)
    plain, moved = d_optimal_pairs(items), d_optimal_pairs(items + [1e3, -50.0, 7.0])
    assert moved.log_det == pytest.approx(plain.log_det, abs=3e-6)
    scale = np.array([1e8, 1e-8, 1.0])
    scaled = d_optimal_pairs(items * scale)
    assert scaled.log_det == pytest.approx(plain.log_det + 2 * np.log(scale).sum(), abs=3e-6)
    thin = items * [1.0, 1.0, 0.0] + items[:, :1] * [0, 0, 1.0] + 1e-7 * items * [0, 0, 1.0]
    assert d_optimal_pairs(thin).gap <= 1e-6  # columns that all but depend on each other


def test_duplicated_items_and_float32():
    items = gaussian(40, 3)
    assert d_optimal_pairs(np.tile(items, (3, 1))).log_det == pytest.approx(
        d_optimal_pairs(items).log_det, abs=3e-6
    )
    single = items.astype(np.float32)
    assert d_optimal_pairs(single).log_det == d_optimal_pairs(single.astype(np.float64)).log_det


def test_memory_grows_with_the_items_not_with_the_pairs():
    """2000 items: their 2.0 million differences of 10 columns would take 160 MB."""
    items = gaussian(2000, 10)
    d_optimal_pairs(items)
    tracemalloc.start()
    d_optimal_pairs(items)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


@pytest.mark.parametrize("keep", [1, 7, 50, 2000])
@pytest.mark.parametrize("equals", [False, True])
def test_the_largest_pairs_are_the_largest_pairs(keep, equals):
    y = gaussian(70, 3)
    y = np.rint(y) if equals else y
    square = {(i, j): ((y[i] - y[j]) ** 2).sum() for i, j in itertools.combinations(range(70), 2)}
    best, code, v = largest_pairs(y, 1.0, keep)
    assert best == pytest.approx(max(square.values()))
    found = {divmod(int(c), 70): value for c, value in zip(code, v, strict=True)}
    assert len(found) == len(code)
    assert all(found[pair] == pytest.approx(square[pair]) for pair in found)
    above = sorted((s for s in square.values() if s > 1), reverse=True)[:keep]
    np.testing.assert_allclose(sorted(found.values(), reverse=True)[:keep], above)


@pytest.mark.parametrize("seed", range(30))
def test_items_with_heavy_tails(seed):
    items = np.random.default_rng(seed).standard_cauchy((200, 2))
    design = d_optimal_pairs(items)
    z = items[design.pairs[:, 0]] - items[design.pairs[:, 1]]
    every = np.concatenate([z, differences(items)])
    gap, _ = naive.certified_gap(every, np.append(design.weights, np.zeros(len(every) - len(z))))
    assert gap <= design.gap + 1e-9 <= 1.1e-6


def test_differences_that_would_overflow():
    design = d_optimal_pairs([[1.7e308], [-1.7e308], [0.0]])
    assert design.pairs.tolist() == [[0, 1]]
    assert design.log_det == pytest.approx(2 * (math.log(3.4) + 308 * math.log(10)))


def test_refusals():
    with pytest.raises(ValueError, match="rank 2, needed rank 3"):
        d_optimal_pairs(gaussian(3, 3))  # three items: two independent differences
    with pytest.raises(ValueError, match="All points are zero"):
        d_optimal_pairs(np.full((19, 2), 0.74308652))  # whose mean is not quite itself
    with pytest.raises(ValueError, match=r"not finite at index \(1, 0\)"):
        d_optimal_pairs([[1.0], [np.inf], [0.0]])
    with pytest.raises(ValueError, match="shape"):
        d_optimal_pairs([1.0, 2.0])
    with pytest.raises(ValueError, match="tol"):
        d_optimal_pairs(gaussian(9, 2), tol=0)

"""The one generator: the published vectors, streams named by integers, uniform draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activeduel.sim.kernels.random import CounterRng, integer_below, philox, uniform

words = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox_gives_the_published_vectors(counter, key, expected):
    """Known answers of Random123's philox4x32, 10 rounds."""
    arguments = [np.uint32(int(w, 16)) for w in f"{counter} {key}".split()]
    for compiled in (philox, philox.py_func):
        with np.errstate(over="ignore"):
            assert " ".join(f"{int(w):08x}" for w in compiled(*arguments)) == expected


@given(words, words, words, words)
def test_a_uniform_is_53_bits_of_its_own_block(seed, replicate, round_, index):
    u = np.uint32
    name = (u(round_), u(replicate), u(2), u(index), u(seed), u(0))
    a, b, _, _ = philox(*name)
    expected = ((int(a) >> 5) * 2**26 + (int(b) >> 6)) / 2**53
    assert uniform(np.uint64(seed), replicate, round_, 2, index) == expected


def test_both_halves_of_a_64_bit_seed_count():
    draws = {CounterRng(seed).random() for seed in (1, 1 + 2**32, 2**63 + 1)}
    assert len(draws) == 3


def test_the_same_name_gives_the_same_draws_however_they_are_asked_for():
    one, many = CounterRng(7, 3, 5), CounterRng(7, 3, 5)
    assert [one.random() for _ in range(6)] == many.random(6).tolist()
    mixed, again = CounterRng(7, 3, 5), CounterRng(7, 3, 5)
    assert mixed.random() == again.random(2)[0]
    assert mixed.integers(1000) == int(CounterRng(7, 3, 5).random(2)[1] * 1000)


@pytest.mark.parametrize("other", [(8, 3, 5, 0), (7, 4, 5, 0), (7, 3, 6, 0), (7, 3, 5, 1)])
def test_another_name_gives_other_draws(other):
    here, there = CounterRng(7, 3, 5, 0).random(100), CounterRng(*other).random(100)
    assert not np.isin(here, there).any()


def test_draws_are_uniform():
    """10,000 draws over 20 boxes and neighbours' correlation; error rate 1e-6 each, fixed seed."""
    u = np.concatenate([CounterRng(11, r).random(100) for r in range(100)])
    counts = np.histogram(u, 20, (0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 72.6  # chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4.9 / 100


def test_integers_cover_their_range_and_stay_in_it():
    rng = CounterRng(3)
    assert {rng.integers(5) for _ in range(200)} == set(range(5))
    assert rng.integers(1) == 0
    largest = integer_below(np.uint64(3), 0, 0, 0, 0, 2**31)
    assert 0 <= largest < 2**31


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None])
def test_refuses_seeds_that_are_not_64_bit_numbers(seed):
    with pytest.raises(ValueError, match="seed: found"):
        CounterRng(seed)


def test_refuses_an_empty_range():
    with pytest.raises(ValueError, match="n: found 0"):
        CounterRng(1).integers(0)

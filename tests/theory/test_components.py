"""Scale and principal components from a moment matrix, against a singular value decomposition."""

import numpy as np
import pytest

from activeduel.theory.components import components, second_moment
from activeduel.theory.refit import MARGIN_SD, MEAN_SQUARE, RIDGE, dimensions

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((200, 6)) @ RNG.standard_normal((6, 6)) * [1, 10, 0.1, 3, 0, 1]


def blocks(z, size=64):
    return (z[start : start + size] for start in range(0, len(z), size))


def test_components_are_those_of_the_scaled_rows():
    found = components(second_moment(blocks(Z), *Z.shape), 3, 2.0)
    assert found.used.tolist() == [0, 1, 2, 3, 5]
    scaled = Z[:, found.used] / np.sqrt((Z[:, found.used] ** 2).mean(axis=0))
    _, s, vt = np.linalg.svd(scaled, full_matrices=False)
    along = np.abs((vt[:3] @ found.basis) / np.linalg.norm(found.basis, axis=0))
    assert np.allclose(along, np.eye(3), atol=1e-9)
    assert found.kept_share == pytest.approx((s[:3] ** 2).sum() / (s**2).sum())
    made = Z[:, found.used] / found.scale @ found.basis
    assert (made**2).sum(axis=1).mean() == pytest.approx(2.0)


def test_the_moment_does_not_depend_on_the_blocks_and_float32_is_summed_in_float64():
    whole = Z.T @ Z / len(Z)
    assert np.allclose(second_moment(blocks(Z, 7), *Z.shape), whole, rtol=1e-12)
    # 2^24 + 1 is no float32: a sum of ones kept in float32 would stop at 2^24
    ones = np.ones((2**13, 1), dtype=np.float32)
    assert second_moment((ones for _ in range(2**12)), 1, 1)[0, 0] == 2**25
    stuck = np.float32(2**24)
    assert stuck + np.float32(1) == stuck


def test_columns_that_never_differ_are_refused():
    with pytest.raises(ValueError, match="found 3 columns that never differ"):
        components(np.zeros((3, 3)), 2, 1.0)


def test_the_prior_in_words():
    """theta ~ N(0, 1/RIDGE) and mean ||z||^2 = MEAN_SQUARE give margins of standard deviation MARGIN_SD."""
    assert MEAN_SQUARE / RIDGE == MARGIN_SD**2
    assert [dimensions(n) for n in (0, 19, 20, 10_000)] == [1, 1, 2, 64]
    assert dimensions(10_000, most=8) == 8

"""The same selectors on torch tensors: the picks of NumPy, on the input's device, in its type."""

import numpy as np
import pytest
from selector_pools import OnlyTwoDraws, a_pool, a_wide_pool, pairs_and_teachers

from activeduel.theory import SELECTORS, Belief, Pool
from activeduel.theory.selectors import lazy

torch = pytest.importorskip("torch", reason="needs torch: selectors on tensors")

NAMES = list(SELECTORS)
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def tensors(pool, belief, device):
    return (
        Pool(*(torch.as_tensor(a, device=device) for a in pool)),
        Belief(*(torch.as_tensor(a, device=device) for a in belief[:4]), belief.ridge),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [None, 16])
def test_torch_picks_what_numpy_picks(name, device, dtype, block, monkeypatch):
    """A pool as one block and lazily, with prices and a finite stock."""
    if block:
        monkeypatch.setattr(lazy, "block_size", lambda z: block)
    pool, belief = a_wide_pool(2, 150, 12, labelled=40, dtype=dtype, prices=True, stock=True)
    belief.counts[:5, 1] = 1
    picks = SELECTORS[name](pool, belief, 40.0, OnlyTwoDraws(2))
    found = SELECTORS[name](*tensors(pool, belief, device), 40.0, OnlyTwoDraws(2))
    assert pairs_and_teachers(found) == pairs_and_teachers(picks)
    for one, other in zip(found, picks, strict=True):
        assert isinstance(one, torch.Tensor) and one.device.type == device
        assert one.cpu().numpy().dtype == other.dtype
    assert found.score.dtype == torch.as_tensor(pool.z).dtype
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(found.score.cpu(), picks.score, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_handed_in_is_changed(name):
    given = tensors(*a_pool(4, available=np.full((10, 3), 2)), "cpu")
    before = [torch.as_tensor(a).clone() for a in (*given[0], *given[1])]
    SELECTORS[name](*given, 20.0, OnlyTwoDraws(0))
    for old, new in zip(before, (*given[0], *given[1]), strict=True):
        assert torch.equal(old, torch.as_tensor(new))


@pytest.mark.parametrize("name", NAMES)
def test_float64_beside_float32_features_is_taken_in_their_type(name):
    pool, belief = a_pool(4)
    pool = pool._replace(z=pool.z.astype(np.float32))
    picks = SELECTORS[name](pool, belief, 7.0, OnlyTwoDraws(0))
    found = SELECTORS[name](*tensors(pool, belief, "cpu"), 7.0, OnlyTwoDraws(0))
    assert pairs_and_teachers(found) == pairs_and_teachers(picks)
    assert found.score.dtype == torch.float32 and picks.score.dtype == np.float32


def test_a_singular_information_is_refused_as_in_numpy():
    pool, belief = a_pool(0)
    given = tensors(pool, belief._replace(information=np.diag([1.0, 1.0, 0.0])), "cpu")
    with pytest.raises(ValueError, match="positive definite.*ridge"):
        SELECTORS["dual"](*given, 1, OnlyTwoDraws(0))

"""Random pools and beliefs on which the tests of the selectors run."""

import numpy as np

from activeduel.theory import Belief, Pool


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
    belief.counts[: seed % 3, 0] = 2  # none, one or two pairs were asked about before
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


def a_wide_pool(seed, n, d, m=3, *, labelled=0, decay=1.0, ridge=1e-2, dtype=np.float64, **pool):
    """Features whose variances fall as k^-decay, of different lengths, in a random basis.

    The information is that of the first ``labelled`` pairs with weight 0.2, and the ridge.
    """
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    z = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** (-decay / 2) @ basis
    z = (30 * z * np.exp(rng.standard_normal((n, 1)) / 2)).astype(dtype)
    gram = z[:labelled].T.astype(float) @ z[:labelled]
    available = rng.integers(0, 3, (n, m)) if pool.get("stock") else np.full((n, m), -1)
    cost = np.array([1.0, 0.5, 2.5])[:m] if pool.get("prices") else np.ones(m)
    belief = Belief(
        theta=(rng.standard_normal(d) / np.linalg.norm(z, axis=1).mean()).astype(dtype),
        information=(0.2 * gram + ridge * np.eye(d)).astype(dtype),
        gram=(gram + ridge * np.eye(d)).astype(dtype),
        counts=np.zeros((n, m), dtype=np.int64),
        ridge=ridge,
    )
    rationality = rng.uniform(0.3, 2.0, (m, 2)).astype(dtype)
    context = rng.integers(2, size=n)
    return Pool(z, context, rationality, cost.astype(dtype), available), belief

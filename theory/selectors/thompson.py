"""Thompson sampling: the pair about which two draws of the reward disagree most."""

import math
from collections.abc import Callable

import numpy as np
from array_api_compat import device

from ..checks import Floats
from ..pool import Array, Belief, Picks, Pool
from .batch import Batch, Rng, first_best, fisher_weights, inverse_cholesky


def thompson(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i |z_i'(theta_1 - theta_2)|, then a uniformly random available teacher.

    theta_1, theta_2 ~ N(theta_hat, H^-1), drawn anew for every pick; H takes w z z' after it. The
    mean cancels: the rule explores where the posterior is wide, and never looks at the margin.
    With S S' = H^-1 a draw is theta_hat + S x, x standard normal. H + w z z' has the root
    S (I - c y y'), y = S'z, c = (1 - 1/sqrt(1 + w |y|^2)) / |y|^2. New draws rank all pairs anew:
    every pick looks at the whole pool.
    Source: double Thompson sampling's idea (Wu and Liu 2016) for linear rewards; ours.
    """
    batch = Batch(pool, belief, budget)
    return _thompson(batch, batch.random_teacher, rng)


def thompson_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """The pair of ``thompson``, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _thompson(batch, batch.best_teacher, rng)


def _thompson(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    xp, z = batch.xp, batch.pool.z
    weights = fisher_weights(batch.pool, batch.belief.theta)
    root = inverse_cholesky(xp, batch.belief.information, z.dtype)  # S', lower triangular at first
    d = int(root.shape[0])
    while batch.more:
        normals = xp.asarray(_normals(rng, 2 * d), dtype=z.dtype, device=device(z))
        score = xp.abs(z @ ((normals[:d] - normals[d:]) @ root))
        pair = first_best(xp, score, batch.open_pairs)
        teacher = ask(pair, rng)
        batch.take(pair, teacher, float(score[pair]))
        _update(root, z[pair, :], float(weights[pair, teacher]))
    return batch.picks()


def _update(root: Array, row: Array, weight: float) -> None:
    """root' (S) becomes a root of (H + weight * row row')^-1; in place, in stripes."""
    y = root @ row
    size = math.sqrt(1 + weight * float(y @ y))
    change = (y @ root) * (weight / (size * (1 + size)))  # c without cancellation
    for low in range(0, root.shape[0], 256):
        root[low : low + 256, :] -= y[low : low + 256, None] * change[None, :]


def _normals(rng: Rng, count: int) -> Floats:
    """An even number of standard normals by Box and Muller, two from each two uniforms."""
    u = np.asarray(rng.random(count), dtype=np.float64).reshape(-1, 2)
    length, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1).reshape(-1)

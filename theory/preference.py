"""Bradley-Terry preferences with rationality: P(Y = 1) = mu(rationality * theta'z), mu(u) = 1/(1+e^-u).

Source: Dual Active Learning for RLHF (arXiv 2410.02504), its teacher model; one context type and
rationality 1 give the classical Bradley-Terry model.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from .checks import Floats, real_array


def _sigmoid(u: Floats) -> Floats:
    return np.asarray(expit(u), dtype=np.float64)


def win_probability(z: ArrayLike, theta: ArrayLike, rationality: ArrayLike = 1.0) -> Floats:
    """Probability (n,) that the first response of each pair is preferred.

    Parameters: ``z`` (n, d) feature differences phi(x, a1) - phi(x, a2); ``theta`` (d,) reward
    weights; ``rationality`` () or (n,), the inverse temperature of the teacher who is asked: 0
    answers by a fair coin, a negative value prefers the worse response.
    Raises ``ValueError`` on wrong shapes and on values that are not finite.

    >>> win_probability([[0.0], [1.0]], [np.log(3.0)]).round(12).tolist()
    [0.5, 0.75]
    """
    z = real_array("z", z, (None, None))
    theta = real_array("theta", theta, (z.shape[1],))
    b = _per_row("rationality", rationality, len(z))
    return _sigmoid(b * (z @ theta))


def fisher_weight(margin: ArrayLike, rationality: ArrayLike = 1.0) -> Floats:
    """Fisher weight w = b^2 mu'(b m): one label carries the information w z z'.

    ``margin`` m = theta'z and ``rationality`` b broadcast against each other; the result has their
    shape. Computed as b^2 e / (1 + e)^2 with e = exp(-|b m|), so it does not overflow.
    At m = 0 it is b^2 / 4; over b it peaks where |b m| = u*, u* tanh(u*/2) = 2.
    Raises ``ValueError`` on values that are not finite or shapes that do not broadcast.

    >>> fisher_weight(0.0, 2.0).item()
    1.0
    """
    m, b = np.asarray(margin), np.asarray(rationality)
    m, b = real_array("margin", m, m.shape), real_array("rationality", b, b.shape)
    try:
        u = b * m
    except ValueError as error:
        raise ValueError(
            f"margin {m.shape} and rationality {b.shape} do not broadcast; give one value each."
        ) from error
    e = np.exp(-np.abs(u))
    return np.asarray(b * b * e / ((1 + e) * (1 + e)))


def log_likelihood(
    z: ArrayLike,
    wins: ArrayLike,
    theta: ArrayLike,
    trials: ArrayLike = 1,
    rationality: ArrayLike = 1.0,
) -> float:
    """Sum over pairs of wins log mu(b m) + (trials - wins) log mu(-b m), in nats.

    ``wins`` and ``trials`` (n,) may be fractional: a tie counts 0.5.

    >>> round(log_likelihood([[1.0]], [1.0], [0.0]), 6)  # log(1/2)
    -0.693147
    """
    z = real_array("z", z, (None, None))
    theta = real_array("theta", theta, (z.shape[1],))
    n, b = _per_row("trials", trials, len(z)), _per_row("rationality", rationality, len(z))
    wins = real_array("wins", wins, (len(z),))
    u = b * (z @ theta)
    return float(wins @ log_expit(u) + (n - wins) @ log_expit(-u))


def _per_row(name: str, value: ArrayLike, rows: int) -> Floats:
    raw = np.asarray(value)
    array = real_array(name, raw, () if raw.ndim == 0 else (rows,))
    return np.broadcast_to(array, (rows,))

"""What is known after some labels: the reward, how sharply each teacher follows it, the information.

The prior is stated in margins: with ||z||^2 of mean ``MEAN_SQUARE`` and the ridge ``RIDGE``, a typical
pair's margin theta'z has standard deviation ``MARGIN_SD`` before any label.
"""

import math

import numpy as np

from .checks import Floats, Ints
from .joint_estimate import fit_jointly
from .preference import fisher_weight

RIDGE = 16.0  # prior sd 1/4 of each reward weight, and of a rationality about the pooled mean
MARGIN_SD = 2.0  # prior sd of a typical pair's margin theta'z: sets the length of z
LABELS_PER_DIMENSION, MOST_DIMENSIONS = 10, 64  # feature dimensions <= labels / 10, and <= 64
MEAN_SQUARE = RIDGE * MARGIN_SD**2  # mean ||z||^2 that gives this
MOST_TEACHERS = 200  # those with most labels are estimated one by one, the others as one


def dimensions(labels: int, most: int = MOST_DIMENSIONS) -> int:
    """How many feature dimensions so many labels support.

    >>> dimensions(5), dimensions(320), dimensions(10_000)
    (1, 32, 64)
    """
    return min(max(1, labels // LABELS_PER_DIMENSION), most)


def frequent(labels: Floats | Ints) -> Ints:
    """The (at most 200) teachers with most labels, in their own order."""
    return np.sort(np.argsort(-labels, kind="stable")[:MOST_TEACHERS])


def estimate_rationality(
    z: Floats, wins: Floats, trials: Ints, teacher: Ints, teachers: int
) -> Floats | None:
    """(m,) rationalities scaled to root mean square 1 over the labels, or None without a finite fit.

    ``z`` (n, d), ``wins``, ``trials`` and ``teacher`` (n,). Where rationality depends on the context
    type, pass the cell teacher * K + context type as the teacher, m K of them.
    The scale of theta and rationality is shared, so it is fixed on all the labels, not on one
    reference teacher; their sum over the labels is positive. Teachers without labels get the mean
    of the others; of more than 200 those with fewest labels are estimated as one.
    """
    counts = np.bincount(teacher, weights=trials, minlength=teachers)
    known = frequent(counts)
    known = known[counts[known] > 0]
    seat = np.full(teachers, len(known))  # the last seat is shared
    seat[known] = np.arange(len(known))
    local = seat[teacher]
    labels = np.bincount(local, weights=trials)
    fit = fit_jointly(
        z,
        wins,
        local,
        np.zeros(len(local), dtype=np.int64),
        trials=trials,
        reference=int(np.argmax(labels)),
        ridge=RIDGE,
    )
    b = fit.rationality[:, 0]
    size = math.sqrt(float(labels @ b**2 / labels.sum())) if np.isfinite(b).all() else 0.0
    if not size:
        return None
    b = b * (math.copysign(1.0, float(labels @ b)) / size)
    out = np.full(teachers, float(b.mean()))
    out[counts > 0] = b[-1]  # the shared seat's, where there is one
    out[known] = b[: len(known)]
    return out


def information_and_gram(
    z: Floats, trials: Floats | Ints, theta: Floats, rationality: Floats, ridge: float = RIDGE
) -> tuple[Floats, Floats]:
    """H = sum trials b^2 mu'(b theta'z) z z' + ridge I and sum trials z z' + ridge I, both (d, d).

    ``z`` (r, d) one row a (pair, teacher) asked, r = 0 allowed; ``trials`` and ``rationality`` (r,).

    >>> H, gram = information_and_gram(np.ones((1, 1)), np.array([8]), np.zeros(1), np.ones(1), 1.0)
    >>> H.tolist(), gram.tolist()                                      # 8/4 + 1, 8 + 1
    ([[3.0]], [[9.0]])
    """
    prior = ridge * np.eye(z.shape[1])
    if not len(z):
        return prior, prior
    weight = trials * fisher_weight(z @ theta, rationality)
    return (z * weight[:, None]).T @ z + prior, (z * trials[:, None]).T @ z + prior

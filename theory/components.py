"""Principal components of feature differences: scaled, uncentred, with a chosen mean squared length.

Differences are scaled but never centred: z and -z are the same question.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Floats, Ints


class Components(NamedTuple):
    """z = differences[:, used] / scale @ basis: k uncorrelated columns, mean squared length as asked."""

    used: Ints  # columns that are not constant 0 on the pairs looked at
    scale: Floats  # (used,) root mean square on these pairs
    basis: Floats  # (used, k)
    kept_share: float  # share of the scaled variance that the k columns keep


def second_moment(blocks: Iterable[NDArray[np.floating]], rows: int, dim: int) -> Floats:
    """(d, d) mean of z z' over ``rows`` rows that arrive in blocks (b, d), summed in float64.

    A block is multiplied in its own precision: float32 blocks are twice as fast.
    """
    moment = np.zeros((dim, dim))
    for z in blocks:
        moment += z.T @ z / rows
    return moment


def components(moment: Floats, most: int, mean_square: float) -> Components:
    """Scale by the root mean square, then at most ``most`` principal components (uncentred).

    ``moment`` (d, d) is the mean of z z'; components without variance are dropped, and the mean of
    ||z||^2 after it is ``mean_square``. Raises ``ValueError`` where every column is constant 0.

    >>> found = components(np.diag([4.0, 1.0, 0.0]), 1, 1.0)
    >>> found.used.tolist(), found.scale.tolist(), found.basis.shape, found.kept_share
    ([0, 1], [2.0, 1.0], (2, 1), 0.5)
    """
    used = np.flatnonzero(moment.diagonal() > 0)
    if not len(used):
        raise ValueError(
            f"features: found {len(moment)} columns that never differ within a training pair; "
            "needed at least one that does. Pass features of what is compared."
        )
    scale = np.sqrt(moment.diagonal()[used])
    values, vectors = _largest(moment[np.ix_(used, used)] / scale / scale[:, None], most)
    keep = values > 1e-10 * values[0]
    size = math.sqrt(mean_square / values[keep].sum())
    return Components(used, scale, vectors[:, keep] * size, float(values[keep].sum() / len(used)))


def _largest(matrix: Floats, most: int) -> tuple[Floats, Floats]:
    """Eigenvalues in descending order, at most ``most``, with their vectors as columns."""
    from scipy.linalg import eigh

    d = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[max(0, d - most), d - 1])
    return values[::-1], vectors[:, ::-1]

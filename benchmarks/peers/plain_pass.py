"""Peer: every point's variance once, as one writes it in NumPy."""

import numpy as np
from numpy.typing import NDArray

from ...sim.threads import in_threads

Floats = NDArray[np.float64]
_ROWS = 4096  # of 1,024, 4,096 and 16,384 the fastest


def plain_pass(points: Floats, inverse: Floats, threads: int = 1) -> Floats:
    """v_i = x_i' M^-1 x_i (n,) for points (n, d), in chunks of rows, on several threads.

    >>> plain_pass(np.array([[1.0, 2.0], [3.0, 0.0]]), np.eye(2))
    array([5., 9.])
    """
    out = np.empty(len(points))

    def work(first: int, end: int) -> None:
        for low in range(first, end, _ROWS):
            x = points[low : min(low + _ROWS, end)]
            np.einsum("ij,ij->i", x @ inverse, x, out=out[low : low + len(x)])

    in_threads(work, len(points), threads, None)
    return out

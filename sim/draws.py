"""The random draws of one round of one replicate, each asked for by its name."""

import math
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats
from .kernels.random import integer_below, uniform


class Draws(NamedTuple):
    """The draws named (seed, replicate, round_, purpose, index); see ``sim.kernels.random``.

    Nothing is consumed: the same name gives the same value however often and in whatever order it
    is asked for.

    >>> draws = Draws(seed=1, replicate=0, round_=5)
    >>> draws.uniform(0, 3) == draws.uniform(0, 3), draws.uniform(0, 3) == draws.uniform(0, 4)
    (True, False)
    """

    seed: int
    replicate: int
    round_: int

    def uniform(self, purpose: int, index: int) -> float:
        """One uniform in [0, 1)."""
        seed = np.uint64(self.seed)
        return float(uniform(seed, self.replicate, self.round_, purpose, index))

    def below(self, purpose: int, index: int, n: int) -> int:
        """One whole number in 0..n-1."""
        seed = np.uint64(self.seed)
        return int(integer_below(seed, self.replicate, self.round_, purpose, index, n))

    def normals(self, purpose: int, first: int, count: int) -> Floats:
        """``count`` standard normals by Box and Muller, two from each two uniforms.

        Normals 2k and 2k + 1 use the uniforms u, v with index first + 2k and first + 2k + 1:
        sqrt(-2 log(1 - u)) times cos(2 pi v) and sin(2 pi v). An odd ``count`` leaves the last sine.
        """
        out = np.empty(2 * math.ceil(count / 2))
        for k in range(0, out.size, 2):
            length = math.sqrt(-2.0 * math.log1p(-self.uniform(purpose, first + k)))
            angle = 2.0 * math.pi * self.uniform(purpose, first + k + 1)
            out[k], out[k + 1] = length * math.cos(angle), length * math.sin(angle)
        return out[:count]

    def gumbel(self, purpose: int, index: int) -> float:
        """One standard Gumbel variable -log(-log u); u = 0 counts as 2^-54."""
        return -math.log(-math.log(max(self.uniform(purpose, index), 2.0**-54)))

    def weighted(self, purpose: int, index: int, log_weights: Floats) -> int:
        """One index, drawn in proportion to exp(log_weights).

        The first whose cumulative weight, relative to the largest, exceeds u times their sum.
        """
        upto = np.cumsum(np.exp(log_weights - log_weights.max()))
        reached = self.uniform(purpose, index) * upto[-1] < upto
        return int(reached.argmax())

"""Coreset: greedy k-center, the pair farthest from everything asked so far."""

from collections.abc import Callable

from array_api_compat import array_namespace

from ..pool import Array, Belief, Picks, Pool
from .batch import Batch, Ranking, Rng, Rows, at, random_pair
from .lazy import Shrinking, blocks, largest_block


def coreset(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """argmax_i min over asked pairs c of min(|z_i - z_c|, |z_i + z_c|), then a random teacher.

    The order within a pair is arbitrary, so z and -z are one point. Asked pairs are those with
    ``belief.counts`` > 0 and those of this batch; where there are none the first pair is drawn
    uniformly, with score 0. With k picks and none before, every pair is within twice the smallest
    radius at which k pairs could cover the pool. Scores below rounding (|z| times 0.003 in float32)
    are 0. Raises ``ValueError`` as ``Batch`` says, or if ``belief.counts`` is not (n, m).
    Source: Sener and Savarese (arXiv 1708.00489); Proxy Reward Models (arXiv 2407.02119).
    """
    batch = Batch(pool, belief, budget)
    return _coreset(batch, batch.random_teacher, rng)


def coreset_best_teacher(pool: Pool, belief: Belief, budget: float, rng: Rng) -> Picks:
    """The pair of ``coreset``, asked of the most rational available teacher."""
    batch = Batch(pool, belief, budget)
    return _coreset(batch, batch.best_teacher, rng)


def _coreset(batch: Batch, ask: Callable[[int, Rng], int], rng: Rng) -> Picks:
    xp, counts, needed = batch.xp, batch.belief.counts, tuple(batch.pool.available.shape)
    if tuple(counts.shape) != needed:
        raise ValueError(f"belief.counts: found shape {tuple(counts.shape)}, needed {needed}.")
    centres = xp.nonzero(xp.any(counts > 0, axis=1))[0]
    distances = Distances(batch.pool.z, centres)
    if not centres.shape[0]:
        pair = random_pair(batch, rng)
        batch.take(pair, ask(pair, rng), 0.0)
        distances.add(pair)
    ranking = Ranking(distances, lambda s, rows: xp.where(at(batch.open_pairs, rows), s, -xp.inf))
    while batch.more:
        pair, _ = ranking.best()
        batch.take(pair, ask(pair, rng), float(distances.bounds[pair]) ** 0.5)
        distances.add(pair)
    return batch.picks()


class Distances(Shrinking):
    """Squared distances (n,) of the rows of z to the nearest centre, where z and -z are one point.

    ``centres`` (k,): rows that are centres from the start. Infinite while there is no centre.
    """

    def __init__(self, z: Array, centres: Array):
        xp = array_namespace(z)
        self._squares = xp.concat([xp.vecdot(z[rows, :], z[rows, :]) for rows in blocks(z)])
        super().__init__(z, xp.full_like(self._squares, xp.inf))
        size = largest_block(z)
        for start in range(0, centres.shape[0], size):
            some = xp.take(z, centres[start : start + size], axis=0)
            for rows in blocks(z):
                self.bounds[rows] = self._nearest(rows, self.bounds[rows], some)

    def add(self, pair: int) -> None:
        """Make a pair a centre."""
        self._add(self.z[pair, :])

    def _shrunk(self, rows: Rows, values: Array, low: int, seen: Array | None) -> Array:
        return self._nearest(rows, values, self._vectors[low : self._added, :])

    def _nearest(self, rows: Rows, values: Array, centres: Array) -> Array:
        xp = self.xp
        squares = at(self._squares, rows)[:, None] + xp.vecdot(centres, centres)[None, :]
        distances = squares - 2 * xp.abs(at(self.z, rows) @ centres.T)
        noise = 64 * float(xp.finfo(squares.dtype).eps) * squares
        distances = xp.where(distances > noise, distances, 0.0)
        return xp.minimum(values, xp.min(distances, axis=1))

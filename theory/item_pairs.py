"""The optimal design over all pairs of items, without ever forming their differences."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack

from .blas import on_one_blas_thread
from .checks import Floats, Ints, real_array
from .column_generation import COMPILED, Look, Solution, Start, diverse, generate, level
from .design import tolerance
from .kernels import passes
from .whitening import rank_resolution, whiten, whiten_by_moment

_CENTRED = "items minus their mean"
_OUTER = 10  # times d items, those farthest out, are solved first
_ROUGH = 1e-3  # to this gap


class PairsDesign(NamedTuple):
    """Weights over pairs of items, and the proof of how good they are."""

    pairs: Ints  # (s, 2) i < j, sorted: the pairs with weight > 0
    weights: Floats  # (s,) > 0, sum 1
    log_det: float  # log det M(weights), in the units of the items as given
    gap: float  # max over ALL pairs of (x_i - x_j)' M^-1 (x_i - x_j) / d - 1; 0 at the optimum
    iterations: int  # Newton steps


@on_one_blas_thread
def d_optimal_pairs(items: ArrayLike, *, tol: float = 1e-6) -> PairsDesign:
    """The D-optimal design over the differences x_i - x_j of all pairs of rows of ``items`` (k, d).

    The k (k - 1) / 2 differences are never formed: with y_i = T'x_i, T T' = M^-1, a pair's variance
    is |y_i - y_j|^2, which comes from tiles of the Gram matrix. ``gap`` holds for all pairs, at
    most ``tol`` (in 1e-10..1) on return. Memory grows with k d, not with the number of pairs.
    Raises ``ValueError`` when the differences do not span R^d (k must exceed d), and on wrong shapes
    or values that are not finite.

    >>> design = d_optimal_pairs([[0.0], [1.0], [3.0]])     # the two that are farthest apart
    >>> design.pairs.tolist(), design.weights.tolist()
    ([[0, 2]], [1.0])
    """
    resolution = rank_resolution(items)
    items = real_array("items", items, (None, None))
    tol = tolerance(tol)
    exponent = int(np.frexp(np.abs(items).max())[1])
    moved = np.ldexp(items, -exponent)  # exact; differences cannot overflow
    moved -= moved[0]  # exact zeros where items are equal
    centred = moved - moved.mean(axis=0)
    found, log_volume = _in_good_coordinates(centred, resolution, tol)
    order = np.argsort(found.working)
    pairs = np.stack(np.divmod(found.working[order], len(items)), axis=1)
    log_det = found.log_det + log_volume + 2 * items.shape[1] * exponent * float(np.log(2.0))
    return PairsDesign(pairs, found.weights[order], log_det, max(found.gap, 0.0), found.steps)


def _in_good_coordinates(centred: Floats, resolution: float, tol: float) -> tuple[Solution, float]:
    """The optimum, and what log det has to be shifted by."""
    quick = whiten_by_moment(centred, resolution, compiled=True, design=None)
    if quick is not None:
        try:
            found = _optimum(quick[0].points @ quick[0].map, tol)
        except np.linalg.LinAlgError:
            pass
        else:
            if found.gap <= tol and found.certifiable():
                return found, quick[0].log_volume
    whitened = whiten(_CENTRED, centred, resolution)
    found = _optimum(whitened.points, tol)
    return found._replace(gap=found.gap + whitened.rounding), whitened.log_volume


def _optimum(items: Floats, tol: float) -> Solution:
    candidates = PairCandidates(items)
    return generate(candidates, COMPILED, tol, candidates.first())


class PairCandidates:
    """All pairs i < j of items as column generation wants them; a pair's index is i k + j."""

    def __init__(self, items: Floats):
        self._items = np.ascontiguousarray(items)
        self._norms = np.einsum("ij,ij->i", items, items)
        self.dim = items.shape[1]
        self.basis = self._star()

    def _star(self) -> Ints:
        """d pairs that span R^d: the item farthest from the mean with d others."""
        size, centre = len(self._items), int(np.argmax(self._norms))
        _, pivot, *_ = lapack.dgeqp3((self._items - self._items[centre]).T)
        others = pivot[: self.dim].astype(np.int64) - 1
        return np.asarray(np.minimum(others, centre) * size + np.maximum(others, centre))

    def first(self) -> Start:
        """What is optimal among the items farthest out; of few items the pairs farthest apart."""
        size, d = self._items.shape
        if size > 2 * _OUTER * d:
            some = np.sort(np.argpartition(-self._norms, _OUTER * d)[: _OUTER * d])
            basis = np.divmod(self.basis, size)
            some = np.union1d(some, np.concatenate(basis))
            found = _optimum(self._items[some], _ROUGH)
            i, j = np.divmod(found.working, len(some))
            return Start(some[i] * size + some[j], found.weights, 0.1 * _ROUGH, found.steps)
        look = self.look(np.eye(d), self.basis, 16 * d)
        pairs = np.concatenate([self.basis, look.fresh])
        pairs = pairs[diverse(self.rows(pairs), 4 * d)]
        return Start(pairs, np.full(len(pairs), 1 / len(pairs)), 0.05, 0)

    def rows(self, working: Ints) -> Floats:
        """(k, d) differences in the whitened coordinates."""
        i, j = np.divmod(working, len(self._items))
        return np.asarray(self._items[i] - self._items[j])

    def look(self, root: Floats, working: Ints, most: int) -> Look:
        """All pairs that can be farthest apart, by tiles of the Gram matrix.

        No pair is farther apart than both its items from the mean taken together, and the largest
        variance is at least d: where |y_i| + max |y| < sqrt(d), item i is in no such pair.
        """
        d, size = self.dim, len(self._items)
        y = self._items @ root
        far = np.sqrt(np.einsum("ij,ij->i", y, y))
        items = np.flatnonzero(far + far.max() >= np.sqrt(d) * (1 - 1e-9))
        largest, code, v = passes.largest_pairs(y[items], float(d), most + len(working))
        i, j = np.divmod(code, len(items))
        code = items[i] * size + items[j]  # items are in order, so i < j still
        above = v > level(d, largest / d - 1)
        code = code[above][np.lexsort((code[above], -v[above]))]
        fresh = code[~np.isin(code, working)][:most]
        return Look(float(largest), fresh, self.rows(fresh) @ root)

"""The candidates of a design: rows of an array, in main memory or on a GPU."""

from typing import NamedTuple

import numpy as np

from .checks import Floats, Ints
from .column_generation import Look, SmallSolver, Start, diverse, enlarge, generate, level
from .devices import host, like
from .pool import Array
from .variances import flat_nonzero, largest, variances
from .whitening import Whitened, spanning

_BOUND_FROM = 100  # n / d from which bounds spare more than they cost
_SIFT_FROM = 2000  # n / d from which some of the points are solved first
_ROUGH = 1e-3  # to this gap
_WIDER = 1.1  # a second anchor stays valid while rho grows by this
_CLOSE = 1.03  # times d: with variances below, what is added at once suffices as a rule
_LEAST = 1e-12  # weight that a start may bring: d - v over it must not overflow
_SAFE = 1 + 1e-9  # for the rounding of a bound


class _Anchor(NamedTuple):
    """A design a, and the variances under it of ``some`` points (None: all)."""

    some: Array | None
    v: Array
    moment: Floats  # M(a)
    valid: float  # while the bound of the anchor before has rho at most this

    def rho(self, root: Floats) -> float:
        """No less than the largest eigenvalue of M^-1 M(a): v_i <= rho v_i(a) for every x_i.

        m + (trace E^8)^(1/8) with E = root' M(a) root - m I, m its mean eigenvalue: in a third of
        the time of eigenvalues.
        """
        e = root.T @ self.moment @ root
        mean = float(np.trace(e)) / len(e)
        np.einsum("ii->i", e)[:] -= mean
        e = e @ e
        e = e @ e
        return (mean + float(np.vdot(e, e) ** 0.125)) * _SAFE

    def reached(self, rho: float, d: int) -> Array:
        """The points whose v can be d or more."""
        near = flat_nonzero(self.v * rho >= d)
        return near if self.some is None else self.some[near]


class PointCandidates:
    """Rows of a ``Whitened`` as column generation wants them; ``known`` (n,): variances in its coordinates.

    With many points a look does not touch all of them. Let a be an earlier design whose variances
    are known: v_i <= rho v_i(a), rho no less than the largest eigenvalue of M^-1 M(a). Points where
    that stays below d cannot have the largest variance, which is at least d. So every gap holds for
    all points. A second anchor, nearer to the optimum, does the same among those left by the first.
    """

    def __init__(self, whitened: Whitened, known: Array | None, small: SmallSolver):
        self._whitened, self._known, self._small = whitened, known, small
        n, self.dim = whitened.points.shape
        self._held = np.zeros(n, dtype=np.bool_)  # the working set, during a look
        self._all: _Anchor | None = None
        if known is not None and n > _BOUND_FROM * self.dim:
            self._all = _Anchor(None, known, np.eye(self.dim), np.inf)
        self._near: _Anchor | None = None

    def first(self) -> Start:
        """A basis and points of large variance; of very many points, what is optimal among some.

        Raises ``numpy.linalg.LinAlgError`` where no basis among those has a large volume.
        """
        d, basis = self.dim, self._whitened.basis
        if self._known is None:
            assert basis is not None
            return Start(basis, np.full(d, 1 / d), 0.05, 0)
        n = self._known.shape[0]
        if n > _SIFT_FROM * d:
            return self._best_of_some()
        top = host(largest(self._known, 16 * d))
        some = np.concatenate([top, self._without(np.arange(0, n, -(-n // (8 * d))), top)])
        rows = host(self.rows(some))
        span = spanning(rows)
        if span is None:
            raise np.linalg.LinAlgError("no basis of large volume")
        order = np.concatenate([span, np.arange(len(top))])
        working = some[order[diverse(rows[order], 5 * d)]]
        return Start(working, np.full(len(working), 1 / len(working)), 0.05, 0)

    def again(self, index: Ints, weights: Floats) -> Start:
        """An earlier design's weights, and points of large variance under it.

        As ``first`` where they do not span, or lie on far more points than a design needs.
        Where the coordinates are theirs (M = I) their variances are known.
        """
        d = self.dim
        if len(index) > d * (d + 1) // 2 + 8 * d:
            return self.first()
        weights = np.maximum(weights, _LEAST)
        weights = weights / weights.sum()
        try:
            root, _ = self._small.root(self.rows(index), weights)
        except np.linalg.LinAlgError:
            return self.first()
        known = self._known
        if known is not None and np.abs(root - np.eye(d)).max() < 1e-6:
            look = self._seen(None, known, root, index, 16 * d)
        else:
            look = self.look(root, index, 16 * d)
        working, w, inner = enlarge(index, weights, look, d)
        return Start(working, w, 0.0 if look.largest < d * _CLOSE else inner, 0)

    def _best_of_some(self) -> Start:
        """A rough design on the points of largest variance and as many at even distances."""
        assert self._known is not None
        n, whitened = self._known.shape[0], self._whitened
        size = max(_SIFT_FROM * self.dim // 4, n // 200)
        some = np.union1d(host(largest(self._known, size)), np.arange(0, n, -(-n // size)))
        there = like(some, whitened.points)
        inside = PointCandidates(
            whitened._replace(points=whitened.points[there]), self._known[there], self._small
        )
        found = generate(inside, self._small, _ROUGH, inside.first())
        return Start(some[found.working], found.weights, 0.1 * _ROUGH, found.steps)

    def rows(self, working: Ints) -> Array:
        """(k, d) in the whitened coordinates."""
        return self._whitened.rows(working)

    def look(self, root: Floats, working: Ints, most: int) -> Look:
        """All points, or all that a bound does not rule out."""
        index, v = self._variances(root)
        return self._seen(index, v, root, working, most)

    def _seen(self, index: Array | None, v: Array, root: Floats, working: Ints, most: int) -> Look:
        """The look that found variances ``v`` of the points ``index`` (None: all)."""
        if not v.shape[0]:  # the largest variance is at least d
            raise np.linalg.LinAlgError("rounding has the better of these coordinates")
        largest_v = float(v.max())
        above = flat_nonzero(v > level(self.dim, largest_v / self.dim - 1))
        above = above[largest(v[above], most + len(working))]
        new = self._without(host(above if index is None else index[above]), working)[:most]
        y = host(self.rows(new)) @ root if len(new) else np.empty((0, self.dim))
        return Look(largest_v, new, y)

    def _without(self, index: Ints, others: Ints) -> Ints:
        """``index`` less ``others``, in order."""
        self._held[others] = True
        rest = index[~self._held[index]]
        self._held[others] = False
        return rest

    def _variances(self, root: Floats) -> tuple[Array | None, Array]:
        """v of all points (None), or of some among which all with v >= d are."""
        if self._all is None:
            return None, self._evaluate(root, None)
        rho = self._all.rho(root)
        if self._near is not None and rho <= self._near.valid:
            index = self._near.reached(self._near.rho(root), self.dim)
            return index, self._evaluate(root, index)
        index = self._all.reached(rho * _WIDER, self.dim)
        inverse = np.linalg.inv(root)
        moment = inverse.T @ inverse
        if 4 * index.shape[0] > self._whitened.points.shape[0]:
            v = self._evaluate(root, None)
            self._all, self._near = _Anchor(None, v, moment, np.inf), None
            return None, v
        v = self._evaluate(root, index)
        self._near = _Anchor(index, v, moment, rho * _WIDER)
        return index, v

    def _evaluate(self, root: Floats, index: Array | None) -> Array:
        return variances(
            self._whitened.points, self._whitened.map @ root, index, self._small.compiled
        )

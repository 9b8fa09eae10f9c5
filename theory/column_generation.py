"""Column generation: the optimal design on few points, checked on all, enlarged where it fails.

Each round solves a working set of candidates by an interior point, looks once at every candidate,
and adds those of largest variance. The loop is written once; what the candidates are (points in
memory, all pairs of items, a tensor on a GPU) is behind ``Candidates``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from .checks import Floats, Ints
from .devices import host, like
from .interior_point import information_root, interior_point
from .kernels import newton, passes
from .pool import Array

ROUNDS = 500  # 3 to 12 are usual
_PATIENCE = 30  # rounds without a smaller gap: only rounding is left
_PARALLEL = 0.95  # |cosine| of neighbours: the best of a bundle is enough


class Look(NamedTuple):
    """What one look at all candidates shows."""

    largest: float  # the largest variance of all
    fresh: Ints  # (c,) candidates outside the working set of large variance, largest first
    y: Floats  # (c, d) their rows times the root: |y|^2 is the variance


class Start(NamedTuple):
    """Where to begin: a working set that spans R^d."""

    working: Ints  # (k,)
    weights: Floats  # (k,) > 0, sum 1
    steps: int  # Newton steps it took to find them


class Candidates(Protocol):
    """What can carry weight. Indices and weights are NumPy's, wherever the points live."""

    dim: int
    basis: Ints  # (d,) candidates that span R^d

    def first(self) -> Start:
        """A working set to begin with."""

    def rows(self, working: Ints) -> Array:
        """(k, d) the candidates ``working``."""

    def look(self, root: Floats, working: Ints, most: int) -> Look:
        """One look at all; up to ``most`` of those with v above d (1 + gap / 5)."""


class SmallSolver(NamedTuple):
    """How a working set is solved: by compiled functions, or by plain ones on any array."""

    fit: Callable[[Array, Floats, float], tuple[Floats, int]]
    """(rows (k, d), w > 0, tol) -> optimal weights to a gap of tol, and the Newton steps."""
    root: Callable[[Array, Floats], tuple[Floats, float]]
    """(rows, w) -> root of M(w)^-1, log det M(w); LinAlgError where M(w) is singular."""
    compiled: bool


class Solution(NamedTuple):
    """Weights on a working set, certified on all candidates."""

    working: Ints  # (k,)
    weights: Floats  # (k,) > 0, sum 1
    log_det: float
    gap: float
    steps: int


def generate(
    candidates: Candidates, small: SmallSolver, tol: float, start: tuple[Ints, Floats] | None
) -> Solution:
    """The optimal design to a gap of ``tol``, or the best that rounding allows.

    ``start``: indices and weights > 0 to begin from.
    """
    d = candidates.dim
    working, w, steps = candidates.first() if start is None else _warm(candidates, *start)
    best: Solution | None = None
    best_round, inner = 0, 0.01
    for round_ in range(ROUNDS):
        w, used = small.fit(candidates.rows(working), w, inner)
        steps += used
        keep = w > 1e-3 * tol / len(w)
        working, w = working[keep], w[keep] / w[keep].sum()
        root, log_det = small.root(candidates.rows(working), w)
        look = candidates.look(root, working, 16 * d)
        gap = look.largest / d - 1
        if best is None or gap < best.gap:
            best, best_round = Solution(working, w, log_det, gap, steps), round_
        if gap <= tol:
            return _settled(candidates, small, best, root, tol)
        if round_ - best_round > _PATIENCE:
            break
        working, w = _enlarge(working, w, look, d, gap)
        inner = max(0.01 * tol, min(0.01, 0.05 * gap))
    assert best is not None
    return best._replace(steps=steps)


def _warm(candidates: Candidates, index: Ints, weights: Floats) -> Start:
    """The given weights, and a little on a basis."""
    working = np.union1d(candidates.basis, index)
    w = np.full(len(working), 1e-3 / candidates.dim)
    w[np.searchsorted(working, index)] += weights
    return Start(working, w / w.sum(), 0)


def _enlarge(working: Ints, w: Floats, look: Look, d: int, gap: float) -> tuple[Ints, Floats]:
    """The working set plus up to 2 d candidates, no two of them neighbours, with a little weight."""
    fresh = look.fresh[diverse(look.y, 2 * d)]
    if not len(fresh):
        return working, w
    share = min(0.1, 0.5 * gap) / len(fresh)
    w = np.concatenate([np.maximum(w, 1e-2 * share), np.full(len(fresh), share)])
    return np.concatenate([working, fresh]), w / w.sum()


def diverse(y: Floats, most: int) -> Ints:
    """Positions of up to ``most`` rows of ``y``, in order, none nearly parallel to an earlier one."""
    return np.asarray(passes.diverse(np.ascontiguousarray(y), most, _PARALLEL))


def _settled(
    candidates: Candidates, small: SmallSolver, found: Solution, root: Floats, tol: float
) -> Solution:
    """``found`` without the weights that only rounding keeps above 0, if the gap allows it.

    Strict complementarity: at the optimum either the weight or d - v is zero; the smaller one is.
    """
    rows, d = candidates.rows(found.working), candidates.dim
    y = host(rows) @ root
    keep = found.weights >= found.gap + 1 - np.einsum("ij,ij->i", y, y) / d
    if keep.all():
        return found
    working, w = found.working[keep], found.weights[keep] / found.weights[keep].sum()
    rows, steps = candidates.rows(working), found.steps
    for polished in (False, True):
        if polished:
            w, used = small.fit(rows, w, 0.01 * tol)
            steps += used
        try:
            root, log_det = small.root(rows, w)
        except np.linalg.LinAlgError:
            break
        gap = candidates.look(root, working, 1).largest / d - 1
        if gap <= max(tol, found.gap):
            return Solution(working, w, log_det, gap, steps)
    return found._replace(steps=steps)


def _compiled_root(rows: Array, w: Floats) -> tuple[Floats, float]:
    root = np.empty((rows.shape[1], rows.shape[1]))
    log_det = newton.information_root(rows, w, root)
    if math.isnan(log_det):
        raise np.linalg.LinAlgError("the information matrix is singular")
    return root, log_det


def _plain_fit(rows: Array, w: Floats, tol: float) -> tuple[Floats, int]:
    found, steps = interior_point(rows, like(np.full(len(w), np.inf), rows), like(w, rows), tol)
    return host(found), steps


def _plain_root(rows: Array, w: Floats) -> tuple[Floats, float]:
    root, log_det = information_root(rows, like(w, rows))
    return host(root), log_det


COMPILED = SmallSolver(newton.interior_point, _compiled_root, compiled=True)
PLAIN = SmallSolver(_plain_fit, _plain_root, compiled=False)

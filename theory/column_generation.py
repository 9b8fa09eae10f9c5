"""Column generation: the optimal design on few points, checked on all, enlarged where it fails.

Each round solves a working set of candidates (near the optimum by Newton steps on the support,
before and where those fail by an interior point), looks once at every candidate, and adds those of
largest variance. The loop is written once; what the candidates are (points in
memory, all pairs of items, a tensor on a GPU) is behind ``Candidates``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from .checks import Floats, Ints
from .devices import host, like
from .interior_point import information_root, interior_point, newton_on_support
from .kernels import newton, passes
from .pool import Array

ROUNDS = 500  # 3 to 12 are usual
_PATIENCE = 30  # rounds without a smaller gap: only rounding is left
_PARALLEL = 0.95  # |cosine| of neighbours: the best of a bundle is enough
_WELL = 1e6  # condition of M up to which float64 certifies
_NEAR = 0.03  # from working to this gap on, Newton steps on the support are tried first


class Look(NamedTuple):
    """What one look at all candidates shows."""

    largest: float  # the largest variance of all
    fresh: Ints  # (c,) candidates outside the working set of large variance, largest first
    y: Floats  # (c, d) their rows times the root: |y|^2 is the variance


class Start(NamedTuple):
    """Where to begin: a working set that spans R^d."""

    working: Ints  # (k,)
    weights: Floats  # (k,) > 0, sum 1
    inner: float  # to which gap it is worth solving before the next look
    steps: int  # Newton steps it took to find them


class Candidates(Protocol):
    """What can carry weight. Indices and weights are NumPy's, wherever the points live."""

    dim: int

    def rows(self, working: Ints) -> Array:
        """(k, d) the candidates ``working``."""

    def look(self, root: Floats, working: Ints, most: int) -> Look:
        """One look at all; up to ``most`` of those with v above ``level(d, gap)``."""


class SmallSolver(NamedTuple):
    """How a working set is solved: by compiled functions, or by plain ones on any array."""

    interior: Callable[[Array, Floats, float], tuple[Floats, int]]
    """(rows (k, d), w > 0, tol) -> optimal weights to a gap of tol, and the Newton steps."""
    newton: Callable[[Array, Floats, float], tuple[Floats, int, bool]]
    """The same from near the optimum, by steps on the support; False where that does not work."""
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
    root: Floats  # (d, d) of M(w)^-1, in the candidates' coordinates

    def certifiable(self) -> bool:
        """Whether rounding in v, about 1e-16 of the condition of M(w) here, is far below any ``tol``."""
        traces = (np.linalg.norm(self.root) * np.linalg.norm(np.linalg.inv(self.root))) ** 2
        return bool(traces <= _WELL or np.linalg.cond(self.root) ** 2 <= _WELL)


def generate(candidates: Candidates, small: SmallSolver, tol: float, start: Start) -> Solution:
    """The optimal design to a gap of ``tol``, or the best that rounding allows."""
    d = candidates.dim
    working, w, inner, steps = start
    best = Solution(working, w, -math.inf, math.inf, steps, np.eye(d))
    best_round, inner, near = 0, max(inner, 0.1 * tol), _NEAR
    for round_ in range(ROUNDS):
        rows = candidates.rows(working)
        w, used, near = _fitted(small, rows, w, inner, near)
        steps += used
        keep = w > 1e-3 * tol / len(w)
        if not keep.all():
            working, w, rows = working[keep], w[keep] / w[keep].sum(), rows[like(keep, rows)]
        root, log_det = small.root(rows, w)
        look = candidates.look(root, working, 16 * d)
        gap = look.largest / d - 1
        if gap < -1e-9:  # the weighted mean of v is d
            raise np.linalg.LinAlgError("rounding has the better of these coordinates")
        nearer = gap < best.gap
        if nearer:
            best, best_round = Solution(working, w, log_det, gap, steps, root), round_
        if gap <= tol:
            return _settled(candidates, small, best, host(rows) @ root, tol)
        if round_ - best_round > _PATIENCE:
            break
        if nearer:  # only then, or designs would drop and add the same points for ever
            working, w = _without_next_to_nothing(working, w, gap)
        working, w, inner = enlarge(working, w, look, d)
        inner = max(inner, 0.1 * tol)
    return best._replace(steps=steps)


def _fitted(
    small: SmallSolver, rows: Array, w: Floats, tol: float, near: float
) -> tuple[Floats, int, float]:
    """Optimal weights to a gap of ``tol``, the steps, and from which ``tol`` on Newton's are tried."""
    wasted = 0
    if tol <= near:
        found, steps, done = small.newton(rows, w, tol)
        if done:
            return found, steps, near
        wasted, near = steps, 0.1 * tol
    found, steps = small.interior(rows, w, tol)
    return found, wasted + steps, near


def level(d: int, gap: float) -> float:
    """Candidates with v above it are worth adding: all that the optimum may need, once it is near."""
    return d * (1 - 0.2 * gap) if gap < 0.1 else d * (1 + 0.2 * min(gap, 1.0))


def _without_next_to_nothing(working: Ints, w: Floats, gap: float) -> tuple[Ints, Floats]:
    """A smaller working set; what was needed after all comes back."""
    keep = w > 0.3 * min(gap, 0.5) / len(w)
    return working[keep], w[keep] / w[keep].sum()


def enlarge(working: Ints, w: Floats, look: Look, d: int) -> tuple[Ints, Floats, float]:
    """The working set plus up to 2 d candidates, no two of them neighbours, with a little weight; and
    the gap to which that is worth solving: 0 where nothing new has come.
    """
    gap = look.largest / d - 1
    fresh = look.fresh[diverse(look.y, 2 * d)]
    if not len(fresh):
        return working, w, 0.0
    share = min(0.1, 0.5 * gap) / len(fresh)
    w = np.concatenate([np.maximum(w, 1e-2 * share), np.full(len(fresh), share)])
    return np.concatenate([working, fresh]), w / w.sum(), min(0.05, 0.1 * gap)


def diverse(y: Floats, most: int) -> Ints:
    """Positions of up to ``most`` rows of ``y``, in order, none nearly parallel to an earlier one."""
    return np.asarray(passes.diverse(np.ascontiguousarray(y), most, _PARALLEL))


def _settled(
    candidates: Candidates, small: SmallSolver, found: Solution, y: Floats, tol: float
) -> Solution:
    """``found`` without the weights that only rounding keeps above 0, as far as the gap allows.

    Strict complementarity: at the optimum either the weight or d - v is zero; the smaller one is.
    To drop weights w multiplies the largest variance by at most 1 / (1 - sum w v).
    """
    d, w = candidates.dim, found.weights
    v = np.einsum("ij,ij->i", y, y)
    keep = w >= found.gap + 1 - v / d
    if keep.all():
        return found
    near = np.flatnonzero(~keep)
    near = near[np.argsort(w[near])]
    lost = np.cumsum(w[near] * v[near])
    keep[near[lost > 0.9 * (tol - found.gap) / (1 + tol)]] = True
    if keep.all():
        return found
    working, w = found.working[keep], found.weights[keep] / found.weights[keep].sum()
    root, log_det = small.root(candidates.rows(working), w)
    gap = candidates.look(root, working, 1).largest / d - 1
    return Solution(working, w, log_det, gap, found.steps, root)


def _compiled_root(rows: Array, w: Floats) -> tuple[Floats, float]:
    root = np.empty((rows.shape[1], rows.shape[1]))
    log_det = newton.information_root(rows, w, root)
    if math.isnan(log_det):
        raise np.linalg.LinAlgError("the information matrix is singular")
    return root, log_det


def _plain_interior(rows: Array, w: Floats, tol: float) -> tuple[Floats, int]:
    found, steps = interior_point(rows, like(np.full(len(w), np.inf), rows), like(w, rows), tol)
    return host(found), steps


def _plain_newton(rows: Array, w: Floats, tol: float) -> tuple[Floats, int, bool]:
    found, steps, done = newton_on_support(rows, like(w, rows), tol)
    return host(found), steps, done


def _plain_root(rows: Array, w: Floats) -> tuple[Floats, float]:
    root, log_det = information_root(rows, like(w, rows))
    return host(root), log_det


COMPILED = SmallSolver(
    newton.interior_point, newton.newton_on_support, _compiled_root, compiled=True
)
PLAIN = SmallSolver(_plain_interior, _plain_newton, _plain_root, compiled=False)

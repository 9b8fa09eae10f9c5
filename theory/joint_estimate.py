"""Maximum likelihood of theta and of every teacher's rationality, in every context type, together.

Model: P(Y = 1) = mu(b theta'z), b unknown per (teacher, context type). Only the product of theta and b
is seen, so one cell is fixed at 1. The ``status`` is that of ``theory.estimate``.
Source: Dual Active Learning for RLHF (arXiv 2410.02504) for the model; arXiv 2512.03208 estimates both.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, Ints, integer_array, positive_number, whole_number
from .estimate import CLOSE, FAR, answers, checked_labels, separating, solve_lifted, well_spread


class JointEstimate(NamedTuple):
    """Result of ``fit_jointly``; arrays are NaN unless there is an estimate."""

    theta: Floats  # (d,)
    rationality: Floats  # (m, K)
    covariance: Floats  # (d + mK, d + mK), order (theta, rationality row by row)
    status: str
    iterations: int


class _Joint(NamedTuple):
    """The labels of a joint fit, sorted by cell; unknowns p = (phi (k,), rationality (C,))."""

    x: Floats  # (n, k) well-spread coordinates of z
    wins: Floats
    losses: Floats
    cell: Ints  # (n,) teacher * K + context type
    first: Ints  # first row of every cell that has labels
    known: Ints  # the cells that have labels
    penalty: Floats  # (k + C, k + C)
    free: Ints  # unknowns that are estimated: all but the fixed cell


def fit_jointly(
    z: ArrayLike,
    wins: ArrayLike,
    teacher: ArrayLike,
    context: ArrayLike,
    *,
    trials: ArrayLike = 1,
    reference: int = 0,
    ridge: float = 0.0,
) -> JointEstimate:
    """Reward weights and every teacher's rationality per context type, estimated together.

    (theta, b) minimises -sum [wins log mu(u) + (trials - wins) log mu(-u)] + ridge/2 (||theta||^2
    + sum (b - mean b)^2), u = b[teacher, context] theta'z, where only b[reference, 0] is fixed to 1:
    it sets scale and sign, and counts in the mean over all mK cells. Not convex: the best of two
    alternating starts (spectral; all rationalities equal) is refined by Newton to a local optimum.

    ``z`` (n, d); ``wins`` (n,) in [0, trials], fractional allowed; ``teacher``, ``context`` (n,)
    whole numbers from 0 (m, K = largest + 1); ``trials`` () or (n,).
    The covariance is the inverse Fisher information, plus the penalty's second derivative where
    ridge > 0; the fixed cell's row and column are 0.
    Without ridge: ``singular`` when a cell has no labels or the Fisher information is not of full
    rank; ``separable`` when no finite optimum exists where the search ended: all labels of a cell
    agree with the direction of theta (its rationality grows for ever; for the reference's cell:
    theta), or a hyperplane separates all labels under the rationalities' signs. ``iteration_limit``
    is typical of a reference whose own estimate would be 0: choose another.
    Arrays are NaN then; on ``iteration_limit`` they are the last iterate's.
    Raises ``ValueError`` as ``fit_preferences`` does, and on indices that are not whole numbers >= 0.

    >>> fit = fit_jointly([[1.0], [1.0]], wins=[3, 1], trials=[4, 10], teacher=[0, 1], context=[0, 0])
    >>> fit.rationality.round(9).tolist()     # logit(1/10) / logit(3/4): the second prefers the worse
    [[1.0], [-2.0]]
    """
    points, won, asked = checked_labels(z, wins, trials)
    n, d = points.shape
    who = integer_array("teacher", teacher, (n,), low=0)
    what = integer_array("context", context, (n,), low=0)
    m, kinds = int(who.max()) + 1, int(what.max()) + 1
    fixed = whole_number("reference", reference, low=0, high=m) * kinds
    ridge = positive_number("ridge", ridge, zero=True)
    order = np.argsort(who * kinds + what, kind="stable")
    order = order[asked[order] > 0]
    won, lost, cell = won[order], (asked - won)[order], (who * kinds + what)[order]
    known, first = np.unique(cell, return_index=True)
    spread = well_spread(points[order], ridge)
    p, status, iterations = np.zeros(0), "singular", 0
    if spread is not None and (ridge > 0 or len(known) == m * kinds):
        x, back = spread
        k, penalty = x.shape[1], _joint_penalty(back, m * kinds, ridge)
        free = np.delete(np.arange(len(penalty)), k + fixed)
        labels = _Joint(x, won, lost, cell, first, known, penalty, free)
        if ridge > 0 or _identified(labels):
            p, status, iterations = _joint_fit(
                labels, _joint_start(labels, fixed), fixed, ridge > 0
            )
    if status in ("singular", "separable"):
        size = d + m * kinds
        nothing = np.full((size, size), np.nan)
        return JointEstimate(
            nothing[0, :d], np.full((m, kinds), np.nan), nothing, status, iterations
        )
    covariance = _joint_covariance(labels, p, back)
    return JointEstimate(back @ p[:k], p[k:].reshape(m, kinds), covariance, status, iterations)


def _joint_penalty(back: Floats, cells: int, ridge: float) -> Floats:
    k = back.shape[1]
    penalty = np.zeros((k + cells, k + cells))
    pull = math.sqrt(ridge) * back
    penalty[:k, :k] = pull.T @ pull
    penalty[k:, k:] = ridge * (np.eye(cells) - 1 / cells)
    return penalty


def _cell_sums(q: _Joint, rows: Floats) -> Floats:
    """Sum of the rows (n, k) of every cell: (C, k)."""
    out = np.zeros((len(q.penalty) - q.x.shape[1], rows.shape[1]))
    if len(rows):
        out[q.known] = np.add.reduceat(rows, q.first, axis=0)
    return out


def _joint_matrix(q: _Joint, p: Floats, weight: Floats, slope: Floats | float = 0.0) -> Floats:
    """Second derivatives of the labels' loss in p; Fisher information where ``slope`` is 0."""
    k = q.x.shape[1]
    s, b = q.x @ p[:k], p[k:][q.cell]
    half = q.x * (np.abs(b) * np.sqrt(weight))[:, None]
    out = np.diag(np.append(np.zeros(k), _cell_sums(q, (weight * s * s)[:, None])))
    out[:k, :k] = half.T @ half
    out[k:, :k] = _cell_sums(q, q.x * (weight * b * s - slope)[:, None])
    out[:k, k:] = out[k:, :k].T
    return out


def _inverse(matrix: Floats) -> tuple[Floats, bool]:
    """Inverse of a positive semi-definite matrix, and whether it has full rank in double precision."""
    diagonal = matrix.diagonal()
    size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(matrix / size / size[:, None])
    full = bool(len(values) == 0 or values[0] > 1e-12 * values[-1])
    part = vectors / size[:, None] / np.sqrt(np.maximum(values, 1e-15))
    return part @ part.T, full


def _identified(q: _Joint) -> bool:
    """Whether the labels identify theta and the free cells at a generic point."""
    p = 0.5 + np.random.default_rng(0).random(len(q.penalty))
    matrix = _joint_matrix(q, p, np.ones(len(q.x)))
    return _inverse(matrix[np.ix_(q.free, q.free)])[1]


def _joint_covariance(q: _Joint, p: Floats, back: Floats) -> Floats:
    k = q.x.shape[1]
    weight = (q.wins + q.losses) * answers(p[k:][q.cell] * (q.x @ p[:k]))[2]
    matrix = _joint_matrix(q, p, weight) + q.penalty
    free = np.ix_(q.free, q.free)
    inner = np.zeros_like(matrix)
    inner[free] = _inverse(matrix[free])[0]
    turn = np.zeros((len(back) + len(p) - k, len(p)))
    turn[: len(back), :k], turn[len(back) :, k:] = back, np.eye(len(p) - k)
    return turn @ inner @ turn.T


def _joint_loss(q: _Joint, p: Floats) -> float:
    k = q.x.shape[1]
    u = p[k:][q.cell] * (q.x @ p[:k])
    loss = q.wins @ np.logaddexp(0, -u) + q.losses @ np.logaddexp(0, u)
    return float(loss + p @ q.penalty @ p / 2)


def _joint_start(q: _Joint, fixed: int) -> Floats:
    """The better of two alternating fits, scaled so that the fixed cell is 1.

    Spectral: answers are about linear in small margins, so the cells' sums of (wins - losses) z,
    whitened, are b_c theta' plus noise, and the first singular vector is theta's direction.
    """
    k, trials = q.x.shape[1], q.wins + q.losses
    gram = (q.x * trials[:, None]).T @ q.x + q.penalty[:k, :k]
    root = np.linalg.cholesky(gram + 1e-12 * np.trace(gram) * np.eye(k))
    sums = np.linalg.solve(root, _cell_sums(q, q.x * (q.wins - q.losses)[:, None]).T)
    counts = np.maximum(_cell_sums(q, trials[:, None])[:, 0], 1e-12)
    direction = np.linalg.svd(sums / np.sqrt(counts))[0][:, 0]
    ones = np.ones(len(counts))
    spectral = _alternate(q, np.linalg.solve(root.T, direction), 0 * ones, fixed)
    return min(_alternate(q, np.zeros(k), ones, fixed), spectral, key=lambda p: _joint_loss(q, p))


def _alternate(q: _Joint, phi: Floats, b: Floats, fixed: int) -> Floats:
    """Rounds of one damped Newton step in phi and one in b, held near their mean by a weak prior."""
    k, trials = q.x.shape[1], q.wins + q.losses
    for _ in range(20):
        if b.any():
            up, _, curve = answers(b[q.cell] * (q.x @ phi))
            half = q.x * (np.abs(b[q.cell]) * np.sqrt(trials * curve))[:, None]
            slope = (q.wins - trials * up) * b[q.cell]
            pull = q.penalty[:k, :k]
            step = solve_lifted(half.T @ half + pull, slope @ q.x - pull @ phi)
            move = float(np.abs(b[q.cell] * (q.x @ step)).max(initial=1e-9))
            phi = phi + step * math.log1p(move) / move
        s = q.x @ phi
        size = float(np.sqrt(np.mean(s * s))) if len(s) else 0.0
        if size > 0:
            phi, b, s = phi / size, b * size, s / size
        up, _, curve = answers(b[q.cell] * s)
        rise = _cell_sums(q, np.stack([(q.wins - trials * up) * s, trials * curve * s * s], 1))
        b = b + np.clip((rise[:, 0] - 0.1 * (b - b.mean())) / (rise[:, 1] + 0.1), -1, 1)
    least = 0.05 * float(np.abs(b).max()) or 1.0
    unit = b[fixed] if abs(b[fixed]) > least else math.copysign(least, b[fixed])
    p = np.append(phi * unit, b / unit)
    p[k + fixed] = 1.0
    return p


def _joint_fit(q: _Joint, start: Floats, fixed: int, finite: bool) -> tuple[Floats, str, int]:
    """Newton from the start; if it gets lost, from the start with the reference's sign reversed.

    A reference of nearly no rationality leaves theta's sign open, and no path leads from one to the
    other at finite rationalities.
    """
    result = _joint_newton(q, start, finite)
    if result[1] != "iteration_limit":
        return result
    turned = -start
    turned[q.x.shape[1] + fixed] = 1.0
    again = _joint_newton(q, turned, finite)
    return min(result, again, key=lambda end: _joint_loss(q, end[0]))


def _joint_newton(q: _Joint, p: Floats, finite: bool) -> tuple[Floats, str, int]:
    """Descend to a local optimum: Newton where the loss is convex, Fisher scoring where not."""
    k, trials, free = q.x.shape[1], q.wins + q.losses, np.ix_(q.free, q.free)
    proven, loss = finite, _joint_loss(q, p)
    for iteration in range(1, 201):
        s, b = q.x @ p[:k], p[k:][q.cell]
        up, down, curve = answers(b * s)
        slope = q.wins * down - q.losses * up
        sums = _cell_sums(q, (slope * s)[:, None])[:, 0]
        rise = (np.append((slope * b) @ q.x, sums) - q.penalty @ p)[q.free]
        matrix = (_joint_matrix(q, p, trials * curve, slope) + q.penalty)[free]
        convex = _positive_definite(matrix)
        if not convex:
            matrix = (_joint_matrix(q, p, trials * curve) + q.penalty)[free]
        step = np.zeros_like(p)
        step[q.free] = solve_lifted(matrix, rise)
        change = float(np.abs(b * (q.x @ step[:k]) + step[k:][q.cell] * s).max(initial=0.0))
        far = float(np.abs(b * s).max(initial=0.0))
        size = min(1.0, (5 + far / 2) / (change + 1))
        p, loss = _descend(q, p, step, loss, float(rise @ step[q.free]), size)
        if change <= CLOSE:
            if not finite and not _inverse(matrix)[1]:
                return p, "singular", iteration
            return p, "converged" if convex else "iteration_limit", iteration
        if not finite and far > FAR:
            if _runaway(q, p) or (not proven and _joint_separating(q, p)):
                return p, "separable", iteration
            proven = True
    return p, "iteration_limit", iteration


def _positive_definite(matrix: Floats) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _descend(
    q: _Joint, p: Floats, step: Floats, loss: float, decrement: float, size: float
) -> tuple[Floats, float]:
    """Halve the step until the loss falls (up to its rounding): the new point and its loss."""
    for _ in range(40):
        ahead = _joint_loss(q, p + size * step)
        if ahead <= loss - 1e-4 * size * decrement + 1e-12 * abs(loss):
            break
        size /= 2
    return p + size * step, ahead


def _runaway(q: _Joint, p: Floats) -> bool:
    """Whether in some cell with far margins every answer agrees with theta's direction.

    Then the likelihood rises with that cell's rationality along every direction nearby, so no
    optimum is near; in the reference's cell it is theta that grows while the others fall.
    Where margins pass 1e6, those a million times smaller count as 0.
    """
    k = q.x.shape[1]
    u = p[k:][q.cell] * (q.x @ p[:k])
    side = np.where(q.losses == 0, 1.0, 0.0) - (q.wins == 0)
    far = np.maximum.reduceat(np.abs(u), q.first)
    rows = np.repeat(far, np.diff(q.first, append=len(u)))
    slack = np.where(rows > 1e6, 1e-6 * rows, 0.0)
    agrees = np.where(side == 0, -np.abs(u), side * u) >= -slack
    return bool((np.logical_and.reduceat(agrees, q.first) & (far > FAR)).any())


def _joint_separating(q: _Joint, p: Floats) -> bool:
    side = np.where(q.losses == 0, 1.0, 0.0) - (q.wins == 0)
    return separating(q.x * np.sign(p[q.x.shape[1] :])[q.cell, None], side)

"""Maximum likelihood from labelled pairs whose teachers' rationality is known: a convex fit.

Model: P(Y = 1) = mu(b theta'z), mu(u) = 1/(1+e^-u), with b the rationality of the teacher who answered.
The fit says how it ended in ``status`` instead of raising:
``converged``; ``separable`` (no finite optimum); ``singular`` (the labels do not identify the
parameters); ``iteration_limit``.
Source: Dual Active Learning for RLHF (arXiv 2410.02504) for the model and the information;
the step: Sun and Tran-Dinh, "Generalized self-concordant functions" (2019), Theorem 2.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.lapack import dposv

from .checks import Floats, positive_number, real_array

_STEPS = 1000  # far above need: about 10 steps are usual, one a unit of margin in the worst case
CLOSE = 1e-7  # largest change of a margin after which the next change is about its square
FAR = 20.0  # a margin beyond this is a symptom that there may be no finite optimum


class Estimate(NamedTuple):
    """Result of ``fit_preferences``; theta and information are NaN unless there is an estimate."""

    theta: Floats  # (d,) reward weights
    information: Floats  # (d, d) sum trials b^2 mu' z z' at theta, without ridge
    status: str  # converged, separable, singular or iteration_limit
    iterations: int


def fit_preferences(
    z: ArrayLike,
    wins: ArrayLike,
    trials: ArrayLike = 1,
    rationality: ArrayLike = 1.0,
    *,
    ridge: float = 0.0,
) -> Estimate:
    """Reward weights from labelled pairs, the rationality of whoever answered being known.

    theta minimises -sum [wins log mu(b theta'z) + (trials - wins) log mu(-b theta'z)]
    + ridge/2 ||theta||^2, by Newton's method to machine precision.

    ``z`` (n, d) feature differences; ``wins`` (n,) answers for the first response, fractional
    allowed (a tie is 0.5), in [0, trials]; ``trials`` () or (n,) answers given, 0 = row ignored;
    ``rationality`` () or (n,), negative or 0 allowed; ``ridge`` >= 0.
    Without ridge: status ``singular`` when the points b z of the labelled rows do not span R^d;
    ``separable`` exactly when no finite optimum exists, completely or quasi-completely (proven by a
    hyperplane that misclassifies nothing: the iterate itself or a linear program's; angles below
    1e-9 count as 0). theta is then NaN; on ``iteration_limit`` it is the last iterate.
    With ridge the optimum is always finite.
    Raises ``ValueError`` on values that are not finite, wrong shapes, empty input, wins outside
    [0, trials] or a negative ridge.

    >>> fit = fit_preferences([[2.0]], wins=[3], trials=4)      # theta = logit(3/4) / 2
    >>> bool(np.isclose(fit.theta[0], np.log(3) / 2)), fit.status
    (True, 'converged')
    >>> fit_preferences([[2.0]], wins=[4], trials=4).status
    'separable'
    """
    points, won, asked = checked_labels(z, wins, trials)
    n, d = points.shape
    b = real_array("rationality", rationality, () if np.ndim(rationality) == 0 else (n,))
    ridge = positive_number("ridge", ridge, zero=True)
    with np.errstate(over="ignore"):  # refused just below
        points = points * (b[:, None] if b.ndim else b)
    used = (asked > 0) & (b != 0)
    if not used.all():
        points, won, asked = points[used], won[used], asked[used]
    spread = well_spread(points, ridge)
    if spread is None:
        return _no_estimate(d, "singular", 0)
    x, back = spread
    pull = math.sqrt(ridge) * back
    phi, status, iterations = _newton(x, won, asked - won, pull.T @ pull, ridge > 0)
    if status == "separable":
        return _no_estimate(d, status, iterations)
    curve = points * np.sqrt(asked * answers(x @ phi)[2])[:, None]
    with np.errstate(over="ignore"):
        return Estimate(back @ phi, curve.T @ curve, status, iterations)


def checked_labels(
    z: ArrayLike, wins: ArrayLike, trials: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    points = real_array("z", z, (None, None))
    n = len(points)
    won = real_array("wins", wins, (n,))
    asked = real_array("trials", trials, () if np.ndim(trials) == 0 else (n,))
    asked = np.full(n, asked) if asked.ndim == 0 else asked
    bad = (won < 0) | (won > asked)
    if bad.any():
        i = int(bad.argmax())
        found = f"{won[i]:g} of {asked[i]:g} trials at index {i}"
        raise ValueError(f"wins: found {found}, needed 0 <= wins <= trials; correct that row.")
    return points, won, asked


def _no_estimate(dim: int, status: str, iterations: int) -> Estimate:
    return Estimate(np.full(dim, np.nan), np.full((dim, dim), np.nan), status, iterations)


def answers(u: Floats) -> tuple[Floats, Floats, Floats]:
    """mu(u), mu(-u) and mu'(u), all to full relative precision in their small tails."""
    e = np.exp(-np.abs(u))
    large = 1 / (1 + e)
    small = e * large
    up = u > 0
    return np.where(up, large, small), np.where(up, small, large), small * large


def well_spread(points: Floats, ridge: float) -> tuple[Floats, Floats] | None:
    """Coordinates phi in which the points are well spread: (x, back), x = points @ back, theta = back @ phi.

    Columns are scaled (one below 1e-280 throughout counts as 0); only where that leaves them nearly dependent, a singular value decomposition
    (with the ridge as further rows) rotates them too. None = the points do not span and ridge is 0.
    Directions that even the ridge cannot tell from 0 in double precision are left at the smallest theta.
    """
    d = points.shape[1]
    scale = np.maximum(np.abs(points).max(axis=0, initial=0.0), math.sqrt(ridge))
    if not np.isfinite(scale).all():
        raise ValueError("z: found rationality * z above 1e308, needed finite points; rescale z.")
    if scale.min() < 1e-280 or (ridge == 0 and len(points) < d):
        return None
    rows, pull = points / scale, math.sqrt(ridge) / scale
    values = np.linalg.eigvalsh(rows.T @ rows + np.diag(pull**2))
    if values[0] > 1e-8 * values[-1]:
        return rows, np.diag(1 / scale)
    if ridge == 0:  # what the points span does not depend on their lengths
        length = np.linalg.norm(rows, axis=1)
        tall = rows[length > 0] / length[length > 0, None]
    else:
        tall = np.vstack([rows, np.diag(pull)])
    if len(tall) < d:
        return None
    _, s, vt = np.linalg.svd(tall, full_matrices=False)
    live = s > 4 * max(tall.shape) * np.finfo(float).eps * s[0]
    if ridge == 0 and not live.all():
        return None
    turn = vt[live].T / s[live]
    back, null = turn / scale[:, None], vt[~live].T / scale[:, None]
    if null.size:
        back = back - null @ np.linalg.lstsq(null, back, rcond=None)[0]
    return rows @ turn, back


def _newton(
    x: Floats, wins: Floats, losses: Floats, penalty: Floats, finite: bool
) -> tuple[Floats, str, int]:
    """Minimise the convex objective from 0: (phi, status, iterations).

    Where no margin moves by more than 1.5, a full step is certain to descend (self-concordance);
    beyond, it is taken if the slope along it is still downhill at its end, else the step
    log(1+m)/m, which descends too. ``finite`` = the optimum is known to exist.
    """
    phi, u = np.zeros(x.shape[1]), np.zeros(len(x))
    trials, side = wins + losses, np.where(losses == 0, 1.0, 0.0) - (wins == 0)
    one_sided = not finite and bool(side.all())
    before = math.inf
    for iteration in range(1, _STEPS + 1):
        p, q, curve = answers(u)
        slope = wins * q - losses * p
        half = x * np.sqrt(trials * curve)[:, None]
        step = solve_lifted(half.T @ half + penalty, slope @ x - penalty @ phi)
        change = x @ step
        move = float(np.abs(change).max(initial=0.0))
        size = 1.0
        if move > 1.5:
            p, q, _ = answers(u + change)
            ahead = (wins * q - losses * p) @ change - (penalty @ (phi + step)) @ step
            size = 1.0 if ahead >= 0 else math.log1p(move) / move
        phi = phi + size * step
        u = x @ phi
        if move <= CLOSE or (
            move <= 1e-3 and move >= before / 2
        ):  # or: rounding is all that is left
            return phi, "converged", iteration
        before = move
        far = float(np.abs(u).max())
        if one_sided and float((side * u).min()) > 1e-9 * far:
            return phi, "separable", iteration
        if not finite and (far > FAR or iteration == 15):
            if separating(x, side):
                return phi, "separable", iteration
            finite, one_sided = True, False
    return phi, "iteration_limit", _STEPS


def solve_lifted(matrix: Floats, right: Floats) -> Floats:
    """matrix^-1 right for a positive definite matrix, lifted a little where rounding has made it singular."""
    diagonal = matrix.diagonal()
    size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled, lift = matrix / size / size[:, None], 0.0
    while True:
        _, step, info = dposv(scaled + lift * np.eye(len(size)) if lift else scaled, right / size)
        if info == 0:
            return np.asarray(step / size)
        lift = max(10 * lift, 1e-14)


def separating(x: Floats, side: Floats) -> bool:
    """Whether some direction v, x v != 0, has side * (x v) >= 0 on every row, = 0 where side is 0.

    A linear program over v: maximise t = sum side (x v) with every term >= 0 and t <= 1. Its
    optimum is 1 if such a v exists and 0 if not. ``side`` +1 all wins, -1 no win, 0 both seen.
    """
    from scipy.optimize import linprog

    length = np.linalg.norm(x, axis=1)
    unit = x[length > 0] / length[length > 0, None]
    side = side[length > 0]
    strict, tied = unit[side != 0] * side[side != 0, None], unit[side == 0]
    if not len(strict):
        return False
    total = strict.sum(axis=0)
    found = linprog(
        -total,
        A_ub=np.vstack([-strict, total]),
        b_ub=np.append(np.zeros(len(strict)), 1.0),
        A_eq=tied if len(tied) else None,
        b_eq=np.zeros(len(tied)) if len(tied) else None,
        bounds=(None, None),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return bool(found.status == 0 and float(total @ found.x) > 0.5)

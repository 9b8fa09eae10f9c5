"""The optimal design over pairs and teachers together, with or without a stock of labels."""

import numpy as np
from numpy.typing import ArrayLike

from .blas import on_one_blas_thread
from .checks import Floats, Ints, integer_array, real_array, whole_number
from .column_generation import COMPILED
from .design import Design, as_design, certified_design, simplex_design, tolerance
from .interior_point import interior_point
from .pool import Pool
from .preference import fisher_weight
from .whitening import rank_resolution, whiten

_POINTS = "available pairs times sqrt(w)"


@on_one_blas_thread
def dual_design(
    pool: Pool, theta: ArrayLike, *, labels: int | None = None, tol: float = 1e-6
) -> Design:
    """The D-optimal shares of labels over (pair, teacher): maximise log det sum xi_ij w_ij z_i z_i'.

    w_ij = ``fisher_weight(theta'z_i, rationality[j, context_i])``; ``theta`` (d,). Weights xi
    (n, m) are >= 0 with sum 1, and 0 where ``pool.available`` is 0. Costs play no part: a share is
    a share of labels. Where availability is finite, ``labels`` (their total number) is needed, and
    the optimum is the one under xi_ij <= available_ij / labels. ``gap`` = max over feasible xi of
    sum xi_ij w_ij z_i' M^-1 z_i / d - 1, at most ``tol``; ``support`` (s, 2) = (pair, teacher).
    Without a finite stock only the teacher of the largest w_ij (the lowest index among equals)
    carries weight.
    Raises ``ValueError`` when the available pairs do not span R^d, when the stock is below
    ``labels``, and on wrong shapes or values that are not finite.
    Source: design problem of Dual Active Learning for RLHF (arXiv 2410.02504).

    >>> pool = Pool(z=[[1.0], [3.0]], context=[0, 0], rationality=[[1.0], [4.0]], cost=[1, 1],
    ...             available=[[-1, -1], [-1, -1]])
    >>> dual_design(pool, [0.5]).support.tolist()  # margins .5 and 1.5: w z^2 = .24, 1.68; 1.34, .35
    [[0, 1]]
    >>> few = pool._replace(available=[[-1, 5], [-1, -1]])
    >>> dual_design(few, [0.5], labels=20).weights.round(6).tolist()
    [[0.0, 0.25], [0.75, 0.0]]
    """
    resolution = rank_resolution(pool.z)
    z = real_array("pool.z", pool.z, (None, None))
    theta = real_array("theta", theta, (z.shape[1],))
    tol = tolerance(tol)
    rationality = real_array("pool.rationality", pool.rationality, (None, None))
    types, shape = rationality.shape[1], (len(z), len(rationality))
    context = integer_array("pool.context", pool.context, (len(z),), low=0, high=types)
    available = integer_array("pool.available", pool.available, shape, low=-1)
    weight = fisher_weight((z @ theta)[:, None], rationality[:, context].T)
    upper = _upper_bounds(available, labels)
    if (np.isinf(upper) | (upper == 0)).all():
        return _unlimited(z, np.where(upper > 0, weight, -1.0), tol, resolution)
    cells = np.argwhere(upper > 0)
    pair, teacher = cells.T
    points = np.sqrt(weight[pair, teacher])[:, None] * z[pair]
    design = _limited(points, upper[pair, teacher], tol, resolution)
    return _on_cells(design, pair, teacher, shape)


def _upper_bounds(available: Ints, labels: int | None) -> Floats:
    """available / labels (n, m), infinite where no bound can bind."""
    finite = available > 0
    if labels is None:
        if finite.any():
            raise ValueError(
                f"labels: found None, but {int(finite.sum())} (pair, teacher) cells have a finite "
                "number of labels; pass labels, the total to be bought."
            )
        return np.where(available != 0, np.inf, 0.0)
    labels = whole_number("labels", labels, low=1)
    capacity = int(available[finite].sum())
    if not (available < 0).any() and capacity < labels:
        raise ValueError(
            f"labels: found {labels}, but only {capacity} labels are available; "
            "ask for fewer, or add pairs or teachers."
        )
    return np.where((available < 0) | (available >= labels), np.inf, available / labels)


def _unlimited(z: Floats, weight: Floats, tol: float, resolution: float) -> Design:
    """For each pair only the best available teacher matters: one candidate a pair."""
    teacher = np.argmax(weight, axis=1)
    pair = np.arange(len(z))
    points = np.sqrt(np.maximum(weight[pair, teacher], 0.0))[:, None] * z
    found = simplex_design(_POINTS, points, resolution, tol, None, COMPILED)
    return _on_cells(as_design(found, points), pair, teacher, weight.shape)


def _limited(points: Floats, upper: Floats, tol: float, resolution: float) -> Design:
    """The interior point on all candidates: bounds leave most of a large design above 0."""
    whitened = whiten(_POINTS, points, resolution)
    total = float(upper.sum())
    if total <= 1 + 1e-12:  # every label is bought
        return certified_design(whitened, upper / total, upper / total, tol, 0)
    w, steps = interior_point(whitened.points, upper, _inside(upper), 0.1 * tol)
    return certified_design(whitened, w, upper, tol, steps)


def _inside(upper: Floats) -> Floats:
    """Strictly feasible weights, as equal as the bounds allow: min(level, shrunk bound)."""
    shrunk = upper * (1 + 1 / upper.sum()) / 2
    ordered = np.sort(shrunk)
    filled = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    level = (1 - filled) / np.arange(len(upper), 0, -1)
    return np.asarray(np.minimum(shrunk, level[np.argmax(level <= ordered)]))


def _on_cells(design: Design, pair: Ints, teacher: Ints, shape: tuple[int, ...]) -> Design:
    weights = np.zeros(shape)
    weights[pair, teacher] = design.weights
    return design._replace(weights=weights, support=np.argwhere(weights > 0))

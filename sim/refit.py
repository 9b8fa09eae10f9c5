"""What a replay knows after some labels: the reward, and how sharply each annotator follows it."""

import math
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.estimate import fit_preferences
from ..theory.joint_estimate import fit_jointly
from ..theory.preference import fisher_weight
from .recorded_pool import Cells

RIDGE = 16.0  # prior sd 1/4 of each reward weight, and of a rationality about the pooled mean
MARGIN_SD = 2.0  # prior sd of a typical pair's margin theta'z: sets the length of z
LABELS_PER_DIMENSION, MOST_DIMENSIONS = 10, 64  # feature dimensions <= labels / 10, and <= 64
MEAN_SQUARE = RIDGE * MARGIN_SD**2  # mean ||z||^2 that gives this
MOST_ANNOTATORS = 200  # those with most labels are estimated one by one, the others as one
RATIONALITY_GROWTH = 1.5  # rationalities are estimated again once the labels have grown by this


class Fit(NamedTuple):
    """The state of knowledge after some labels."""

    theta: Floats
    rationality: Floats  # (m,)
    estimated_at: int  # labels when the rationalities were estimated
    unfinished: int


def dimensions(labels: int) -> int:
    """How many feature dimensions so many labels support."""
    return min(max(1, labels // LABELS_PER_DIMENSION), MOST_DIMENSIONS)


def frequent(labels: Floats | Ints) -> Ints:
    """The (at most 200) annotators with most labels, in their own order."""
    return np.sort(np.argsort(-labels, kind="stable")[:MOST_ANNOTATORS])


def blank(cells: Cells) -> Fit:
    return Fit(np.zeros(cells.z.shape[1]), np.ones(cells.teachers), 0, 0)


def refit(cells: Cells, bought: Ints, before: Fit) -> Fit:
    """Reward at the current rationalities; these are estimated anew once the labels have grown by a half."""
    rows = np.flatnonzero(bought)
    z, trials = cells.z[cells.pair[rows]], bought[rows]
    wins, teacher = cells.wins(bought)[rows], cells.teacher[rows]
    labels, rationality, at = int(trials.sum()), before.rationality, before.estimated_at
    unfinished = before.unfinished
    if labels >= RATIONALITY_GROWTH * at:
        found = estimate_rationality(z, wins, trials, teacher, cells.teachers)
        unfinished += found is None
        rationality, at = (rationality if found is None else found), labels
    estimate = fit_preferences(z, wins, trials, rationality[teacher], ridge=RIDGE)
    finished = bool(np.isfinite(estimate.theta).all())
    theta = estimate.theta if finished else before.theta
    return Fit(theta, rationality, at, unfinished + (not finished))


def estimate_rationality(
    z: Floats, wins: Floats, trials: Ints, teacher: Ints, teachers: int
) -> Floats | None:
    """(m,) rationalities scaled to root mean square 1 over the labels, or None without a finite fit.

    The scale of theta and rationality is shared, so it is fixed on all the labels, not on one
    reference teacher. Teachers without labels get the mean of the others; of more than 200 those
    with fewest labels are estimated as one.
    """
    counts = np.bincount(teacher, weights=trials, minlength=teachers)
    known = frequent(counts)
    known = known[counts[known] > 0]
    seat = np.full(teachers, len(known))  # the last seat is shared
    seat[known] = np.arange(len(known))
    local = seat[teacher]
    labels = np.bincount(local, weights=trials)
    fit = fit_jointly(
        z,
        wins,
        local,
        np.zeros(len(local), dtype=np.int64),
        trials=trials,
        reference=int(np.argmax(labels)),
        ridge=RIDGE,
    )
    b = fit.rationality[:, 0]
    size = math.sqrt(float(labels @ b**2 / labels.sum())) if np.isfinite(b).all() else 0.0
    if not size:
        return None
    b = b * (math.copysign(1.0, float(labels @ b)) / size)
    out = np.full(teachers, float(b.mean()))
    out[counts > 0] = b[-1]  # the shared seat's, where there is one
    out[known] = b[: len(known)]
    return out


def matrices(cells: Cells, bought: Ints, fit: Fit) -> tuple[Floats, Floats]:
    """Information at theta and Gram matrix of the labels so far, both with the ridge."""
    rows = np.flatnonzero(bought)
    z, trials = cells.z[cells.pair[rows]], bought[rows]
    prior = RIDGE * np.eye(z.shape[1])
    if not len(rows):
        return prior, prior
    weight = trials * fisher_weight(z @ fit.theta, fit.rationality[cells.teacher[rows]])
    return (z * weight[:, None]).T @ z + prior, (z * trials[:, None]).T @ z + prior

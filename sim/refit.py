"""What a replay knows after some labels: the reward, and how sharply each annotator follows it."""

from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.estimate import fit_preferences
from ..theory.refit import RIDGE, estimate_rationality, information_and_gram
from .recorded_pool import Cells

RATIONALITY_GROWTH = 1.5  # rationalities are estimated again once the labels have grown by this


class Fit(NamedTuple):
    """The state of knowledge after some labels."""

    theta: Floats
    rationality: Floats  # (m,)
    estimated_at: int  # labels when the rationalities were estimated
    unfinished: int


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


def matrices(cells: Cells, bought: Ints, fit: Fit) -> tuple[Floats, Floats]:
    """Information at theta and Gram matrix of the labels so far, both with the ridge."""
    rows = np.flatnonzero(bought)
    rationality = fit.rationality[cells.teacher[rows]]
    return information_and_gram(cells.z[cells.pair[rows]], bought[rows], fit.theta, rationality)

"""Is one shared reward right for these annotators, and what is each of them worth?"""

import math
from typing import NamedTuple

import numpy as np

from ..theory.checks import Floats, Ints
from ..theory.estimate import fit_preferences
from ..theory.joint_estimate import fit_jointly
from ..theory.refit import MARGIN_SD, MEAN_SQUARE, RIDGE, dimensions, frequent
from .kernels.random import CounterRng
from .recorded import Recorded
from .recorded_pool import Cells, make_cells
from .refit import blank, refit
from .splits import reduce_features, reduced

TABLE_RIDGE = 1.0  # in the annotators' table: prior sd 1 of a rationality about the pooled mean
TABLE, FOLDS = 102, 103  # purposes of draws


class Tastes(NamedTuple):
    """How well each annotator's judgements (m,) are foreseen; NaN where that cannot be said."""

    own: Floats  # by their own reward, learned from their own judgements of other pairs
    shared: Floats  # by the shared reward, learned from everybody's judgements of other pairs


class Annotators(NamedTuple):
    """All recorded judgements, annotator by annotator (m,)."""

    labels: Ints
    agreement: Floats  # decided judgements with the sign of the others' summed votes; NaN: none
    rationality: (
        Floats  # root mean square 1 over the judgements; NaN where not estimated one by one
    )
    standard_error: Floats
    status: str  # of the joint fit
    same_again: float  # how often one annotator, asked again, repeats the answer; NaN: never asked
    same_other: float  # how often another annotator gives the same answer to the same pair


def compare_tastes(recorded: Recorded, seed: int) -> Tastes:
    """Everybody's own reward against the shared one, on judgements of pairs left out (5 folds).

    Were one reward right, up to how sharply (or how contrarily) each annotator follows it, own
    rewards, with fewer labels and the same ridge, could only foresee worse.
    """
    rng = CounterRng(seed, 0, 0, FOLDS)
    cells = _all_cells(recorded, MEAN_SQUARE, rng)
    fold = np.argsort(rng.random(len(cells.z)), kind="stable") % 5
    people = frequent(np.bincount(recorded.annotator, minlength=cells.teachers))
    right, judged = np.zeros((2, cells.teachers)), np.zeros(cells.teachers)
    for left_out in range(5):
        bought = np.where(fold[cells.pair] == left_out, 0, cells.size)
        shared = refit(cells, bought, blank(cells))
        out = (fold[recorded.pair] == left_out) & (recorded.preference != 0.5)
        for j in people:
            mine = np.flatnonzero((cells.teacher == j) & (bought > 0))
            rows = np.flatnonzero(out & (recorded.annotator == j))
            if not len(mine) or not len(rows):
                continue
            wins, trials = cells.wins(bought)[mine], bought[mine]
            own = fit_preferences(cells.z[cells.pair[mine]], wins, trials, ridge=RIDGE)
            z, vote = cells.z[recorded.pair[rows]], 2 * recorded.preference[rows] - 1
            follows = np.sign(shared.rationality[j])
            for k, theta in enumerate((own.theta, follows * shared.theta)):
                right[k, j] += np.sum(1 + vote * np.sign(z @ theta)) / 2
            judged[j] += len(rows)
    return Tastes(*np.where(judged > 0, right / np.maximum(judged, 1), math.nan))


def _all_cells(recorded: Recorded, mean_square: float, rng: CounterRng) -> Cells:
    """Everything recorded."""
    pairs = np.arange(len(recorded.pair_ids))
    most = dimensions(len(recorded.pair))
    z = reduced(recorded, reduce_features(recorded, pairs, most, mean_square, rng), pairs)
    return make_cells(recorded, pairs, z, rng)


def describe_annotators(recorded: Recorded) -> Annotators:
    """Rationality with its standard error, agreement with the others, and consistency when asked again.

    All recorded labels are used (nothing here is judged on held-out ones). The scale that theta and
    the rationalities share is set by their root mean square over all judgements, not by one
    annotator. Beyond 200 annotators the others are estimated together, as one.
    """
    cells = _all_cells(recorded, TABLE_RIDGE * MARGIN_SD**2, CounterRng(0, 0, 0, TABLE))
    labels = np.bincount(recorded.annotator, minlength=cells.teachers)
    agreement = _agreement_with_others(recorded, cells)
    most = frequent(labels)
    local = np.full(cells.teachers, len(most))
    local[most] = np.arange(len(most))
    seats = np.bincount(local, weights=labels).astype(np.float64)
    # fixed to 1 in the fit: the annotator with most labels, of several the closest to the others
    first = int(np.argmax(labels[most] + np.nan_to_num(agreement[most], nan=0.0) / 2))
    fit = fit_jointly(
        cells.z[cells.pair],
        cells.wins(cells.size),
        local[cells.teacher],
        np.zeros(len(cells.key), dtype=np.int64),
        trials=cells.size,
        reference=first,
        ridge=TABLE_RIDGE,
    )
    covariance = fit.covariance[cells.z.shape[1] :, cells.z.shape[1] :]
    rationality, error = np.full((2, cells.teachers), math.nan)
    found = scaled_to_typical(fit.rationality[:, 0], covariance, seats)
    rationality[most], error[most] = (values[: len(most)] for values in found)
    again, other = _consistency(recorded, cells)
    return Annotators(labels, agreement, rationality, error, fit.status, again, other)


def scaled_to_typical(b: Floats, covariance: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Rationalities b (m,) over their root mean square over the labels, sign of the mean label; standard errors.

    g = b / s, s^2 = sum w b^2, w = labels / sum labels; covariance J C J' (delta method) with
    J = I / s - b (w b)' / s^3.

    >>> b, error = scaled_to_typical(np.array([1.0, 3.0]), np.diag([0.0, 1.0]), np.array([1.0, 1.0]))
    >>> b.round(3).tolist(), error.round(3).tolist()      # s^2 = 5; g_1 = 1/s, dg_1/db_2 = -1.5/s^3
    ([0.447, 1.342], [0.134, 0.045])
    """
    share = labels / labels.sum()
    size = math.sqrt(float(share @ b**2))
    if not size > 0:
        return np.full(len(b), math.nan), np.full(len(b), math.nan)
    slope = np.eye(len(b)) / size - np.outer(b, share * b) / size**3
    variance = np.einsum("ij,jk,ik->i", slope, covariance, slope, optimize=True)
    return b * (math.copysign(1.0, float(share @ b)) / size), np.sqrt(np.maximum(variance, 0.0))


def _agreement_with_others(recorded: Recorded, cells: Cells) -> Floats:
    """(m,) share of decided judgements with the sign of the others' summed votes on the pair."""
    lead = 2 * cells.wins(cells.size) - cells.size  # votes for a minus votes for b, cell by cell
    others = np.bincount(cells.pair, weights=lead, minlength=len(cells.z))[cells.pair] - lead
    key = recorded.pair * cells.teachers + recorded.annotator
    side = np.sign(others)[np.searchsorted(cells.key, key)]
    vote = np.sign(recorded.preference - 0.5)
    judged = (side != 0) & (vote != 0)
    m = cells.teachers
    total = np.bincount(recorded.annotator[judged], minlength=m)
    right = np.bincount(recorded.annotator[judged & (side == vote)], minlength=m)
    return np.where(total > 0, right / np.maximum(total, 1), math.nan)


def _consistency(recorded: Recorded, cells: Cells) -> tuple[float, float]:
    """P(same answer) of two decided judgements of one pair: by one annotator, and by two."""
    cell = np.searchsorted(cells.key, recorded.pair * cells.teachers + recorded.annotator)
    votes, pair_votes = np.zeros((2, len(cells.key))), np.zeros((2, len(cells.z)))
    for side, preference in enumerate((1.0, 0.0)):
        np.add.at(votes[side], cell, recorded.preference == preference)
        np.add.at(pair_votes[side], cells.pair, votes[side])
    same, asked = _same_answers(votes)
    every_same, every_asked = _same_answers(pair_votes)
    return _share(same, asked), _share(every_same - same, every_asked - asked)


def _same_answers(votes: Floats) -> tuple[float, float]:
    """Ordered pairs of votes within each column: those that agree, and all."""
    total = votes.sum(axis=0)
    return float((votes * (votes - 1)).sum()), float((total * (total - 1)).sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

"""Is one shared reward right for these annotators, and what is each of them worth?"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import log_expit

from ..theory.checks import Floats, Ints
from ..theory.estimate import fit_jointly, fit_preferences
from .kernels.random import CounterRng
from .recorded import Recorded
from .recorded_pool import Cells, HeldOut, make_cells
from .splits import reduce_features, reduced

MOST_ANNOTATORS = 200  # those with most labels are looked at one by one
TABLE = 102  # purpose of the draws behind the annotators' table


class OneReward(NamedTuple):
    """One split, all its training labels used: held-out agreement and log-likelihood.

    The last four are measured on the decided held-out judgements of those annotators who have
    training labels (of the 200 with most labels, where there are more).
    """

    shared: float  # agreement of the shared reward with all decided held-out judgements
    majority: float  # of each pair's own majority: the most that one answer a pair can reach
    shared_there: float
    own_there: float  # each annotator's own reward, learned from their own labels only
    shared_likelihood: float  # nats a judgement; one reward, each annotator's own rationality
    own_likelihood: float


class Annotators(NamedTuple):
    """All recorded judgements, annotator by annotator (m,)."""

    labels: Ints
    agreement: Floats  # decided judgements with the sign of the others' summed votes; NaN: none
    rationality: Floats  # NaN where not estimated one by one
    standard_error: Floats  # 0 for the reference
    reference: int  # whose rationality is fixed to 1
    status: str  # of the joint fit
    same_again: float  # how often one annotator, asked again, repeats the answer; NaN: never asked
    same_other: float  # how often another annotator gives the same answer to the same pair


def _frequent(recorded: Recorded) -> Ints:
    labels = np.bincount(recorded.annotator, minlength=len(recorded.annotators))
    return np.sort(np.argsort(-labels, kind="stable")[:MOST_ANNOTATORS])


def compare_rewards(
    recorded: Recorded,
    cells: Cells,
    held: HeldOut,
    theta: Floats,
    rationality: Floats,
    *,
    ridge: float,
) -> OneReward:
    """The shared reward (theta, rationality), fitted on all cells, against everybody's own reward.

    Were one reward right, up to how sharply each annotator follows it, own rewards (fewer labels
    each, same ridge) could only predict worse. Where they predict better, tastes differ.
    """
    where = np.full(len(recorded.pair_ids), -1)
    where[held.pairs] = np.arange(len(held.pairs))
    decided = (where[recorded.pair] >= 0) & (recorded.preference != 0.5)
    shared = held.z @ theta
    sums = np.zeros(4)
    judged = 0
    by_teacher = np.argsort(cells.teacher, kind="stable")
    edges = np.searchsorted(cells.teacher[by_teacher], np.arange(cells.teachers + 1))
    everything = cells.wins(cells.size)
    for j in _frequent(recorded):
        own_cells = by_teacher[edges[j] : edges[j + 1]]
        rows = np.flatnonzero(decided & (recorded.annotator == j))
        if not len(own_cells) or not len(rows):
            continue
        own = fit_preferences(
            cells.z[cells.pair[own_cells]],
            everything[own_cells],
            cells.size[own_cells],
            ridge=ridge,
        )
        at, sign = where[recorded.pair[rows]], 2 * recorded.preference[rows] - 1
        margins = rationality[j] * shared[at], (held.z @ own.theta)[at]
        # the sign of the shared reward, not of an annotator below chance: it is what one would use
        agree = [np.mean(1 + sign * np.sign(m)) / 2 for m in (shared[at], margins[1])]
        fit = [np.mean(log_expit(sign * m)) for m in margins]
        sums += len(rows) * np.array([*agree, *fit])
        judged += len(rows)
    top = np.maximum(held.first, held.second).sum() / (held.first + held.second).sum()
    return OneReward(held.agreement(shared), float(top), *(sums / max(judged, 1)).tolist())


def describe_annotators(recorded: Recorded, *, ridge: float, mean_square: float) -> Annotators:
    """Rationality with its standard error, agreement with the others, and consistency when asked again.

    All recorded labels are used (nothing here is judged on held-out ones). The reference, fixed to
    1, is the annotator with most labels, of several the one who agrees most with the others.
    Beyond 200 annotators the others are estimated together, as one.
    """
    pairs = np.arange(len(recorded.pair_ids))
    rng = CounterRng(0, 0, 0, TABLE)
    most = max(1, len(recorded.pair) // 10)
    z = reduced(recorded, reduce_features(recorded, pairs, most, mean_square, rng), pairs)
    cells = make_cells(recorded, pairs, z, rng)
    labels = np.bincount(recorded.annotator, minlength=cells.teachers)
    agreement = _agreement_with_others(recorded, cells)
    frequent = _frequent(recorded)
    local = np.full(cells.teachers, len(frequent))
    local[frequent] = np.arange(len(frequent))
    rank = labels[frequent] + np.nan_to_num(agreement[frequent], nan=0.0) / 2
    chosen = int(np.argmax(rank))
    fit = fit_jointly(
        z[cells.pair],
        cells.wins(cells.size),
        local[cells.teacher],
        np.zeros(len(cells.key), dtype=np.int64),
        trials=cells.size,
        reference=chosen,
        ridge=ridge,
    )
    rationality, error = np.full((2, cells.teachers), math.nan)
    rationality[frequent] = np.asarray(fit.rationality)[: len(frequent), 0]
    variance = np.diag(fit.covariance)[z.shape[1] :][: len(frequent)]
    error[frequent] = np.sqrt(np.maximum(variance, 0.0))
    again, other = _consistency(recorded, cells)
    reference = int(frequent[chosen])
    return Annotators(labels, agreement, rationality, error, reference, fit.status, again, other)


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
    votes = np.zeros((2, len(cells.key)))
    np.add.at(votes, (0, cell), recorded.preference == 1)
    np.add.at(votes, (1, cell), recorded.preference == 0)
    pair_votes = np.zeros((2, len(cells.z)))
    np.add.at(pair_votes.T, cells.pair, votes.T)
    same, asked = _same_answers(votes)
    every_same, every_asked = _same_answers(pair_votes)
    return _share(same, asked), _share(every_same - same, every_asked - asked)


def _same_answers(votes: Floats) -> tuple[float, float]:
    """Ordered pairs of votes within each column: those that agree, and all."""
    total = votes.sum(axis=0)
    return float((votes * (votes - 1)).sum()), float((total * (total - 1)).sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

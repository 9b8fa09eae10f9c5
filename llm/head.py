"""The linear reward on top of phi: theory's model, with features made ready for few labels.

At d_model = 4096 any small set of labels is separable, so phi is centred, scaled and projected on
the training pool's principal components, at most a tenth of the labels, and the ridge is never 0.
Rewards are differences: centring moves no choice, it only puts the average response at 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..theory.checks import Floats, Ints, integer_array, real_array
from ..theory.components import components, second_moment
from ..theory.estimate import fit_preferences
from ..theory.pool import Belief, Pool
from ..theory.refit import (
    MEAN_SQUARE,
    MOST_DIMENSIONS,
    RIDGE,
    dimensions,
    estimate_rationality,
    information_and_gram,
)

BLOCK = 2048  # pairs of features held in memory at once


class Projection(NamedTuple):
    """phi (.., d_model) -> (phi - centre) @ turn (.., k)."""

    centre: Floats  # (d_model,) mean of phi over the training pool
    turn: Floats  # (d_model, k)
    kept_share: float  # of the scaled variance of the differences that the k dimensions keep

    def differences(self, phi: NDArray[np.floating], pairs: Ints | None = None) -> Floats:
        """z (len(pairs), k) = projected phi_a - phi_b of these pairs (all without ``pairs``)."""
        chosen = np.arange(len(phi)) if pairs is None else pairs
        blocks = [z @ self.turn for z in _differences(phi, chosen, dtype=np.float64)]
        return np.concatenate([np.empty((0, self.turn.shape[1])), *blocks])

    def features(self, phi: NDArray[np.floating]) -> Floats:
        """Projected phi (.., k) of any responses (.., d_model)."""
        return np.asarray((phi - self.centre) @ self.turn)

    def rewards(
        self, phi: NDArray[np.floating], theta: Floats, pairs: Ints | None = None
    ) -> Floats:
        """(len(pairs), 2) rewards theta'phi of both responses of these pairs (all without ``pairs``)."""
        chosen = np.arange(len(phi)) if pairs is None else pairs
        weights = self.turn @ theta
        starts = range(0, len(chosen), BLOCK)
        out = [phi[chosen[start : start + BLOCK]] @ weights for start in starts]
        return np.concatenate([np.empty((0, 2)), *out]) - self.centre @ weights


class Fit(NamedTuple):
    """What is known after some labels."""

    theta: Floats  # (k,)
    rationality: Floats  # (m, K) as used: stated, or estimated
    information: Floats  # (k, k) at theta, with the ridge
    gram: Floats  # (k, k) with the ridge
    labels: int  # that were used: answered and readable
    status: str  # of the fit of theta: converged, iteration_limit (theta is then the last iterate), none
    rationality_status: str  # stated, estimated, or assumed (no labels yet, or no finite estimate)


def project(
    phi: NDArray[np.floating], pairs: Ints, labels: float, most: int = MOST_DIMENSIONS
) -> Projection:
    """The projection for ``labels`` labels, learned from the training ``pairs``, no label being seen.

    ``phi`` (n, 2, d_model). Each coordinate of z = phi_a - phi_b is divided by its root mean square,
    then at most ``labels`` / 10 and ``most`` principal components are kept; their length is that of
    theory's prior (margins of standard deviation 2). Signs are fixed: each component's largest entry
    is positive. phi is read block by block, once; a (d_model, d_model) matrix is held in float64.
    Raises ``ValueError`` where nothing differs, no pair is given, or a feature is not finite.
    """
    pairs = integer_array("pairs", pairs, (None,), low=0, high=len(phi))
    total, dim = np.zeros(phi.shape[2]), phi.shape[2]
    with np.errstate(invalid="ignore", over="ignore"):  # refused just below
        moment = second_moment(_differences(phi, pairs, total), len(pairs), dim)
    if not (np.isfinite(moment).all() and np.isfinite(total).all()):
        raise ValueError(
            "phi: found features that are not finite; needed finite ones. Compute them in bfloat16 "
            "or float32."
        )
    found = components(moment, min(dimensions(int(labels), most), dim), MEAN_SQUARE)
    turn = np.zeros((dim, found.basis.shape[1]))
    turn[found.used] = found.basis / found.scale[:, None]
    largest = np.abs(found.basis).argmax(axis=0)
    turn *= np.sign(found.basis[largest, np.arange(turn.shape[1])])
    return Projection(total / (2 * len(pairs)), turn, found.kept_share)


def _differences(
    phi: NDArray[np.floating],
    pairs: Ints,
    total: Floats | None = None,
    dtype: type[np.floating] = np.float32,
) -> Iterator[NDArray[np.floating]]:
    """phi_a - phi_b of these pairs, block by block; both responses are added to ``total``."""
    for start in range(0, len(pairs), BLOCK):
        block = phi[pairs[start : start + BLOCK]]
        if total is not None:
            total += block.sum(axis=(0, 1), dtype=np.float64)
        yield np.subtract(block[:, 0], block[:, 1], dtype=dtype)


def refit(
    z: Floats,
    context: ArrayLike,
    pair: ArrayLike,
    teacher: ArrayLike,
    preference: ArrayLike,
    rationality: ArrayLike,
    *,
    estimate: bool = False,
) -> Fit:
    """The reward after the labels so far; a function of them alone, so a resumed run gets the same.

    ``z`` (n, k) projected differences; ``context`` (n,) context type of each pair; ``pair``,
    ``teacher`` and ``preference`` (r,) the labels: 1, 0.5 (a tie, half a win for each), 0, or NaN
    (unreadable: left out). ``rationality`` (m, K) is believed, or with ``estimate`` only its shape
    is used: the rationalities are then estimated together with theta (``fit_jointly``), shrunk
    towards their pooled mean, scaled to root mean square 1 over the labels, positive by majority;
    a cell without labels gets the pooled mean. The scale of theta goes with that of the rationality.
    Raises ``ValueError`` on shapes and numbers that do not fit.
    """
    z = real_array("z", z, (None, None))
    stated = real_array("rationality", rationality, (None, None))
    pair, teacher, wins, cell = _labels(len(z), stated.shape, context, pair, teacher, preference)
    rows, trials = z[pair], np.ones(len(pair), dtype=np.int64)
    believed, origin = (np.ones_like(stated), "assumed") if estimate else (stated, "stated")
    theta, status = np.zeros(z.shape[1]), "none"
    if len(pair):
        if estimate:
            found = estimate_rationality(rows, wins, trials, cell, stated.size)
            if found is not None:
                believed, origin = found.reshape(stated.shape), "estimated"
        fit = fit_preferences(rows, wins, 1, believed.ravel()[cell], ridge=RIDGE)
        theta, status = fit.theta, fit.status
        if not np.isfinite(theta).all():
            theta = np.zeros(z.shape[1])
    information, gram = information_and_gram(rows, trials, theta, believed.ravel()[cell])
    return Fit(theta, believed, information, gram, len(pair), status, origin)


def _labels(
    pairs: int,
    shape: tuple[int, ...],
    context: ArrayLike,
    pair: ArrayLike,
    teacher: ArrayLike,
    preference: ArrayLike,
) -> tuple[Ints, Ints, Floats, Ints]:
    """Pair, teacher, wins and cell (teacher * K + context type) of the labels that say something."""
    kinds = integer_array("context", context, (pairs,), low=0, high=shape[1])
    said = np.asarray(preference, dtype=np.float64)
    used = np.flatnonzero(~np.isnan(said))
    if not len(used):
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0), none
    known = ~np.isin(said[used], (0.0, 0.5, 1.0))
    if known.any():
        raise ValueError(
            f"preference: found {said[used][known][0]:g}; needed 1, 0.5 (tie), 0, or NaN for an "
            "answer that could not be read. Recode it."
        )
    who = integer_array("teacher", teacher, said.shape, low=0, high=shape[0])[used]
    which = integer_array("pair", pair, said.shape, low=0, high=pairs)[used]
    return which, who, said[used], who * shape[1] + kinds[which]


def belief(
    z: Floats,
    context: ArrayLike,
    fit: Fit,
    cost: ArrayLike,
    capacity: ArrayLike,
    counts: ArrayLike,
) -> tuple[Pool, Belief]:
    """What can be asked and what is known, as every function in ``SELECTORS`` takes it.

    ``cost`` (m,) price of a label; ``capacity`` (n, m) labels that each teacher has on each pair, -1
    unlimited; ``counts`` (n, m) labels asked so far, unreadable ones too.
    Raises ``ValueError`` where more was asked than there was.
    """
    n, m = len(z), len(fit.rationality)
    had = integer_array("capacity", capacity, (n, m), low=-1)
    asked = integer_array("counts", counts, (n, m), low=0)
    over = (had >= 0) & (asked > had)
    if over.any():
        i, j = (int(k) for k in np.argwhere(over)[0])
        raise ValueError(
            f"counts: found {asked[i, j]} labels of teacher {j} on pair {i}; needed at most its "
            f"capacity, {had[i, j]}. The ledger is of another pool."
        )
    pool = Pool(
        z=z,
        context=integer_array("context", context, (n,), low=0),
        rationality=fit.rationality,
        cost=real_array("cost", cost, (m,)),
        available=np.where(had < 0, -1, had - asked),
    )
    return pool, Belief(fit.theta, fit.information, fit.gram, asked, RIDGE)


def accuracy(margins: Floats, truth: Floats) -> float:
    """Share of pairs whose margin has the sign of the truth; a margin of 0 counts half.

    ``truth`` (n,) 1 = a better, 0 = b; ties (0.5) and unknown ones (NaN) are left out.
    Raises ``ValueError`` where no pair is decided.

    >>> accuracy(np.array([2.0, -1.0, 0.0, 5.0]), np.array([1, 1, 0, 0.5]))    # right, wrong, half
    0.5
    """
    decided = (truth == 1) | (truth == 0)
    if not decided.any():
        raise ValueError(
            f"truth: found no decided one among {len(truth)} pairs; needed at least one. Hold out "
            "more prompts, or pass gold labels."
        )
    return float(((1 + np.sign(margins) * (2 * truth - 1)) / 2)[decided].mean())


def length_margins(lengths: Floats | Ints, pair: Ints, preference: Floats) -> Floats:
    """Margins (n,) of the reward that only knows length, in characters, a minus b.

    ``lengths`` (n, 2) characters of the responses; the labels (r,) decide whether longer is better
    (ties and NaN say nothing); without a majority nothing is known, and every margin is 0.

    >>> lengths = np.array([[9, 2], [1, 4], [3, 3]])
    >>> length_margins(lengths, np.array([0, 1]), np.array([0.0, 1.0])).tolist()    # shorter won twice
    [-7.0, 3.0, 0.0]
    """
    longer = (lengths[:, 0] - lengths[:, 1]).astype(np.float64)
    votes = np.nan_to_num(2 * np.asarray(preference, dtype=np.float64) - 1)
    lead = float(votes @ np.sign(longer[pair]))
    return np.asarray(np.sign(lead) * longer + 0.0)

"""Pessimistic policies: act on the reward that the labels vouch for, not on the estimate alone.

A reward is known only through differences, so every feature is centred first: phi_c(x, a) =
phi(x, a) - the reference's feature at x (Zhu, Jiao and Jordan 2023, arXiv 2301.11270). With
information H and a radius such that ||theta_hat - theta*||_H <= radius (the confidence event),
theta_hat'v - radius ||v||_{H^-1} is at most theta*'v for every v. Penalise each action by itself
(``pointwise_policy``) or the whole policy's mean feature (``policy_level``): each form has its own
bound, and both bounds are O(1/sqrt T).
Source: Dual Active Learning for RLHF (arXiv 2410.02504); the two forms are told apart here.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, Ints, integer_array, positive_number, real_array

_SIMPLEX_SLACK = 1e-9  # how far a given distribution may be from summing to 1
_GAP = 1e-6  # the certificate that ``policy_level`` must reach, relative to the problem's scale


class PessimisticPolicy(NamedTuple):
    """A policy over actions, and the proof of how good it is."""

    policy: Floats  # (X, A) probabilities, rows sum to 1
    value: float  # theta'E[phi_c] - radius ||E[phi_c]||_{H^-1} of this policy
    gap: float  # no policy's value exceeds value + gap


def lower_confidence_values(
    theta: ArrayLike,
    information: ArrayLike,
    features: ArrayLike,
    radius: float,
    *,
    reference: ArrayLike | None = None,
) -> Floats:
    """What each action is worth at least: theta'phi_c(x, a) - radius ||phi_c(x, a)||_{H^-1}.

    ``theta`` (d,) estimate, ``information`` H (d, d) positive definite, ``features`` (X, A, d),
    ``radius`` >= 0; ``reference`` (X,) actions or (X, A) policy whose feature is subtracted (None:
    the uniform policy). Returns (X, A), in units of reward. For R replicates at once give theta
    (R, d) and information (R, d, d), or one (d, d) for all; the result is then (R, X, A).
    Raises ``ValueError`` on singular information, wrong shapes and values that are not finite.

    >>> phi = [[[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]]
    >>> lower_confidence_values([1, 1], [[9, 0], [0, 1]], phi, 0.5, reference=[0]).tolist()
    [[0.0, 2.5, 1.5]]
    """
    centred = _centred(features, reference)
    d = centred.shape[2]
    root = _root(information, d)
    theta = np.asarray(theta)
    batch = root.shape[:-2] or theta.shape[:-1]
    theta = real_array("theta", theta, (d,) if theta.ndim == 1 else (*(batch or (None,)), d))
    norms = _norms(root, centred)
    values = np.tensordot(theta, centred, axes=(-1, 2))
    return np.asarray(values - positive_number("radius", radius, zero=True) * norms)


def pointwise_policy(
    theta: ArrayLike,
    information: ArrayLike,
    features: ArrayLike,
    radius: float,
    *,
    reference: ArrayLike | None = None,
) -> Ints:
    """Actions (X,) argmax_a theta'phi_c(x, a) - radius ||phi_c(x, a)||_{H^-1}, ties to the lowest.

    On the confidence event its sub-optimality is at most ``pointwise_bound``, whatever the
    reference. Radius 0 is the greedy policy. Parameters, replicates ((R, X) actions) and errors as
    in ``lower_confidence_values``.

    >>> phi = [[[0.0, 0.0], [3.0, 0.0], [0.0, 3.3]]]
    >>> information = [[9, 0], [0, 1]]              # the second direction is poorly known
    >>> [pointwise_policy([1, 1], information, phi, r, reference=[0]).item() for r in (0, 0.5, 4)]
    [2, 1, 0]
    """
    values = lower_confidence_values(theta, information, features, radius, reference=reference)
    return np.asarray(values.argmax(axis=-1), dtype=np.int64)


def policy_level(
    theta: ArrayLike,
    information: ArrayLike,
    features: ArrayLike,
    radius: float,
    *,
    reference: ArrayLike | None = None,
    distribution: ArrayLike | None = None,
) -> PessimisticPolicy:
    """The policy pi that maximises theta'm - radius ||m||_{H^-1}, m = E_x sum_a pi(a|x) phi_c(x, a).

    Concave over a product of simplices: solved as a second-order cone program (cvxpy, Clarabel),
    then certified. For every u in the unit ball and H = L L', the support function E_x max_a
    (theta - radius L^-T u)'phi_c(x, a) bounds every policy's value from above; ``gap`` is the
    smallest such bound that the solver's multipliers give, less the value reached.
    On the confidence event its sub-optimality is at most ``policy_level_bound`` + ``gap``, a bound
    that is never above ``pointwise_bound``. Radius 0 is the greedy policy.
    ``distribution`` (X,) of the prompts (None: uniform); the rest as in ``lower_confidence_values``,
    one estimate at a time. Raises ``ValueError`` as there, ``ArithmeticError`` where the
    certificate fails.

    >>> phi = [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]      # errors of two prompts average out
    >>> found = policy_level([2, 2], [[1, 0], [0, 1]], phi, 2.0, reference=[0, 0])
    >>> found.policy.round(4).tolist(), round(found.value, 4)        # 2 - 2 / sqrt 2
    ([[0.0, 1.0], [0.0, 1.0]], 0.5858)
    """
    centred = _centred(features, reference)
    x, a, d = centred.shape
    root, theta = _root(information, d, batched=False), real_array("theta", theta, (d,))
    radius = positive_number("radius", radius, zero=True)
    white = centred * _distribution(distribution, x)[:, None, None] @ np.linalg.inv(root).T
    slope = root.T @ theta
    if radius == 0:
        policy = np.eye(a)[(white @ slope).argmax(axis=1)]
        multipliers = slope[None]
    else:
        policy, multipliers = _cone_program(white, slope, radius)
    mean = np.einsum("xa,xad->d", policy, white)
    value = float(slope @ mean - radius * np.linalg.norm(mean))
    push = multipliers - slope  # must lie in the ball of this radius: shrink what does not
    push *= np.minimum(1.0, radius / np.maximum(np.linalg.norm(push, axis=1), 1e-300))[:, None]
    bounds = np.einsum("xad,kd->kxa", white, slope + push).max(axis=2).sum(axis=1)
    gap = max(float(bounds.min()) - value, 0.0)
    scale = np.linalg.norm(white, axis=2).max(axis=1).sum() * (np.linalg.norm(slope) + radius)
    if gap > _GAP * max(scale, 1e-300):
        raise ArithmeticError(f"the cone program stopped {gap:g} from its bound; rescale features.")
    return PessimisticPolicy(policy, value, gap)


def _cone_program(white: Floats, slope: Floats, radius: float) -> tuple[Floats, Floats]:
    """The maximiser of slope'y - radius ||y||, y = sum policy white, and candidate multipliers."""
    import cvxpy

    cp: Any = cvxpy  # without annotations of its own
    x, a, d = white.shape
    scale = float(np.linalg.norm(white, axis=2).max(axis=1).sum()) or 1.0
    steep = float(np.linalg.norm(slope)) + radius
    policy, y = cp.Variable((x, a), nonneg=True), cp.Variable(d)
    flat = (white / scale).reshape(x * a, d).T
    mean = y == flat @ cp.reshape(policy, (x * a,), order="C")
    worth = (slope / steep) @ y - (radius / steep) * cp.norm(y)
    problem = cp.Problem(cp.Maximize(worth), [mean, cp.sum(policy, axis=1) == 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the certificate says how much
        problem.solve(solver=cp.CLARABEL)
    if policy.value is None:
        raise ArithmeticError("the cone program found no policy; rescale features.")
    found = np.maximum(policy.value, 0.0)
    found /= found.sum(axis=1, keepdims=True)
    dual = np.asarray(mean.dual_value) * steep
    at = np.einsum("xa,xad->d", found, white)
    gradient = slope - radius * at / max(float(np.linalg.norm(at)), 1e-300)
    return found, np.stack([dual, -dual, gradient])


def suboptimality(
    features: ArrayLike,
    theta: ArrayLike,
    policy: ArrayLike,
    *,
    distribution: ArrayLike | None = None,
) -> Floats:
    """What a policy loses: E_x [max_a theta'phi(x, a) - theta'phi(x, policy(x))], in reward.

    ``features`` (X, A, d); ``theta`` (d,) the TRUE weights; ``policy`` actions (..., X) as whole
    numbers, or probabilities (..., X, A) as floats; ``distribution`` (X,) of the prompts (None:
    uniform). Returns one number per leading axis, () for one policy.
    Raises ``ValueError`` on wrong shapes, unknown actions and rows that are not distributions.

    >>> phi = [[[1.0], [3.0]], [[2.0], [0.0]]]
    >>> suboptimality(phi, [1.0], [0, 0]).item(), suboptimality(phi, [1.0], [[0.5, 0.5]] * 2).item()
    (1.0, 1.0)
    """
    phi = real_array("features", features, (None, None, None))
    x, a, d = phi.shape
    loss = _shortfall(phi, real_array("theta", theta, (d,)))
    raw = np.asarray(policy)
    if raw.dtype.kind in "iu":
        actions = integer_array("policy", raw, (*raw.shape[:-1], x), low=0, high=a)
        lost = np.take_along_axis(loss, actions.reshape(-1, x).T, axis=1).T.reshape(actions.shape)
    else:
        lost = (_policy("policy", raw, (*raw.shape[:-2], x, a)) * loss).sum(axis=-1)
    return np.asarray(lost @ _distribution(distribution, x))


def pointwise_bound(
    information: ArrayLike,
    features: ArrayLike,
    theta: ArrayLike,
    radius: float,
    *,
    reference: ArrayLike | None = None,
    distribution: ArrayLike | None = None,
) -> Floats:
    """What ``pointwise_policy`` loses at most: 2 radius E_x ||phi_c(x, pi*(x))||_{H^-1}.

    True whenever ||theta_hat - theta*||_H <= radius, with the same H, radius and reference.
    ``theta`` (d,) the TRUE weights (pi* is their best action, ties to the lowest index); the rest
    as in ``policy_level``; information (R, d, d) gives (R,) bounds.

    >>> pointwise_bound([[4.0]], [[[0.0], [3.0]]], [1.0], 0.5, reference=[0]).item()
    1.5
    """
    root, best, share = _optimal(information, features, theta, reference, distribution)
    return np.asarray(2 * positive_number("radius", radius, zero=True) * _norms(root, best) @ share)


def policy_level_bound(
    information: ArrayLike,
    features: ArrayLike,
    theta: ArrayLike,
    radius: float,
    *,
    reference: ArrayLike | None = None,
    distribution: ArrayLike | None = None,
) -> Floats:
    """What ``policy_level`` loses at most: 2 radius ||E_x phi_c(x, pi*(x))||_{H^-1}.

    Never above ``pointwise_bound``, and NOT a bound for the pointwise policy: parameters as there.

    >>> phi = [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]      # two prompts, two directions
    >>> optimum = [[1, 0], [0, 1]], phi, [1, 1], 1.0
    >>> round(policy_level_bound(*optimum, reference=[0, 0]).item(), 4)       # 2 sqrt(1/2)
    1.4142
    >>> pointwise_bound(*optimum, reference=[0, 0]).item()
    2.0
    """
    root, best, share = _optimal(information, features, theta, reference, distribution)
    norm = _norms(root, share @ best)
    return np.asarray(2 * positive_number("radius", radius, zero=True) * norm)


def _optimal(
    information: ArrayLike,
    features: ArrayLike,
    theta: ArrayLike,
    reference: ArrayLike | None,
    distribution: ArrayLike | None,
) -> tuple[Floats, Floats, Floats]:
    """Root of H, centred features (X, d) of the truly best actions, prompt distribution (X,)."""
    centred = _centred(features, reference)
    x, _, d = centred.shape
    best = (centred @ real_array("theta", theta, (d,))).argmax(axis=1)
    return _root(information, d), centred[np.arange(x), best], _distribution(distribution, x)


def _shortfall(phi: Floats, theta: Floats) -> Floats:
    """(X, A) what each action's reward lacks to the best of its prompt."""
    rewards = phi @ theta
    return np.asarray(rewards.max(axis=1, keepdims=True) - rewards)


def _centred(features: ArrayLike, reference: ArrayLike | None) -> Floats:
    """phi_c (X, A, d): features less the reference's."""
    phi = real_array("features", features, (None, None, None))
    x, a, _ = phi.shape
    if reference is None:
        return np.asarray(phi - phi.mean(axis=1, keepdims=True))
    raw = np.asarray(reference)
    if raw.ndim == 1:
        actions = integer_array("reference", raw, (x,), low=0, high=a)
        return np.asarray(phi - phi[np.arange(x), actions][:, None])
    policy = _policy("reference", raw, (x, a))
    return np.asarray(phi - np.einsum("xa,xad->xd", policy, phi)[:, None])


def _policy(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Probabilities along the last axis."""
    policy = real_array(name, value, shape)
    off = np.abs(policy.sum(axis=-1) - 1).max()
    if policy.min() < 0 or off > _SIMPLEX_SLACK:
        raise ValueError(
            f"{name}: found a smallest entry {policy.min():g} and a sum off 1 by {off:g}, needed "
            "probabilities; divide each row by its sum."
        )
    return policy


def _distribution(value: ArrayLike | None, prompts: int) -> Floats:
    if value is None:
        return np.full(prompts, 1.0 / prompts)
    return _policy("distribution", value, (prompts,))


def _root(information: ArrayLike, d: int, batched: bool = True) -> Floats:
    """Cholesky factor L of H = L L' (d, d) or (R, d, d); an error where H is singular."""
    raw = np.asarray(information)
    shape = (None, d, d) if batched and raw.ndim == 3 else (d, d)
    h = real_array("information", raw, shape)
    values = np.linalg.eigvalsh(h)
    if np.abs(h - np.swapaxes(h, -1, -2)).max() > 1e-9 * np.abs(h).max():
        raise ValueError("information: found a matrix that is not symmetric; pass (H + H') / 2.")
    if (values[..., 0] <= d * np.finfo(float).eps * values[..., -1]).any():
        raise ValueError(
            f"information: found a smallest eigenvalue {values[..., 0].min():g}, needed a positive "
            "definite matrix; buy labels in every direction, or add ridge * I."
        )
    return np.asarray(np.linalg.cholesky(h))


def _norms(root: Floats, vectors: Floats) -> Floats:
    """||v||_{H^-1} for vectors (..., d); (R, ...) where the root is (R, d, d)."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    norms = np.linalg.norm(np.linalg.solve(root, flat.T), axis=-2)
    return np.asarray(norms.reshape(root.shape[:-2] + vectors.shape[:-1]))

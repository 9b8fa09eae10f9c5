"""Rounds on a dueling world: see a prompt, choose, perhaps ask, learn. The plain truth.

Each round a prompt appears; the algorithm (one file each beside this one) names a first arm, and
either plays it alone or asks how it compares with a second arm. An answer is Bradley-Terry with
rationality 1. After every query estimate and matrices are computed anew from the whole history; the
kernels are tested against this file.

Regret charges the FIRST arm only (arXiv 2402.09401). ``regret_both`` is the form of other papers, for
comparison: the mean over the two arms shown, and in an unasked round the first arm's.

The random draws, by name (purpose and index; round and replicate are those of the draw):

| purpose | index | what | how |
|---|---|---|---|
| CONTEXT | 0 | prompt, on a finite world | whole number below X |
| CONTEXT | 0, 1, ... | features, on a stream: normals 0 ... A d - 1, action by action | Box-Muller |
| LABEL | 0 | answer: 1 = first arm preferred | u < mu(r(first) - r(second)) |
| SELECT | 0 | second arm: appo, oppo | whole number below A |
| SELECT | 0 | second arm: random_query | whole number below A - 1, over the others |
| SELECT | 1 | whether to ask: random_query | u < probability |
| SELECT | a | perturbation of arm a: colstim | Gumbel |
| SELECT | 0, 1, ... | normals 0 ... d - 1 behind the first arm's theta: thompson | Box-Muller |
| SELECT | 2 ceil(d/2), ... | the same behind the second arm's theta: thompson | Box-Muller |
| PLAY | 0 | first arm, drawn from the policy: appo (asked rounds only), oppo | cumulative weights |

maxinp and greedy draw nothing of their own.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...theory.checks import Floats, Ints, integer_array, one_of, positive_number, whole_number
from ...theory.estimate import fit_preferences
from ...theory.preference import fisher_weight
from ...theory.selectors.batch import TIE
from ..draws import Draws
from ..kernels.functions import sigmoid
from ..kernels.random import LABEL
from ..stream import Round, World, rounds


class Plan(NamedTuple):
    """How a dueling world is played."""

    seed: int
    horizon: int  # rounds
    checkpoints: Ints  # (c,) numbers of rounds after which results are reported
    refit_growth: float = 1.0  # refit when det gram has grown by this factor; 1 = every query
    update_gram: bool = True  # False only as a negative control


class Dueling(NamedTuple):
    """An algorithm on a dueling world: its name, what makes its rule, and its kernel's code."""

    name: str
    make: "Callable[..., Rule]"
    kind: int


class Knowledge(NamedTuple):
    """What an algorithm may know: the labels so far, digested."""

    theta: Floats  # (d,) ridge-penalised maximum likelihood over the queried rounds only
    gram: Floats  # (d, d) ridge I + sum z z'
    inverse: Floats  # (d, d) of gram
    information: Floats  # (d, d) ridge I + sum mu'(theta'z) z z'
    fitted_at: float  # log det gram when theta was fitted


class Duel(NamedTuple):
    """A choice: the arm that is played, the one it is compared with, and whether to ask."""

    first: int
    second: int
    ask: bool


class Rule(Protocol):
    """An algorithm with its options: a policy to start with, and what to do in a round.

    ``choose`` returns the next policy too; what an algorithm learns from answers comes in ``know``.
    ``radius`` is that of its confidence set, 0 where it has none.
    """

    @property
    def ridge(self) -> float: ...
    @property
    def radius(self) -> float: ...
    def start(self) -> Any: ...
    def choose(
        self, policy: Any, scene: Round, know: Knowledge, draws: Draws
    ) -> tuple[Duel, Any]: ...


class History(NamedTuple):
    """One replicate. c checkpoints, q queries; rounds are numbered from 0."""

    queries: Ints  # (c,) asked so far
    regret: Floats  # (c,) so far, first arm only
    regret_both: Floats  # (c,) so far, mean of the two arms shown (unasked: first arm)
    theta: Floats  # (c, d) estimates
    information: Floats  # (c, d, d) of the labels so far at the true theta
    query_round: Ints  # (q,)
    queried: Ints  # (q, 3) prompt, first arm, second arm
    label: Ints  # (q,) 1 = first arm preferred
    norm: Floats  # (q,) ||z||_{gram^-1} of the queried pair, before it entered gram
    largest_distance: float  # sup over rounds of ||theta_hat - theta*||_gram
    costly_unasked: int  # unasked rounds with regret
    costly_inside: int  # those in which ||theta_hat - theta*||_gram <= the rule's radius
    last_query: int  # -1 where nothing was asked
    below_threshold: int  # queries with norm at most the rule's uncertainty threshold
    late_regret: float  # first arm's regret over the rounds from horizon // 2 on


def plan_rounds(
    horizon: int,
    seed: int,
    checkpoints: ArrayLike | None = None,
    refit_growth: float = 1.0,
    update_gram: bool = True,
) -> Plan:
    """A checked plan; by default 12 checkpoints spaced by equal factors.

    ``refit_growth`` >= 1: theta is refitted once det gram has grown by this factor since the last
    fit (1, the default: after every query). Raises ``ValueError`` on what does not fit.
    """
    horizon = whole_number("horizon", horizon, low=1, high=2**32)
    if checkpoints is None:
        checkpoints = np.unique(np.geomspace(min(10, horizon), horizon, 12).round())
    marks = np.unique(integer_array("checkpoints", checkpoints, (None,), low=1, high=horizon + 1))
    growth = positive_number("refit_growth", refit_growth)
    if growth < 1:
        raise ValueError(f"refit_growth: found {growth:g}, needed at least 1 (after every query).")
    seed = whole_number("seed", seed, low=0, high=2**64)
    return Plan(seed, horizon, marks, growth, bool(update_gram))


def prepare(
    make: Callable[..., Rule],
    world: World,
    horizon: int,
    options: dict[str, Any],
    others: tuple[str, ...] = (),
) -> Rule:
    """``make(world, horizon, **options)``, an unknown or a missing option being a ``ValueError``.

    ``others`` are options of the loop, which the message names too.
    """
    known = {
        name: option
        for name, option in inspect.signature(make).parameters.items()
        if option.kind is option.KEYWORD_ONLY
    }
    for name in options:
        one_of("option", name, [*known, *others])
    for name, option in known.items():
        if option.default is option.empty and name not in options:
            raise ValueError(f"{name}: found nothing, needed a value; pass {name}=...")
    return make(world, horizon, **options)


def play(world: World, rule: Rule, plan: Plan, replicate: int) -> History:
    """Run one replicate with the draws named by (plan.seed, replicate)."""
    look, policy, truth = rounds(world), rule.start(), world.theta
    know = _nothing(truth.size, rule.ridge)
    scenes, duels, labels, norms, z = [], [], [], [], []
    path, distance = [know.theta], [_distance(know, truth)]
    for t in range(plan.horizon):
        draws = Draws(plan.seed, replicate, t)
        scene = look(draws)
        duel, policy = rule.choose(policy, scene, know, draws)
        if duel.ask:
            z.append(scene.features[duel.first] - scene.features[duel.second])
            norms.append(float(lengths(z[-1], know.inverse)))
            labels.append(_answer(scene, duel, draws))
            know = _learn(know, np.array(z), np.array(labels), rule.ridge, plan)
        scenes.append(scene)
        duels.append(duel)
        path.append(know.theta)
        distance.append(_distance(know, truth) if duel.ask else distance[-1])
    charged, norm = _charged(plan, rule, scenes, duels, np.array(distance)), np.array(norms)
    seen = np.array(z).reshape(-1, truth.size)
    weighted = (seen.T * fisher_weight(seen @ truth)).T if len(seen) else seen
    return History(
        **charged,
        theta=np.array(path)[plan.checkpoints],
        information=np.array([weighted[:q].T @ seen[:q] for q in charged["queries"]]),
        label=np.array(labels, dtype=np.int64),
        norm=norm,
        below_threshold=int((norm <= getattr(rule, "uncertainty_threshold", np.inf)).sum()),
    )


def _charged(
    plan: Plan, rule: Rule, scenes: list[Round], duels: list[Duel], distance: Floats
) -> dict[str, Any]:
    """Regret and the facts about queries, from what was seen and done in every round."""
    asked = np.array([duel.ask for duel in duels])
    regret = np.array([s.regret[duel.first] for s, duel in zip(scenes, duels, strict=True)])
    other = np.array([s.regret[duel.second] for s, duel in zip(scenes, duels, strict=True)])
    both = np.where(asked, 0.5 * (regret + other), regret)
    at, when, costly = plan.checkpoints - 1, np.flatnonzero(asked), ~asked & (regret > 0)
    shown = [(scenes[t].prompt, duels[t].first, duels[t].second) for t in when]
    return {
        "queries": np.cumsum(asked)[at],
        "regret": np.cumsum(regret)[at],
        "regret_both": np.cumsum(both)[at],
        "query_round": when,
        "queried": np.array(shown, dtype=np.int64).reshape(-1, 3),
        "largest_distance": float(distance.max()),
        "costly_unasked": int(costly.sum()),
        "costly_inside": int((costly & (distance[:-1] <= rule.radius)).sum()),
        "last_query": int(when[-1]) if when.size else -1,
        "late_regret": float(regret[plan.horizon // 2 :].sum()),
    }


def natural_ridge(world: World) -> float:
    """||theta*||^-2: the ridge of APPO's theory, B^-2, at the smallest B."""
    square = float(world.theta @ world.theta)
    if square == 0:
        raise ValueError("theta: found all zeros, needed a reward that varies; or pass ridge=...")
    return 1.0 / square


def checked_ridge(world: World, ridge: float | None) -> float:
    """``ridge`` > 0 as given, or ``natural_ridge`` where it is None."""
    return natural_ridge(world) if ridge is None else positive_number("ridge", ridge)


def lowest_best(score: Floats) -> int:
    """Index of the largest score; of ties (within ``TIE`` of the largest |score|) the lowest."""
    return int((score >= score.max() - TIE * np.abs(score).max()).argmax())


def lengths(z: Floats, inverse: Floats) -> Floats:
    """||z||_{gram^-1} of every z (..., d): (...)."""
    return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", z, inverse, z)))


def _nothing(d: int, ridge: float) -> Knowledge:
    gram = ridge * np.eye(d)
    return Knowledge(np.zeros(d), gram, np.eye(d) / ridge, gram, d * float(np.log(ridge)))


def _learn(know: Knowledge, z: Floats, label: Ints, ridge: float, plan: Plan) -> Knowledge:
    """Everything from the whole history; theta too, unless gram has not grown enough."""
    prior, growth = ridge * np.eye(z.shape[1]), plan.refit_growth
    gram = prior + z.T @ z if plan.update_gram else prior
    theta, fitted_at = know.theta, know.fitted_at
    log_det = float(np.linalg.slogdet(gram)[1])
    if growth == 1.0 or log_det >= fitted_at + np.log(growth):
        theta, fitted_at = fit_preferences(z, label, ridge=ridge).theta, log_det
    information = prior + (z.T * fisher_weight(z @ theta)) @ z
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    return Knowledge(theta, gram, inverse, information, fitted_at)


def _answer(scene: Round, duel: Duel, draws: Draws) -> bool:
    margin = float(scene.rewards[duel.first] - scene.rewards[duel.second])
    return bool(draws.uniform(LABEL, 0) < sigmoid(margin))


def _distance(know: Knowledge, truth: Floats) -> float:
    """||theta_hat - theta*||_gram."""
    off = know.theta - truth
    return float(np.sqrt(off @ know.gram @ off))

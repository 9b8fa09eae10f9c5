"""Rows of batch selection: the dual rule on a large pool in float32, against the eager greedy."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..theory import SELECTORS, Belief, Picks, Pool, fisher_weight
from ..theory.selectors.batch import Batch, Leverages
from ..theory.selectors.dual import fill
from .machine import cores
from .measure import gemm_rate, race
from .memory import peak_above_input
from .peers.eager_greedy import Eager, eager_greedy
from .row import Answer, Outcome, Row, Target, seconds_text

TEACHERS, CONTEXTS = 8, 2
EAGER_PICKS = 16  # of the peer; the rest is scaled
RIDGE = 1.0
MANY = 10**7  # numbers in z from which the peer is faster on every core

Rng = np.random.Generator


class Problem(NamedTuple):
    """A pool, what is known of it, and how many labels are wanted."""

    pool: Pool
    belief: Belief
    batch: int


def gaussian_pool(pairs: int, dim: int, batch: int) -> Problem:
    """Gaussian pairs in float32; d / 2 of them have been answered by the first teacher."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((pairs, dim), dtype=np.float32)
    theta = (rng.standard_normal(dim) / np.sqrt(dim)).astype(np.float32)
    rationality = rng.uniform(0.3, 2.0, (TEACHERS, CONTEXTS)).astype(np.float32)
    context = rng.integers(CONTEXTS, size=pairs)
    answered = z[: dim // 2]
    weights = fisher_weight(answered @ theta, rationality[0, context[: dim // 2]])
    information = (answered * weights[:, None].astype(np.float32)).T @ answered
    gram = answered.T @ answered
    for matrix in (information, gram):
        matrix[np.diag_indices(dim)] += RIDGE
    counts = np.zeros((pairs, TEACHERS), dtype=np.int64)
    counts[: dim // 2, 0] = 1
    pool = Pool(z, context, rationality, np.ones(TEACHERS, np.float32), 1 - counts)
    return Problem(pool, Belief(theta, information, gram, counts, RIDGE), batch)


def select(problem: Problem) -> Picks:
    """Ours."""
    rng = np.random.default_rng(0)  # the rule draws nothing
    return SELECTORS["dual"](problem.pool, problem.belief, float(problem.batch), rng)


def counted(problem: Problem) -> tuple[Picks, int]:
    """Ours, and how many leverages were brought up to date on the way."""
    batch = Batch(problem.pool, problem.belief, float(problem.batch))
    leverages = Leverages(batch.pool.z, batch.belief.information)
    fill(batch, leverages)
    return batch.picks(), leverages.evaluations


def prepare_selection(pairs: int, dim: int, batch: int) -> Callable[[], Picks]:
    """The selection as ``peak_above_input`` wants it."""
    select(gaussian_pool(64, 8, 4))
    problem = gaussian_pool(pairs, dim, batch)
    return lambda: select(problem)


def check_picks(problem: Problem, picks: Picks, eager: Eager) -> Answer:
    """The first picks are the eager ones, and the scores add up to the growth of log det H.

    The growth is worked out anew in float64: log det (H + sum w z z') - log det H.
    """
    pool, belief, batch = problem
    pair, teacher = np.asarray(picks.pair), np.asarray(picks.teacher)
    if len(pair) != batch or len(set(zip(pair.tolist(), teacher.tolist(), strict=True))) != batch:
        return Answer(False, {}, f"{len(pair)} picks, needed {batch} different ones")
    z = pool.z[pair].astype(np.float64)
    b = pool.rationality[teacher, pool.context[pair]].astype(np.float64)
    w = fisher_weight(z @ belief.theta.astype(np.float64), b)
    before = belief.information.astype(np.float64)
    growth = _log_det(before + (z * w[:, None]).T @ z) - _log_det(before)
    scores = float(np.asarray(picks.score, dtype=np.float64).sum())
    k = len(eager.pair)
    same = int(((pair[:k] == eager.pair) & (teacher[:k] == eager.teacher)).sum())
    closest = float(np.abs(np.asarray(picks.score[:k], dtype=np.float64) - eager.score).max())
    numbers = {"log_det_growth": growth, "sum_of_scores": scores, "same_as_eager": float(same)}
    wrong = []
    if not abs(scores - growth) <= 1e-3 * growth:
        wrong.append(f"scores add up to {scores:.6g}, log det grew by {growth:.6g}")
    if same < k and closest > 1e-4 * max(eager.score):
        wrong.append(f"of the first {k} picks only {same} are the eager greedy's")
    return Answer(not wrong, numbers, "; ".join(wrong))


def _log_det(matrix: NDArray[np.float64]) -> float:
    return 2 * float(np.log(np.diagonal(np.linalg.cholesky(matrix))).sum())


def dual_batch(pairs: int, dim: int, batch: int) -> Outcome:
    """One batch, ours and the eager greedy's first picks, scaled to the whole batch."""
    problem, few = gaussian_pool(64, 8, 4), min(EAGER_PICKS, batch)
    select(problem)
    eager_greedy(problem.pool, problem.belief, 4)
    problem = gaussian_pool(pairs, dim, batch)
    threads = cores() if pairs * dim >= MANY else 1
    found = race(
        lambda: counted(problem),
        lambda: eager_greedy(problem.pool, problem.belief, few, threads),
        seconds_of=lambda eager: eager.start_seconds + batch * eager.pick_seconds,
    )
    floor = 2 * pairs * dim * dim / gemm_rate(np.float32)
    (picks, looked_at), eager = found.answer, found.peer_answer
    saved = 1 - looked_at / (pairs * batch)
    notes = (
        f"{looked_at:,} leverages brought up to date, {saved:.1%} fewer than all after every pick",
        (
            f"eager: start {seconds_text(eager.start_seconds)}, a pick {seconds_text(eager.pick_seconds)}; "
            f"{few} picks measured, scaled to {batch:,}; on {threads} thread(s)"
        ),
    )
    return Outcome(
        found.ours, found.peer, found.ratio, floor, check_picks(problem, picks, eager),
        memory=peak_above_input(prepare_selection, pairs, dim, batch), notes=notes,
    )  # fmt: skip


def most_memory(pairs: int, dim: int) -> float:
    """Bytes above the input: a tenth of (pool + two information matrices), and those two."""
    pool, two = 4.0 * pairs * dim, 2 * 4.0 * dim * dim
    return 0.1 * (pool + two) + two


def _row(pairs: int, dim: int, batch: int, *targets: Target, slow: bool = False) -> Row:
    return Row(
        f"selection/dual-{pairs}-{dim}",
        f"{batch:,} of {pairs:,} float32 pairs, d = {dim:,}, {TEACHERS} teachers",
        "eager greedy",
        "one pass over all leverages, 2 n d^2 flop at the sgemm rate measured beside it",
        partial(dual_batch, pairs, dim, batch),
        targets,
        slow,
    )


ROWS = (
    _row(4000, 256, 128),
    _row(
        60_000, 4096, 1024,
        Target("seconds", 60.0), Target("memory", most_memory(60_000, 4096)), slow=True,
    ),
)  # fmt: skip

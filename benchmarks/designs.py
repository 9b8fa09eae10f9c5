"""Rows of D-optimal designs: certified to a gap of 1e-6 on all candidates, ours and the peer's."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..theory import PairsDesign, d_optimal, d_optimal_pairs, fisher_weight
from .certificate import TOL, check_design
from .machine import cores
from .measure import gemm_rate, race
from .memory import peak_above_input
from .peers.cvxpy_dual import cvxpy_dual
from .peers.frank_wolfe import frank_wolfe
from .peers.plain_pass import plain_pass
from .row import Outcome, Row, Target, seconds_text

Floats = NDArray[np.float64]
PASSES = 6
ONE_PASS = "one pass over all variances, 2 n d^2 flop at the dgemm rate measured beside it"


def gaussian(n: int, d: int) -> Floats:
    """Independent standard normal points, seed 0."""
    return np.random.default_rng(0).standard_normal((n, d))


def chebyshev(degree: int) -> Floats:
    """Chebyshev polynomials up to ``degree`` on 10,001 points of [-1, 1]."""
    grid = np.linspace(-1, 1, 10_001)
    return np.ascontiguousarray(np.polynomial.chebyshev.chebvander(grid, degree))


def quadratic(levels: int) -> Floats:
    """The full quadratic in three variables on a grid of [-1, 1]^3: 10 columns."""
    axis = np.linspace(-1, 1, levels)
    a, b, c = (x.ravel() for x in np.meshgrid(axis, axis, axis, indexing="ij"))
    columns = [np.ones(a.size), a, b, c, a * b, a * c, b * c, a * a, b * b, c * c]
    return np.asarray(np.column_stack(columns), dtype=np.float64)


def signs(d: int) -> Floats:
    """All of {-1, 1}^d."""
    bits = np.arange(2**d)[:, None] >> np.arange(d) & 1
    return np.where(bits, 1.0, -1.0)


def pass_seconds(points: Floats) -> float:
    """The floor: what one pass over all variances takes at this moment's dgemm rate."""
    return float(2 * points.size * points.shape[1] / gemm_rate())


# ---------------------------------------------------------------------------- peers


def against_cvxpy(make: Callable[[], Floats]) -> Outcome:
    """Ours against cvxpy and SCS on the dual form."""
    points = make()
    d_optimal(points, tol=TOL)  # compiles, loads
    cvxpy_dual(gaussian(20, 2))
    found = race(lambda: d_optimal(points, tol=TOL), lambda: cvxpy_dual(points))
    answer = check_design(
        points, found.answer.weights, found.answer.log_det, found.peer_answer.weights
    )
    note = f"cvxpy: dual form, SCS, eps 1e-9; SCS alone {seconds_text(found.peer_answer.solver_seconds)}"
    return Outcome(found.ours, found.peer, found.ratio, pass_seconds(points), answer, notes=(note,))


def against_frank_wolfe(make: Callable[[], Floats], cap: float) -> Outcome:
    """Ours against away-step Frank-Wolfe, which is stopped after ``cap`` seconds."""
    points = make()
    d_optimal(points, tol=TOL)
    frank_wolfe(gaussian(20, 2))
    found = race(lambda: d_optimal(points, tol=TOL), lambda: frank_wolfe(points, TOL, cap))
    peer = found.peer_answer
    answer = check_design(points, found.answer.weights, found.answer.log_det, peer.weights)
    note = f"away-step Frank-Wolfe: {peer.steps:,} steps, gap {peer.gap:.1e}"
    if not peer.finished:
        note += f", stopped after {cap:g} s: its time and the ratio are lower bounds"
    return Outcome(
        found.ours, found.peer, found.ratio, pass_seconds(points), answer,
        at_least=not peer.finished, notes=(note,),
    )  # fmt: skip


def against_passes(make: Callable[[], Floats]) -> Outcome:
    """Ours against ``PASSES`` times one plain NumPy pass, on every core."""
    points = make()
    first = d_optimal(points, tol=TOL)
    moment = (points[first.support] * first.weights[first.support, None]).T @ points[first.support]
    inverse = np.asarray(np.linalg.inv(moment), dtype=np.float64)
    threads = cores()
    plain_pass(points, inverse, threads)
    found = race(
        lambda: d_optimal(points, tol=TOL),
        lambda: plain_pass(points, inverse, threads),
        peer_times=PASSES,
    )
    answer = check_design(points, found.answer.weights, found.answer.log_det, None)
    note = f"one plain NumPy pass is measured, times {PASSES}; the peer takes {threads} threads"
    return Outcome(found.ours, found.peer, found.ratio, pass_seconds(points), answer, notes=(note,))


def warm_start(n: int, d: int) -> Outcome:
    """A solve from the design of a theta 1 % away, against the cold one."""
    z, rng = gaussian(n, d), np.random.default_rng(1)
    theta = rng.standard_normal(d) / np.sqrt(d)
    aside = rng.standard_normal(d)
    moved = theta + 0.01 * np.linalg.norm(theta) * aside / np.linalg.norm(aside)
    before, points = (np.sqrt(fisher_weight(z @ t))[:, None] * z for t in (theta, moved))
    start = d_optimal(before, tol=TOL).weights
    found = race(
        lambda: d_optimal(points, tol=TOL, start=start), lambda: d_optimal(points, tol=TOL)
    )
    answer = check_design(
        points, found.answer.weights, found.answer.log_det, found.peer_answer.weights
    )
    return Outcome(found.ours, found.peer, found.ratio, pass_seconds(points), answer)


# ---------------------------------------------------------------------------- pairs


def prepare_pairs(items: int, d: int) -> Callable[[], PairsDesign]:
    """All pairs of Gaussian items, as ``peak_above_input`` wants it."""
    x = gaussian(items, d)
    d_optimal_pairs(x[: 2 * d], tol=TOL)  # compiles
    return lambda: d_optimal_pairs(x, tol=TOL)


def all_pairs(items: int, d: int) -> Outcome:
    """Every pair of items without forming them, against ``d_optimal`` on the pairs formed."""
    ours = prepare_pairs(items, d)
    x = gaussian(items, d)
    first, second = np.triu_indices(items, 1)
    d_optimal(x[first[:100]] - x[second[:100]])
    found = race(ours, lambda: d_optimal(x[first] - x[second], tol=TOL))
    design = found.answer
    a, b = design.pairs.T  # a < b
    weights = np.zeros(len(first))
    np.add.at(weights, a * (2 * items - a - 1) // 2 + b - a - 1, design.weights)
    answer = check_design(x[first] - x[second], weights, design.log_det, found.peer_answer.weights)
    return Outcome(
        found.ours, found.peer, found.ratio,
        2 * items * d * (items + d) / gemm_rate(), answer,
        memory=peak_above_input(prepare_pairs, items, d),
        notes=("pairs formed: forming them and d_optimal",),
    )  # fmt: skip


# ---------------------------------------------------------------------------- rows

CAP, NO_HURRY = 20.0, 300.0  # seconds that Frank-Wolfe gets


def _row(
    name: str,
    problem: str,
    peer: str,
    measure: Callable[[], Outcome],
    *targets: Target,
    floor: str = ONE_PASS,
) -> Row:
    return Row(f"design/{name}", problem, peer, floor, measure, targets)


def _gaussian_row(
    n: int, d: int, against: Callable[..., Outcome], peer: str, times: float, label: str = ""
) -> Row:
    problem = f"{n:,} Gaussian points, d = {d}"
    measure = partial(against, partial(gaussian, n, d))
    return _row(f"gaussian-{label or n}-{d}", problem, peer, measure, Target("ratio", times))


def _grid_row(name: str, problem: str, make: Callable[[], Floats]) -> Row:
    measure = partial(against_frank_wolfe, make, CAP)
    return _row(name, problem, FRANK_WOLFE, measure, Target("seconds", 0.1))


CVXPY, FRANK_WOLFE = "cvxpy", "Frank-Wolfe"
_PATIENT = partial(against_frank_wolfe, cap=NO_HURRY)

ROWS = (
    _gaussian_row(200, 5, against_cvxpy, CVXPY, 40),
    _gaussian_row(2000, 20, against_cvxpy, CVXPY, 250),
    _gaussian_row(5000, 20, against_cvxpy, CVXPY, 600),
    _gaussian_row(10**6, 32, against_passes, f"{PASSES} plain passes", 1, "1e6"),
    _grid_row("chebyshev-9", "polynomial of degree 9 on 10,001 points", partial(chebyshev, 9)),
    _grid_row("quadratic-41", "full quadratic on a 41^3 grid, d = 10", partial(quadratic, 41)),
    _grid_row("signs-14", "all of {-1, 1}^14", partial(signs, 14)),
    _row(
        "pairs-1000-20",
        "all 499,500 pairs of 1,000 items, d = 20",
        "pairs formed",
        partial(all_pairs, 1000, 20),
        Target("seconds", 0.1),
        Target("memory", 2e8),
        floor="the Gram matrix of the items, 2 K d (K + d) flop at the dgemm rate measured beside it",
    ),
    _gaussian_row(5000, 50, _PATIENT, FRANK_WOLFE, 10),
    _gaussian_row(20_000, 100, _PATIENT, FRANK_WOLFE, 10),
    _row(
        "warm-start",
        "5,000 weighted Gaussian points, d = 20, theta moved by 1 %",
        "cold solve",
        partial(warm_start, 5000, 20),
        Target("ratio", 3),
    ),
)

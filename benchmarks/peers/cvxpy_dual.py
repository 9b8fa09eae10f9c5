"""Peer: the D-optimal design as a cone programme, in the form that cvxpy and SCS solve fastest.

Maximise log det H subject to x_i' H x_i <= d, the minimum-volume ellipsoid; the weights are the
multipliers (Titterington 1975). The form that most people write, log_det(X' diag(w) X), is far slower.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ConeSolution(NamedTuple):
    """Weights (n,) on the simplex, and how long the solver alone took, in seconds."""

    weights: Floats
    solver_seconds: float


def cvxpy_dual(points: Floats) -> ConeSolution:
    """The whole call as a user has it: stating, compiling, solving by SCS with eps 1e-9.

    >>> found = cvxpy_dual(np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]))  # a line on [-1, 1]
    >>> bool(abs(found.weights - [0.5, 0.0, 0.5]).max() < 1e-6)
    True

    Raises ``RuntimeError`` when SCS gives up.
    """
    import cvxpy

    cp: Any = cvxpy  # without annotations of its own
    d = points.shape[1]
    shape = cp.Variable((d, d), PSD=True)
    inside = cp.sum(cp.multiply(points @ shape, points), axis=1) <= d
    problem = cp.Problem(cp.Maximize(cp.log_det(shape)), [inside])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the gap of the weights says how much
        try:
            problem.solve(solver=cp.SCS, eps_abs=1e-9, eps_rel=1e-9, max_iters=200_000)
        except cp.SolverError as error:
            raise RuntimeError(f"cvxpy with SCS: {error}") from error
    weights = np.maximum(np.asarray(inside.dual_value, dtype=np.float64), 0.0)
    return ConeSolution(weights / weights.sum(), float(problem.solver_stats.solve_time))

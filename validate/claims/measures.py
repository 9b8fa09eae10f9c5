"""The measures that paper 1's claims take."""

import math

import numpy as np
from scipy.special import digamma

from ...theory.checks import Floats


def efficiencies(information: Floats, log_det_optimum: float, labels: int) -> Floats:
    """D-efficiency (R,) of R information matrices (R, d, d) after ``labels`` labels."""
    d = information.shape[-1]
    return np.asarray(np.exp((np.linalg.slogdet(information / labels)[1] - log_det_optimum) / d))


def log_generalized_mse(errors: Floats) -> tuple[float, Floats]:
    """log det(MSE) / d of errors (R, d), MSE = E[e e'], and each replicate's influence (R,) on it.

    The bias of the log determinant of R outer products is removed as for a Wishart matrix. The
    estimate is that value; its standard error is sd(influence) / sqrt(R) (delta method), and the
    difference of two of them, paired by replicate, has the sd of the difference.
    Raises ``ValueError`` where an error is not finite: a replicate without an estimate is a
    failure of the method, not something to leave out.
    """
    if not np.isfinite(errors).all():
        lost = int((~np.isfinite(errors).all(axis=1)).sum())
        raise ValueError(
            f"{lost} of {len(errors)} replicates have no finite estimate at this size."
        )
    replicates, d = errors.shape
    mse = errors.T @ errors / replicates
    expected = sum(digamma((replicates - k) / 2) for k in range(d)) + d * math.log(2 / replicates)
    value = (float(np.linalg.slogdet(mse)[1]) - float(expected)) / d
    influence = np.einsum("ri,ij,rj->r", errors, np.linalg.inv(mse), errors) / d - 1
    return value, influence

"""Points whose optimal designs are known in closed form, for more than one test file."""

import itertools

import numpy as np


def full_quadratic(k):
    """1, x_i, x_i x_j (i <= j) on {-1, 0, 1}^k."""
    x = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=k)))
    i, j = np.triu_indices(k)
    return np.column_stack([np.ones(len(x)), x, x[:, i] * x[:, j]])


def tournament(k):
    """e_i - e_j for all pairs of k items, last coordinate dropped."""
    i, j = np.triu_indices(k, 1)
    return (np.eye(k)[i] - np.eye(k)[j])[:, :-1]

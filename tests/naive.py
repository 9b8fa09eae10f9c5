"""Slow obvious twins: everything from scratch, one line a definition. Only tests use them."""

import numpy as np


def fisher_weights(pool, theta):
    """w_ij = b^2 p (1 - p), pair by pair and teacher by teacher."""
    w = np.zeros((len(pool.z), len(pool.rationality)))
    for i, z in enumerate(pool.z):
        for j in range(len(pool.rationality)):
            b = pool.rationality[j, pool.context[i]]
            p = 1 / (1 + np.exp(-b * (z @ theta)))
            w[i, j] = b**2 * p * (1 - p)
    return w


def log_det(matrix):
    return np.linalg.slogdet(matrix)[1]


def information_after(pool, belief, taken):
    """The information (or, with weight 1, Gram) matrices once the taken labels have joined."""
    w = fisher_weights(pool, belief.theta)
    information, gram = belief.information.copy(), belief.gram.copy()
    for i, j in taken:
        information += w[i, j] * np.outer(pool.z[i], pool.z[i])
        gram += np.outer(pool.z[i], pool.z[i])
    return information, gram


def gain(pool, belief, taken):
    """log det of the information with the taken labels minus without."""
    information, _ = information_after(pool, belief, taken)
    return log_det(information) - log_det(belief.information)


def affordable(pool, taken, budget):
    """The (pair, teacher) that can still be bought."""
    money = budget - sum(pool.cost[j] for _, j in taken)
    return [
        (i, j)
        for i, j in np.ndindex(*pool.available.shape)
        if pool.available[i, j] < 0 or taken.count((i, j)) < pool.available[i, j]
        if pool.cost[j] <= money + 1e-9 * budget
    ]


def select(name, pool, belief, budget, rng):
    """The picks [(pair, teacher)] of the selector ``name``."""
    rule, taken = name.removesuffix("_best_teacher"), []
    sharpest = name.endswith("_best_teacher")
    while cells := affordable(pool, taken, budget):
        taken.append(next_pick(rule, sharpest, pool, belief, taken, cells, rng))
    return taken


def next_pick(rule, sharpest, pool, belief, taken, cells, rng):
    w = fisher_weights(pool, belief.theta)
    information, gram = information_after(pool, belief, taken)
    pairs = sorted({i for i, _ in cells})

    def best(i):
        return max((j for k, j in cells if k == i), key=lambda j: _rationality(pool, i, j))

    def leverage(matrix, i):
        return pool.z[i] @ np.linalg.solve(matrix, pool.z[i])

    if rule == "dual":
        now = log_det(information)
        return max(
            cells,
            key=lambda c: (
                (log_det(information + w[c] * np.outer(pool.z[c[0]], pool.z[c[0]])) - now)
                / pool.cost[c[1]]
            ),
        )
    if rule == "conversation_only" and not sharpest:
        teachers = sorted({j for _, j in cells})
        j = teachers[rng.integers(len(teachers))]
        i = max((k for k, q in cells if q == j), key=lambda k: w[k, j] * leverage(information, k))
        return i, j
    score = {
        "random": None,
        "teacher_only": None,
        "conversation_only": lambda i: w[i, best(i)] * leverage(information, i),
        "apo": lambda i: leverage(information, i),
        "practical_apo": lambda i: leverage(gram, i),
        "uncertainty": lambda i: -abs(pool.z[i] @ belief.theta),
    }[rule]
    i = max(pairs, key=score) if score else pairs[rng.integers(len(pairs))]
    teachers = [j for k, j in cells if k == i]
    if rule == "teacher_only":
        return i, max(teachers, key=lambda j: w[i, j])
    return i, best(i) if sharpest else teachers[rng.integers(len(teachers))]


def _rationality(pool, i, j):
    return pool.rationality[j, pool.context[i]]

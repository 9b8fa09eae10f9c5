"""Slow obvious twins: everything from scratch, one line a definition. Only tests use them."""

import numpy as np


def certified_gap(points, weights):
    """max x' M^-1 x / d - 1 and log det M, in 80-bit arithmetic where the machine has it."""
    held = np.flatnonzero(weights)
    scale = np.abs(np.asarray(points, dtype=np.float64)).max(axis=0).astype(np.longdouble)
    x = np.asarray(points).astype(np.longdouble) / scale
    a = x[held] * np.sqrt(weights[held].astype(np.longdouble))[:, None]
    d = a.shape[1]
    basis = np.zeros((d, d), dtype=np.longdouble)  # Gram-Schmidt twice: a = q basis
    for _ in range(2):
        turn = np.eye(d, dtype=np.longdouble)
        for k in range(d):
            turn[k, k] = np.sqrt((a[:, k] ** 2).sum())
            a[:, k] /= turn[k, k]
            turn[k, k + 1 :] = a[:, k] @ a[:, k + 1 :]
            a[:, k + 1 :] -= np.outer(a[:, k], turn[k, k + 1 :])
        basis = turn @ basis if basis.any() else turn
    y = x.copy()
    for k in range(d):
        y[:, k] = (y[:, k] - y[:, :k] @ basis[:k, k]) / basis[k, k]
    log_det = 2 * (np.log(np.abs(np.diagonal(basis))).sum() + np.log(scale).sum())
    return float((y**2).sum(axis=1).max() / d - 1), float(log_det)


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


def shortfalls(pool, belief, picks, budget):
    """By how much, relative to the best gain per money, each pick of ``dual`` falls short of it.

    Plain greedy in float64: before every pick all leverages are computed from scratch.
    """
    z, cost = pool.z.astype(float), pool.cost.astype(float)
    w = fisher_weights(pool._replace(z=z), belief.theta.astype(float))
    information, left, out = belief.information.astype(float), pool.available.copy(), []
    for i, j in picks:
        leverage = np.einsum("nd,dn->n", z, np.linalg.solve(information, z.T))
        allowed = (left != 0) & (cost <= budget * (1 + 1e-9))
        gains = np.where(allowed, np.log1p(w * leverage[:, None]) / cost, -np.inf)
        out.append(1 - gains[i, j] / gains.max())
        information += w[i, j] * np.outer(z[i], z[i])
        left[i, j] -= left[i, j] > 0
        budget -= cost[j]
    return np.array(out)


def predictive_entropy(margin, v):
    """Entropy in nats of an answer with probability mu(margin / sqrt(1 + pi v / 8))."""
    p = 1 / (1 + np.exp(-margin / np.sqrt(1 + np.pi * v / 8)))
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def distance(z, c):
    """Between two pairs, each with its order forgotten."""
    return min(np.linalg.norm(z - c), np.linalg.norm(z + c))


def covering_radius(z, centres):
    """The distance of the worst covered pair from its nearest centre."""
    return max(min(distance(row, z[c]) for c in centres) for row in z)


def root_after(pool, belief, taken):
    """S (d, d) with S S' = H^-1: the inverse Cholesky factor times each label's symmetric root."""
    w = fisher_weights(pool, belief.theta)
    root = np.linalg.inv(np.linalg.cholesky(belief.information)).T
    for i, j in taken:
        y = root.T @ pool.z[i]
        values, vectors = np.linalg.eigh(np.eye(len(y)) + w[i, j] * np.outer(y, y))
        root = root @ (vectors / np.sqrt(values)) @ vectors.T
    return root


def draws(rng, rows, columns):
    """Standard normals (rows, columns) by Box and Muller, one pair after the other."""
    u, normals = rng.random(rows * columns), []
    for a, b in zip(u[::2], u[1::2], strict=True):
        r = np.sqrt(-2 * np.log(1 - a))
        normals += [r * np.cos(2 * np.pi * b), r * np.sin(2 * np.pi * b)]
    return np.array(normals).reshape(rows, columns)


def choice(things, rng):
    """One of them, uniformly."""
    return things[rng.integers(len(things))]


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
        j = choice(teachers, rng)
        i = max((k for k, q in cells if q == j), key=lambda k: w[k, j] * leverage(information, k))
        return i, j
    if rule == "thompson":
        one, other = draws(rng, 2, len(belief.theta)) @ root_after(pool, belief, taken).T
        i = max(pairs, key=lambda k: abs(pool.z[k] @ (one - other)))
        return i, best(i) if sharpest else choice([j for k, j in cells if k == i], rng)
    asked = [k for k in range(len(pool.z)) if belief.counts[k].any()] + [k for k, _ in taken]
    if rule == "coreset" and not asked:
        i = choice(pairs, rng)
        return i, best(i) if sharpest else choice([j for k, j in cells if k == i], rng)
    score = {
        "random": None,
        "teacher_only": None,
        "conversation_only": lambda i: w[i, best(i)] * leverage(information, i),
        "apo": lambda i: leverage(information, i),
        "practical_apo": lambda i: leverage(gram, i),
        "uncertainty": lambda i: -abs(pool.z[i] @ belief.theta),
        "entropy": lambda i: predictive_entropy(pool.z[i] @ belief.theta, leverage(information, i)),
        "coreset": lambda i: min(distance(pool.z[i], pool.z[c]) for c in asked),
    }[rule]
    i = max(pairs, key=score) if score else choice(pairs, rng)
    teachers = [j for k, j in cells if k == i]
    if rule == "teacher_only":
        return i, max(teachers, key=lambda j: w[i, j])
    return i, best(i) if sharpest else choice(teachers, rng)


def _rationality(pool, i, j):
    return pool.rationality[j, pool.context[i]]

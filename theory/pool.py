"""The three records every selector speaks: what can be asked, what is known, what to ask next."""

from typing import Any, NamedTuple

Array = Any  # any array-API array: numpy.ndarray in the simulator, torch.Tensor on a GPU


class Pool(NamedTuple):
    """What can be asked: n pairs, m teachers, K context types."""

    z: Array  # (n, d) feature differences phi(x, a1) - phi(x, a2)
    context: Array  # (n,) int, context type of each pair, in 0..K-1
    rationality: Array  # (m, K) teachers' rationality per context type
    cost: Array  # (m,) price of one label from each teacher
    available: Array  # (n, m) int, labels still obtainable: -1 unlimited, 0 none, k > 0 that many


class Belief(NamedTuple):
    """What is known so far."""

    theta: Array  # (d,) current estimate
    information: Array  # (d, d) sum of rationality^2 mu' z z' over all labels, at theta, + ridge I
    gram: Array  # (d, d) sum of z z' over all labels, + ridge I
    counts: Array  # (n, m) labels bought so far
    ridge: float


class Picks(NamedTuple):
    """What to ask next, in the order picked."""

    pair: Array  # (b,) int
    teacher: Array  # (b,) int
    score: Array  # (b,) what the rule maximised

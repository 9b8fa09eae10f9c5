"""Pairs that a training does not see: how its policy orders them, on the way."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..theory.checks import Floats
from .config import ModelOptions
from .features import batches
from .head import accuracy
from .model_choices import rope_turn
from .reference import evaluate
from .tokens import TokenisedPairs, rows_of


class HeldOut(NamedTuple):
    """n pairs whose truth is decided, and what they are rewarded with."""

    found: TokenisedPairs
    reference: Floats  # (n, 2) log-probabilities
    truth: Floats  # (n,) 1 a better, 0 b
    model: ModelOptions
    pad: int
    beta: float
    tokens_per_batch: int

    def differences(self, policy: Any) -> Floats:
        """D = r(a) - r(b) of each pair (n,), r = beta (log pi - log pi_ref), without dropout."""
        rows = rows_of(self.found.rows)
        values, lengths = np.empty(len(rows)), np.array([len(row.tokens) for row in rows])
        policy.eval()
        for batch in batches(lengths, self.tokens_per_batch, rope_turn(policy.config)):
            values[batch] = evaluate(policy, [rows[i] for i in batch], self.model, self.pad)
        policy.train()
        if not np.isfinite(values).all():
            raise ValueError(
                "log-probability: found one that is not finite on the held-out pairs; needed numbers. "
                "Lower learning_rate, or look at the weights that training starts from."
            )
        a, b = values.reshape(2, -1) - self.reference.T
        return np.asarray(self.beta * (a - b))

    def look(self, policy: Any | None) -> dict[str, float | int | None]:
        """Accuracy (D = 0 counts half) and mean D towards the truth; None is the reference, D = 0."""
        if not len(self.truth):
            accurate = margin = None
        else:
            found = np.zeros(len(self.truth)) if policy is None else self.differences(policy)
            accurate = accuracy(found, self.truth)
            margin = float(((2 * self.truth - 1) * found).mean())
        return {
            "accuracy": accurate,
            "margin": margin,
            "known": len(self.truth),
            "too_long": self.found.prompt_too_long,
        }


def decided(pairs: Sequence[int], truth: Sequence[float] | Floats | None) -> list[int]:
    """The pairs whose truth (one value a pair of the pool) is 1 or 0; ``ValueError`` without any truth."""
    if truth is None:
        if len(pairs):
            raise ValueError(
                f"held_out: found {len(pairs)} pairs, but no truth; needed the true preferences that "
                "the policy is compared with. Pass truth, or hold out nothing."
            )
        return []
    return [int(pair) for pair in pairs if truth[pair] in (0.0, 1.0)]

"""The papers' claims, one file each, and the one tuple that registers them."""

from ..claim import Claim
from . import (
    batch,
    beats,
    d_optimality,
    expertise,
    generalized_variance,
    known_optimum,
    normality,
    pessimism,
    suboptimality,
    teacher_rule,
)

CLAIMS: tuple[Claim, ...] = (
    normality.CLAIM,
    d_optimality.CLAIM,
    generalized_variance.CLAIM,
    beats.CLAIM,
    teacher_rule.CLAIM,
    known_optimum.CLAIM,
    expertise.CLAIM,
    batch.CLAIM,
    suboptimality.CLAIM,
    pessimism.CLAIM,
)

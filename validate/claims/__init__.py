"""The papers' claims, one file each, and the one tuple that registers them."""

from ..claim import Claim
from . import (
    beats,
    d_optimality,
    generalized_variance,
    normality,
)

CLAIMS: tuple[Claim, ...] = (
    normality.CLAIM,
    d_optimality.CLAIM,
    generalized_variance.CLAIM,
    beats.CLAIM,
)

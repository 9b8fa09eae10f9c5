"""The papers' claims, one file each, and the one tuple that registers them."""

from ..claim import Claim
from . import (
    appo_fewer_queries,
    appo_oppo_rate,
    appo_rates,
    appo_stops,
    appo_threshold,
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
    appo_stops.CLAIM,
    appo_rates.GAP_CLAIM,
    appo_rates.DIM_CLAIM,
    appo_oppo_rate.CLAIM,
    appo_fewer_queries.OPPO,
    appo_fewer_queries.MATCHED,
    appo_threshold.CLAIM,
)

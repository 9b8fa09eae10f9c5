"""The mathematics, on plain arrays: no files, no clocks, no global state."""

from .bounds import (
    AppoConstants,
    appo_constants,
    appo_horizon,
    appo_query_bound,
    appo_step_size,
    query_ceiling,
)
from .confidence import (
    appo_confidence_radius,
    asymptotic_radius,
    ellipsoid_distance,
    finite_sample_radius,
)
from .design import Design, d_optimal
from .dual_design import dual_design
from .estimate import Estimate, fit_preferences
from .exact_design import d_efficiency, exact_design
from .item_pairs import PairsDesign, d_optimal_pairs
from .joint_estimate import JointEstimate, fit_jointly
from .pessimism import (
    PessimisticPolicy,
    lower_confidence_values,
    pointwise_bound,
    pointwise_policy,
    policy_level,
    policy_level_bound,
    suboptimality,
)
from .pool import Belief, Picks, Pool
from .preference import fisher_weight, log_likelihood, win_probability
from .selectors import SELECTORS

__all__ = [
    "SELECTORS",
    "AppoConstants",
    "Belief",
    "Design",
    "Estimate",
    "JointEstimate",
    "PairsDesign",
    "PessimisticPolicy",
    "Picks",
    "Pool",
    "appo_confidence_radius",
    "appo_constants",
    "appo_horizon",
    "appo_query_bound",
    "appo_step_size",
    "asymptotic_radius",
    "d_efficiency",
    "d_optimal",
    "d_optimal_pairs",
    "dual_design",
    "ellipsoid_distance",
    "exact_design",
    "finite_sample_radius",
    "fisher_weight",
    "fit_jointly",
    "fit_preferences",
    "log_likelihood",
    "lower_confidence_values",
    "pointwise_bound",
    "pointwise_policy",
    "policy_level",
    "policy_level_bound",
    "query_ceiling",
    "suboptimality",
    "win_probability",
]

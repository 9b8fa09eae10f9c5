"""The figures of the papers, one file each, and the one dict that registers them."""

from . import (
    accuracy,
    appo_paths,
    appo_radius,
    appo_rates,
    appo_tradeoff,
    efficiency,
    generalized_variance,
    shift_map,
    suboptimality,
    teacher_choice,
)
from .figure import PaperFigure

FIGURES: dict[str, PaperFigure] = {
    module.FIGURE.name: module.FIGURE
    for module in (
        generalized_variance,
        efficiency,
        accuracy,
        teacher_choice,
        suboptimality,
        shift_map,
        appo_paths,
        appo_rates,
        appo_tradeoff,
        appo_radius,
    )
}

__all__ = ["FIGURES", "PaperFigure"]

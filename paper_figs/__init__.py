"""The figures of the papers, one file each, and the one dict that registers them."""

from . import accuracy, efficiency, generalized_variance
from .figure import PaperFigure

FIGURES: dict[str, PaperFigure] = {
    figure.name: figure
    for figure in (generalized_variance.FIGURE, efficiency.FIGURE, accuracy.FIGURE)
}

__all__ = ["FIGURES", "PaperFigure"]

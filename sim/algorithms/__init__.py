"""The algorithms that can be simulated, by name."""

from ...theory.selectors import SELECTORS
from ..kernels.selection import RULES
from .labelling import Labelling

ALGORITHMS: dict[str, Labelling] = {
    name: Labelling(name, select, RULES.get(name)) for name, select in SELECTORS.items()
}

__all__ = ["ALGORITHMS", "Labelling"]

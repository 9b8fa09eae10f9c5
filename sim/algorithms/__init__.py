"""The algorithms that can be simulated, by name: on pools of pairs, and on dueling worlds."""

from ...theory.selectors import SELECTORS
from ..kernels import duel_rules as kernel
from ..kernels.selection import RULES
from .appo import appo
from .colstim import colstim
from .dueling import Dueling
from .greedy import greedy
from .labelling import Labelling
from .maxinp import maxinp
from .oppo import oppo
from .random_query import random_query
from .thompson import thompson

LABELLING: dict[str, Labelling] = {
    name: Labelling(name, select, RULES.get(name)) for name, select in SELECTORS.items()
}

DUELING: dict[str, Dueling] = {
    algorithm.name: algorithm
    for algorithm in (
        Dueling("appo", appo, kernel.APPO),
        Dueling("oppo", oppo, kernel.OPPO),
        Dueling("maxinp", maxinp, kernel.MAXINP),
        Dueling("colstim", colstim, kernel.COLSTIM),
        Dueling("thompson", thompson, kernel.THOMPSON),
        Dueling("random_query", random_query, kernel.RANDOM_QUERY),
        Dueling("greedy", greedy, kernel.GREEDY),
    )
}

ALGORITHMS: dict[str, Labelling | Dueling] = {**LABELLING, **DUELING}
"""All of them; where a name stands for a rule on pools and one on worlds, the latter."""

__all__ = ["ALGORITHMS", "DUELING", "LABELLING", "Dueling", "Labelling"]

"""The selection rules, one file each: ``select(pool, belief, budget, rng) -> Picks``."""

from collections.abc import Callable

from ..pool import Belief, Picks, Pool
from .apo import apo, apo_best_teacher
from .batch import Rng
from .conversation_only import conversation_only, conversation_only_best_teacher
from .coreset import coreset, coreset_best_teacher
from .dual import dual
from .entropy import entropy, entropy_best_teacher
from .practical_apo import practical_apo, practical_apo_best_teacher
from .random import random, random_best_teacher
from .teacher_only import teacher_only
from .thompson import thompson, thompson_best_teacher
from .uncertainty import uncertainty, uncertainty_best_teacher

Select = Callable[[Pool, Belief, float, Rng], Picks]

SELECTORS: dict[str, Select] = {
    "random": random,
    "random_best_teacher": random_best_teacher,
    "dual": dual,
    "conversation_only": conversation_only,
    "conversation_only_best_teacher": conversation_only_best_teacher,
    "teacher_only": teacher_only,
    "apo": apo,
    "apo_best_teacher": apo_best_teacher,
    "practical_apo": practical_apo,
    "practical_apo_best_teacher": practical_apo_best_teacher,
    "uncertainty": uncertainty,
    "uncertainty_best_teacher": uncertainty_best_teacher,
    "entropy": entropy,
    "entropy_best_teacher": entropy_best_teacher,
    "thompson": thompson,
    "thompson_best_teacher": thompson_best_teacher,
    "coreset": coreset,
    "coreset_best_teacher": coreset_best_teacher,
}

__all__ = ["SELECTORS", "Rng", "Select"]

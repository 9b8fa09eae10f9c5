"""Teachers: one file a kind, all with one protocol; models are loaded when first asked."""

from collections.abc import Callable, Mapping

from ..config import TeacherOptions
from ..data import TextPool
from .people import People
from .protocol import Answer, Question, Teacher, Waiting
from .recorded import Recorded
from .simulated import Simulated

__all__ = ["TEACHERS", "Answer", "Question", "Teacher", "Waiting", "make"]


def _classifier(options: TeacherOptions, pool: TextPool, *, seed: int) -> Teacher:
    from .classifier import Classifier  # imports torch

    return Classifier(options, pool, seed=seed)


def _generative(options: TeacherOptions, pool: TextPool, *, seed: int) -> Teacher:
    from .generative import Generative  # imports torch

    return Generative(options, pool, seed=seed)


TEACHERS: Mapping[str, Callable[..., Teacher]] = {
    "recorded": Recorded,
    "simulated": Simulated,
    "classifier": _classifier,
    "generative": _generative,
    "people": People,
}


def make(options: TeacherOptions, pool: TextPool, *, seed: int) -> Teacher:
    """The teacher that the options describe, on this pool; ``ValueError`` on settings it lacks."""
    if options.kind not in TEACHERS:
        raise ValueError(
            f"teachers: {options.name!r}: found the kind {options.kind!r}; needed one of "
            f"{', '.join(TEACHERS)}. Change it."
        )
    return TEACHERS[options.kind](options, pool, seed=seed)

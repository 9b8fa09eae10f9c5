"""Teachers: one file a kind, all with one protocol; models are loaded when first asked.

Whatever the kind, a teacher's stated ``rationality`` b says how its answers follow the reward:
P(a preferred) = mu(b (reward_a - reward_b)), in each context type. 0 is a coin. A negative b is a
teacher below chance, who prefers the worse response: once b is known or estimated to be negative,
such answers inform as much as those of |b|, for they are read the other way round.
"""

from collections.abc import Callable, Mapping

from ..config import TeacherOptions
from ..data import TextPool
from .judge_settings import ClassifierSettings, GenerativeSettings
from .people import People
from .people import Settings as PeopleSettings
from .protocol import Answer, Question, Teacher, Waiting
from .recorded import Recorded
from .recorded import Settings as RecordedSettings
from .settings import read_settings
from .simulated import Settings as SimulatedSettings
from .simulated import Simulated

__all__ = ["TEACHERS", "Answer", "Question", "Teacher", "Waiting", "check", "make"]


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


SETTINGS: Mapping[str, type] = {
    "recorded": RecordedSettings,
    "simulated": SimulatedSettings,
    "classifier": ClassifierSettings,
    "generative": GenerativeSettings,
    "people": PeopleSettings,
}


def check(options: TeacherOptions) -> None:
    """``ValueError`` where the settings are not those of the kind; nothing is loaded."""
    read_settings(options, SETTINGS[options.kind])


def make(options: TeacherOptions, pool: TextPool, *, seed: int) -> Teacher:
    """The teacher that the options describe, on this pool; ``ValueError`` on settings it lacks."""
    if options.kind not in TEACHERS:
        raise ValueError(
            f"teachers: {options.name!r}: found the kind {options.kind!r}; needed one of "
            f"{', '.join(TEACHERS)}. Change it."
        )
    return TEACHERS[options.kind](options, pool, seed=seed)

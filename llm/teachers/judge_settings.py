"""The keys of the teachers that are models; no torch, so that they are checked before any is loaded."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from ..config import ModelOptions, TeacherOptions
from .settings import refuse
from .verdicts import PATTERNS, TEMPLATE, check_template, compile_patterns


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The keys that every model judge has, named as in ``ModelOptions``."""

    model_name_or_path: str  # a model of the hub, or a folder
    model_revision: str = "main"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    max_length: int = 4096  # tokens, or fewer where the model has fewer positions

    def model(self) -> ModelOptions:
        """The options that the loading of models understands."""
        names = (
            "model_name_or_path model_revision dtype attn_implementation trust_remote_code device "
            "load_in_4bit load_in_8bit"
        )
        return ModelOptions(**{name: getattr(self, name) for name in names.split()})

    def check(self, options: TeacherOptions) -> None:
        """``ValueError`` where a value is of the right type, but means nothing."""
        if self.max_length < 1:
            refuse(options, f"max_length {self.max_length}", "1 or more", "Change it.")


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(JudgeSettings):
    """The keys of the kind "classifier"."""

    temperature: float = 0.0  # 0: always the larger reward; T: Bradley-Terry at difference / T
    form: Literal["auto", "chat", "pair", "text"] = "auto"  # how both texts are put

    def check(self, options: TeacherOptions) -> None:
        """As above."""
        super().check(options)
        if self.temperature < 0:
            refuse(options, f"temperature {self.temperature}", "0 or more", "Change it.")


@dataclass(frozen=True, kw_only=True)
class GenerativeSettings(JudgeSettings):
    """The keys of the kind "generative"."""

    template: str = TEMPLATE  # the question, with {prompt}, {response_a}, {response_b}
    max_new_tokens: int = 16  # of a reply
    verdicts: Any = None  # {a: regex, b: regex, tie: regex}; none: A, B, tie

    def check(self, options: TeacherOptions) -> None:
        """As above."""
        super().check(options)
        if lack := check_template(self.template):
            needed = "{prompt}, {response_a} and {response_b} in it, and no other place"
            refuse(options, lack, needed, "Repair the template.")
        if not 1 <= self.max_new_tokens < self.max_length:
            found = f"max_new_tokens {self.max_new_tokens} of max_length {self.max_length}"
            refuse(options, found, "1 or more, and room for the question", "Change one of them.")
        try:
            self.patterns()
        except ValueError as error:
            raise ValueError(f"teachers: {options.name!r} ({options.kind}): {error}") from error

    def patterns(self) -> dict[str, re.Pattern[str]]:
        """How a reply is read."""
        return compile_patterns(PATTERNS if self.verdicts is None else self.verdicts)

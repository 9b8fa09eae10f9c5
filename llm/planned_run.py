"""A run that has not started: what its stages share, and one line of what they will need."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from ..theory.checks import Floats
from .config import Config, ModelOptions
from .model_size import BYTES, ModelSize, Precision, count, forward_flops
from .steps import step_count

Place = Literal["device", "host", "disk"]


class Line(NamedTuple):
    """One thing that a stage holds or does; None: not counted here, or unknown (``how`` says)."""

    stage: str
    what: str
    place: Place  # where its bytes are
    bytes: float | None
    seconds: float | None
    how: str

    @property
    def unknown(self) -> bool:
        """Whether this could not be estimated."""
        return self.bytes is None and self.how.startswith("unknown")


def model_size(options: ModelOptions, config: Any = None) -> tuple[ModelSize | None, str]:
    """The model, or None and why not."""
    from .models import load_config

    try:
        found = load_config(options) if config is None else config
        own = options.model_revision if options.trust_remote_code else None
        return count(found, options.lora_target_modules, own_code=own), ""
    except ValueError as error:
        return None, f"unknown: {error}"


@dataclass(frozen=True)
class PlannedRun:
    """The configuration, the model's size, and what follows from both."""

    config: Config
    size: ModelSize | None  # None: not to be had
    reason: str  # why not
    pairs: int
    counts: Floats  # tokens of texts, a sample
    device: str  # "cpu" or "cuda"
    rate: float | None = None  # flop/s of a matrix product

    @cached_property
    def dtype(self) -> str:
        """Of weights that are only read."""
        stored = self.size.dtype if self.size else "float32"
        return stored if self.config.model.dtype == "auto" else self.config.model.dtype

    @cached_property
    def mixed(self) -> bool:
        """Whether training computes in bfloat16, as ``training.computes_in_bfloat16`` has it."""
        asked = self.config.model.dtype
        return asked == "bfloat16" or (asked == "auto" and self.device == "cuda")

    @cached_property
    def trained_dtype(self) -> str:
        """Of the weights in training, as ``training.load_base`` has it."""
        whole = not self.config.model.use_peft
        on_cpu = self.config.model.dtype == "auto" and self.device == "cpu"
        return "float32" if whole or on_cpu else self.dtype

    @property
    def computing(self) -> str:
        """The type of most matrix products."""
        return "bfloat16" if self.mixed else self.dtype

    @property
    def precision(self) -> Precision:
        """In training."""
        r = BYTES[self.trained_dtype]
        return Precision(r, 2 if self.mixed else r)

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return int(self.counts.max())

    @property
    def labels(self) -> float:
        """What the budget buys at the mean price, in one arm."""
        prices = [teacher.cost for teacher in self.config.teachers] or [1.0]
        return self.config.selection.budget / float(np.mean(prices))

    @property
    def training_pairs(self) -> float:
        """Pairs that are not held out."""
        return self.pairs * (1 - self.config.data.test_fraction)

    @property
    def arms(self) -> int:
        """Different selectors x replicates."""
        options = self.config.selection
        return len({options.selector, *options.baselines}) * options.replicates

    @property
    def questions(self) -> float:
        """Labels bought by all arms together, at most."""
        options, training = self.config.selection, self.config.training
        if training.method != "adpo":
            return self.arms * self.labels
        asked = min(self.labels, self.training_pairs)
        return options.replicates * (asked + math.fsum(self.dpo_pairs))

    @property
    def dpo_pairs(self) -> list[float]:
        """Pairs of each DPO training beside ADPO in one replicate: for as much money, and all."""
        training, pairs = self.config.training, self.training_pairs
        bought = [min(self.labels, pairs) for _ in set(self.config.selection.baselines)]
        return bought + [pairs] * training.dpo_baseline

    @property
    def passes_over_held_out(self) -> int:
        """How often one ADPO training reads the held-out pairs: its first look needs no pass."""
        training = self.config.training
        steps = step_count(math.ceil(self.training_pairs), training)
        between = training.eval_steps
        between = int(between) if between >= 1 else math.ceil(between * steps)
        return math.ceil(steps / between) if between else 1

    def trained_after(self) -> list[float]:
        """Labels that an arm has at each of its reward trainings."""
        options, training = self.config.selection, self.config.training
        if training.method != "reward":
            return []
        if not training.train_every:
            return [self.labels]
        warm_up = options.budget / 6 if options.warm_up is None else options.warm_up
        money = np.arange(warm_up, options.budget * (1 + 1e-9), max(options.label_batch, 1e-9))
        share = money[training.train_every - 1 :: training.train_every] / options.budget
        return [float(s * self.labels) for s in share] or [self.labels]

    def flops(self, texts: float, *, head: bool) -> float:
        """Of one forward pass over so many texts of the pool."""
        assert self.size is not None
        return texts / len(self.counts) * forward_flops(self.size, self.counts.tolist(), head=head)

    def seconds(self, flops: float, efficiency: float) -> float | None:
        """At this share of the matrix rate; None where that is not known."""
        return None if self.rate is None else flops / (self.rate * efficiency)


def weights_text(size: ModelSize, options: ModelOptions, dtype: str, *, head: bool = True) -> str:
    """How many, and in which type."""
    number = f"{size.parameters - (0 if head else size.head):,} parameters"
    if options.load_in_4bit:
        kind = "4 bits" + (", nested scales" if options.use_bnb_nested_quant else "")
        return f"{number}; matrices in {kind}, the rest in {dtype}"
    if options.load_in_8bit:
        return f"{number}; matrices in 8 bits, the rest in {dtype}"
    return f"{number} in {dtype}"


def bytes_text(count: float) -> str:
    """Three digits and a unit of powers of ten.

    >>> bytes_text(14.48e9), bytes_text(1.2e6), bytes_text(300), bytes_text(0)
    ('14.5 GB', '1.2 MB', '300 B', '0 B')
    """
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {name}"
    return f"{count:.0f} B"


def duration_text(seconds: float) -> str:
    """One unit that reads well.

    >>> duration_text(0.02), duration_text(59), duration_text(600), duration_text(86400)
    ('under 1 s', '59 s', '10 min', '24 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

"""What each stage of a run holds and how long it takes: the lines of a ``footprint``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from ..theory.checks import Floats
from .config import Config, ModelOptions
from .model_size import (
    BYTES,
    ModelSize,
    Precision,
    count,
    forward_flops,
    inference_bytes,
    layer_bytes,
    lora_parameters,
    saved_bytes,
    training_factor,
    weight_bytes,
)

FORWARD, TRAINING = 0.5, 0.4  # share of the matrix rate that a pass reaches: assumed, not measured
_CHUNK = 1024  # rows of logits that our own loss turns to float32 at once
_TILE = 4096 * 32768  # logits that TRL's fused head holds at once
_HOST_FLOPS = 2e9  # of the head's linear algebra in float64: assumed

Place = Literal["device", "host", "disk"]


class Line(NamedTuple):
    """One thing that a stage holds or does; None: not counted here, or unknown (``how`` says)."""

    stage: str
    what: str
    place: Place  # where its bytes are
    bytes: float | None
    seconds: float | None
    how: str


def model_size(options: ModelOptions, config: Any = None) -> tuple[ModelSize | None, str]:
    """The model, or None and why not."""
    from .models import load_config

    try:
        found = load_config(options) if config is None else config
    except ValueError as error:
        return None, f"unknown: {error}"
    return count(found, options.lora_target_modules), ""


@dataclass(frozen=True)
class Run:
    """What the stages share."""

    config: Config
    size: ModelSize | None
    reason: str
    pairs: int
    counts: Floats  # tokens of texts, a sample
    device: str
    rate: float | None

    @cached_property
    def dtype(self) -> str:
        """Of the weights that are only read."""
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
        """The type of the matrix products."""
        return "bfloat16" if self.mixed else self.dtype

    @property
    def precision(self) -> Precision:
        """In training."""
        r = BYTES[self.trained_dtype]
        return Precision(r, 2 if self.mixed else r)

    @property
    def longest(self) -> int:
        return int(self.counts.max())

    @property
    def labels(self) -> float:
        """What the budget buys at the mean price, in one arm."""
        options = self.config.selection
        price = float(np.mean([t.cost for t in self.config.teachers])) if self.config.teachers else 1
        return options.budget / price

    @property
    def training_pairs(self) -> float:
        return self.pairs * (1 - self.config.data.test_fraction)

    @property
    def arms(self) -> int:
        """Arms with a model of their own: selectors x replicates."""
        options = self.config.selection
        return (1 + len(options.baselines)) * options.replicates

    def flops(self, texts: float, *, head: bool) -> float:
        """Of one forward pass over so many texts of the pool."""
        assert self.size is not None
        return texts / len(self.counts) * forward_flops(self.size, self.counts.tolist(), head=head)

    def seconds(self, flops: float, efficiency: float) -> float | None:
        return None if self.rate is None else flops / (self.rate * efficiency)


def lines(run: Run) -> Iterator[Line]:
    training = run.config.training
    yield from _features(run)
    yield from _head(run)
    yield from _judges(run)
    if run.size is None:
        return
    if training.method == "reward":
        yield from _training(run, "reward", _rewards_trained(run), run.arms, chunk=0)
    replicates = run.config.selection.replicates
    if training.method == "adpo":
        yield from _reference(run)
        yield from _training(run, "adpo", run.training_pairs, replicates, chunk=_CHUNK)
    if training.dpo_baseline:
        live = 1 if run.config.model.use_peft else 0  # TRL runs the reference in every step
        yield from _training(
            run, "dpo", run.training_pairs, replicates, chunk=-1, reference=live
        )


def _features(run: Run) -> Iterator[Line]:
    """Hidden states of both responses of every pair."""
    size, model, options = run.size, run.config.model, run.config.features
    if size is None:
        yield Line("features", "model", "device", None, None, run.reason)
        return
    weights = weight_bytes(size, model, run.dtype, head=False)
    yield Line("features", "weights", "device", weights, None, _weights_text(size, model, run.dtype))
    batch = max(options.tokens_per_batch, run.longest)
    c = BYTES[run.dtype]
    every = (size.layers + 1) * c * size.hidden if options.layer != -1 else 0
    yield Line(
        "features", "one batch", "device",
        batch * (inference_bytes(size, c) + every), None, f"{batch:,} tokens, widest moment of a layer",
    )  # fmt: skip
    yield Line(
        "features", "cache", "disk", 8.0 * run.pairs * size.hidden * (1 + _retrainings(run)),
        None, f"2 x {run.pairs:,} pairs x {size.hidden} x 4 bytes, every model state",
    )  # fmt: skip
    flops = run.flops(2 * run.pairs, head=False) * (1 + _retrainings(run))
    yield Line(
        "features", "forward", "device", None, run.seconds(flops, FORWARD),
        f"{flops:.3g} flop: 2 x {size.body:,} parameters without embedding and head x "
        f"{2 * run.pairs * run.counts.mean():,.0f} tokens + attention",
    )  # fmt: skip


def _retrainings(run: Run) -> int:
    """Model states beside the first: one a reward training of an arm."""
    return len(_trained_after(run)) * run.arms if run.config.training.method == "reward" else 0


def _trained_after(run: Run) -> list[float]:
    """Labels of an arm at each of its reward trainings."""
    options, every = run.config.selection, run.config.training.train_every
    if not every:
        return [run.labels]
    warm_up = options.budget / 6 if options.warm_up is None else options.warm_up
    money = np.arange(warm_up, options.budget + 1e-9, max(options.label_batch, 1e-9))
    share = money[every - 1 :: every] / options.budget
    return [float(s * run.labels) for s in share] or [run.labels]


def _rewards_trained(run: Run) -> float:
    """Pairs that the reward trainings of one arm go over, together."""
    return math.fsum(_trained_after(run))


def _head(run: Run) -> Iterator[Line]:
    """Projection, refits and selection: NumPy on the host."""
    size, options = run.size, run.config.selection
    k, m, n = options.max_dimensions, max(1, len(run.config.teachers)), run.training_pairs
    rounds = options.budget / max(options.label_batch, 1e-9)
    if size is not None:
        d = size.hidden
        yield Line(
            "head", "projection", "host", 3.0 * 8 * d * d, 
            run.arms * (2.0 * n * d * d + 9.0 * d**3) / (10 * _HOST_FLOPS),
            f"3 matrices {d} x {d} in float64, once an arm",
        )  # fmt: skip
    selecting = rounds * run.arms * (2.0 * n * k * k + 20 * run.labels * k * k) / _HOST_FLOPS
    yield Line(
        "head", "selection and refits", "host", 8.0 * n * (2 * k + 4 * m), selecting,
        f"z and scores of {n:,.0f} pairs, {k} dimensions; {rounds:,.0f} rounds x {run.arms} arms",
    )  # fmt: skip


def _judges(run: Run) -> Iterator[Line]:
    """Judge models: their weights, and a pass over each text that they are asked about."""
    for teacher in run.config.teachers:
        if teacher.kind not in ("classifier", "generative"):
            continue
        known = {k: v for k, v in teacher.settings.items() if k in ModelOptions.__annotations__}
        options = ModelOptions(**{"model_name_or_path": "", **known})
        size, reason = model_size(options)
        what = f"judge {teacher.name}"
        if size is None:
            yield Line("asking", what, "device", None, None, reason)
            continue
        dtype = size.dtype if options.dtype == "auto" else options.dtype
        weights = weight_bytes(size, options, dtype)
        labels = run.arms * run.labels / len(run.config.teachers)
        texts = 2 * labels * (2 if teacher.kind == "generative" else 1)  # both orders hold both
        flops = texts * forward_flops(size, [float(run.counts.mean())])
        if teacher.kind == "generative":
            flops *= 2
        how = f"{_weights_text(size, options, dtype)}; {labels:,.0f} questions"
        yield Line("asking", what, "device", weights, run.seconds(flops, FORWARD), how)


def _reference(run: Run) -> Iterator[Line]:
    """Log-probabilities of the reference, once for every text."""
    assert run.size is not None
    size, model = run.size, run.config.model
    weights = weight_bytes(size, model, run.trained_dtype)
    how = _weights_text(size, model, run.trained_dtype)
    yield Line("reference", "weights", "device", weights, None, how)
    batch = max(run.config.features.tokens_per_batch, run.longest)
    c = run.precision.compute
    held = batch * max(
        inference_bytes(size, run.precision.residual), 1.0 * size.vocabulary * (8 if c == 4 else 2)
    )
    held += min(batch, _CHUNK) * size.vocabulary * 8.0 * (c < 4)
    yield Line("reference", "one batch", "device", held, None, f"{batch:,} tokens with their logits")
    flops = run.flops(2 * run.pairs, head=True)
    yield Line(
        "reference", "log-probabilities", "disk", 2.0 * run.pairs * 120,
        run.seconds(flops, FORWARD), f"one row a text; {flops:.3g} flop",
    )  # fmt: skip


def _training(
    run: Run, stage: str, pairs: float, repeats: int, *, chunk: int, reference: int = 0
) -> Iterator[Line]:
    """One training; ``chunk`` rows of logits at once in float32 (0: no logits, -1: TRL's tiles)."""
    assert run.size is not None
    size, model, options = run.size, run.config.model, run.config.training
    yield from _weights_in_training(run, stage)
    tokens = 2 * options.per_device_train_batch_size * run.longest
    ckpt, full = options.gradient_checkpointing, not model.use_peft
    gpu, r = run.device == "cuda", run.precision
    layer = layer_bytes(size, r, model, run.longest, gpu=gpu)
    kept = saved_bytes(size, r, model, run.longest, checkpointing=ckpt, gpu=gpu)
    kept -= layer if ckpt else 0
    shape = f"{2 * options.per_device_train_batch_size} rows x {run.longest} tokens"
    how = f"{shape}; {'starts of' if ckpt else 'kept of'} {size.layers} layers"
    yield Line(stage, "activations", "device", tokens * kept, None, how)
    again = tokens * ((layer if ckpt else 0) + (2 * size.inner + 2 * size.hidden) * r.compute)
    logits = logits_bytes(tokens, size.vocabulary, r.compute, chunk)
    copies = 2.0 * sum(i * o for i, o in size.matrices) * (full and run.mixed)
    if copies:
        copies += 2.0 * size.vocabulary * size.hidden * (chunk != 0)
    moment = max(logits + copies, again + (0 if ckpt else copies))
    yield Line(
        stage, "widest moment", "device", moment, None,
        f"the larger of logits ({bytes_text(logits)}), one layer's backward ({bytes_text(again)})"
        + (f"; with bfloat16 copies of the weights ({bytes_text(copies)})" if copies else ""),
    )  # fmt: skip
    texts = 2 * pairs * options.num_train_epochs * repeats
    flops = run.flops(texts, head=chunk != 0) * (training_factor(full, ckpt) + reference)
    passes = f"{training_factor(full, ckpt)}{' + 1' * reference} forward passes"
    yield Line(
        stage, "steps", "device", None, run.seconds(flops, TRAINING),
        f"{flops:.3g} flop: {passes} over {texts:,.0f} texts, {repeats} trainings",
    )  # fmt: skip


def _weights_in_training(run: Run, stage: str) -> Iterator[Line]:
    """Weights, gradients and AdamW's two moments; checkpoints on the disk."""
    assert run.size is not None
    size, model = run.size, run.config.model
    weights = weight_bytes(size, model, run.trained_dtype)
    how = _weights_text(size, model, run.trained_dtype)
    yield Line(stage, "weights", "device", weights, None, how)
    trained = lora_parameters(size, model.lora_r) if model.use_peft else size.parameters
    if model.use_peft:
        how = f"{trained:,} parameters in float32, rank {model.lora_r}"
        yield Line(stage, "adapters", "device", 4.0 * trained, None, how)
    what = f"{trained:,} x 4 bytes"
    yield Line(stage, "gradients", "device", 4.0 * trained, None, what)
    yield Line(stage, "AdamW's moments", "device", 8.0 * trained, None, f"2 x {what}")
    if model.load_in_4bit:
        largest = max(i * o for i, o in size.matrices) * run.precision.compute
        yield Line(stage, "one matrix unpacked", "device", float(largest), None, "the largest")
    copies = 24.0 if stage == "adpo" else 0.0
    left = (4.0 if model.use_peft else BYTES[run.trained_dtype]) * trained
    yield Line(
        stage, "saved models", "disk", left + copies * trained, None,
        "the result" + (", and two checkpoints of weights and moments for a moment" * bool(copies)),
    )  # fmt: skip


def logits_bytes(rows: int, vocabulary: int, compute: int, chunk: int) -> float:
    """At the loss. Ours: 12 bytes a logit in float32 (logits, probabilities, gradient); in bfloat16 2,
    2 more for the gradient where there are several chunks, and 12 of the chunk. TRL's tiles: 8 bytes
    of at most 4096 x 32768. ``rows``: every position, as if prompts were empty.

    >>> logits_bytes(2048, 32000, 2, 1024) == 2048 * 32000 * 4 + 1024 * 32000 * 12
    True
    """
    if chunk <= 0:
        return 8.0 * min(rows * vocabulary, _TILE) * (chunk < 0)
    if compute == 4:
        return 12.0 * rows * vocabulary
    return (rows * (4.0 if rows > chunk else 2.0) + 12.0 * min(rows, chunk)) * vocabulary


def _weights_text(size: ModelSize, options: ModelOptions, dtype: str) -> str:
    if options.load_in_4bit:
        kind = "4 bits" + (", nested scales" if options.use_bnb_nested_quant else "")
        return f"{size.parameters:,} parameters; matrices in {kind}, the rest in {dtype}"
    if options.load_in_8bit:
        return f"{size.parameters:,} parameters; matrices in 8 bits, the rest in {dtype}"
    return f"{size.parameters:,} parameters in {dtype}"


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

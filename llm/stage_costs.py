"""What each stage of a planned run holds and how long it takes: the lines of a ``footprint``."""

import math
from collections.abc import Iterator

from .config import ModelOptions
from .model_size import (
    BYTES,
    forward_flops,
    inference_bytes,
    layer_bytes,
    lora_parameters,
    saved_bytes,
    training_factor,
    weight_bytes,
)
from .planned_run import Line, PlannedRun, bytes_text, model_size, weights_text

SHARE = {"cpu": (0.8, 0.8), "cuda": (0.5, 0.4)}
"""Share of the matrix rate that passes and training steps reach: on CPUs as measured, else assumed."""
_CHUNK = 1024  # rows of logits that our own loss turns to float32 at once
_TILE = 4096 * 32768  # logits that TRL's fused head holds at once
_TILED, _NO_LOGITS = -1, 0
_PRODUCTS, _EIGENVECTORS, _SELECTION = 4e10, 1e10, 2e9  # flop/s of NumPy on the host: assumed


def lines(run: PlannedRun) -> Iterator[Line]:
    """Every line of every stage, in the order in which the stages run."""
    training, replicates = run.config.training, run.config.selection.replicates
    policies = training.method == "adpo"
    if not policies or run.size is None:
        yield from _features(run)
    if not policies:
        yield from _head(run)
    yield from _judges(run)
    if run.size is None:
        return
    if training.method == "reward":
        after = run.trained_after()
        times = len(after) * run.arms
        yield from _training(run, "reward", math.fsum(after) * run.arms, times, _NO_LOGITS)
    if policies:
        yield from _reference(run)
        pairs = run.training_pairs * replicates
        yield from _training(run, "adpo", pairs, replicates, _CHUNK)
        if dpo := run.dpo_pairs * replicates:
            yield from _training(run, "dpo", math.fsum(dpo), len(dpo), _TILED, reference=1)


def _features(run: PlannedRun) -> Iterator[Line]:
    """Hidden states of both responses of every pair, for every state of the model; or why unknown."""
    size, model, options = run.size, run.config.model, run.config.features
    if size is None:
        yield Line("model", "weights", "device", None, None, run.reason)
        return
    weights, c = weight_bytes(size, model, run.dtype, head=False), BYTES[run.dtype]
    how = weights_text(size, model, run.dtype, head=False)
    yield Line("features", "weights", "device", weights, None, how)
    batch = max(options.tokens_per_batch, run.longest)
    held = inference_bytes(size, c)
    if options.layer != -1:
        held += (size.layers + 1) * c * size.hidden  # all hidden states, of which one is used
    how = f"{batch:,} tokens at a layer's widest moment"
    yield Line("features", "one batch", "device", batch * held, None, how)
    states = 1 + len(run.trained_after()) * run.arms
    how = f"2 x {run.pairs:,} pairs x {size.hidden} x 4 bytes x {states} states of the model"
    cache = 8.0 * run.pairs * size.hidden * states
    yield Line("features", "cache", "disk", cache, None, how)
    flops = run.flops(2 * run.pairs, head=False) * states
    tokens = 2 * run.pairs * run.counts.mean() * states
    how = (
        f"{flops:.3g} flop: 2 x {size.active:,} parameters without embedding and head x "
        f"{tokens:,.0f} tokens + attention"
    )
    yield Line("features", "passes", "device", None, run.seconds(flops, SHARE[run.device][0]), how)


def _head(run: PlannedRun) -> Iterator[Line]:
    """Projection, refits and selection: NumPy on the host."""
    options, n = run.config.selection, run.training_pairs
    k, m = options.max_dimensions, max(1, len(run.config.teachers))
    if run.size is not None:
        d, times = run.size.hidden, run.arms * (1 + len(run.trained_after()))
        took = times * (2 * n * d * d / _PRODUCTS + 4 / 3 * d**3 / _EIGENVECTORS)
        how = f"3 matrices {d} x {d} in float64, {times} times"
        yield Line("head", "projection", "host", 24.0 * d * d, took, how)
    rounds = options.budget / max(options.label_batch, 1e-9)
    took = rounds * run.arms * (2 * n * k * k + 20 * run.labels * k * k) / _SELECTION
    how = f"{n:,.0f} pairs, {k} dimensions, {m} teachers; {rounds:,.0f} rounds x {run.arms} arms"
    yield Line("head", "selection and refits", "host", 8.0 * n * (2 * k + 4 * m), took, how)


def _judges(run: PlannedRun) -> Iterator[Line]:
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
        labels = run.questions / len(run.config.teachers)
        texts = labels * (4 if teacher.kind == "generative" else 2)  # both orders, each with both
        flops = texts * forward_flops(size, [float(run.counts.mean())])
        how = f"{weights_text(size, options, dtype)}; {labels:,.0f} questions, replies not counted"
        held = weight_bytes(size, options, dtype)
        yield Line("asking", what, "device", held, run.seconds(flops, SHARE[run.device][0]), how)


def _reference(run: PlannedRun) -> Iterator[Line]:
    """Log-probabilities of the reference, once for every text."""
    assert run.size is not None
    size, model = run.size, run.config.model
    weights = weight_bytes(size, model, run.trained_dtype)
    how = weights_text(size, model, run.trained_dtype)
    yield Line("reference", "weights", "device", weights, None, how)
    held, how = _one_batch(run)
    yield Line("reference", "one batch", "device", held, None, how)
    flops = run.flops(2 * run.pairs, head=True)
    took = run.seconds(flops, SHARE[run.device][0])
    how = f"120 bytes a text; {flops:.3g} flop"
    yield Line("reference", "log-probabilities", "disk", 240.0 * run.pairs, took, how)


def _one_batch(run: PlannedRun) -> tuple[float, str]:
    """Bytes of log-probabilities without gradients, and how computed."""
    assert run.size is not None
    size, (r, c) = run.size, run.precision
    batch = max(run.config.features.tokens_per_batch, run.longest)
    logits = (8.0 * batch if c == 4 else 2.0 * batch + 8.0 * min(batch, _CHUNK)) * size.vocabulary
    held = max(batch * inference_bytes(size, r), logits) + _bfloat16_copies(run, head=True)
    how = f"{batch:,} tokens: the larger of logits ({bytes_text(logits)}) and one layer"
    return held, how


def _bfloat16_copies(run: PlannedRun, *, head: bool) -> float:
    """Bytes of the matrices once more: what autocast keeps of float32 weights within a pass."""
    assert run.size is not None
    if run.config.model.use_peft or not run.mixed:
        return 0.0
    matrices = sum(i * o for i, o in run.size.matrices)
    return 2.0 * (matrices + run.size.vocabulary * run.size.hidden * head)


def _training(
    run: PlannedRun, stage: str, pairs: float, times: int, chunk: int, *, reference: int = 0
) -> Iterator[Line]:
    """``times`` trainings that go over ``pairs`` together."""
    assert run.size is not None
    size, model, options = run.size, run.config.model, run.config.training
    yield from _weights_in_training(run, stage, times, head=chunk != _NO_LOGITS)
    ckpt, full, gpu = options.gradient_checkpointing, not model.use_peft, run.device == "cuda"
    rows = 2 * options.per_device_train_batch_size
    tokens, precision = rows * run.longest, run.precision
    layer = layer_bytes(size, precision, model, run.longest, gpu=gpu)
    kept = saved_bytes(size, precision, model, run.longest, checkpointing=ckpt, gpu=gpu)
    kept -= layer if ckpt else 0
    how = f"{rows} rows x {run.longest} tokens: what {size.layers} layers "
    how += "start from" if ckpt else "keep for their gradients"
    yield Line(stage, "activations", "device", tokens * kept, None, how)
    c = precision.compute
    backward = tokens * ((layer if ckpt else 0) + 2.0 * c * (size.inner + size.hidden))
    logits = logits_bytes(tokens, size.vocabulary, c, chunk)
    copies = _bfloat16_copies(run, head=chunk != _NO_LOGITS)
    moment = max(logits + copies, backward + (0 if ckpt else copies))
    how = f"the larger of logits ({bytes_text(logits)}) and a layer's gradients"
    how += f" ({bytes_text(backward)})"
    how += f"; weights once more in bfloat16 ({bytes_text(copies)})" * bool(copies)
    yield Line(stage, "widest moment", "device", moment, None, how)
    if stage == "adpo" and options.max_eval_pairs:
        yield _looks(run, tokens * kept + moment)
    texts, passes = 2 * pairs * options.num_train_epochs, training_factor(full, ckpt) + reference
    flops = run.flops(texts, head=chunk != _NO_LOGITS) * passes
    how = f"{flops:.3g} flop: {passes} passes over {texts:,.0f} texts, {times} trainings"
    yield Line(stage, "steps", "device", None, run.seconds(flops, SHARE[run.device][1]), how)


def _looks(run: PlannedRun, step: float) -> Line:
    """ADPO's looks at held-out pairs between its steps: of their bytes and a step's the larger counts."""
    held, how = _one_batch(run)
    pairs = min(run.config.training.max_eval_pairs, run.pairs - run.training_pairs)
    passes = run.passes_over_held_out * run.config.selection.replicates
    flops = run.flops(2 * pairs * passes, head=True)
    took = run.seconds(flops, SHARE[run.device][0])
    how = f"beyond a step's: {how}; {flops:.3g} flop: {passes} passes over {pairs:,.0f} pairs"
    return Line("adpo", "held-out pairs", "device", max(0.0, held - step), took, how)


def _weights_in_training(run: PlannedRun, stage: str, times: int, *, head: bool) -> Iterator[Line]:
    """Weights, gradients and AdamW's two moments, and what is saved of them."""
    assert run.size is not None
    size, model, dtype = run.size, run.config.model, run.trained_dtype
    weights = weight_bytes(size, model, dtype, head=head)
    how = weights_text(size, model, dtype, head=head)
    yield Line(stage, "weights", "device", weights, None, how)
    trained = size.parameters - (0 if head else size.head)
    if model.use_peft:
        trained = lora_parameters(size, model.lora_r)
        how = f"{trained:,} parameters in float32, rank {model.lora_r}"
        if not size.targets:
            how = "unknown: peft cannot tell what to adapt in this model; name lora_target_modules"
        yield Line(stage, "adapters", "device", 4.0 * trained or None, None, how)
    yield Line(stage, "gradients", "device", 4.0 * trained, None, f"{trained:,} x 4 bytes")
    how = f"2 x {trained:,} x 4 bytes"
    yield Line(stage, "AdamW's moments", "device", 8.0 * trained, None, how)
    if model.load_in_4bit:
        largest = float(max((i * o for i, o in size.matrices), default=0) * run.precision.compute)
        yield Line(stage, "a matrix unpacked", "device", largest, None, "the largest")
    two = 2 * 12.0 * trained if stage == "adpo" else 0.0  # an old and a new one stand side by side
    how = f"{times} results" + " and, while it runs, two checkpoints with moments" * bool(two)
    yield Line(stage, "saved models", "disk", 4.0 * trained * times + two, None, how)


def logits_bytes(rows: int, vocabulary: int, compute: int, chunk: int) -> float:
    """Bytes at the loss of ``rows`` positions (all, as if prompts were empty), ``chunk`` by chunk.

    Ours in float32: 12 a logit (logits, probabilities, gradient). In bfloat16: 2, 2 more for the
    gradient where there are several chunks, and 12 a logit of one chunk. ``chunk`` -1: TRL's tiles,
    8 a logit of at most 4096 x 32768; 0: no logits.

    >>> logits_bytes(2048, 32000, 2, 1024) == 2048 * 32000 * 4 + 1024 * 32000 * 12
    True
    """
    if chunk <= 0:
        return 8.0 * min(rows * vocabulary, _TILE) * (chunk == _TILED)
    if compute == 4:
        return 12.0 * rows * vocabulary
    return (rows * (4.0 if rows > chunk else 2.0) + 12.0 * min(rows, chunk)) * vocabulary

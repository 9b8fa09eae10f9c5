"""What a language model of a configuration weighs and costs: counted, or by a formula that is stated.

Parameters are counted on torch's meta device: the model is built without memory for its weights.
Activations are what autograd keeps of one decoder layer, a token (checked against torch's own saved
tensors); h hidden, q = heads x head_dim, k = key-value heads x head_dim, f inner, t length of a row,
r bytes of what flows between layers, c bytes in matrix products (2 under autocast):

    norms      full    2 ((4 + r) h + 4) + (5 c h where c < r, else 2 r h)
               LoRA    2 (4 h + 4): frozen matrices do not need their inputs
    attention  sdpa    c (2 q + 2 k) + 4 heads; a batch with padding: c (4 q + t) + 4 heads
               eager   c (3 q) + heads t (4 + (c where c < 4)) + (full: c q)
               flash   c (2 q + 2 k) + 4 heads
    inner      full    c 4 f (not gated: c 2 f); LoRA: c 3 f (not gated: c f)
    LoRA               c (in + rank) a target, and in x 1 byte on a GPU, 4 on a CPU, of dropout's mask
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .config import ModelOptions
from .on_meta import lora_targets, on_meta, trying

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BLOCK, _NESTED_BLOCK = 64, 256  # of bitsandbytes: weights a scale, scales a scale
_GATES = {"gate_proj", "gate_up_proj", "w1", "Wi"}


class ModelSize(NamedTuple):
    """Parameters and widths of one model."""

    parameters: int
    embedding: int  # of which in the input embeddings
    head: int  # of which in a language-model head, but for a matrix that is the embedding
    active: int  # of the body: what one text token passes, without idle experts and image towers
    matrices: tuple[tuple[int, int], ...]  # (in, out) of the body's: what is quantised
    targets: tuple[tuple[int, int], ...]  # (in, out) that LoRA adapts; none: peft makes no choice
    layers: int
    hidden: int
    heads: int
    queries: int  # heads x head_dim
    keys: int  # key-value heads x head_dim
    inner: int
    gated: bool
    vocabulary: int
    dtype: str  # as stored

    @property
    def body(self) -> int:
        """Parameters without embedding and head."""
        return self.parameters - self.embedding - self.head


class Precision(NamedTuple):
    """Bytes a number."""

    residual: int  # of what flows between layers: r
    compute: int  # in matrix products: c


def count(
    config: Any,
    lora_target_modules: Sequence[str] | None = None,
    *,
    own_code: str | None = None,
) -> ModelSize:
    """Every parameter of the model that a transformers configuration describes; no weights are made.

    A causal model is counted with its head. ``lora_target_modules``: None is peft's choice.
    ``own_code``: the revision of the model's own code, where that is trusted. Raises
    ``ValueError`` for a model without tokens, or without attention heads (Mamba, RWKV), ``NotBuilt``
    where it could not be tried.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    if not heads or not getattr(text, "vocab_size", None):
        raise ValueError(
            f"model_name_or_path: found a {config.model_type}, which has no attention heads or no "
            "vocabulary; needed a transformer over tokens. Its size is not estimated."
        )
    try:
        targets = lora_targets(config, lora_target_modules, own_code=own_code)
    except ValueError:  # ``require_startable`` says it where LoRA is wanted
        targets = ()
    with trying(config):
        return _counted(on_meta(config, own_code), config, heads, targets)


def _counted(
    model: Any, config: Any, heads: int, targets: tuple[tuple[int, int], ...]
) -> ModelSize:
    text = config.get_text_config()
    base, head = model.base_model, model.get_output_embeddings()
    embedding = base.get_input_embeddings().weight.numel()
    parameters, inside = _number(model), _number(base)
    linear = {
        name: _ends(module)
        for name, module in model.named_modules()
        if module is not head and type(module).__name__ in ("Linear", "Conv1D")
    }
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    inner = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    return ModelSize(
        parameters,
        embedding,
        parameters - inside,
        _active(getattr(base, "language_model", base), text) - embedding,
        tuple(linear.values()),
        targets,
        text.num_hidden_layers,
        text.hidden_size,
        heads,
        heads * width,
        groups * width,
        inner or 4 * text.hidden_size,
        any(part in _GATES for name, _ in base.named_parameters() for part in name.split(".")),
        text.vocab_size,
        str(text.dtype or torch.float32).removeprefix("torch."),
    )


def _number(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def _active(model: Any, text: Any) -> int:
    """Parameters that one token passes: of E experts (E, ...) the few that are chosen for it."""
    chosen = getattr(text, "num_experts_per_tok", None)
    return sum(
        p.numel() * chosen // p.shape[0]
        if chosen and p.ndim == 3 and "experts" in name.split(".")
        else p.numel()
        for name, p in model.named_parameters()
    )


def _ends(module: Any) -> tuple[int, int]:
    rows, columns = module.weight.shape
    return (rows, columns) if type(module).__name__ == "Conv1D" else (columns, rows)


# ------------------------------------------------------------------------------------ weights


def weight_bytes(size: ModelSize, options: ModelOptions, dtype: str, *, head: bool = True) -> float:
    """Bytes of the weights: all in ``dtype``, or the body's matrices in 4 or 8 bits.

    4 bits: 1/2 a parameter and a float32 scale (absmax) a block of 64; nested: 1 byte a scale, a
    float32 a block of 256 scales, and a table of 256 float32 and a float32 offset a matrix; a table
    of 16 float32 a matrix either way. 8 bits: 1 a parameter, a float32 a row.
    """
    number = size.parameters - (0 if head else size.head)
    if not (options.load_in_4bit or options.load_in_8bit):
        return float(number * BYTES[dtype])
    quantised = sum(_quantised(i, o, options) for i, o in size.matrices)
    return quantised + (number - sum(i * o for i, o in size.matrices)) * BYTES[dtype]


def _quantised(inputs: int, outputs: int, options: ModelOptions) -> float:
    number = inputs * outputs
    if options.load_in_8bit:
        return number + 4.0 * outputs
    scales = -(-number // _BLOCK)
    if not options.use_bnb_nested_quant:
        return -(-number // 2) + 4.0 * scales + 64
    return -(-number // 2) + scales + 4.0 * -(-scales // _NESTED_BLOCK) + 1024 + 4 + 64


def lora_parameters(size: ModelSize, rank: int) -> int:
    """rank x (in + out), summed over the targets."""
    return sum(rank * (inputs + outputs) for inputs, outputs in size.targets)


# -------------------------------------------------------------------------------- activations


def layer_bytes(
    size: ModelSize,
    precision: Precision,
    options: ModelOptions,
    length: int,
    *,
    padded: bool = True,
    gpu: bool = False,
) -> float:
    """Bytes that autograd keeps of one layer, a token: the formula above."""
    r, c = precision
    h, q, k, f = size.hidden, size.queries, size.keys, size.inner
    full = not options.use_peft
    norms = 2 * ((4 + r) * h + 4) + (5 * c * h if c < r else 2 * r * h) if full else 2 * (4 * h + 4)
    kind = options.attn_implementation or "sdpa"
    if kind == "eager":
        attention = 3 * c * q + size.heads * length * (4 + (c if c < 4 else 0)) + full * c * q
    elif padded and kind == "sdpa":
        attention = c * (4 * q + length) + 4 * size.heads
    else:
        attention = c * (2 * q + 2 * k) + 4 * size.heads
    inner = c * f * ((4 if full else 3) if size.gated else (2 if full else 1))
    return float(norms + attention + inner + (0 if full else _adapters(size, c, options, gpu)))


def _adapters(size: ModelSize, c: int, options: ModelOptions, gpu: bool) -> float:
    mask = (1 if gpu else 4) if options.lora_dropout > 0 else 0
    kept = sum(c * (i + options.lora_r) + mask * i for i, _ in size.targets)
    return kept / size.layers


def saved_bytes(
    size: ModelSize,
    precision: Precision,
    options: ModelOptions,
    length: int,
    *,
    checkpointing: bool,
    padded: bool = True,
    gpu: bool = False,
) -> float:
    """Bytes a token that the body's backward pass needs: layers x ``layer_bytes``; with gradient
    checkpointing layers x r h (what each layer starts from) + one layer. The final norm adds
    8 h + 12, under LoRA 4 h + 4.
    """
    layer = layer_bytes(size, precision, options, length, padded=padded, gpu=gpu)
    ends = 4 * size.hidden + 4 if options.use_peft else 8 * size.hidden + 12
    if checkpointing:
        return size.layers * precision.residual * size.hidden + layer + ends
    return size.layers * layer + ends


def inference_bytes(size: ModelSize, compute: int) -> float:
    """Bytes a token at a layer's widest moment without gradients: 3 f (not gated: 2 f) and 4 h numbers."""
    inner = (3 if size.gated else 2) * size.inner
    return float(compute * (inner + 4 * size.hidden))


# -------------------------------------------------------------------------------------- flops


def forward_flops(size: ModelSize, lengths: Sequence[float], *, head: bool = False) -> float:
    """Flops of one forward pass over rows of these unpadded lengths t.

    2 x (parameters without embedding and head; of experts those that a token passes) x tokens + 2
    layers q t^2 of causal attention (half of the t^2 scores are needed, for q k' and for its product
    with v); with ``head`` 2 h vocabulary a token more.
    """
    tokens = float(sum(lengths))
    attention = 2.0 * size.layers * size.queries * sum(float(t) ** 2 for t in lengths)
    return (
        2.0 * size.active * tokens + attention + head * 2.0 * size.hidden * size.vocabulary * tokens
    )


def training_factor(full: bool, checkpointing: bool) -> int:
    """Passes that a training step costs, in forward passes.

    Full: 3 (forward, gradients of the activations, gradients of the weights), LoRA: 2 (those of the
    frozen weights are not worked out); at most one more where checkpointing runs the forward pass again.

    >>> training_factor(True, False), training_factor(True, True), training_factor(False, True)
    (3, 4, 3)
    """
    return (3 if full else 2) + checkpointing

"""phi(prompt, response): hidden states of a language model, streamed into a cache on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..theory.checks import Ints
from .config import FeatureOptions, ModelOptions
from .feature_cache import Features, Unfinished, alone, finished
from .feature_key import Texts, settings_of, texts_of, tokenizer_identity
from .models import (
    LanguageModel,
    load_backbone,
    load_config,
    load_tokenizer,
    longest,
    rope_turn,
)
from .rendering import Tokens, Unreadable, encode
from .weights import adapter_identity, weights_identity

if TYPE_CHECKING:
    from .data import TextPool

__all__ = ["Progress", "batches", "features", "tokenizer_identity"]

Progress = Callable[[int, int, float], None]  # (pairs done, pairs, tokens per second)
CHUNK = 512  # texts that are tokenised at once
BLOCK = 512  # texts between two moments when what is done is put on the disk,
SECONDS = 20.0  # or this long


def features(
    pool: TextPool,
    model: ModelOptions,
    options: FeatureOptions,
    cache: Path,
    *,
    adapter: Path | None = None,
    progress: Progress | None = None,
) -> Features:
    """phi (n, 2, d_model) of both responses of every pair, float32, on disk and read-only.

    The hidden state of the last token, or the mean over the response's tokens (always for a model
    that is not causal), after ``options.layer``. Cached by everything that changes it: weights,
    adapter, code that the model brings, tokenizer, chat template, length and truncation, layer,
    pooling, dtype, attention, quantisation, kind of device, precision of float32 products, versions
    of the packages, and the pool's texts (not its labels); ``tokens_per_batch`` changes it by
    rounding only. Killed at any moment, the next call goes on; see ``feature_cache``.
    Raises ``ValueError`` where the model cannot be loaded, the cache is damaged, not ours or in use,
    there is no such layer, or a feature is not finite (the pair is named).
    """
    tokenizer, config, texts = load_tokenizer(model), load_config(model), texts_of(pool)
    text_config = config.get_text_config()
    if not -text_config.num_hidden_layers - 1 <= options.layer <= text_config.num_hidden_layers:
        raise ValueError(
            f"layer: found {options.layer}, but the model has {text_config.num_hidden_layers}; needed "
            f"-1 (the last), or a number up to {text_config.num_hidden_layers}. Change it."
        )
    length = longest(config, tokenizer, options.max_length)
    key = settings_of(texts, model, options, tokenizer, config, adapted=adapter is not None) | {
        "weights": weights_identity(model, memory=cache),
        "adapter": None if adapter is None else adapter_identity(adapter, memory=cache),
        "max_length": length,
    }
    found = finished(cache, key)
    if found is not None:
        return found
    with alone(cache, key):
        found = finished(cache, key)
        if found is not None:
            return found
        tokens = _tokens(tokenizer, texts, length, pool)
        facts = {
            "texts": len(tokens),
            "tokens": sum(len(t.ids) for t in tokens),
            "texts_cut": sum(t.cut > 0 for t in tokens),
        }
        language_model = load_backbone(model, adapter)
        width = _width(language_model, options.layer)
        work = Unfinished(cache, key, texts.slots, width)
        if not work.done.all():
            turn = rope_turn(config)
            facts |= _fill(work, language_model, tokens, options, pool, texts.slots, turn, progress)
        return work.publish(facts)


def _width(model: LanguageModel, layer: int) -> int:
    """How many numbers a state has after this layer; they differ in a few models."""
    found = model.widths[-1 if layer == -1 else layer if layer >= 0 else layer - 1]
    if not found:
        raise ValueError(
            f"layer: found {layer}, after which {model.backbone.config.model_type} has no state of "
            "one vector a token; needed one. Use layer: -1."
        )
    return found


def _tokens(tokenizer: Any, texts: Texts, length: int, pool: TextPool) -> list[Tokens]:
    """All texts as tokens; ``ValueError`` that names the pair where there are none to be had."""
    tokens: list[Tokens] = []
    for start in range(0, len(texts.rows), CHUNK):
        try:
            tokens += encode(tokenizer, texts.rows[start : start + CHUNK], length)
        except Unreadable as error:
            where = int(np.flatnonzero(texts.slots == start + error.row)[0])
            raise ValueError(f"pair {pool.pair_ids[where // 2]!r}: {error}") from error
    _all_have_tokens(tokens, texts.slots, pool)
    return tokens


def _all_have_tokens(tokens: list[Tokens], slots: Ints, pool: TextPool) -> None:
    for i, text in enumerate(tokens):
        if not len(text.ids):
            where = int(np.flatnonzero(slots == i)[0])
            raise ValueError(
                f"features: found no token in response {'ab'[where % 2]} of pair "
                f"{pool.pair_ids[where // 2]!r}; needed at least one. Drop the pair."
            )


def batches(lengths: Ints, tokens_per_batch: int, turn: int | None = None) -> Iterator[Ints]:
    """Texts of about one length together, longest first, at most so many tokens with padding.

    No batch has texts both longer than ``turn`` and not.

    >>> [b.tolist() for b in batches(np.array([3, 9, 4, 4]), 9)]
    [[1], [2, 3], [0]]
    """
    order = np.argsort(-lengths, kind="stable")
    start, longer = 0, 0 if turn is None else int((lengths > turn).sum())
    while start < len(order):
        count = max(1, tokens_per_batch // int(lengths[order[start]]))
        if start < longer:
            count = min(count, longer - start)
        yield order[start : start + count]
        start += count


def _fill(
    work: Unfinished,
    model: LanguageModel,
    tokens: list[Tokens],
    options: FeatureOptions,
    pool: TextPool,
    slots: Ints,
    turn: int | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Compute what is missing, block by block; what is worth knowing about it."""
    missing = np.flatnonzero(~work.done)
    started = noted = time.perf_counter()
    held: list[tuple[Ints, Features]] = []
    read = padded = 0
    lengths = np.array([len(tokens[i].ids) for i in missing])
    pooling = options.pooling if model.causal else "mean"
    groups = batches(lengths, options.tokens_per_batch, turn)
    for texts, values, size in _stream(
        model, tokens, (missing[rows] for rows in groups), options.layer, pooling
    ):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            where = int(np.flatnonzero(slots == texts[bad.argmax()])[0])
            raise ValueError(
                f"features: found a hidden state that is not finite for response {'ab'[where % 2]} of "
                f"pair {pool.pair_ids[where // 2]!r}; needed finite ones. Use dtype bfloat16 or "
                "float32: float16 overflows."
            )
        held.append((texts, values))
        read, padded = read + sum(len(tokens[i].ids) for i in texts), padded + size
        now = time.perf_counter()
        if sum(len(t) for t, _ in held) >= BLOCK or now - noted > SECONDS:
            _keep(work, held)
            noted = now
        if progress is not None:
            done = work.done.sum() + sum(len(t) for t, _ in held)
            progress(
                int(len(slots) / 2 * done / len(tokens)), len(slots) // 2, read / (now - started)
            )
    _keep(work, held)
    seconds = time.perf_counter() - started
    return {
        "pooling_used": pooling,
        "device": str(model.device),
        "attention_used": str(getattr(model.backbone.config, "_attn_implementation", None)),
        "last_run": {
            "tokens": read,
            "tokens_with_padding": padded,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(read / seconds, 1),
        },
    }


def _keep(work: Unfinished, held: list[tuple[Ints, Features]]) -> None:
    if held:
        work.add(np.concatenate([t for t, _ in held]), np.concatenate([v for _, v in held]))
        held.clear()


def _stream(
    model: LanguageModel,
    tokens: list[Tokens],
    groups: Iterator[Ints],
    layer: int,
    pooling: str,
) -> Iterator[tuple[Ints, Features, int]]:
    """(texts, features (b, d), tokens with padding) batch by batch.

    On a GPU a batch is fetched only after the next one has been launched, so that neither waits.
    """
    before: tuple[Ints, torch.Tensor, Any, int] | None = None
    for texts in groups:
        with torch.inference_mode():
            pooled, size = _pooled(model, [tokens[i] for i in texts], layer, pooling)
            launched = (texts, *_fetch(pooled), size)
        if before is not None:
            yield _arrived(*before)
        before = launched
    if before is not None:
        yield _arrived(*before)


def _fetch(pooled: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """A copy on the host that may still be under way, and the event that says when it is there."""
    if pooled.device.type != "cuda":
        return pooled, None
    host = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
    host.copy_(pooled, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event


def _arrived(
    texts: Ints, host: torch.Tensor, event: Any, size: int
) -> tuple[Ints, NDArray[np.float32], int]:
    if event is not None:
        event.synchronize()
    return texts, host.numpy(), size


def _pooled(
    model: LanguageModel, some: list[Tokens], layer: int, pooling: str
) -> tuple[torch.Tensor, int]:
    """Features (b, d) float32 of a batch, and its tokens with padding.

    Padding stands on the right, so positions count from the text's start; a causal model needs no
    mask, since no token sees what comes after it.
    """
    lengths = np.array([len(t.ids) for t in some])
    ids = np.full(
        (len(some), int(lengths.max())), model.tokenizer.pad_token_id or 0, dtype=np.int64
    )
    for row, text in zip(ids, some, strict=True):
        row[: len(text.ids)] = text.ids
    ends = _on(model.device, lengths)
    places = torch.arange(ids.shape[1], device=model.device)
    inputs: dict[str, Any] = {"input_ids": _on(model.device, ids)}
    if not model.causal and lengths.min() < lengths.max():
        inputs["attention_mask"] = (places < ends[:, None]).long()
    if layer == -1:
        states = model.backbone(**inputs).last_hidden_state
    else:
        states = model.backbone(**inputs, output_hidden_states=True).hidden_states[layer]
    if pooling == "last":
        return states[torch.arange(len(some), device=model.device), ends - 1].float(), ids.size
    starts = _on(model.device, np.array([t.response for t in some]))
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    total = (states * inside[..., None]).sum(dim=1, dtype=torch.float32)
    return total / inside.sum(dim=1, keepdim=True), ids.size


def _on(place: torch.device, array: NDArray[np.int64]) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if place.type != "cuda":
        return tensor
    return tensor.pin_memory().to(place, non_blocking=True)

"""A prompt with a response as the model reads it: one text, then its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .data import Message, Text


class Tokens(NamedTuple):
    """One text as the model reads it."""

    ids: NDArray[np.int32]  # (t,)
    response: int  # the first token of the response; t - 1 at most
    cut: int  # tokens left out to keep within the length allowed


def render(tokenizer: Any, prompt: Text, response: Text) -> tuple[str, str]:
    """(prompt_text, full_text): the prompt, and the prompt with the response, as the model reads them.

    TRL's rule, so that a model trained by TRL sees the same text: a conversation goes through the
    tokenizer's chat template; plain text is joined as it is and ends with the end-of-sequence token,
    where the tokenizer has one. A conversation without a chat template becomes the messages'
    contents, separated by blank lines.
    """
    if _templated(tokenizer, prompt, response):
        start, rest = _messages("user", prompt), _messages("assistant", response)
        head = tokenizer.apply_chat_template(start, tokenize=False, add_generation_prompt=True)
        return str(head), str(tokenizer.apply_chat_template([*start, *rest], tokenize=False))
    joint = "" if isinstance(prompt, str) and isinstance(response, str) else "\n\n"
    head = _plain(prompt) + joint
    full, end = head + _plain(response), tokenizer.eos_token
    return head, full if not end or full.endswith(end) else full + end


def _templated(tokenizer: Any, prompt: Text, response: Text) -> bool:
    conversation = not (isinstance(prompt, str) and isinstance(response, str))
    return conversation and bool(tokenizer.chat_template)


def _messages(role: str, text: Text) -> list[Message]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)


def _plain(text: Text) -> str:
    return text if isinstance(text, str) else "\n\n".join(m["content"] for m in text)


def encode(
    tokenizer: Any,
    rows: Sequence[tuple[Text, Text]],
    max_length: int,
    truncation: Literal["keep_end", "keep_start"] = "keep_end",
) -> list[Tokens]:
    """Each (prompt, response) rendered, tokenised and cut to ``max_length`` tokens.

    "keep_end" leaves out the beginning, but for a first token that is the tokenizer's own (BOS or
    CLS); "keep_start" leaves out the end. The tokenizer adds its own tokens to plain text, and none
    where a chat template has already placed them.
    """
    texts = [render(tokenizer, *row) for row in rows]
    bare = [_templated(tokenizer, *row) for row in rows]
    prompts, fulls = (_ids(tokenizer, [t[k] for t in texts], bare) for k in (0, 1))
    out = []
    for prompt, full in zip(prompts, fulls, strict=True):
        same = min(len(prompt), len(full))
        differ = np.flatnonzero(prompt[:same] != full[:same])
        start = int(differ[0]) if len(differ) else same
        cut = max(0, len(full) - max_length)
        if truncation == "keep_start":
            ids = full[:max_length]
        elif cut:
            own = len(full) > 0 and int(full[0]) in (tokenizer.bos_token_id, tokenizer.cls_token_id)
            kept = max_length - own
            ids, start = np.append(full[:own], full[len(full) - kept :]), max(own, start - cut)
        else:
            ids = full
        out.append(Tokens(ids, min(start, len(ids) - 1), cut))
    return out


def _ids(tokenizer: Any, texts: list[str], bare: list[bool]) -> list[NDArray[np.int32]]:
    """Token numbers of each text; without the tokenizer's own tokens where ``bare``."""
    out: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)] * len(texts)
    for without in (False, True):
        some = [i for i, b in enumerate(bare) if b == without]
        if some:
            found = tokenizer(
                [texts[i] for i in some],
                add_special_tokens=not without,
                return_attention_mask=False,
                verbose=False,
            )["input_ids"]
            for i, ids in zip(some, found, strict=True):
                out[i] = np.array(ids, dtype=np.int32)
    return out

"""A prompt with a response as the model reads it: one text, then its tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rows import names

if TYPE_CHECKING:
    from .data import Message, Text


DAY = date(2024, 7, 26)  # what templates are told that write today's: Llama 3.2's own default
_TODAY = re.compile(r"""strftime_now\(\s*(?:'([^']*)'|"([^"]*)")\s*\)""")


class Unreadable(ValueError):
    """A text that a chat template refuses; ``row`` says which."""

    row: int = 0


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
    Raises ``Unreadable``, a ``ValueError``, where the template refuses the roles of the messages.
    """
    if _templated(tokenizer, prompt, response):
        start, rest = _messages("user", prompt), _messages("assistant", response)
        head = _through_template(tokenizer, start, add_generation_prompt=True)
        return head, _through_template(tokenizer, [*start, *rest])
    joint = "" if isinstance(prompt, str) and isinstance(response, str) else "\n\n"
    head = _plain(prompt) + joint
    full, end = head + _plain(response), tokenizer.eos_token
    return head, full if not end or full.endswith(end) else full + end


def dated(template: str) -> str:
    """The chat template with one day in the place of today's: tomorrow a text has the same tokens.

    >>> dated("Today is {{ strftime_now('%d %b %Y') }}.")
    'Today is {{ "26 Jul 2024" }}.'
    """
    return _TODAY.sub(lambda found: json.dumps(DAY.strftime(found[1] or found[2])), template)


def _through_template(tokenizer: Any, messages: list[Message], **more: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **more))
    except TemplateError as error:
        roles = names(message["role"] for message in messages)
        raise Unreadable(
            f"chat_template: found a conversation of the roles {roles}, which the model's template "
            "refuses; needed roles that it knows (some know no system, or want user and assistant in "
            "turn). Put them into turns that it takes, or use a tokenizer with another template."
        ) from error


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
    where a chat template has already placed them; a text ends once. Raises ``Unreadable`` with the
    number of the row that the chat template refuses.
    """
    texts = _rendered(tokenizer, rows)
    bare = [_templated(tokenizer, *row) for row in rows]
    known = {text: i for i, (text, _) in enumerate(texts)}  # both answers have one prompt
    heads = _ids(tokenizer, list(known), [bare[i] for i in known.values()])
    prompts = dict(zip(known, heads, strict=True))
    fulls = _ids(tokenizer, [full for _, full in texts], bare)
    out = []
    for (head, _), full, without in zip(texts, fulls, bare, strict=True):
        prompt = prompts[head]
        if not without and full[-2:].tolist() == [tokenizer.eos_token_id] * 2:
            full = full[:-1]  # as text, and by the tokenizer itself (RoBERTa's)
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


def _rendered(tokenizer: Any, rows: Sequence[tuple[Text, Text]]) -> list[tuple[str, str]]:
    texts = []
    for i, row in enumerate(rows):
        try:
            texts.append(render(tokenizer, *row))
        except Unreadable as error:
            error.row = i
            raise
    return texts


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

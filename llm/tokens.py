"""Pairs as tokens, cut as TRL's DPOTrainer cuts them: prompt, answer a, answer b; and rows of a batch.

Source: TRL 1.16, ``DPOTrainer._prepare_dataset`` and ``DataCollatorForPreference``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .rendering import encode

if TYPE_CHECKING:
    from .data import TextPool

_WHOLE = 2**31  # more tokens than any text has


class PairTokens(NamedTuple):
    """One pair: what both answers have before them, and the two answers."""

    prompt: list[int]
    responses: tuple[list[int], list[int]]


class TokenRow(NamedTuple):
    """One answer to one prompt, cut to its length."""

    tokens: list[int]
    start: int  # number of prompt tokens


class TokenisedPairs(NamedTuple):
    """The pairs that have something to learn from, and how many had not."""

    pairs: list[int]
    tokens: list[PairTokens]
    prompt_too_long: int  # pairs left out: their prompt alone fills the maximal length


def tokenise(
    pool: "TextPool",
    pairs: Sequence[int],
    tokenizer: Any,
    max_length: int,
    max_prompt_length: int | None = None,
) -> TokenisedPairs:
    """Tokens of ``pairs`` in their order; pairs whose prompt fills ``max_length`` are left out.

    The answers start where prompt and prompt + answer diverge, in the earlier of the two. A prompt
    longer than ``max_prompt_length`` tokens loses its beginning.
    """
    sides = [(pool.prompts[pair], text) for pair in pairs for text in pool.responses[pair]]
    texts = encode(tokenizer, sides, _WHOLE)
    kept, tokens = [], []
    for pair, a, b in zip(pairs, texts[::2], texts[1::2], strict=True):
        end = min(a.response, b.response)
        begin = 0 if max_prompt_length is None else max(0, end - max_prompt_length)
        if end - begin < max_length:
            prompt, answers = (
                a.ids[begin:end].tolist(),
                (a.ids[end:].tolist(), b.ids[end:].tolist()),
            )
            kept.append(int(pair))
            tokens.append(PairTokens(prompt, answers))
    return TokenisedPairs(kept, tokens, len(pairs) - len(kept))


def rows_of(tokens: Sequence[PairTokens], max_length: int) -> list[TokenRow]:
    """Rows of a batch, all a sides before all b sides; each keeps its first ``max_length`` tokens.

    >>> rows_of([PairTokens([1, 2], ([3], [4, 5, 6]))], 4)
    [TokenRow(tokens=[1, 2, 3], start=2), TokenRow(tokens=[1, 2, 4, 5], start=2)]
    """
    return [
        TokenRow((pair.prompt + pair.responses[side])[:max_length], len(pair.prompt))
        for side in (0, 1)
        for pair in tokens
    ]

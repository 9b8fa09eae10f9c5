"""Pairs as tokens, cut as TRL's DPOTrainer cuts them; 4 bytes a token, encoded a few pairs at a time.

Source: TRL 1.16, ``DPOTrainer._prepare_dataset`` and ``DataCollatorForPreference``.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rendering import Tokens, Unreadable, encode

if TYPE_CHECKING:
    from .data import TextPool

_WHOLE = 2**31  # more tokens than any text has
_AT_ONCE = 256  # pairs that a tokenizer turns into Python's lists at once


class TokenRow(NamedTuple):
    """One answer to one prompt, cut to its length."""

    tokens: NDArray[np.int32]  # (t,)
    start: int  # number of prompt tokens


class TokenisedPairs(NamedTuple):
    """The pairs that have something to learn from, and how many had not."""

    pairs: list[int]
    rows: list[tuple[TokenRow, TokenRow]]  # answers a and b after the same prompt
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
    longer than ``max_prompt_length`` tokens loses its beginning, then a row what is beyond
    ``max_length``.
    """
    kept, rows = [], []
    for pair, (a, b) in zip(pairs, both_sides(pool, pairs, tokenizer), strict=True):
        end = min(a.response, b.response)
        begin = 0 if max_prompt_length is None else max(0, end - max_prompt_length)
        if end - begin < max_length:
            cut = slice(begin, begin + max_length)
            kept.append(int(pair))
            rows.append((_row(a, cut, end), _row(b, cut, end)))
    return TokenisedPairs(kept, rows, len(pairs) - len(kept))


def both_sides(
    pool: "TextPool", pairs: Sequence[int], tokenizer: Any, max_length: int = _WHOLE
) -> Iterator[tuple[Tokens, Tokens]]:
    """Tokens of both answers to each pair's prompt; what is beyond ``max_length`` goes at the beginning.

    ``ValueError`` that names the pair which the chat template refuses.
    """
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        sides = [(pool.prompts[pair], text) for pair in some for text in pool.responses[pair]]
        try:
            texts = encode(tokenizer, sides, max_length)
        except Unreadable as error:
            raise ValueError(f"pair {pool.pair_ids[some[error.row // 2]]!r}: {error}") from error
        yield from zip(texts[::2], texts[1::2], strict=True)


def rows_of(pairs: Sequence[tuple[TokenRow, TokenRow]]) -> list[TokenRow]:
    """Rows of a batch: all a sides before all b sides."""
    return [pair[side] for side in (0, 1) for pair in pairs]


def _row(text: Tokens, cut: slice, end: int) -> TokenRow:
    # a copy: a view would keep in memory what is cut
    return TokenRow(text.ids[cut].copy(), end - cut.start)

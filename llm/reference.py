"""Log-probabilities of the reference policy, computed once and kept: one row a (reference, answer)."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._provenance import canonical
from ..theory.checks import Floats
from .config import FeatureOptions, ModelOptions
from .feature_key import computed_with
from .features import batches
from .model_choices import rope_turn
from .models import load_config
from .surroundings import quiet
from .tokens import TokenisedPairs, TokenRow, rows_of, tokenise
from .training import (
    collate,
    computes_in_bfloat16,
    load_base,
    log_probabilities,
    max_length_of,
    mixed_precision,
    tokenizer_of,
    with_adapter,
)
from .weights import adapter_identity, weights_identity

if TYPE_CHECKING:
    from .data import TextPool

Progress = Callable[[int, int], None]  # (done, all)
_APPLICATION = 0x61647266  # marks the file as ours
_SCHEMA = """CREATE TABLE log_probability (
    reference TEXT NOT NULL, answer BLOB NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (reference, answer)) WITHOUT ROWID"""


def reference_log_probabilities(
    pool: "TextPool",
    pairs: Sequence[int],
    model: ModelOptions,
    features: FeatureOptions,
    cache: Path,
    *,
    adapter: Path | None = None,
    max_prompt_length: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """log pi_ref(answer | prompt), summed over the answer's tokens, of both sides of each pair: (len, 2).

    The reference is the model without adapters, or with ``adapter``. Values that ``cache`` (an SQLite
    file) holds are read from it, the others are computed and added in batches, so a killed run loses
    one batch; the model is loaded only where something is missing. NaN for a pair whose prompt alone
    fills ``features.max_length``. ``ValueError`` for a cache file that is damaged or not ours.
    """
    found, values = read_pairs(
        pool, pairs, model, tokenizer_of(model), features, cache,
        adapter=adapter, max_prompt_length=max_prompt_length, progress=progress,
    )  # fmt: skip
    place = {pair: i for i, pair in enumerate(found.pairs)}
    with_nan = np.vstack([values, [[np.nan, np.nan]]])
    return np.asarray(with_nan[[place.get(int(pair), -1) for pair in pairs]])


def read_pairs(
    pool: "TextPool",
    pairs: Sequence[int],
    model: ModelOptions,
    tokenizer: Any,
    features: FeatureOptions,
    cache: Path,
    *,
    adapter: Path | None = None,
    max_prompt_length: int | None = None,
    progress: Progress | None = None,
) -> tuple[TokenisedPairs, Floats]:
    """Tokens of the pairs whose prompt leaves room for an answer, and their values, (n, 2), as above."""
    length = max_length_of(model, tokenizer, features.max_length)
    found = tokenise(pool, pairs, tokenizer, length, max_prompt_length)
    values = cached_log_probabilities(
        rows_of(found.rows), model, tokenizer, features, cache, adapter=adapter, progress=progress
    )
    return found, values.reshape(2, -1).T


def cached_log_probabilities(
    rows: Sequence[TokenRow],
    model: ModelOptions,
    tokenizer: Any,
    features: FeatureOptions,
    cache: Path,
    *,
    adapter: Path | None = None,
    progress: Progress | None = None,
) -> Floats:
    """(len(rows),) log-probabilities of rows, as in ``reference_log_probabilities``.

    What is missing is computed longest first in batches that are committed one by one. The batches
    depend on the missing rows alone, and those of a killed run are the rest of an unbroken one's, so
    both end with the same bits.
    """
    reference = reference_identity(model, adapter, cache.parent)
    keys = [_key(row) for row in rows]
    with _opened(cache) as file:
        known = _known(file, reference, set(keys))
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        total = len(known) + len(missing)
        order = sorted(missing)
        policy = with_adapter(load_base(model, tokenizer), adapter).eval() if order else None
        lengths = np.array([len(missing[key].tokens) for key in order])
        turn = rope_turn(load_config(model))
        for batch in batches(lengths, features.tokens_per_batch, turn):
            some = [order[i] for i in batch]
            values = evaluate(policy, [missing[key] for key in some], model, tokenizer.pad_token_id)
            fresh = dict(zip(some, values, strict=True))
            with file:
                table = [(reference, key, value) for key, value in fresh.items()]
                file.executemany("INSERT INTO log_probability VALUES (?, ?, ?)", table)
            known |= fresh
            if progress:
                progress(len(known), total)
    return np.array([known[key] for key in keys])


def reference_identity(
    model: ModelOptions, adapter: Path | None, memory: Path | None = None
) -> str:
    """Hash of everything but the tokens that the values depend on; ``memory`` as in ``weights_identity``."""
    options = {
        "weights": weights_identity(model, memory=memory),
        "adapter": None if adapter is None else adapter_identity(adapter, memory=memory),
        "dtype": model.dtype if model.use_peft else "float32",
        "mixed": computes_in_bfloat16(model),
        "attention": model.attn_implementation,
        "quantisation": [model.load_in_4bit, model.load_in_8bit, model.bnb_4bit_quant_type],
        "nested": model.use_bnb_nested_quant,
        **computed_with(model, adapted=adapter is not None),
    }
    return hashlib.sha256(canonical(options).encode()).hexdigest()


def evaluate(policy: Any, rows: list[TokenRow], options: ModelOptions, pad: int) -> list[float]:
    """Log-probabilities of a batch of rows by a policy in evaluation mode, without gradient."""
    with torch.no_grad(), quiet(), mixed_precision(options):
        batch = collate(rows, pad, next(policy.parameters()).device)
        return [float(value) for value in log_probabilities(policy, batch)]


def _key(row: TokenRow) -> bytes:
    numbers = np.concatenate([[row.start], row.tokens]).astype("<i4")
    return hashlib.sha256(numbers.tobytes()).digest()


def _known(file: sqlite3.Connection, reference: str, keys: set[bytes]) -> dict[bytes, float]:
    query = "SELECT answer, value FROM log_probability WHERE reference = ?"
    return {key: value for key, value in file.execute(query, (reference,)) if key in keys}


@contextmanager
def _opened(cache: Path) -> Iterator[sqlite3.Connection]:
    cache.parent.mkdir(parents=True, exist_ok=True)
    file = sqlite3.connect(cache)
    try:
        _prepare(file, cache)
        yield file
    finally:
        file.close()


def _prepare(file: sqlite3.Connection, cache: Path) -> None:
    try:
        (mark,) = file.execute("PRAGMA application_id").fetchone()
        (tables,) = file.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if mark == _APPLICATION and tables:
            file.execute("SELECT reference, answer, value FROM log_probability LIMIT 1")
            return
        if tables == 0:
            with file:
                file.execute("BEGIN")
                file.execute(_SCHEMA)
                file.execute(f"PRAGMA application_id = {_APPLICATION}")
            return
        found = "another program's database"
    except sqlite3.DatabaseError as error:
        found = f"a file that cannot be read ({error})"
    raise ValueError(
        f"{cache}: found {found}; needed a cache of reference log-probabilities. It was kept as it "
        "is: move it away, or name another file."
    )

"""Pools as files on disk, for the tests of whatever reads them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from activeduel.llm.config import DataOptions
from activeduel.llm.data import TextPool, read_pool

SECRET = "SECRET words of somebody"  # stands in every text here: no message may hold it


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def rows(count: int = 4, **columns):
    """Different pairs, two a prompt, with stated sides."""
    return [
        {
            "pair_id": f"p{i}",
            "prompt": f"{SECRET}? {i // 2}",
            "response_a": f"{SECRET}, yes {i}",
            "response_b": f"{SECRET}, no {i}",
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(count)
    ]


def put(folder: Path, content, name: str = "pool.jsonl") -> DataOptions:
    """Write rows (or bytes) and give the options that read them."""
    if not isinstance(content, bytes):
        content = "".join(json.dumps(row) + "\n" for row in content).encode()
    (folder / name).write_bytes(content)
    return DataOptions(str(folder / name))


def read(folder: Path, content, **options) -> TextPool:
    return read_pool(replace(put(folder, content), **options))


def labels(pool: TextPool) -> list[tuple[str, str, float]]:
    """(pair id, annotator, preference) of every recorded judgement."""
    return [
        (pool.pair_ids[i], pool.annotators[j], x)
        for i, j, x in zip(pool.judged_pair, pool.annotator, pool.preference, strict=True)
    ]


def refused(folder: Path, content, match: str, **options) -> None:
    """Reading is an error that names the file and the row, and shows no text of the data."""
    with pytest.raises(ValueError, match=match) as error:
        read(folder, content, **options)
    assert str(error.value).startswith(str(folder / "pool.jsonl"))
    assert "; needed " in str(error.value) and "SECRET" not in str(error.value)

"""What the tests of this floor share: one small text world, and one tiny model that knows its words."""

from pathlib import Path
from typing import NamedTuple

import pytest

from activeduel.llm.config import DataOptions
from activeduel.llm.data import TextPool, read_pool
from activeduel.llm.text_world import data_options, write_world
from activeduel.llm.tiny_model import write_model


class World(NamedTuple):
    """A world on disk, and the same world read."""

    folder: Path  # pool.jsonl and judgements.csv
    options: DataOptions  # how it is read: context types, gold, rewards, judgements
    pool: TextPool  # 120 pairs on 40 prompts, 3 context types, 3 annotators


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """120 pairs as conversations, with everything that a pool can hold."""
    folder = write_world(tmp_path_factory.mktemp("world"), pairs=120, seed=7)
    options = data_options(folder)
    return World(folder, options, read_pool(options))


@pytest.fixture(scope="session")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same pairs as plain strings."""
    folder = tmp_path_factory.mktemp("plain-world")
    options = data_options(write_world(folder, pairs=120, seed=7, conversational=False))
    return World(folder, options, read_pool(options))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a causal model (hidden 64, 2 layers, random weights) with its tokenizer."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")
    return write_model(tmp_path_factory.mktemp("tiny-model"), size="test", seed=0)

"""What a training leaves to others as it found it."""

import random

import numpy as np
import pytest

for name in ("torch", "transformers"):
    pytest.importorskip(name, reason=f"needs {name}: pip install 'activeduel[llm]'")

import torch
from training_world import states

from activeduel.llm.surroundings import kept_randomness


def test_generators_are_seeded_and_left_as_they_were():
    before = states()
    draws = []
    for _ in range(2):
        with kept_randomness(3):
            draws.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    np.testing.assert_equal(states(), before)
    assert draws[0] == draws[1]

"""Nothing reads or changes a global generator; equal seeds give equal results in any process."""

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import activeduel
from activeduel.sim import LABELLING, DuelingWorld, PairPool, Teachers, simulate
from activeduel.theory import d_optimal, dual_design, fit_preferences

PACKAGE = Path(activeduel.__file__).parent


def small_pool():
    rng = np.random.default_rng(3)
    return PairPool.synthetic(30, 3, 2, Teachers([[1.0, 2.0], [0.7, 0.3]]), rng)


def everything():
    """One call of everything that draws or might."""
    pool = small_pool()
    DuelingWorld.with_gap(3, 3, 3, 0.1, np.random.default_rng(0))
    dual_design(pool.ask(), pool.theta)
    d_optimal(pool.z)
    for engine in ("kernel", "plain"):
        for name in LABELLING:
            simulate(name, pool, horizon=20, replicates=2, seed=1, engine=engine, workers=2)
    fit_preferences(pool.z, pool.z[:, 0] > 0, ridge=1.0)


def test_global_generators_are_left_as_they_were():
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    everything()
    after = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    np.testing.assert_equal(after, before)


def test_global_seeds_do_not_reach_the_results():
    picks = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        picks.append(simulate("random", small_pool(), horizon=30, replicates=2, seed=9).picks)
    np.testing.assert_array_equal(*picks)


def global_draws(text):
    """Lines that use ``random``'s module functions, NumPy's global ones, or an unseeded generator."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and any(a.name == "random" for a in node.names):
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "random" and not node.level:
            yield node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            numpy_random = ast.unparse(node.value) in {"np.random", "numpy.random"}
            if numpy_random and node.attr not in {
                "Generator",
                "Philox",
                "default_rng",
                "SeedSequence",
            }:
                yield node.lineno
        unseeded = isinstance(node, ast.Call) and not (node.args or node.keywords)
        if unseeded and ast.unparse(node.func).endswith("default_rng"):
            yield node.lineno


# TRL draws from them: ``kept_randomness`` seeds them and leaves them as they were (tests/llm/test_surroundings.py)
EXEMPT = {"llm/surroundings.py"}


def test_no_source_file_uses_a_global_generator():
    found = [
        f"{path.name}:{line}"
        for top in ("theory", "sim", "llm", "validate", "paper_figs", "benchmarks")
        for path in sorted((PACKAGE / top).rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in EXEMPT
        for line in global_draws(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import random",
        "from random import shuffle",
        "import numpy as np\nx = np.random.rand(3)",
        "import numpy as np\nrng = np.random.default_rng()",
    ],
)
def test_negative_control_each_global_draw_is_seen(text):
    assert list(global_draws(text))


def test_another_process_with_another_hash_seed_gives_the_same_trajectory():
    code = (
        "import numpy as np\n"
        "from activeduel.sim import PairPool, Teachers, simulate\n"
        "t = Teachers([[1.0, 2.0], [0.7, 0.3]])\n"
        "pool = PairPool.synthetic(30, 3, 2, t, np.random.default_rng(3))\n"
        "print(simulate('dual', pool, horizon=30, replicates=2, seed=9).picks.tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    here = simulate("dual", small_pool(), horizon=30, replicates=2, seed=9).picks.tolist()
    assert there.strip() == str(here)

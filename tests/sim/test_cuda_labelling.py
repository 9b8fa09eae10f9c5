"""The labelling kernel for GPUs against the CPU's: same picks, same labels, same estimates.

Without a GPU it runs in numba's simulator, in a child process, in blocks of 8 or 16 threads. The last
tests want a real GPU and are skipped where there is none.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from activeduel.sim import LABELLING, PairPool, Teachers, simulate
from activeduel.sim.kernels.cuda import launch
from activeduel.theory import SELECTORS

CHILD = Path(__file__).with_name("cuda_labelling_child.py")
NAMES = [name for name, algorithm in LABELLING.items() if algorithm.rule is not None]
CONTROLS = ["least_informative", "dual_random_teacher", "top_of_one_ranking"]

installed = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="needs numba-cuda: pip install 'activeduel[cuda]'",
)


def a_gpu():
    """Whether a real GPU is there; asked at collection, so it must not raise."""
    try:
        launch.require_device()
    except ValueError:
        return False
    return not launch.simulated()


on_a_gpu = pytest.mark.skipif(not a_gpu(), reason="needs an NVIDIA GPU and numba-cuda")


def outcomes(cases, folder):
    """What each case gave, all run in one child process."""
    file = folder / "cases.json"
    file.write_text(json.dumps(cases))
    ran = subprocess.run(
        [sys.executable, CHILD, file],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


def assert_same(outcome, case):
    assert "error" not in outcome, (case, outcome)
    assert outcome["decisions"] == 0, case
    assert outcome["theta"] <= 1e-9 and outcome["information"] <= 1e-9, (case, outcome)
    assert outcome["spent"] == 0, case


@installed
def test_every_rule_decides_as_on_the_cpu(tmp_path):
    """Every rule, the negative controls too, one by one and in batches, in endless and limited pools."""
    cases = [
        {"name": name, "kind": kind, "options": {"batch": batch}}
        for name in [*NAMES, *CONTROLS]
        for kind, batch in (("finite", 1), ("costs", 4), ("both", 4))
    ]
    for case, outcome in zip(cases, outcomes(cases, tmp_path), strict=True):
        assert_same(outcome, case)


@installed
def test_options_reach_the_gpu(tmp_path):
    ones = np.ones((3, 2)).tolist()
    changes = (
        {"final_ridge": 0.5},
        {"ridge": 0.3, "warm_up": 0},
        {"warm_up": 8},
        {"first_replicate": 2**31},
        {"seed": 2**63 + 12345},
        {"selector_rationality": ones},
        {"assumed_rationality": ones},
        {"checkpoints": list(range(1, 9))},
        {"replicates": 5, "horizon": 6, "checkpoints": [6]},  # more replicates than blocks
    )
    cases = [{"name": "dual", "kind": "costs", "options": change} for change in changes]
    cases += [{"name": "dual", "kind": "odd"}]  # lapsing, biased, drifting teachers
    cases += [{"name": name, "kind": "both", "dim": 1} for name in ("dual", "practical_apo")]
    large = {"shared_dim": 2, "options": {"batch": 4}}  # matrices too large for shared memory
    cases += [{"name": name, "kind": "both", **large} for name in ("dual", "practical_apo")]
    for case, outcome in zip(cases, outcomes(cases, tmp_path), strict=True):
        assert_same(outcome, case)


@installed
def test_neither_the_order_of_the_threads_nor_their_number_matters(tmp_path):
    """A thread that reads what another may not have written yet shows up as a difference."""
    orders = [("forward", 8), ("backward", 8), ("random", 8), ("backward", 16)]
    for name, kind in (("dual", "both"), ("conversation_only", "finite")):
        cases = [
            {
                "name": name,
                "kind": kind,
                "order": order,
                "threads": threads,
                "options": {"batch": 4},
            }
            for order, threads in orders
        ]
        found = outcomes(cases, tmp_path)
        for case, outcome in zip(cases, found, strict=True):
            assert_same(outcome, case)
        for outcome in found[1:3]:  # eight threads: to the last bit
            assert outcome["theta_there"] == found[0]["theta_there"]


@installed
def test_the_comparison_catches_broken_kernels(tmp_path):
    """Leverages left stale in a batch; a selection that draws from another stream."""
    broken = [
        {"name": "dual", "kind": "plain", "broken": "absorb", "options": {"batch": 4}},
        {"name": "random", "kind": "plain", "broken": "SELECT"},
    ]
    for outcome in outcomes(broken, tmp_path):
        assert outcome["decisions"] > 0


@installed
def test_a_singular_matrix_is_the_same_error(tmp_path):
    case = {"name": "dual", "kind": "plain", "options": {"ridge": 0.0, "warm_up": 0}}
    gram = {"name": "practical_apo", "kind": "plain", "options": {"ridge": 0.0, "warm_up": 1}}
    for outcome in outcomes([case, gram], tmp_path):
        assert "positive definite while selecting; pass a ridge > 0" in outcome["error"]


# --- refused before a GPU is looked for -------------------------------------------------------------


def small(algorithm, **options):
    pool = PairPool.synthetic(5, 2, 1, Teachers([[1.0]]), np.random.default_rng(0))
    return simulate(algorithm, pool, horizon=9, replicates=1, seed=0, device="cuda", **options)


def test_what_has_no_kernel_is_named():
    from activeduel.sim.algorithms import Labelling

    with pytest.raises(ValueError, match="algorithm: found 'mine', which has no compiled rule"):
        small(Labelling("mine", SELECTORS["dual"]))
    with pytest.raises(ValueError, match="engine: found 'plain' with device='cuda'"):
        small("dual", engine="plain")


@pytest.mark.skipif(a_gpu(), reason="a GPU is there")
def test_without_a_gpu_nothing_runs_instead():
    with pytest.raises(ValueError, match="device: found 'cuda'.*device='cpu'"):
        small("dual")


# --- on a real GPU ----------------------------------------------------------------------------------


@on_a_gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("limited", [False, True])
def test_a_gpu_decides_as_the_cpu(name, batch, limited):
    """At real sizes: fewer than 1 decision in 10,000 may hang on the last bits.

    Once two trajectories part they stay apart, so what is counted is trajectories, at their first
    difference, over the decisions before it.
    """
    rng = np.random.default_rng(1)
    pool = PairPool.synthetic(500, 10, 2, Teachers(rng.uniform(0.3, 2.0, (5, 2))), rng)
    if limited:
        pool = pool.with_available(rng.integers(0, 4, (500, 5)))
    options = {
        "horizon": 600,
        "replicates": 64,
        "seed": 3,
        "batch": batch,
        "checkpoints": [300, 600],
    }
    here, there = (simulate(name, pool, device=d, **options) for d in ("cpu", "cuda"))
    apart = (here.picks != there.picks).any(axis=2) | (here.label != there.label)
    parted = apart.any(axis=1)
    decisions = np.where(parted, apart.argmax(axis=1) + 1, apart.shape[1]).sum()
    assert parted.sum() <= 1e-4 * decisions, f"{parted.sum()} of {decisions}"
    np.testing.assert_allclose(
        here.theta_path[~parted], there.theta_path[~parted], rtol=1e-9, atol=1e-9
    )

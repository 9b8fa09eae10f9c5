"""Dueling on a GPU does what the CPU kernel does, draw by draw.

In numba's simulator, run as this very file in a child process (the simulator is chosen before numba is
imported): small worlds, every rule, several seeds, barriers tried in both orders of threads. On a GPU
where there is one: real sizes.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from activeduel.sim import DUELING, DuelingWorld, StreamingWorld, simulate

FINITE = DuelingWorld.with_gap(4, 3, 2, 0.3, np.random.default_rng(3))
WIDE = DuelingWorld.with_gap(3, 11, 3, 0.1, np.random.default_rng(4))  # more arms than threads
STREAM = StreamingWorld([0.8, -0.6, 0.5], 3)
SEEDS = (1, 2, 3)
OPTIONS = {
    "appo": {"radius": 1.0, "uncertainty_threshold": 0.6, "step_size": 0.4},
    "oppo": {"radius": 1.0, "step_size": 0.4},
    "random_query": {"probability": 0.4, "budget": 6},
}
COMMON = {"horizon": 24, "replicates": 2, "seed": 0}
CASES = {
    **{
        (name, "finite", seed): (name, FINITE, {"seed": seed}) for name in DUELING for seed in SEEDS
    },
    **{
        (name, "stream", seed): (name, STREAM, {"seed": seed, "horizon": 14})
        for name in DUELING
        if name not in ("appo", "oppo")
        for seed in SEEDS
    },
    "never": ("appo", FINITE, {"uncertainty_threshold": np.inf, "horizon": 90}),
    "tested pair": ("appo", FINITE, {"tested_pair": True, "step_size": None}),
    "gram stands still": ("appo", FINITE, {"update_gram": False}),
    "lazy refits": ("greedy", FINITE, {"refit_growth": 1.3}),
    "refits on a stream": ("maxinp", STREAM, {"refit_growth": 1.0, "horizon": 12}),
    "no budget": ("random_query", FINITE, {"budget": None}),
    "checkpoints": ("appo", FINITE, {"checkpoints": [1, 3, 4, 17, 24], "record": 2}),
    "tail": ("colstim", FINITE, {"first_replicate": 7, "replicates": 1}),
    "a block plays again": ("appo", FINITE, {"replicates": 5, "horizon": 16}),
    "many arms": ("appo", WIDE, {"horizon": 32}),
    "many pairs of arms": ("maxinp", WIDE, {"horizon": 8}),
}
EXACT = ("rounds", "queries", "costly_unasked", "costly_inside", "last_query", "below_threshold",
         "query_round", "queried", "label")  # fmt: skip
CLOSE = ("regret", "regret_both", "largest_distance", "late_regret", "theta_path",
         "information_path", "norm")  # fmt: skip

simulated = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed: pip install 'activeduel[cuda]'",
)


def run(name, world, changes, **more):
    options = {**COMMON, **OPTIONS.get(name, {}), **changes, **more}
    options.setdefault("record", options["horizon"])
    return simulate(name, world, **options)


def differences(cpu, gpu):
    """Names of the fields in which two results differ; sums may differ in their last bits."""
    found = [name for name in EXACT if not np.array_equal(getattr(cpu, name), gpu[name])]
    for name in CLOSE:
        close = np.allclose(getattr(cpu, name), gpu[name], rtol=1e-9, atol=1e-9, equal_nan=True)
        found += [] if close else [name]
    return found


@pytest.fixture(scope="module")
def from_gpu(tmp_path_factory):
    """Every case, by the simulator: {(case, field): array}, in one child process."""
    path = tmp_path_factory.mktemp("cuda") / "dueling.npz"
    folders = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }  # fmt: skip
    child = subprocess.run(
        [sys.executable, __file__, str(path)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    with np.load(path) as found:
        return dict(found)


def of_case(from_gpu, case):
    start = f"{case}/"
    return {k.removeprefix(start): v for k, v in from_gpu.items() if k.startswith(start)}


@simulated
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_simulated_gpu_decides_as_the_cpu(case, from_gpu):
    assert differences(run(*CASES[case]), of_case(from_gpu, case)) == []


@simulated
def test_the_cases_reach_every_branch(from_gpu):
    """Asked and unasked rounds, answers looked up twice, arms equal and unequal, both labels."""
    seen = of_case(from_gpu, ("appo", "finite", 1))
    assert 0 < seen["last_query"].max() and (seen["queries"][:, -1] < 24).all()
    assert (seen["queried"][..., 1] == seen["queried"][..., 2])[seen["query_round"] >= 0].any()
    assert set(np.unique(seen["label"])) == {-1, 0, 1}
    assert (of_case(from_gpu, "never")["queries"] == 0).all()
    assert (of_case(from_gpu, ("random_query", "finite", 1))["queries"][:, -1] == 6).all()


@simulated
@pytest.mark.parametrize("sabotage", ["purpose", "stale"])
def test_a_broken_kernel_is_caught(sabotage, from_gpu):
    """A draw with the wrong purpose; answers that are not forgotten when theta moves."""
    wrong = differences(run(*CASES["appo", "finite", 1]), of_case(from_gpu, sabotage))
    assert "queried" in wrong and "regret" in wrong


@simulated
@pytest.mark.parametrize("changed", ["threads", "one a launch"])
def test_neither_threads_nor_launches_change_a_decision(changed, from_gpu):
    assert differences(run(*CASES["appo", "finite", 2]), of_case(from_gpu, changed)) == []


@pytest.mark.parametrize("name", ["appo", "oppo"])
def test_a_policy_on_a_stream_is_refused(name):
    with pytest.raises(ValueError, match="on a stream with device='cuda'; its policy"):
        run(name, STREAM, {}, device="cuda")


def test_the_plain_loop_is_refused():
    with pytest.raises(ValueError, match="engine: found 'plain' with device='cuda'"):
        run("greedy", FINITE, {}, device="cuda", engine="plain")


def gpu_is_missing():
    """Why the comparison on a GPU cannot run here, or None."""
    from activeduel.sim.kernels.cuda.launch import require_device

    try:
        require_device()
    except ValueError as error:
        return str(error)
    return None


LARGE = DuelingWorld.with_gap(10, 6, 5, 0.3, np.random.default_rng(5))
LARGE_STREAM = StreamingWorld(np.linspace(-0.6, 0.6, 5), 6)


@pytest.mark.skipif(gpu_is_missing() is not None, reason=str(gpu_is_missing()))
@pytest.mark.parametrize(
    ("name", "world", "horizon"),
    [(name, LARGE, 4000) for name in DUELING]
    + [(name, LARGE_STREAM, 1000) for name in DUELING if name not in ("appo", "oppo")],
)
def test_a_gpu_decides_as_the_cpu(name, world, horizon):
    """Replicates that the last bits lead apart are counted: under 1 in 10,000 questions."""
    changes = {"horizon": horizon, "record": horizon, "replicates": 64}
    if name == "appo":
        changes |= {"radius": 2.0, "uncertainty_threshold": 0.2, "step_size": 0.05}
    cpu, gpu = run(name, world, changes, workers=2), run(name, world, changes, device="cuda")
    same = (cpu.queried == gpu.queried).all(axis=(1, 2)) & (cpu.query_round == gpu.query_round).all(
        1
    )
    same &= (cpu.label == gpu.label).all(axis=1)
    assert (~same).sum() < 1e-4 * cpu.queries[:, -1].sum()
    for field in CLOSE:
        one, other = getattr(cpu, field)[same], getattr(gpu, field)[same]
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8, err_msg=field)


def simulate_all(path):
    """The child: every case, by threads in ascending and in descending order in turn; sabotages."""
    import cuda_simulator

    from activeduel.sim.kernels.cuda import duel_rules, dueling, launch

    dueling.threads_for = lambda dim, cells: 8
    results = {}

    def keep(key, case):
        cuda_simulator.ORDER = ("forward", "backward")[len(results) // 16 % 2]
        found = run(*CASES[case], device="cuda")
        results.update({f"{key}/{f.name}": getattr(found, f.name) for f in fields(found)})

    for case in CASES:
        keep(case, case)
    whole, launch.ROUNDS, launch.SIMULATED_BLOCKS = launch.ROUNDS, 1, 1
    keep("one a launch", ("appo", "finite", 2))
    launch.ROUNDS, launch.SIMULATED_BLOCKS = whole, 2
    dueling.threads_for = lambda dim, cells: 24
    keep("threads", ("appo", "finite", 2))
    dueling.threads_for = lambda dim, cells: 8
    right, duel_rules.PLAY = duel_rules.PLAY, duel_rules.SELECT
    keep("purpose", ("appo", "finite", 1))
    duel_rules.PLAY, right = right, dueling.look_ahead
    dueling.look_ahead = lambda world, rule, seed, r, t, end, version, *rest: right(
        world, rule, seed, r, t, end, 1, *rest
    )
    keep("stale", ("appo", "finite", 1))
    np.savez(path, **results)


if __name__ == "__main__":
    simulate_all(sys.argv[1])

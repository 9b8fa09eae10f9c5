"""Launches on a GPU: how many blocks and replicates, progress, and Ctrl-C. No GPU is needed."""

import subprocess
import sys

import pytest

from activeduel.sim.kernels.cuda.launch import (
    Cut,
    Device,
    Stopped,
    cut,
    in_launches,
    require_device,
)

GB = 10**9
LARGE = Device("a large one", 100 * GB, 132, 2048)


def test_a_gpu_is_filled_and_a_launch_is_a_few_replicates_a_block():
    assert cut(LARGE, 10**6, 128, 10**6, 10**4) == Cut(132 * 16, 4 * 132 * 16)


def test_no_more_blocks_than_replicates():
    assert cut(LARGE, 3, 128, 10**6, 10**4) == Cut(3, 12)


def test_what_does_not_fit_is_cut():
    """Room for blocks first, then for the results of at least one replicate a block."""
    for block, row in ((10**9, 10**6), (10**6, 10**9), (10**9, 10**9)):
        found = cut(LARGE, 10**5, 128, block, row)
        assert found.rows % found.blocks == 0 and found.rows >= found.blocks >= 1
        assert found.blocks * block + found.rows * row <= LARGE.free_bytes


def test_one_replicate_that_does_not_fit_is_an_error():
    small = LARGE._replace(free_bytes=GB)
    with pytest.raises(
        ValueError, match="found 1.0 GB of free memory on a large one, needed 2.5 GB"
    ):
        cut(small, 1, 128, GB, GB)


def test_every_replicate_runs_once_and_is_counted():
    ran, counted = [], []
    in_launches(lambda low, high: ran.extend(range(low, high)), 4, 11, counted.append)
    assert ran == list(range(11)) and counted == [4, 4, 3]


def test_ctrl_c_says_how_many_replicates_are_finished():
    def work(low, high):
        if low == 8:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="8 of 11 replicates are finished") as stop:
        in_launches(work, 4, 11, None)
    assert stop.value.finished == 8 and isinstance(stop.value, KeyboardInterrupt)


def test_ctrl_c_leaves_what_is_finished(monkeypatch):
    """simulate hands over the trajectories of the launches that were over, equal to the CPU's."""
    import numpy as np

    from activeduel.sim import PairPool, Teachers, labelling, simulate
    from activeduel.sim.kernels import labelling as kernel
    from activeduel.sim.kernels.cuda import launch

    pool = PairPool.synthetic(8, 2, 1, Teachers([[1.0]]), np.random.default_rng(0))
    options = {"horizon": 30, "replicates": 5, "seed": 1}

    class Half:
        """Stands in for the GPU's kernels: launches of two, Ctrl-C in the third."""

        @staticmethod
        def run(world, truth, rule, plan, first, out, progress):
            def work(low, high):
                if low == 4:
                    raise KeyboardInterrupt
                kernel.run(world, truth, rule, plan, first, out, low, high)

            in_launches(work, 2, len(out.label), progress)

    monkeypatch.setattr(launch, "require_device", lambda: None)
    monkeypatch.setattr(labelling, "_cuda_kernel", lambda: Half)
    with pytest.raises(KeyboardInterrupt) as stop:
        simulate("dual", pool, device="cuda", **options)
    whole = simulate("dual", pool, **options)
    np.testing.assert_array_equal(stop.value.trajectories.picks, whole.picks[:4])
    np.testing.assert_array_equal(stop.value.trajectories.theta_path, whole.theta_path[:4])


def test_a_missing_package_is_named(monkeypatch):
    from activeduel.sim.kernels.cuda import launch

    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"without the package numba-cuda.*activeduel\[cuda\]"):
        require_device()


def test_importing_the_project_loads_nothing_of_cuda():
    code = (
        "import sys, activeduel, activeduel.sim, activeduel.validate.claims, activeduel.benchmarks.gpu;"
        "found = [m for m in sys.modules if m.startswith(('numba.cuda', 'numba_cuda'))];"
        "assert not found, found"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr

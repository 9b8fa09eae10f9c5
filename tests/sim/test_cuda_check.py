"""Every CUDA kernel compiles for every GPU that is supported, and fits into its registers."""

import numpy as np
import pytest

from activeduel.sim.kernels.cuda import check, launch

CAP = 192  # registers a thread: at least 320 threads stay on a multiprocessor

pytestmark = pytest.mark.skipif(check.missing() is not None, reason=str(check.missing()))


SIZES = [(10, (7, 5)), (10, (8, 0)), (10, (9, 0)), (10, (10, 0)), (32, (9, 0))]
EVERYWHERE = ("dual", "appo")  # the others, which share most of their code, for one GPU


@pytest.mark.parametrize(
    ("name", "dim", "capability"),
    [(n, *size) for n in check.KERNELS for size in (SIZES if n in EVERYWHERE else SIZES[2:3])],
)
def test_registers_suffice_and_nothing_is_spilled(name, dim, capability):
    found = check.usage(name, dim, capability)
    assert 0 < found.registers <= CAP, found
    assert found.spill_stores == found.spill_loads == 0, found
    assert found.shared <= 48 * 1024
    assert name in check.table([found])


def test_what_is_checked_is_what_a_launch_passes():
    """The types of a real run's arguments are those that the check compiles for."""
    from numba import typeof

    from activeduel.sim import PairPool, Teachers, labelling
    from activeduel.sim.kernels import labelling as kernel
    from activeduel.sim.kernels.cuda import labelling as cuda_kernel

    pool = PairPool.synthetic(20, 3, 1, Teachers([[1.0], [0.5]]), np.random.default_rng(0))
    plan = labelling._plan(pool, 12, 1, None, labelling.OPTIONS)
    world, truth = labelling._arrays(pool, plan)
    compiled = labelling._compiled_plan(plan)
    shapes = cuda_kernel.room_shapes(20, 2, 3, 12)
    room = cuda_kernel.Room(**{k: np.zeros((2, *size), kind) for k, (size, kind) in shapes.items()})
    out = kernel.Output(*(array[:3] for array in kernel.new_output(4, compiled, 3)))
    passed = (world, truth, compiled, 0, room, out, np.zeros(4, np.bool_)[:3])
    assert tuple(map(typeof, passed)) == check.KERNELS["dual"](3)[1]


def test_the_driver_knows_the_attributes_by_these_names():
    from cuda.bindings.driver import CUdevice_attribute

    for name in launch.ATTRIBUTES:
        assert hasattr(CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")


def test_the_refusal_of_ptxas_is_shown(monkeypatch):
    monkeypatch.setattr(check, "compile_ptx", lambda *of: "not PTX")
    with pytest.raises(RuntimeError, match="dual sm_90"):
        check.usage("dual", 2, (9, 0))


def test_threads_that_fit_are_bound_by_registers():
    use = check.Usage("k", 10, 128, (9, 0), 128, 0, 0, 0, 4096)
    assert check.resident_threads(use) == 512
    assert check.resident_threads(use._replace(registers=32)) == 2048

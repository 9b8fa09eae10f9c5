"""Compile every CUDA kernel without a GPU: numba-cuda to PTX, then ``ptxas -v`` for its resources.

    python -m activeduel.sim.kernels.cuda.check [7.5 8.0 9.0 10.0]

Needs the extras ``cuda`` and ``ptx``. Prints registers, spills, shared memory, and how many threads a
multiprocessor can hold at a time.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ...algorithms import DUELING
from ..duel_rules import APPO, OPPO

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))
DIMENSIONS = (2, 10, 32)

Source = tuple[Any, tuple[Any, ...], int, int | None]
"""Python function, its arguments' types, threads of a block, a cap on registers or None."""


class Usage(NamedTuple):
    """What one kernel takes on one kind of GPU: registers and bytes of stack and spills a thread."""

    kernel: str
    dim: int
    threads: int
    capability: tuple[int, int]
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


def labelling_source(rule: str, dim: int) -> Source:
    """A rule's labelling kernel and the types of what ``labelling.run`` passes."""
    from ..labelling import Plan, Truth, new_output
    from ..selection import RULES, World
    from . import labelling
    from .launch import types_of

    n, m = 5, 2
    table = np.zeros((m, n))
    counts = np.zeros((m, n), np.int64)
    world = World(np.zeros((dim, n)), table, table, counts, np.zeros(m), counts, False)
    truth = Truth(np.zeros(n), table, *(np.zeros(m) for _ in range(3)), table)
    plan = Plan(np.uint64(0), 2, 1, 1, 0.1, 0.0, np.zeros(1, np.int64))
    shapes = labelling.room_shapes(n, m, dim, plan.horizon)
    room = labelling.Room(**{k: np.zeros((1, *shape), kind) for k, (shape, kind) in shapes.items()})
    out, threads = new_output(1, plan, dim), labelling.threads_for(dim)
    values = (world, truth, plan, 0, room, out, np.zeros(1, np.bool_))
    return labelling.kernel(dim, threads, RULES[rule]).py_func, types_of(values), threads, None


def dueling_source(kind: int, streaming: bool, dim: int) -> Source:
    """A rule's dueling kernel and the types of what ``dueling.run`` passes."""
    from ..duel_rules import Rule
    from ..dueling import Plan, World, new_output
    from . import dueling
    from .launch import types_of

    shape = (1 if streaming else 3, 4, dim)
    table = np.zeros(shape[:2])
    world = World(np.zeros(shape), table, table, np.zeros(dim), streaming)
    plan = Plan(np.uint64(0), 2, 0.1, 1.0, True, np.zeros(1, np.int64), 1)
    cells = dueling.cells_for(plan.horizon, streaming, shape)
    threads = dueling.threads_for(dim, cells)
    shapes = dueling.room_shapes(kind, streaming, shape, cells, threads)
    room = dueling.Room(**{k: np.zeros((1, *size), dtype) for k, (size, dtype) in shapes.items()})
    rule = Rule(kind, 1.0, 0.1, 0.1, False, 1.0, 1.0, 0.1, 1)
    values = (world, rule, plan, 0, room, new_output(1, 1, 1, dim), np.zeros(1, np.bool_))
    function = dueling.kernel(kind, streaming, dim, threads).py_func
    return function, types_of(values), threads, dueling.registers_for(dim)


KERNELS: dict[str, Callable[[int], Source]] = {
    name: partial(labelling_source, name) for name in ("dual", "conversation_only", "practical_apo")
}
for _name, _rule in DUELING.items():
    KERNELS[_name] = partial(dueling_source, _rule.kind, False)
    if _rule.kind not in (APPO, OPPO):  # their policy on a stream needs all past rounds
        KERNELS[f"{_name} stream"] = partial(dueling_source, _rule.kind, True)


@contextmanager
def _pretended(capability: tuple[int, int]) -> Iterator[None]:
    """Answer numba's one question to the driver, which it asks when a kernel calls a function."""
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


def compile_ptx(name: str, dim: int, capability: tuple[int, int]) -> str:
    """The kernel in PTX."""
    compiler: Any = importlib.import_module("numba.cuda")
    function, types, *_ = KERNELS[name](dim)
    with _pretended(capability):
        return str(compiler.compile_ptx(function, types, cc=capability)[0])


def find_ptxas() -> str | None:
    """The pip wheel's ptxas (nvidia-cuda-nvcc, same release as nvidia-nvvm), else the PATH's."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for hit in sorted(Path(root).glob("**/bin/ptxas")):
            if os.access(hit, os.X_OK):
                return str(hit)
    return shutil.which("ptxas")


def missing() -> str | None:
    """What this machine lacks to compile, or None."""
    for module, extra in (("numba_cuda", "cuda"), ("nvidia", "ptx")):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: pip install 'activeduel[{extra}]'"
    return None if find_ptxas() else "no ptxas: pip install 'activeduel[ptx]'"


def usage(name: str, dim: int, capability: tuple[int, int]) -> Usage:
    """Compile one kernel. Raises RuntimeError with what ptxas says where it refuses."""
    lack = missing()
    if lack:
        raise RuntimeError(lack)
    ptx, major_minor = compile_ptx(name, dim, capability), f"sm_{capability[0]}{capability[1]}"
    _, _, threads, registers = KERNELS[name](dim)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        call = [str(find_ptxas()), "-v", f"-arch={major_minor}"]
        if registers is not None:
            call.append(f"-maxrregcount={registers}")
        ran = subprocess.run(
            [*call, str(source), "-o", str(Path(folder, "kernel.cubin"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{name} {major_minor}: {ran.stderr}")

    def found(pattern: str) -> int:
        return max((int(n) for n in re.findall(pattern, ran.stderr)), default=0)

    return Usage(
        name,
        dim,
        threads,
        capability,
        registers=found(r"Used (\d+) registers"),
        stack=found(r"(\d+) bytes stack frame"),
        spill_stores=found(r"(\d+) bytes spill stores"),
        spill_loads=found(r"(\d+) bytes spill loads"),
        shared=found(r"(\d+) bytes smem"),
    )


def resident_threads(use: Usage) -> int:
    """Threads that a multiprocessor holds: 65,536 registers, granted 8 at a time to warps of 32."""
    limit = 1024 if use.capability == (7, 5) else 2048
    shared = 65_536 if use.capability == (7, 5) else 164 * 1024
    a_block = -(-use.registers // 8) * 8 * use.threads
    blocks = min(65_536 // max(a_block, 1), shared // (use.shared + 1024), limit // use.threads)
    return blocks * use.threads


def table(uses: list[Usage]) -> str:
    """One line a kernel, dimension and capability."""
    lines = [
        "kernel               d   GPU  registers  stack  spills  shared  threads a multiprocessor"
    ]
    for u in uses:
        major, minor = u.capability
        spills = u.spill_stores + u.spill_loads
        lines.append(
            f"{u.kernel:19s} {u.dim:2d}  {major:2d}.{minor}  {u.registers:9d}  {u.stack:5d}  "
            f"{spills:6d}  {u.shared:6d}  {resident_threads(u):5d} (blocks of {u.threads})"
        )
    return "\n".join(lines)


def main() -> int:
    """Compile for the capabilities named, or for all."""
    lack = missing()
    if lack:
        print(lack, file=sys.stderr)
        return 2
    asked = [(int(a), int(b)) for a, _, b in (text.partition(".") for text in sys.argv[1:])]
    chosen = asked or list(CAPABILITIES)
    print(table([usage(n, d, c) for n in KERNELS for d in DIMENSIONS for c in chosen]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Run in a child process with NUMBA_ENABLE_CUDASIM=1: labelling on the simulated GPU and on the CPU.

    python cuda_labelling_child.py FILE

FILE is JSON: a list of cases. Prints one JSON list of what differed in each.
"""

import json
import sys
from pathlib import Path

import numpy as np

from activeduel.sim import LABELLING, PairPool, Teachers, simulate

sys.path.insert(0, str(Path(__file__).parent.parent))
import cuda_simulator

from activeduel.sim.kernels.cuda import labelling as kernel
from activeduel.validate.claims import negative_controls

ALGORITHMS = {
    **LABELLING,
    **{a.name: a for a in vars(negative_controls).values() if hasattr(a, "rule")},
}


def a_pool(kind, n=8, dim=3):
    """8 pairs, 3 teachers (two of them alike in one context), 2 context types."""
    rng = np.random.default_rng(0)
    cost = {"costs": [1.0, 0.4, 2.5], "both": [2.0, 1.0, 0.5]}.get(kind)
    odd = {"lapse": [0.2, 0, 0.1], "bias": [0, 1, -1], "drift": [-0.01, 0, 0.02]}
    teachers = Teachers(
        [[2.0, 0.5], [2.0, 1.5], [0.7, 1.0]], cost, **(odd if kind == "odd" else {})
    )
    pool = PairPool.synthetic(n, dim, 2, teachers, rng)
    if kind in ("finite", "both"):
        return pool.with_available(rng.integers(0, 3, (n, 3)))
    return pool


def stale_leverages(name):
    """A broken twin: the leverages of a batch stay as they were before its first pick."""
    selection_absorb = kernel.absorb
    kernel.absorb = lambda *arguments: None
    return lambda: setattr(kernel, name, selection_absorb)


def other_purpose(name):
    """A broken twin: selections draw from another stream."""
    select, kernel.SELECT = kernel.SELECT, kernel.SELECT + 40
    return lambda: setattr(kernel, name, select)


BROKEN = {"absorb": stale_leverages, "SELECT": other_purpose}


def run(case):
    cuda_simulator.ORDER = case.get("order", "forward")
    kernel.threads_for = lambda dim: case.get("threads", 8)
    kernel.SHARED_DIM = case.get("shared_dim", 48)
    kernel.kernel.cache_clear()
    options = {
        "horizon": 8,
        "replicates": 1,
        "seed": 5,
        "checkpoints": [5, 8],
        "warm_up": 3,
        **case.get("options", {}),
    }
    algorithm, pool = ALGORITHMS[case["name"]], a_pool(case["kind"], dim=case.get("dim", 3))
    mend = BROKEN[case["broken"]](case["broken"]) if "broken" in case else lambda: None
    try:
        there = simulate(algorithm, pool, device="cuda", **options)
    except ValueError as error:
        return {"error": str(error)}
    finally:
        mend()
    here = simulate(algorithm, pool, **options)

    def apart(what):
        one, other = getattr(here, what), getattr(there, what)
        lost = np.isnan(one) != np.isnan(other)
        return float(np.where(lost, np.inf, np.abs(np.nan_to_num(one - other))).max())

    differ = (here.picks != there.picks).any(axis=2) | (here.label != there.label)
    return {
        "decisions": int(differ.sum()),
        "theta": apart("theta_path"),
        "information": apart("information_path"),
        "spent": apart("spent"),
        "theta_there": np.nan_to_num(there.theta_path).ravel().tolist(),
    }


if __name__ == "__main__":
    cases = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([run(case) for case in cases]))

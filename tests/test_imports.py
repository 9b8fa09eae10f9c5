"""Floors point down only, the front door opens fast, and every module can be imported."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import activeduel

PACKAGE = Path(activeduel.__file__).parent
FLOOR = {"theory": 0, "sim": 1, "llm": 1, "validate": 2, "paper_figs": 2, "benchmarks": 2}
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes")
# benchmarks that make tensors and models themselves, when they run
ON_MODELS = {("benchmarks", n) for n in ("designs_on_a_gpu", "llm", "llm_rows", "llm_subject")}

LEAVES = {"_version", "_durable", "_provenance"}  # every floor may stand on these


def sources():
    """(path, dotted parts below activeduel) of every source file, folders through their links."""
    for top in [None, *FLOOR]:
        base = PACKAGE / top if top else PACKAGE
        for path in sorted(base.rglob("*.py") if top else base.glob("*.py")):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            yield path, parts


def imported(tree, parts):
    """(parts below activeduel | None, absolute name, line) of every import in a file."""
    package = parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield None, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if not node.level:
                yield None, node.module or "", node.lineno
                continue
            up = package[: len(package) - node.level + 1]
            if module:
                yield (*up, *module), "", node.lineno
            else:
                for alias in node.names:
                    yield (*up, alias.name), "", node.lineno


def violations(text, parts):
    """What a source file at ``parts`` (below activeduel) may not import, in words."""
    top = parts[0] if parts[0] in FLOOR else None
    for target, absolute, line in imported(ast.parse(text), parts):
        if target is None:
            root = absolute.split(".")[0]
            if root == "activeduel":
                yield f"{line}: import inside the library must be relative, found {absolute}"
            if root in HEAVY and top != "llm" and parts not in ON_MODELS:
                yield f"{line}: only llm may import {root}"
        elif top is not None and target[0] in FLOOR:
            here, there = FLOOR[top], FLOOR[target[0]]
            if target[0] != top and there >= here:
                beside = {top, target[0]} <= {"paper_figs", "validate", "benchmarks"}
                if not beside or top == "validate":
                    yield f"{line}: {top} may not import {target[0]}"
        elif top is not None and target[0] not in LEAVES:
            yield f"{line}: {top} may not import the front door ({'.'.join(target)})"


def test_imports_point_down():
    checked = 0
    found = []
    for path, parts in sources():
        checked += 1
        found += [f"{'/'.join(parts)}.py:{v}" for v in violations(path.read_text(), parts)]
    assert not found, "\n".join(found)
    assert checked > 40


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("theory", "design"), "from ..sim.world import PairPool"),
        (("theory", "selectors", "dual"), "from ...sim import simulate"),
        (("sim", "kernels", "refit"), "from ...validate.claim import Claim"),
        (("validate", "claims", "dual"), "from ...cli import main"),
        (("theory", "design"), "from activeduel.theory import Pool"),
        (("sim", "world"), "def f():\n    import torch"),
        (("theory", "design"), "from .. import cli"),
    ],
)
def test_negative_control_each_forbidden_import_is_seen(parts, text):
    assert list(violations(text, parts))


def modules():
    return sorted(m.name for m in pkgutil.walk_packages(activeduel.__path__, "activeduel."))


@pytest.mark.parametrize("name", [m for m in modules() if not m.endswith("__main__")])
def test_every_module_can_be_imported(name):
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if (
            name.startswith(("activeduel.llm.", "activeduel.benchmarks.llm"))
            and error.name in HEAVY
        ):
            pytest.skip(f"needs {error.name}, of the extra 'llm'")
        raise


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_the_front_door_opens_without_heavy_imports():
    """--help answers at once: not even NumPy is there."""
    code = (
        "import sys, activeduel.cli\n"
        "activeduel.cli.main(['--help'])\n"
        "heavy = {'numpy', 'scipy', 'numba', 'cvxpy', 'matplotlib', 'torch', 'transformers'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    assert "HEAVY []" in fresh(code).stdout


def test_the_library_never_imports_torch():
    code = (
        "import sys, activeduel.theory, activeduel.sim, activeduel.validate.claims\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
        "slow = {'cvxpy', 'statsmodels', 'matplotlib', 'pandas'}\n"
        "print('SLOW', sorted(slow & set(sys.modules)))"
    )
    out = fresh(code).stdout
    assert "HEAVY []" in out and "SLOW []" in out


def test_the_promised_names_are_there():
    from activeduel import sim, theory

    promised = (
        "win_probability fisher_weight fit_preferences fit_jointly d_optimal d_optimal_pairs dual_design "
        "exact_design d_efficiency Pool Belief Picks SELECTORS"
    )
    assert set(promised.split()) <= set(theory.__all__)
    assert {"simulate", "DuelingWorld", "PairPool", "Teachers", "ALGORITHMS"} <= set(sim.__all__)
    for module in (theory, sim):
        assert all(hasattr(module, name) for name in module.__all__)
        assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), n))

"""The house's one-way streets: which part may import which, and what `import minivgg` may load and cost."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A part may import the parts before it. Parts in one tuple stand beside each other and do not import each other.
FLOORS = [
    ("errors", "memory", "version"),
    ("backend", "capture", "files", "hooks", "precision", "spec", "threads"),
    ("anomaly", "device", "page", "parallel", "tuning"),
    ("cuda", "products", "registry", "random"),
    ("autograd", "explanation"),
    ("kernels",),
    ("ops",),
    ("creation",),
    ("nn",),
    ("cuda_graph", "optim", "models", "data"),
    ("training", "inspect", "testing", "bench"),
    ("cli",),
]
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts}


def part_of(path):
    relative = path.relative_to(ROOT)
    if relative.parts[0] == "kernels":
        return "kernels"
    return relative.parts[1].removesuffix(".py")


def imports_of(path):
    """(line, part) of every import of minivgg in a file, wherever it stands, except under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            head, *rest = node.module.split(".")
            if head == "minivgg":
                for name in [rest[0]] if rest else [alias.name for alias in node.names]:
                    yield node.lineno, name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                head, *rest = alias.name.split(".")
                if head == "minivgg":
                    yield node.lineno, rest[0] if rest else ""


FILES = sorted([*ROOT.glob("minivgg/**/*.py"), *ROOT.glob("kernels/**/*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if path == ROOT / "minivgg" / "__init__.py":
        return  # the public face imports every part
    part = part_of(path)
    assert part in FLOOR, f"{part} has no place in the plan of the house: add it to FLOORS"
    wrong = [
        f"line {line}: {part} imports {name or 'minivgg itself'}"
        for line, name in imports_of(path)
        if name != part and (name not in FLOOR or FLOOR[name] >= FLOOR[part])
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_a_kernel_by_name():
    found = [f"{path}:{line}" for path in FILES for line, name in imports_of(path) if name == "kernels" and part_of(path) != "kernels"]
    assert found == []


def test_torch_is_never_imported_at_run_time():
    """Except by a comparison with it, and to read a file of its own."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            used = [name for name in names if name.split(".")[0] == "torch"]
            allowed = part_of(path) in ("bench", "cli") or path.name in ("pytorch_format.py", "torch_judge.py")
            assert allowed or not used, f"{path.relative_to(ROOT)}:{node.lineno} imports torch"


PROBE = """
import json, sys, time
import numpy
start = time.process_time(); import minivgg; minivgg_seconds = time.process_time() - start
heavy = [name for name in ("numba", "cupy", "torch", "matplotlib", "PIL", "typer", "rich", "safetensors") if name in sys.modules]
print(json.dumps([minivgg_seconds, heavy]))
"""


def test_import_is_light(tmp_path):
    """At most 0.25 s of the processor over NumPy's own import (best of five, with bytecode as an installation has it), and nothing heavy comes along."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    command = [sys.executable, "-c", PROBE]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout) for _ in range(5)]
    assert runs[0][1] == []
    assert min(seconds for seconds, _ in runs) <= 0.25

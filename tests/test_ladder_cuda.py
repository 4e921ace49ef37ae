"""benchmarks/ladder_cuda.py: every rung computes the convolution, run thread by thread under Numba's simulator of CUDA."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LADDER = ROOT / "benchmarks" / "ladder_cuda.py"


def simulate(path):
    """In a process of its own: the simulator takes the place of numba.cuda when that is imported."""
    return subprocess.run([sys.executable, path, "--check"], env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True)


def test_every_rung_agrees_with_the_definition_in_float64():
    result = simulate(LADDER)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^(\w+): \d+ problems, largest error \d\.\de-0[789]$", result.stdout, re.M) == ["naive", "tiled", "registers"]


@pytest.mark.parametrize(("right", "wrong", "rung"), [
    ("0 <= j < x.shape[3]:\n                    total", "0 < j < x.shape[3]:\n                    total", "naive"),
    ("patch[i, j] = float32(0)", "pass", "tiled"),  # what the channel before left there
    ("min(first + m, w.shape[0] - 1), c", "first, c", "registers"),
])  # fmt: skip
def test_a_mistake_is_found(right, wrong, rung, tmp_path):
    text = LADDER.read_text(encoding="utf-8")
    assert right in text
    planted = tmp_path / "ladder.py"
    planted.write_text(text.replace(right, wrong), encoding="utf-8")
    assert re.match(rf"{rung}: error .* on n, c, h, w, k = ", simulate(planted).stderr)


def test_the_page_tells_the_ladder_that_is_there():
    rungs = next(node.value for node in ast.parse(LADDER.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign) and node.targets[0].id == "RUNGS")
    expected = {name.id: why.value for name, why in zip(rungs.keys, rungs.values, strict=True)}
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", page, re.M)) == expected

"""docs/convolution.md: its examples run, its links and pictures exist, and its ladder has the rungs that the command measures."""

import doctest
import re
import runpy
import subprocess
import sys
from pathlib import Path

from minivgg.registry import algorithms

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "convolution.md"


def test_examples_say_what_the_page_says():
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0


def test_links_and_pictures_exist():
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(targets) >= 8
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_the_ladder_has_the_rungs_that_are_measured():
    rungs = runpy.run_path(str(ROOT / "benchmarks" / "ladder.py"))["RUNGS"]
    rows = re.findall(r"^\| (\w+) \| (.+?) \| [\d,.e+]+ \| [\d,.]+ \| [\d.e-]+ \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert dict(rows) == rungs
    assert set(rungs) <= set(algorithms("conv2d"))


def test_the_table_of_goals_is_made_from_results():
    """Without measuring: with no results, the head alone."""
    show = subprocess.run([sys.executable, ROOT / "benchmarks" / "table.py", "--show", "forward1"], capture_output=True, text=True, check=True)
    assert show.stdout.startswith("| work, float32, 224x224 | against | goal | reached | | |\n|---|")
    wrong = subprocess.run([sys.executable, ROOT / "benchmarks" / "table.py", "forward9"], capture_output=True, text=True)
    assert "there are no rows forward9; there are forward1, forward8, step8, layers, digits" in wrong.stderr


def test_rows_of_the_table_compare_with_the_fastest():
    table = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))

    def row(name, median, memory=2**30):
        return {"competitor": name, "seconds": [median], "median": median, "memory": memory, "refusal": None}

    data = {"results": [row("minivgg", 0.1), row("ncnn", 0.12), row("PyTorch", 0.3), row("PyTorch channels-last", 0.25)]}
    first, second = table["rows_forward1"](data)
    assert str(first) == "| VGG-16 forward, batch 1 | ncnn (the fastest rival) | at least 1.10 | 1.20 | yes | 100 ms; ncnn 120 ms |"
    assert "| 2.50 | yes | 100 ms; PyTorch channels-last 250 ms |" in str(second)
    missing = {"results": [row("minivgg", 0.1), {"competitor": "ncnn", "seconds": [], "refusal": "ncnn is not installed here: pip install ncnn"}]}
    assert "| not measured |  | ncnn is not installed here: pip install ncnn |" in str(table["rows_forward1"](missing)[0])
    speed, memory = table["rows_step8"]({"results": [row("minivgg", 1.0, 2**30), row("PyTorch", 2.0, 2**29)]})
    assert "| at least 3.00 | 2.00 | **no** |" in str(speed)
    assert "| at most 1.00 | 2.00 | **no** | 1024 MiB; 512 MiB |" in str(memory)
    (*_, share) = table["rows_forward8"]({**data, "executed_macs": 5e9, "ceilings": {"flops": 1e11}})
    assert "| at least 70 % | 100% | yes |" in str(share)
    layers = [
        {"name": f"vgg-d:{name}", "direction": direction, "algorithm": algorithm, "seconds": [1], "median": median}
        for direction in ("output", "input", "weight")
        for name, ours in (("conv1_2", 1.0), ("conv2_1", 2.0))
        for algorithm, median in (("winograd_f4", ours), ("direct", 3.0), ("PyTorch", 5.0), ("PyTorch channels-last", 4.0))
    ]
    winograd, *_, direct = table["rows_layers"]({"results": layers})
    assert "| at least 2.20 | 2.00 | **no** | conv1_2 4.00, conv2_1 2.00 |" in str(winograd)
    assert "| at least 0.95 | 1.33 | yes |" in str(direct)

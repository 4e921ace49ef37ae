"""docs/gpu.md: its programs run, and its links exist."""

import json
import re
import sys
from pathlib import Path

import emulator
import strict_arrays

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gpu.md"

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_table  # noqa: E402


def test_the_programs_run(monkeypatch):
    """The first one on the CPU, the one that goes on from it on the stand-in for a GPU."""
    program, graph = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    program = program.replace("for images, labels in loader:", "for images, labels in list(loader)[:1]:")
    exec(program, {})
    if emulator.missing() is None:
        monkeypatch.setitem(sys.modules, "cupy", strict_arrays.module())
        exec(program + graph, names := {})
        assert names["step"](names["images"], names["labels"]).device == "cuda:0"


def test_links_exist():
    text = PAGE.read_text(encoding="utf-8")
    assert [target for target in re.findall(r"\]\(([^)#:]+)\)", text) if not (PAGE.parent / target).exists()] == []
    assert [file for file in re.findall(r"`((?:tests|kernels|benchmarks|minivgg)/[\w/.]+)`", text) if not (PAGE.parents[1] / file).exists()] == []


def test_its_numbers_are_those_of_the_results():
    """Whoever measures anew writes down what came out."""
    data, text = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8")), " ".join(PAGE.read_text(encoding="utf-8").split())
    part, eager = data["forward64"], ("eager",)
    told = [f"{part['checks']} checks, none wrong", f"it copies {part['ceilings']['copy'] / 1e9:,.0f} GB/s", f"{part['ceilings']['flops'] / 1e12:.1f} TFLOP/s"]
    for row, group, mine, precision in (
        ("| forward, batch 64, strict float32", "forward 64", "minivgg", "float32"), ("| forward, batch 64, TF32", "forward 64", "minivgg TF32", "TF32"),
        ("| forward, batch 64, BF16", "forward 64", "minivgg BF16", "BF16"), ("| training step, batch 64, strict float32", "step 64", "minivgg", "float32"),
        ("| forward, batch 1, strict float32, without a graph", "forward 1", "minivgg", "float32"),
        ("| forward, batch 1, strict float32, under a graph", "forward 1", "minivgg graph", "float32"),
    ):  # fmt: skip
        times = gpu_table.medians(data, group.replace(" ", ""))[group]
        reached, words = gpu_table.ratio(times, mine, eager, precision)
        (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(row))
        ours, theirs = words.split(" ms")[0], words.split(" ms")[1].rsplit(" ", 1)[1]
        for number in (f"| {ours} ms |", f"{theirs} ms", f"{reached:.2f}"):
            assert number in line, (line, number)
    for direction, row in (("output", "output"), ("input", "input gradient"), ("weight", "weight gradient")):
        ratios = [gpu_table.ratio(times, "minivgg", eager)[0] for name, times in gpu_table.medians(data, "layers").items() if name.endswith(f" {direction}")]
        told.append(f"| {row} | {' | '.join(f'{value:.2f}' for value in ratios)} |")
    shares = {row["work"]: row["bytes"] / row["median"] / data["memory"]["ceilings"]["copy"] for row in data["memory"]["results"]}
    shares["pooling"] = min(shares["max_pool2d"], shares["avg_pool2d"])
    for name in ("pooling", "ReLU", "softmax", "bias gradient", "dropout"):
        told.append(f"{name} {100 * shares[{'ReLU': 'relu'}.get(name, name)]:.0f} %")
    assert [each for each in told if each not in text] == []


def test_the_readme_has_the_same():
    data, text = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8")), (ROOT / "README.md").read_text(encoding="utf-8")
    forward, step = (gpu_table.medians(data, name.replace(" ", ""))[name] for name in ("forward 64", "step 64"))
    (line,) = (line for line in text.splitlines() if line.startswith("| VGG-16 on a GPU"))
    for label, times, mine, precision in (
        ("forward {:.2f} times", forward, "minivgg", "float32"), ("training step {:.2f} times", step, "minivgg", "float32"),
        ("TF32: forward {:.2f} times", forward, "minivgg TF32", "TF32"), ("BF16: {:.2f} times", forward, "minivgg BF16", "BF16"),
    ):  # fmt: skip
        assert label.format(gpu_table.ratio(times, mine, ("eager",), precision)[0]) in line

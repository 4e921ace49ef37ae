"""The README's examples run as they stand there."""

import json
import re
import sys
from pathlib import Path

import minivgg
from minivgg.registry import OPERATIONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

sys.path.insert(0, str(ROOT / "benchmarks"))
import table  # noqa: E402 the folder is no package


def test_examples_run_and_say_what_the_text_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(first, "README, first example", "exec"), names)
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "> winograd_f4" in capsys.readouterr().out
    minivgg.manual_seed(0)  # of numbers near 0 the error is smaller
    exec(compile(second, "README, second example", "exec"), names)
    assert "gradcheck of Square, order 1: FAILED, 3 elements, largest error 4.9" in capsys.readouterr().out


def test_the_number_of_operations_is_that_of_the_records():
    assert f"| {sum(operation.order > 0 for operation in OPERATIONS.values())} operations, first and second derivatives" in README


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_numbers_beside_rivals_are_those_of_the_results():
    """Whoever measures anew writes down what came out."""
    reached, layers = {}, {}
    for name, (_, rows) in table.GROUPS.items():
        for row in rows(json.loads((table.RESULTS / f"table-{name}.json").read_text(encoding="utf-8"))):
            reached[row.work, row.against.partition(" ")[0]] = f"{row.reached:{row.form}}"
            if name == "layers":
                layers[row.work.partition(": ")[2]] = {layer: float(ratio) for layer, ratio in re.findall(r"(conv\d_\d) ([\d.]+)", row.note)}
    one, eight, step = (f"VGG-16 {what}" for what in ("forward, batch 1", "forward, batch 8", "training step, batch 8"))
    share = reached["share of the measured FMA peak in the executed multiplications, batch 8 forward", ""]
    told = [
        f"batch 1: {reached[one, 'ncnn']} times as fast as ncnn, {reached[one, 'PyTorch,']} times as fast as PyTorch",
        f"Batch 8: {reached[eight, 'ncnn']} times ncnn, {reached[eight, 'ONNX']} times ONNX Runtime, with {share} of the processor's",
        f"{reached[step, 'PyTorch,']} times as fast as PyTorch (better layout), with {reached[f'peak resident memory, {step}', 'PyTorch']} of its peak memory",
        f"| {reached['MiniVGG on digits, training epoch', 'PyTorch']} times as fast as PyTorch |",
    ]
    for what, words in (("output", " times as fast"), ("input gradient", ""), ("weight gradient", "")):
        ratios = [ratio for layer, ratio in layers[f"Winograd {what}"].items() if layer != "conv1_1"]
        told.append(f"{what} {min(ratios):.2f} to {max(ratios):.2f}{words}")
    told.append(f"Directly, from conv1_1 on: {min(layers['direct output'].values()):.2f} to {max(layers['direct output'].values()):.2f} |")
    assert [sentence for sentence in told if sentence not in README] == []

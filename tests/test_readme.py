"""The README's examples run as they stand there."""

import re
from pathlib import Path

import minivgg
from minivgg.registry import OPERATIONS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


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
        assert (Path(__file__).parents[1] / target).exists(), target

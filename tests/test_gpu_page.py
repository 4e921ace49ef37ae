"""docs/gpu.md: its programs run, and its links exist."""

import re
import sys
from pathlib import Path

import emulator
import strict_arrays

PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"


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

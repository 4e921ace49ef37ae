"""docs/gpu.md: its program runs, and its links exist."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"


def test_the_program_runs_here():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(program.replace("for images, labels in loader:", "for images, labels in list(loader)[:1]:"), {})


def test_links_exist():
    text = PAGE.read_text(encoding="utf-8")
    assert [target for target in re.findall(r"\]\(([^)#:]+)\)", text) if not (PAGE.parent / target).exists()] == []
    assert [file for file in re.findall(r"`((?:tests|kernels|benchmarks|minivgg)/[\w/.]+)`", text) if not (PAGE.parents[1] / file).exists()] == []

"""Write docs/reference/: a page an operation, from its docstring and its record. ``make reference`` runs it.

``python docs/make_reference.py --check`` changes nothing and fails if a page is not what it would write.
"""

import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import minivgg  # noqa: F401 completes the records
from minivgg.registry import OPERATIONS, Operation, algorithms, operations_with_algorithms

FOLDER = Path(__file__).parent / "reference"


def code(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```\n"


_ARGUMENT = re.compile(r"``([^`]+)`` +(.*?)(?=\s+``[^`]+``  |\n|$)")


def prose(docstring: str) -> str:
    """A docstring as Markdown: examples become Python blocks, the table of arguments a list, indented formulas code."""
    result: list[str] = []
    for kind, lines in itertools.groupby([*inspect.cleandoc(docstring).splitlines(), ""], key=_kind_of()):
        block = list(lines)
        if kind == "example":
            result.append(code("\n".join(block), "python"))
        elif kind == "arguments":
            items = "".join(f"\n{line}" if line.startswith("``") else f" {line.strip()}" for line in block)
            result += [f"- `{name}`: {' '.join(text.split())}" for name, text in _ARGUMENT.findall(items)] + [""]
        elif kind == "formula":
            result.append(code(textwrap.dedent("\n".join(block))))
        else:
            result += [line.replace("``", "`") for line in block]
    return "\n".join(result).strip() + "\n"


def _kind_of() -> Callable[[str], str]:
    """Sort a docstring's lines, one after the other, by what they belong to."""
    state = {"kind": "text"}

    def kind(line: str) -> str:
        if line.startswith(">>>"):
            state["kind"] = "example"
        elif re.match(r"``[^`]+``  ", line) or (state["kind"] == "arguments" and line.startswith("``")):
            state["kind"] = "arguments"
        elif not line:
            state["kind"] = "text"
        elif state["kind"] in ("example", "arguments") and (line.startswith((" ", "...")) or state["kind"] == "example"):
            pass
        else:
            state["kind"] = "formula" if line.startswith("    ") else "text"
        return state["kind"]

    return kind


def page(operation: Operation) -> str:
    """Signature, docstring, shapes, refusals, algorithms."""
    function = operation.function
    try:
        signature = f"{operation.name}{inspect.signature(function)}"
    except ValueError:
        signature = f"{operation.name}(...)"
    where = inspect.getsourcefile(function)
    source = Path(where).relative_to(Path(__file__).parents[1]).as_posix() if where else ""
    text = [f"# {operation.name}\n", code(signature.replace("'", "").replace("minivgg.autograd.tensor.", ""), "python"), prose(function.__doc__ or "")]
    text.append(f"Shapes: `{operation.shapes}`\n")
    if operation.torch:
        text.append(f"Compared with `torch.{operation.torch}`, forward{', first and second gradients' if operation.order >= 2 else ''}.\n")
    errors = list(operation.errors())
    if errors:
        text.append("## What it refuses\n")
        text += [f"- `{error.error.__name__}`: {error.message}" for error in errors] + [""]
    if operation.name in operations_with_algorithms():
        text.append("## Algorithms\n\n| name | backend | on integers | float32 error at most | source |\n|---|---|---|---|---|")
        for record in algorithms(operation.name).values():
            exact = "exact" if record.exact else "rounded"
            text.append(f"| {record.name} | {record.backend} | {exact} | {record.max_error:.0e} | {record.paper} |")
        text.append("")
    text.append(f"Source: [{source}](../../{source})\n")
    return "\n".join(text)


def pages() -> dict[Path, str]:
    """Every file of the reference with its text."""
    result = {FOLDER / f"{operation.name}.md": page(operation) for operation in OPERATIONS.values()}
    families: dict[str, list[str]] = {}
    for operation in OPERATIONS.values():
        families.setdefault(inspect.getmodule(operation.function).__name__.rpartition(".")[2], []).append(operation.name)  # type: ignore[union-attr]
    links = {family: ", ".join(f"[{name}]({name}.md)" for name in names) for family, names in sorted(families.items())}
    rows = [f"| [{family}](../../minivgg/ops/{family}.py) | {names} |" for family, names in links.items()]
    head = "# Reference\n\nWritten by `make reference` from the records; a test fails where a page is out of date.\n\n| file | operations |\n|---|---|\n"
    result[FOLDER / "README.md"] = head + "\n".join(rows) + "\n"
    return result


def main() -> int:
    wanted = pages()
    present = set(FOLDER.glob("*.md"))
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text] + sorted(present - set(wanted))
    if "--check" in sys.argv:
        for path in stale:
            print(f"out of date: {path.relative_to(Path(__file__).parents[1])}; run make reference", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path in present - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    print(textwrap.dedent(f"{len(wanted)} pages, {len(stale)} changed"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``minivgg gradcheck``: the gradients of every operation, or those of your own code, against differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivgg.cli.own_code import is_own

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.cli.progress import Status
    from minivgg.testing import OperationReport


def gradcheck(
    operations: Annotated[
        list[str] | None, typer.Argument(help="Only these operations; all, if none is named. Or code of your own: file.py:name.", show_default=False)
    ] = None,
    shape: Annotated[list[str] | None, typer.Option("--shape", help="Own code: the shape of an input, as 2,3,8,8; once for each.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Own code: seed of the inputs and of all random numbers. [default: 0]", show_default=False)] = None,
    order: Annotated[int | None, typer.Option("--order", min=1, max=2, help="Own code: first or second derivative. [default: 1]", show_default=False)] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="Own code: full, vectors or projected. [default: by size]", show_default=False)] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Own code: so many elements of each input.", show_default=False)] = None,
    eps: Annotated[float | None, typer.Option("--eps", help="Own code: the step of the differences.", show_default=False)] = None,
    atol: Annotated[float | None, typer.Option("--atol", help="Own code: absolute error allowed.", show_default=False)] = None,
    rtol: Annotated[float | None, typer.Option("--rtol", help="Own code: relative error allowed.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Own code: write the report here, too: .html, .json or .txt.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what backward computes with central differences of what forward computes, in float64.

    Every element of every input of every sample is moved; the second derivative is the same check of the gradient itself.
    An error is relative, and absolute where the gradient is small. The exit code is 1 if a gradient is wrong.

        minivgg gradcheck
        minivgg gradcheck conv2d max_pool2d
        minivgg gradcheck --json | jq '.operations[] | select(.ok | not)'

    Code of your own is named by its file: a Function, a function of tensors, a Module (class or instance), a pair of NumPy
    functions, or a function or module of PyTorch. Its inputs are random numbers of the given shapes; or, where the file
    says what `inputs` are (a tuple, or a function that returns one), those. The report says what is wrong.

        minivgg gradcheck my_file.py:MyFunction --shape 2,3,8,8 --shape 4,3,3,3
        minivgg gradcheck my_file.py:model --out report.html
        minivgg gradcheck my_file.py:forward,backward --order 1 --mode full
    """
    words = operations or []
    options = {"order": order, "mode": mode, "samples": samples, "eps": eps, "atol": atol, "rtol": rtol, "shape": shape or None, "seed": seed, "out": out}
    given = {name: value for name, value in options.items() if value is not None}
    if any(map(is_own, words)):
        raise typer.Exit(0 if check_own(words, given, json) else 1)
    if given:
        from minivgg.errors import ArgumentError

        raise ArgumentError("gradcheck", f"--{next(iter(given))} is for code of your own, named like my_file.py:MyFunction")
    from minivgg.cli.console import console, print_json
    from minivgg.cli.progress import Status
    from minivgg.testing.operations import EPS, RTOL

    with Status() as status:
        reports = list(check(operations or [], status))
    passed = all(report.ok for report in reports)
    if json:
        print_json({"ok": passed, "eps": EPS, "allowed_error": RTOL, "operations": [report.as_dict() for report in reports]})
    else:
        shown = console()
        shown.print(gradcheck_table(reports))
        shown.print(verdict(reports))
        for report in reports:
            if report.failures:
                shown.print(f"\n{report.failures[0]}", style="red", markup=False)
                shown.print(f"({len(report.failures) - 1} more of {report.name})" if len(report.failures) > 1 else "")
    raise typer.Exit(0 if passed else 1)


def check_own(words: Sequence[str], options: dict[str, Any], json: bool) -> bool:
    """Check what is named in a file, print or write the report, and say whether it passed."""
    from minivgg.cli.console import print_json
    from minivgg.cli.own_code import inputs_of, load
    from minivgg.errors import ArgumentError, OperationError
    from minivgg.testing import gradcheck, gradgradcheck
    from minivgg.testing.gradients.report import GradcheckReport

    if len(words) > 1:
        raise ArgumentError("gradcheck", f"code of your own is checked one at a time, got {', '.join(words)}")
    shapes, seed, order = options.pop("shape", []), options.pop("seed", 0), options.pop("order", 1)
    out: Path | None = options.pop("out", None)
    if out is not None:
        GradcheckReport.content_for(out)
    function, module = load(words[0], seed)
    inputs = inputs_of(function, module, words[0], shapes, seed)
    try:
        report = (gradcheck if order == 1 else gradgradcheck)(function, inputs, raise_exception=False, **options)
    except OperationError:
        raise
    except Exception as error:
        described = ", ".join(str(tuple(value.shape)) if hasattr(value, "shape") else type(value).__name__ for value in inputs)
        raise ArgumentError("gradcheck", f"{words[0]} raised {type(error).__name__} at inputs {described}: {error}") from error
    if out is not None:
        report.save(out)
    if json:
        print_json(report.as_dict())
    else:
        print(report)
    return bool(report)


def check(names: Sequence[str], status: Status) -> Iterator[OperationReport]:
    """A report for each named operation, or for all. Raises ArgumentError for a name that no operation has."""
    from minivgg.errors import ArgumentError
    from minivgg.registry import OPERATIONS
    from minivgg.testing import check_operation

    unknown = [name for name in names if name not in OPERATIONS]
    if unknown:
        raise ArgumentError("gradcheck", f"there is no operation {unknown[0]!r}; there are {', '.join(OPERATIONS)}")
    wanted = names or list(OPERATIONS)
    for i, name in enumerate(wanted, start=1):
        status(f"checking {name} ({i} of {len(wanted)})")
        yield check_operation(OPERATIONS[name])


def gradcheck_table(reports: Sequence[OperationReport]) -> Table:
    """One row an operation: how much was checked, and the largest errors."""
    from minivgg.cli.console import duration, table
    from minivgg.testing.operations import RTOL

    shown = table("", "operation", "samples", "derivatives", "first order", "second order", "allowed", "time", "")
    shown.columns[-1].justify = "left"
    for report in reports:
        errors = ["-" if error is None else f"{error:.1e}" for error in (report.first, report.second)]
        mark = "[bold red]WRONG[/]" if not report.ok else "[dim]not differentiable[/]" if report.first is None else "[green]ok[/]"
        shown.add_row(report.name, str(report.samples), f"{report.elements:,}", *errors, f"{RTOL:.0e}", duration(report.seconds), mark)
    return shown


def verdict(reports: Sequence[OperationReport]) -> str:
    """One sentence for all."""
    wrong = [report.name for report in reports if not report.ok]
    checked = [report for report in reports if report.first is not None]
    if wrong:
        return f"[bold red]wrong: {', '.join(wrong)}[/]"
    return f"{len(checked)} operations, {sum(report.elements for report in checked):,} derivatives: all agree with differences"

"""``minivgg gradcheck``: the gradient of every operation, first and second derivative, against differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.cli.progress import Status
    from minivgg.testing import OperationReport


def gradcheck(
    operations: Annotated[list[str] | None, typer.Argument(help="Only these; all, if none is named.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what backward computes with central differences of what forward computes, in float64.

    Every element of every input of every sample is moved; the second derivative is the same check of the gradient itself.
    An error is relative, and absolute where the gradient is small. The exit code is 1 if a gradient is wrong.

        minivgg gradcheck
        minivgg gradcheck conv2d max_pool2d
        minivgg gradcheck --json | jq '.operations[] | select(.ok | not)'
    """
    from minivgg.cli.console import console, print_json
    from minivgg.cli.progress import Status
    from minivgg.testing.operations import EPS, RTOL

    with Status() as status:
        reports = list(check(operations or [], status))
    passed = all(report.ok for report in reports)
    if json:
        print_json({"ok": passed, "eps": EPS, "allowed_error": RTOL, "operations": [report.as_dict() for report in reports]})
    else:
        out = console()
        out.print(gradcheck_table(reports))
        out.print(verdict(reports))
        for report in reports:
            if report.failures:
                out.print(f"\n{report.failures[0]}", style="red", markup=False)
                out.print(f"({len(report.failures) - 1} more of {report.name})" if len(report.failures) > 1 else "")
    raise typer.Exit(0 if passed else 1)


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

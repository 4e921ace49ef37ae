"""The tables of ``minivgg bench``: a section a layer, or a section a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.bench.compare import NetworkResult
    from minivgg.bench.measure import Result


def result_table(results: Sequence[Result]) -> Table:
    """A section a layer and direction: the fastest algorithm in bold, what was refused with its sentence."""
    from minivgg.bench.report import by_problem, totals
    from minivgg.cli.console import duration, size, table

    shown = table("", "layer", "algorithm", "median", "quartiles", "GFLOP/s", "scratch", "error", "", left=2)
    shown.columns[-1].justify = "left"
    directions = dict.fromkeys(result.direction for result in results)
    for group in by_problem(results):
        timed = [result for result in group if result.seconds]
        fastest = min((result.median for result in timed), default=0.0)
        problem = group[0].problem
        words = [problem.label + (f" ×{problem.count}" if problem.count > 1 else ""), str(problem.spec) if problem.name else ""]
        words += [f"direction: {group[0].direction}"] if len(directions) > 1 else []
        for i, result in enumerate(group):
            label = words[i] if i < len(words) else ""
            if result.seconds:
                low, median, high = result.quartiles
                speed = f"{median / fastest:.2f}× the fastest" if median > fastest else "fastest"
                cells = (duration(median), f"{duration(low)} - {duration(high)}", f"{result.gflops:.1f}", size(result.workspace), f"{result.error:.1e}", speed)
                shown.add_row(label, f"[bold]{result.algorithm}[/]" if median == fastest else result.algorithm, *cells)
            else:
                colour = "red" if result.refusal.startswith("wrong") else "dim"
                shown.add_row(label, f"[{colour}]{result.algorithm}[/]", "-", "", "", "", "", f"[{colour}]{result.refusal}[/]")
        for word in words[len(group) :]:
            shown.add_row(word)
        shown.add_section()
    for direction in directions:
        chosen = [result for result in results if result.direction == direction]
        if len(by_problem(chosen)) > 1:
            sums = totals(chosen)
            title = "all, by count" + (f", {direction}" if len(directions) > 1 else "")
            for i, (name, seconds) in enumerate(sums.items()):
                shown.add_row(title if i == 0 else "", name, duration(seconds), "", "", "", "", f"{seconds / min(sums.values()):.2f}× the fastest")
            shown.add_section()
    return shown


def network_table(results: Sequence[NetworkResult]) -> Table:
    """A section a case; the ratio is the competitor's time over minivgg's, so above 1 minivgg is faster."""
    from minivgg.bench.turns import quartiles
    from minivgg.cli.console import duration, size, table

    shown = table("", "competitor", "median", "quartiles", "its time / ours", "error", "memory", "", left=1)
    shown.columns[-1].justify = "left"
    for case in dict.fromkeys(result.case for result in results):
        group = [result for result in results if result.case == case]
        ours = next((result.median for result in group if result.competitor == "minivgg" and result.seconds), None)
        shown.add_row(f"[bold]{case}[/]")
        for result in group:
            if result.seconds:
                low, median, high = quartiles(result.seconds)
                ratio = f"{median / ours:.2f}" if ours else "-"
                shown.add_row(
                    f"  {result.competitor}", duration(median), f"{duration(low)} - {duration(high)}", ratio, f"{result.error:.1e}", size(result.memory), ""
                )  # fmt: skip
            else:
                colour = "red" if result.refusal.startswith("wrong") else "dim"
                shown.add_row(f"  [{colour}]{result.competitor}[/]", "-", "", "", "", "", f"[{colour}]{result.refusal}[/]")
        shown.add_section()
    return shown

"""``minivgg bench``: the convolution algorithms on the layers of VGG, validated, then timed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.bench.measure import Result
    from minivgg.bench.problems import Problem


def bench(
    net: Annotated[str, typer.Option(help="vgg11, vgg13, vgg16_1x1, vgg16 or vgg19; or the paper's letter, A to E.")] = "vgg16",
    layer: Annotated[str, typer.Option(help="Only these layers, as in conv3_2,conv5_1; or a problem string.")] = "",
    problems: Annotated[Path | None, typer.Option(help="Read the problems from this file, one a line, instead of a network.")] = None,
    algorithms: Annotated[str, typer.Option(help="Only these algorithms, as in im2col,fft.")] = "",
    direction: Annotated[str, typer.Option(help="What is computed: output, input (its gradient) or weight (its gradient).")] = "output",
    batch: Annotated[int | None, typer.Option(min=1, help="Images at once.", show_default="1, or what the file says")] = None,
    torch: Annotated[bool, typer.Option("--torch", help="PyTorch beside them, if it is installed.")] = False,
    replicates: Annotated[int, typer.Option(min=1, help="Turns that each competitor has; a slow one has fewer.")] = 9,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for every competitor.", show_default="all cores")] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write everything that was measured as JSON; - is standard output.")] = "",
    png: Annotated[Path | None, typer.Option(help="Draw a chart.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Print the problems and measure nothing.")] = False,
) -> None:
    """Time the convolution algorithms on the layers of a network, after checking that they are right.

    A row says how long (median and quartiles of the turns), how fast (by the operations of the definition), how much
    scratch memory, and how far from the result in float64. An algorithm that is wrong is named, not timed.

        minivgg bench --layer conv3_2
        minivgg bench --net vgg19 --algorithms im2col,kn2row --direction weight
        minivgg bench --layer "n4 c96 h27 w27 k256 r5 p2 g2" --torch --json times.json --png times.png
        minivgg bench --list > my_layers.txt; minivgg bench --problems my_layers.txt
    """
    import json as encoder

    from minivgg.bench import machine as facts
    from minivgg.bench import measure, report
    from minivgg.cli.console import console
    from minivgg.cli.progress import Status

    chosen = select_problems(net, layer, problems, batch)
    if list_only:
        print("\n".join(map(str, chosen)))
        return
    names = [name.strip() for name in algorithms.split(",") if name.strip()]
    measure.prepare(threads, torch)
    results: list[Result] = []
    with Status() as status:
        for problem in chosen:
            results += measure.measure(problem, direction, names, torch, replicates, progress=status)
    if json == "-":
        print(encoder.dumps(report.as_data(results), indent=2))
    else:
        out = console()
        out.print(result_table(results))
        out.print(
            f"{facts.processor()}, threads: {', '.join(f'{name} {count}' for name, count in facts.threads().items())}; commit {facts.commit() or 'unknown'}"
        )
        if json:
            Path(json).write_text(encoder.dumps(report.as_data(results), indent=2) + "\n", encoding="utf-8")
    if png:
        report.plot(results, png, f"{facts.processor()}, {facts.threads()}")
    wrong = [result for result in results if result.refusal.startswith("wrong")]
    if wrong:
        print(f"error: {len(wrong)} of {len(results)} results are wrong and were not timed", file=sys.stderr)
        raise typer.Exit(1)


def select_problems(net: str, layer: str, file: Path | None, batch: int | None) -> list[Problem]:
    """The problems that the options name. Raises ArgumentError for a layer that the network does not have."""
    from minivgg.bench import problems
    from minivgg.errors import ArgumentError

    if " " in layer:
        problem = problems.Problem.parse(layer)
        return [problem if batch is None else problems.Problem(problem.spec.with_batch(batch), problem.name, problem.count)]
    known = problems.read(file, batch) if file else problems.vgg(net, batch or 1)
    wanted = [name.strip() for name in layer.split(",") if name.strip()]
    found = [problem for problem in known if not wanted or any(problem.answers_to(name) for name in wanted)]
    missing = [name for name in wanted if not any(problem.answers_to(name) for problem in known)]
    if missing:
        raise ArgumentError("bench", f"{file or net} has no layer {missing[0]!r}; it has {', '.join(problem.label for problem in known)}")
    return found


def result_table(results: Sequence[Result]) -> Table:
    """A section a layer: the fastest algorithm in bold, what was refused with its sentence."""
    from minivgg.bench.report import by_problem, totals
    from minivgg.cli.console import duration, size, table

    shown = table("", "layer", "algorithm", "median", "quartiles", "GFLOP/s", "scratch", "error", "", left=2)
    shown.columns[-1].justify = "left"
    for group in by_problem(results):
        timed = [result for result in group if result.seconds]
        fastest = min((result.median for result in timed), default=0.0)
        spec = group[0].problem.spec
        words = [group[0].problem.label + (f" ×{group[0].problem.count}" if group[0].problem.count > 1 else ""), str(spec) if group[0].problem.name else ""]
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
    if len(by_problem(results)) > 1:
        sums = totals(results)
        for i, (name, seconds) in enumerate(sums.items()):
            shown.add_row("all, by count" if i == 0 else "", name, duration(seconds), "", "", "", "", f"{seconds / min(sums.values()):.2f}× the fastest")
    return shown

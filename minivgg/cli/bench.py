"""``minivgg bench``: convolution algorithms on layers, and whole networks beside other libraries; validated, then timed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from minivgg.bench.compare import Case, NetworkResult
    from minivgg.bench.measure import Result
    from minivgg.bench.problems import Problem
    from minivgg.bench.rivals import Rival


def bench(
    network: Annotated[str, typer.Option(help="vgg11, vgg13, vgg16_1x1, vgg16 or vgg19; for its layers also the paper's letter, A to E.")] = "vgg16",
    layer: Annotated[str, typer.Option(help="Only these layers, as in conv3_2,conv5_1; or a problem string.")] = "",
    problems: Annotated[Path | None, typer.Option(help="Read the problems from this file, one a line, instead of a network.")] = None,
    direction: Annotated[
        str, typer.Option(help="Of layers: output, input (its gradient), weight (its gradient), or all three; of the whole network: forward, step.")
    ] = "output",
    algorithms: Annotated[str, typer.Option(help="Only these algorithms, as in im2col,fft; of a whole network: these beside the choice by itself.")] = "",
    rivals: Annotated[str, typer.Option(help="Other libraries: all, or as in pytorch,ncnn; those that are not installed say so.")] = "none",
    batch: Annotated[str, typer.Option(help="Images at once, as in 1,8.", show_default="1, or what the file says")] = "",
    image: Annotated[str, typer.Option(help="Side of the images, as in 112,224.")] = "224",
    threads: Annotated[str, typer.Option(help="Threads for every competitor, as in 1,2.", show_default="all cores")] = "",
    replicates: Annotated[int, typer.Option(min=1, help="Turns that each competitor has; a slow one has fewer.")] = 9,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write everything that was measured as JSON; - is standard output.")] = "",
    plot: Annotated[str, typer.Option(help="What --out draws of layers: bars, roofline, accuracy; of a training step: timeline, memory.")] = "bars",
    out: Annotated[Path | None, typer.Option(help="Draw into this file (.png, .svg, .pdf); of a whole network, its time over batch and image size.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Print the problems and measure nothing.")] = False,
) -> None:
    """Time convolution algorithms on the layers of a network, or the network itself beside other libraries, after checking that all are right.

    A row says how long (median and quartiles of the turns), how fast (by the operations of the definition), how much
    memory, and how far from the result in float64. Whoever is wrong is named, not timed. Several batches, sizes or
    numbers of threads are measured one after the other; from three on, a line is fitted.

        minivgg bench --layer conv3_2
        minivgg bench --network vgg19 --algorithms im2col,kn2row --direction all --rivals pytorch
        minivgg bench --network vgg16 --direction forward --batch 1,8 --rivals all
        minivgg bench --network vgg16 --direction forward --batch 1,2,4,8 --image 96,160,224 --out scaling.svg
        minivgg bench --network vgg16 --direction step --batch 8 --rivals pytorch,jax --json step.json
        minivgg bench --layer "n4 c96 h27 w27 k256 r5 p2 g2" --json times.json --out times.png
        minivgg bench --list > my_layers.txt; minivgg bench --problems my_layers.txt
        minivgg bench --plot roofline --out roofline.svg
        minivgg bench --plot accuracy --layer conv1_2,conv3_2,conv5_1 --out accuracy.png
        minivgg bench --plot timeline --batch 8 --out timeline.png; minivgg bench --plot memory --batch 8 --out memory.png
    """
    from minivgg.bench import compare, machine, measure
    from minivgg.bench.rivals import select
    from minivgg.errors import ArgumentError

    directions = list(measure.DIRECTIONS) if direction == "all" else words(direction)
    batches, sides, counts = numbers("batch", batch), numbers("image", image), numbers("threads", threads) or [machine.cores()]
    beside, names = select(rivals), words(algorithms)
    if plot != "bars":
        draw(plot, out, network, layer, names, batches or [1], sides, counts[0], replicates)
    elif not set(directions) & set(compare.DIRECTIONS):
        chosen = select_problems(network, layer, problems, batches, sides)
        if list_only:
            print("\n".join(map(str, chosen)))
            return
        show_layers(measure_layers(chosen, directions, names, beside, counts, replicates), json, out)
    elif set(directions) <= set(compare.DIRECTIONS):
        if out and max(len(batches), len(sides)) < 2:
            raise ArgumentError("bench", "--out draws a network's time over batch or image size, and needs several of either, as in --batch 1,2,4")
        cases = [compare.Case(network, side, n, each, count) for each in directions for side in sides for n in batches or [1] for count in counts]
        show_networks(compare_networks(cases, names, beside, replicates), json, out)
    else:
        raise ArgumentError("bench", f"forward and step concern whole networks, output, input and weight their layers; got {direction!r}")


def draw(
    plot: str, out: Path | None, network: str, layer: str, names: Sequence[str], batches: Sequence[int], sides: Sequence[int], threads: int, replicates: int
) -> None:
    """Measure what the plot shows, and draw it."""
    from minivgg.bench import machine, measure
    from minivgg.bench.plots import accuracy, memory, roofline, timeline
    from minivgg.cli.progress import Status
    from minivgg.errors import ArgumentError

    if plot not in ("roofline", "accuracy", "timeline", "memory"):
        raise ArgumentError("bench", f"there is no plot {plot!r}; there are bars, roofline, accuracy, timeline, memory")
    if out is None:
        raise ArgumentError("bench", f"--plot {plot} needs a file to draw into, as in --out {plot}.png")
    count = measure.prepare(threads)
    where = f"{machine.processor()}, {count} thread{'s' * (count > 1)}"
    with Status() as status:
        status(f"measuring for the {plot}")
        if plot == "roofline":
            roofline.plot(select_problems(network, layer, None, batches, sides), names, replicates, count, where, out)
        elif plot == "accuracy":
            accuracy.plot(select_problems(network, layer, None, batches, sides), names, replicates, where, out)
        else:
            (timeline if plot == "timeline" else memory).plot(network, sides[0], batches[0], where, out)
    print(f"{out} was drawn")


def words(text: str) -> list[str]:
    """``"a, b"`` as a list."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(option: str, text: str) -> list[int]:
    """``"1,8"`` as a list. Raises ArgumentError for what is no number of at least 1."""
    from minivgg.errors import ArgumentError

    found = words(text)
    if not all(word.isdecimal() and int(word) > 0 for word in found):
        raise ArgumentError("bench", f"--{option} takes numbers of at least 1, as in 1,8; got {text!r}")
    return [int(word) for word in found]


def select_problems(network: str, layer: str, file: Path | None, batches: Sequence[int] = (), sides: Sequence[int] = (224,)) -> list[Problem]:
    """The problems that the options name. Raises ArgumentError for a layer that the network does not have."""
    from minivgg.bench import problems
    from minivgg.errors import ArgumentError

    if " " in layer:
        problem = problems.Problem.parse(layer)
        return [problems.Problem(problem.spec.with_batch(n), problem.name, problem.count) for n in batches] or [problem]
    if file:
        known = [problem for n in batches for problem in problems.read(file, n)] if batches else problems.read(file)
    else:
        known = [problem for side in sides for n in batches or [1] for problem in problems.vgg(network, n, side)]
    wanted = words(layer)
    found = [problem for problem in known if not wanted or any(problem.answers_to(name) for name in wanted)]
    missing = [name for name in wanted if not any(problem.answers_to(name) for problem in known)]
    if missing:
        labels = dict.fromkeys(problem.label for problem in known)
        raise ArgumentError("bench", f"{file or network} has no layer {missing[0]!r}; it has {', '.join(labels)}")
    return found


def measure_layers(
    problems: Sequence[Problem], directions: Sequence[str], names: Sequence[str], beside: Sequence[Rival], threads: Sequence[int], replicates: int
) -> list[Result]:
    """Every problem in every direction; the rivals' processes live through all of them. Those that are missing are named once."""
    from contextlib import ExitStack

    from minivgg.bench import measure
    from minivgg.bench.worker import Worker
    from minivgg.cli.progress import Status
    from minivgg.errors import ArgumentError

    if len(threads) > 1:
        raise ArgumentError("bench", f"layers are measured with one number of threads at a time, got {', '.join(map(str, threads))}")
    results: list[Result] = []
    with Status() as status, ExitStack() as stack:
        count = measure.prepare(threads[0])
        workers = []
        for rival in beside:
            missing = rival.missing()
            if missing:
                print(missing, file=sys.stderr)
            else:
                status(f"starting {rival.name}")
                workers.append(stack.enter_context(Worker(rival.name, count)))
        for problem in problems:
            for direction in directions:
                results += measure.measure(problem, direction, names, workers, replicates, progress=status)
    return results


def compare_networks(cases: Sequence[Case], names: Sequence[str], beside: Sequence[Rival], replicates: int) -> list[NetworkResult]:
    """minivgg, minivgg by each of the algorithms ``names``, and the rivals, on every case."""
    from minivgg.bench.compare import compare
    from minivgg.bench.rivals._itself import itself
    from minivgg.cli.progress import Status

    competitors = [itself(), *map(itself, names), *beside]
    with Status() as status:
        return [result for case in cases for result in compare(case, competitors, replicates, progress=status)]


def show_layers(results: Sequence[Result], json: str, out: Path | None) -> None:
    from minivgg.bench import report
    from minivgg.bench.machine import processor, threads
    from minivgg.cli.bench_tables import result_table

    show(result_table(results), [], report.as_data(results), json)
    if out:
        report.plot(results, out, f"{processor()}, {threads()}")
    refuse_wrong(results)


def show_networks(results: Sequence[NetworkResult], json: str, out: Path | None) -> None:
    from minivgg.bench import report
    from minivgg.bench.machine import processor
    from minivgg.bench.plots import scaling
    from minivgg.cli.bench_tables import network_table

    settings = {result.competitor: result.settings for result in results if result.seconds}
    lines = [*report.fits(results), *(f"{name}: {text}" for name, text in settings.items())]
    show(network_table(results), lines, report.networks_as_data(results), json)
    if out and any(result.seconds for result in results):
        scaling.draw(results, processor(), out)
    refuse_wrong(results)


def show(table: Any, lines: Sequence[str], data: dict[str, Any], json: str) -> None:
    """The table, what is said below it, and the machine; or JSON alone, if it goes to standard output."""
    import json as encoder

    from minivgg.cli.console import console

    text = encoder.dumps(data, indent=2)
    if json == "-":
        print(text)
        return
    out, facts = console(), data["machine"]
    out.print(table)
    for line in lines:
        out.print(line)
    counts = ", ".join(f"{name} {count}" for name, count in facts["threads"].items())
    out.print(f"{facts['processor']}, threads: {counts}; commit {facts['commit'] or 'unknown'}")
    if json:
        Path(json).write_text(text + "\n", encoding="utf-8")


def refuse_wrong(results: Sequence[Result] | Sequence[NetworkResult]) -> None:
    """End with exit code 1 if somebody computed something wrong."""
    wrong = [result for result in results if result.refusal.startswith("wrong")]
    if wrong:
        print(f"error: {len(wrong)} of {len(results)} results are wrong and were not timed", file=sys.stderr)
        raise typer.Exit(1)

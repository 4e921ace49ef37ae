"""``minivgg demo``: a network is shown, checked, trained, measured and asked, and a page tells what came out."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from minivgg.cli.report.findings import Findings

LAYERS = "conv2_2,conv4_2,conv5_1"
"""The layers of VGG-16 whose algorithms are timed: a large picture with few channels, the middle, a small one with many."""

LEFT_OUT = "fft"
"""It transforms every filter, 262,144 of them in conv5_1, for a single image: up to two seconds of one core for each call."""

QUICK_LAYER = 'n1 c64 h56 w56 k64 r3 p1 "vgg-d on 56 pixels:conv1_2"'


def demo(
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where checkpoint, metrics and report are kept.", show_default="runs/demo")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training digits.", show_default="50")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A little of each part, in half a minute, kept in runs/quick.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """Show what minivgg is, in under three minutes, and write a report to look at.

    1. what the network consists of, 2. the gradient of every operation against differences, 3. training on handwritten
    digits to 99 % on those held out, 4. the convolution algorithms on layers of VGG-16, 5. what the network reads.

    Ctrl-C ends it after the current step; the report then tells of what was done, and the same command goes on with
    the training.

        minivgg demo
        minivgg demo --open
        minivgg demo --quick
    """
    from minivgg.cli.console import INTERRUPTED, console, duration
    from minivgg.cli.report.compose import compose
    from minivgg.cli.report.findings import Findings
    from minivgg.cli.run_folder import settings_of

    folder = out or Path("runs/quick" if quick else "runs/demo")
    settings = settings_of(folder, {"epochs": epochs or (2 if quick else None)}, resume=True)
    found, screen, start = Findings(folder, settings, quick), console(), time.perf_counter()
    parts = {
        "The network": show_network,
        "Every gradient, against differences": check_gradients,
        "Training on handwritten digits": train_network,
        "One layer, many algorithms": time_algorithms,
        "What it reads": show_predictions,
    }
    try:
        for number, (title, part) in enumerate(parts.items(), start=1):
            screen.print(f"\n[bold]{number}/{len(parts)}  {title}[/]")
            part(found, screen)
    except KeyboardInterrupt:
        found.interrupted = True
    found.seconds = time.perf_counter() - start
    page = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    compose(found).write(page)
    screen.print(f"\n[bold]report: {page}[/]  ({duration(found.seconds)})", soft_wrap=True)
    if found.interrupted:
        screen.print("interrupted: the report tells of what was done; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
    if show:
        webbrowser.open(page.resolve().as_uri())
    if found.shortfall():
        screen.print(found.shortfall())
    if found.problems():
        screen.print(f"[bold red]{'; '.join(found.problems())}[/]")
        raise typer.Exit(1)


def show_network(found: Findings, screen: Console) -> None:
    from minivgg.cli.networks import SIZES, build
    from minivgg.cli.summary import summary_table
    from minivgg.inspect import inspect

    found.inspection = inspect(build("minivgg"), SIZES["minivgg"])
    screen.print(summary_table(found.inspection))
    screen.print(f"{found.inspection.parameters:,} parameters, {found.inspection.macs:,} multiply-adds for one digit of 8x8 pixels")


def check_gradients(found: Findings, screen: Console) -> None:
    from minivgg.cli.gradcheck import check, gradcheck_table, verdict
    from minivgg.cli.progress import Status

    names = ["conv2d", "max_pool2d", "relu", "linear"] if found.quick else []
    with Status() as status:
        for report in check(names, status):
            found.gradients.append(report)
    screen.print(gradcheck_table(found.gradients))
    screen.print(verdict(found.gradients))


def train_network(found: Findings, screen: Console) -> None:
    from minivgg.cli.console import duration
    from minivgg.cli.run_folder import CHECKPOINT, train_in

    if (found.folder / CHECKPOINT).exists():
        screen.print(f"going on from {found.folder / CHECKPOINT}", soft_wrap=True)
    recipe, found.history = train_in(found.folder, found.settings)
    found.model = recipe.model
    if found.history.epochs:
        last = found.history.epochs[-1]
        screen.print(
            f"[bold green]{last.test_accuracy:.2%}[/] of the held-out digits right after {len(found.history.epochs)} epochs, {duration(found.history.seconds)}"
        )
    if found.history.interrupted:
        raise KeyboardInterrupt


def time_algorithms(found: Findings, screen: Console) -> None:
    from contextlib import ExitStack

    from minivgg.bench.measure import measure, prepare
    from minivgg.bench.problems import Problem
    from minivgg.bench.rivals import rivals
    from minivgg.bench.worker import Worker
    from minivgg.cli.bench import select_problems
    from minivgg.cli.bench_tables import result_table
    from minivgg.cli.progress import Status
    from minivgg.registry import algorithms

    names = [algorithm.name for algorithm in algorithms("conv2d").values() if algorithm.automatic and algorithm.name != LEFT_OUT]
    with Status() as status, ExitStack() as stack:
        status("loading the algorithms")
        threads = prepare(None)
        beside = [] if found.quick or rivals()["PyTorch"].missing() else [stack.enter_context(Worker("PyTorch", threads))]
        for problem in [Problem.parse(QUICK_LAYER)] if found.quick else select_problems("vgg16", LAYERS, None):
            found.results += measure(problem, names=names, rivals=beside, replicates=3 if found.quick else 5, budget=2.0, progress=status)
    screen.print(result_table(found.results))


def show_predictions(found: Findings, screen: Console) -> None:
    from minivgg.cli.predict import card

    images, labels, odds = found.answers()
    wrong = [i for i in range(len(labels)) if odds[i].argmax() != labels[i]]
    for i in [*range(20, len(labels), 120), *wrong[:3]]:
        screen.print(card(f"held-out digit {i}", images[i, 0], odds[i], int(labels[i]), top=3))
    screen.print(f"{len(labels) - len(wrong)} of {len(labels)} held-out digits right")

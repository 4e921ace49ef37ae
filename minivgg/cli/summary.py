"""``minivgg summary``: what a network consists of and what it costs, read off one execution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.inspect import Inspection
    from minivgg.nn import Module
    from minivgg.optim import Optimizer


def summary(
    model: Annotated[str, typer.Argument(help="minivgg, vgg11, vgg11_lrn, vgg13, vgg16_1x1, vgg16, vgg19; _bn behind it for batch norm.")],
    input: Annotated[str, typer.Option(metavar="C,H,W", help="Size of one image.", show_default="3,224,224; 1,8,8 for minivgg")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 1,
    training: Annotated[str, typer.Option(metavar="OPTIMIZER", help="Also the peak memory of a training step, with sgd, momentum or adam.")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="The table that torchsummary prints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a network once and show every layer: output size and the formula for it, cost, memory, algorithm.

    *sees* is the receptive field, *keeps* is what training holds for the gradients, *scratch* is what the algorithm takes while it runs.

        minivgg summary vgg16
        minivgg summary vgg11_bn --input 3,32,32 --batch 64
        minivgg summary vgg16 --batch 8 --training momentum
        minivgg summary minivgg --json
    """
    from minivgg.cli.console import console, print_json
    from minivgg.cli.networks import build, read_size
    from minivgg.cli.progress import Status
    from minivgg.inspect import inspect, summary_text, training_memory
    from minivgg.inspect.text import totals, training_text

    size = read_size(input, model)
    with Status() as status:
        status(f"running {model} once")
        network = build(model)
        if plain:
            text = summary_text(network, size)
        else:
            found = inspect(network, size, batch)
            memory = training_memory(network, size, optimizer(training, network), batch) if training else None
    if plain:
        print(text)
    elif json:
        print_json(found.as_dict() | ({"training_memory": memory.as_dict()} if memory else {}))
    else:
        out = console()
        out.print(summary_table(found))
        for line in [*totals(found), *(training_text(memory) if memory else [])]:
            out.print(line, soft_wrap=True)


def optimizer(name: str, network: Module) -> Optimizer:
    """One that remembers nothing, one tensor or two of a parameter's size; its other options cost no memory."""
    from minivgg.errors import ArgumentError
    from minivgg.optim import SGD, Adam

    known: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "momentum": partial(SGD, momentum=0.9), "adam": Adam}
    if name not in known:
        raise ArgumentError("summary", f"--training takes {', '.join(known)}, got {name!r}")
    return known[name](network.parameters())


def summary_table(found: Inspection) -> Table:
    """One row a layer."""
    from minivgg.cli.console import size, table

    shown = table("", "layer", "operation", "output", "output size", "parameters", "multiply-adds", "sees", "keeps", "scratch", "algorithm", left=4)
    shown.columns[-1].justify = "left"
    for row in found.rows:
        scratch = max(row.workspace_bytes, row.backward_workspace_bytes)
        costs = (
            f"{row.parameters:,}" if row.parameters else "-",
            f"{row.macs:,}" if row.macs else "-",
            row.receptive_field,
            size(row.saved_bytes),
            size(scratch),
        )
        shown.add_row(row.name, row.kind, "×".join(map(str, row.output_shape)), row.size_formula, *costs, row.algorithm, style="" if row.parameters else "dim")
    return shown

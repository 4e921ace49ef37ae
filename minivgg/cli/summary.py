"""``minivgg summary``: what a network consists of and what it costs, read off one execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from minivgg.inspect import Inspection


def summary(
    model: Annotated[str, typer.Argument(help="minivgg, vgg11, vgg11_lrn, vgg13, vgg16_1x1, vgg16, vgg19; _bn behind it for batch norm.")],
    input: Annotated[str, typer.Option(metavar="C,H,W", help="Size of one image.", show_default="3,224,224; 1,8,8 for minivgg")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 1,
    plain: Annotated[bool, typer.Option("--plain", help="The table that torchsummary prints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a network once and show every layer: output size and the formula for it, cost, memory, algorithm.

    *sees* is the receptive field, *keeps* is what training holds for the gradients, *scratch* is what the algorithm takes while it runs.

        minivgg summary vgg16
        minivgg summary vgg11_bn --input 3,32,32 --batch 64
        minivgg summary minivgg --json
    """
    from minivgg.cli.console import console, print_json
    from minivgg.cli.networks import build, read_size
    from minivgg.cli.progress import Status
    from minivgg.inspect import inspect, summary_text
    from minivgg.inspect.text import totals

    size = read_size(input, model)
    with Status() as status:
        status(f"running {model} once")
        network = build(model)
        if plain:
            text = summary_text(network, size)
        else:
            found = inspect(network, size, batch)
    if plain:
        print(text)
    elif json:
        print_json(found.as_dict())
    else:
        out = console()
        out.print(summary_table(found))
        for line in totals(found):
            out.print(line, soft_wrap=True)


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

"""``minivgg explain``: which algorithm computes a problem, which ones it is preferred to, and why."""

from __future__ import annotations

from typing import Annotated

import typer


def explain(
    problem: Annotated[str, typer.Argument(help='A problem string, as in "n1 c64 h224 w224 k64 r3 s1 p1 d1 g1".')],
    operation: Annotated[str, typer.Option(help="Explain only this one: conv2d, conv2d_grad_input or conv2d_grad_weight.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which algorithm computes a convolution and its gradients, and what speaks for or against each.

    The problem is written with the letters that the whole project uses: n images, c input channels, h w input rows and
    columns, k output channels, r filter (3 or 3x5), s stride, p padding, d dilation, g groups.

        minivgg explain "n1 c64 h224 w224 k64 r3 p1"
        minivgg explain "n8 c96 h27 w27 k256 r5 p2 g2" --operation conv2d_grad_weight
        MINIVGG_CONV2D=fft minivgg train        the same choice, forced
    """
    from minivgg.cli.console import console, print_json, size, table
    from minivgg.errors import ArgumentError
    from minivgg.explanation import explain as explanation
    from minivgg.spec import Conv2dSpec

    spec = Conv2dSpec.parse(problem)
    directions = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")
    if operation and operation not in directions:
        raise ArgumentError("explain", f"there is no operation {operation!r}; there are {', '.join(directions)}")
    if dtype not in ("float32", "float64"):
        raise ArgumentError("explain", f"dtype must be float32 or float64, got {dtype!r}")
    answers = {name: explanation(spec, name, dtype) for name in ([operation] if operation else directions)}
    if json:
        shapes = {"input": spec.input_shape, "weight": spec.weight_shape, "output": spec.output_shape}
        choices = {name: found.as_dict()["candidates"] for name, found in answers.items()}
        print_json({"problem": str(spec), "dtype": dtype, "macs": spec.macs, "shapes": shapes, "candidates": choices})
        return

    out = console()
    out.print(f"[bold]{spec}[/]  {dtype}")
    out.print(f"input {spec.input_shape}, weight {spec.weight_shape} -> output {spec.output_shape}; {spec.macs:,} multiply-adds")
    (top, bottom, left, right), (dh, dw), (sh, sw) = spec.padding, spec.span, spec.stride
    out.print(f"p = ⌊({spec.h} + {top} + {bottom} - {dh}) / {sh}⌋ + 1 = {spec.p},  q = ⌊({spec.w} + {left} + {right} - {dw}) / {sw}⌋ + 1 = {spec.q}\n")
    for name, found in answers.items():
        rows = table(name, "", "algorithm", "why", "scratch memory", left=3)
        rows.columns[0].min_width, rows.columns[2].no_wrap = None, False
        for candidate in found.candidates:
            mark, style = ("▶", "bold green") if candidate.chosen else ("", "" if candidate.applies else "dim")
            rows.add_row(mark, candidate.name, candidate.reason, size(candidate.workspace) if candidate.applies else "-", style=style)
        out.print(rows)

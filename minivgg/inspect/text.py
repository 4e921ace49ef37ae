"""Tables in plain text: columns aligned by their widest entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minivgg.inspect.inspection import Inspection
    from minivgg.inspect.training_memory import TrainingMemory

MIB = 2**20


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool]) -> str:
    """Rows of text under a header and a rule, each column aligned to the left or to the right.

    >>> print(table(["net", "layers"], [["A", "11"], ["E", "19"]], left=[True, False]))
    net  layers
    -----------
    A        11
    E        19
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(f"{cell:<{width}}" if to_left else f"{cell:>{width}}" for cell, width, to_left in zip(cells, widths, left, strict=True)).rstrip()

    return "\n".join([line(header), "-" * (sum(widths) + 2 * len(widths) - 2), *map(line, rows)])


def mib(count: int) -> str:
    """Bytes in MiB.

    >>> mib(12845056)
    '12.25'
    """
    return f"{count / MIB:,.2f}" if count else "0"


COLUMNS = {
    "layer": True, "operation": True, "output": True, "output size": True, "parameters": False, "multiply-adds": False, "sees": False,
    "activation": False, "saved": False, "gradient": False, "workspace": False, "algorithm": True,
}  # fmt: skip
"""The columns of an inspection, and whether they are aligned to the left. Memory is in MiB."""


def cells(inspection: Inspection) -> list[list[str]]:
    """The entries of the table, one list a row, in the order of ``COLUMNS``."""
    return [
        [
            row.name, row.kind, "x".join(map(str, row.output_shape)), row.size_formula, f"{row.parameters:,}", f"{row.macs:,}", row.receptive_field,
            mib(row.activation_bytes), mib(row.saved_bytes), mib(row.gradient_bytes),
            mib(max(row.workspace_bytes, row.backward_workspace_bytes)), row.algorithm,
        ]
        for row in inspection.rows
    ]  # fmt: skip


def totals(inspection: Inspection) -> list[str]:
    """What stands below the table, one line each."""
    from minivgg.inspect.inspection import CONVENTION

    inputs = ", ".join("x".join(map(str, shape)) for shape in inspection.input_shapes)
    frozen = inspection.parameters - inspection.trainable
    return [
        f"{inspection.model} on {inputs} {inspection.dtype}",
        f"parameters      {inspection.parameters:,}" + (f", {frozen:,} of them frozen" if frozen else "") + f": {mib(inspection.parameter_bytes)} MiB",
        f"multiply-adds   {inspection.macs:,} = {inspection.macs / 1e9:.2f} G: {CONVENTION}",
        *(f"                {count.macs:,} = {count.macs / 1e9:.2f} G: {count.convention}" for count in inspection.other_counts),
        f"memory          {mib(inspection.activation_bytes)} MiB of outputs, {mib(inspection.saved_bytes)} MiB saved for backward, "
        f"{mib(inspection.workspace_bytes)} MiB of workspace at most",
    ]


def training_text(memory: TrainingMemory) -> list[str]:
    """The peak of a training step and what it is made of."""
    parts = {
        "parameters and buffers": memory.parameters, "the optimiser's state": memory.optimizer, "the batch": memory.batch,
        "saved for backward": memory.saved, "gradients of parameters": memory.gradients, "the layer being computed": memory.passing,
    }  # fmt: skip
    made_of = " + ".join(f"{mib(size)} {name}" for name, size in parts.items())
    return [f"training step   {mib(memory.peak)} MiB at its peak ({memory.where}):", f"                {made_of}"]


def inspection_text(inspection: Inspection) -> str:
    """The table and the totals."""
    return "\n".join([table(list(COLUMNS), cells(inspection), list(COLUMNS.values())), "", *totals(inspection)])

"""softmax and log_softmax on the GPU, a row by a warp or a block: bound by the memory alone. The kernels are in fused.cu."""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import BLOCK, WARP, dense, into, row_blocks, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

HELD = (2, 8)
"""Vectors of a row that a lane may hold in registers."""

WIDTHS = {"float": 4, "double": 2}

PROGRAM = Program(
    Path(__file__).with_name("fused.cu"),
    tuple({"T": T, "VECTOR": width if held else 1, "HELD": held} for T, width in WIDTHS.items() for held in (0, *HELD)),
)


def _run(name, logarithm, out, *inputs):
    if out.size:
        arrays = [dense(x) for x in inputs]
        into(out, lambda out: _launch(name, out, arrays, int(logarithm)))


def _launch(name, out, arrays, logarithm):
    rows, classes = out.shape
    width = vector(out, *arrays)
    held = next((held for held in HELD if classes <= WARP * width * held and width > 1 and classes % width == 0), 0)
    kernel = PROGRAM.kernel(name, T=TYPES[out.dtype], VECTOR=width if held else 1, HELD=held)
    blocks = (ceil_div(rows, BLOCK // WARP), (WARP, BLOCK // WARP)) if held else row_blocks(rows, classes)
    kernel(*blocks, out, *arrays, numpy.int64(rows), numpy.int64(classes), logarithm)


def _bytes(shape, dtype):
    """Copies of what does not lie row by row."""
    return 3 * copies(shape, dtype.itemsize)


@algorithm("softmax", backend="cuda", exact=False, workspace=_bytes)
def softmax(shape, x, out):
    _run("softmax", False, out, x)


@algorithm("log_softmax", backend="cuda", exact=False, workspace=_bytes)
def log_softmax(shape, x, out):
    _run("softmax", True, out, x)


@algorithm("softmax_grad", backend="cuda", exact=False, workspace=_bytes)
def softmax_grad(shape, grad, y, out):
    _run("softmax_gradient", False, out, grad, y)


@algorithm("log_softmax_grad", backend="cuda", exact=False, workspace=_bytes)
def log_softmax_grad(shape, grad, y, out):
    _run("softmax_gradient", True, out, grad, y)

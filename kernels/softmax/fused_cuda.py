"""softmax and log_softmax on the GPU, a row by a warp or a block: bound by the memory alone. The kernels are in fused.cu."""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import TYPES, Program
from minivgg.kernels.common.cuda_memory import dense, into, row_blocks
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), ({"T": "float"}, {"T": "double"}))


def _run(name, logarithm, out, *inputs):
    rows, classes = out.shape
    if classes:
        kernel, arrays = PROGRAM.kernel(name, T=TYPES[out.dtype]), [dense(x) for x in inputs]
        into(out, lambda out: kernel(*row_blocks(rows, classes), out, *arrays, numpy.int64(rows), numpy.int64(classes), int(logarithm)))


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

"""Cross entropy on the GPU in one pass over the scores, and its gradient in another. The kernels are in fused.cu."""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import TYPES, Program
from minivgg.kernels.common.cuda_memory import dense, into, row_blocks
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), ({"T": "float"}, {"T": "double"}))


def _bytes(spec, dtype):
    """Copies of what does not lie row by row."""
    return 2 * copies(spec.shape, dtype.itemsize) + spec.shape[0] * (8 + 3 * dtype.itemsize)


def _launch(name, spec, *arrays):
    rows, classes = spec.shape
    kernel, dtype = PROGRAM.kernel(name, T=TYPES[arrays[0].dtype]), arrays[0].dtype
    kernel(*row_blocks(rows, classes), *arrays, numpy.int64(rows), numpy.int64(classes), dtype.type(spec.label_smoothing))


@algorithm("cross_entropy", backend="cuda", exact=False, workspace=_bytes)
def cross_entropy(spec, x, target, losses, tops, logs):
    given, results = (dense(x), dense(target)), (losses, tops, logs)
    lines = [dense(out) for out in results]
    _launch("cross_entropy", spec, *lines, *given)
    for out, line in zip(results, lines, strict=True):
        if line is not out:
            out[...] = line


@algorithm("cross_entropy_grad", backend="cuda", exact=False, workspace=_bytes)
def cross_entropy_grad(spec, x, target, tops, logs, scale, dx):
    given = [dense(array) for array in (x, target, tops, logs, scale)]
    into(dx, lambda dx: _launch("cross_entropy_gradient", spec, dx, *given))

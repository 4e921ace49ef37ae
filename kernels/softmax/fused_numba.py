"""softmax and log_softmax a row at a time: what is read again is still in the cache, and all inner loops run in vectors."""

from __future__ import annotations

import math

import numpy

from minivgg.kernels.common.exponential import exp
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, writable
from minivgg.kernels.softmax._rows import ITEM, LANES, largest, sum_of
from minivgg.parallel import parallel_blocks
from minivgg.registry import algorithm


@compiled
def rows_of_softmax(x, out, first, last, logarithm):  # pragma: no cover compiled
    """out = e^(x - max) / Σ, or x - max - ln Σ: rows first to last."""
    classes = x.shape[1]
    some = numpy.empty(LANES, x.dtype)
    for i in range(first, last):
        row, result = x[i], out[i]
        top = largest(row, some)
        for j in range(classes):
            result[j] = exp(row[j] - top)
        total = sum_of(result, some)
        if logarithm:
            near = row.dtype.type(math.log(total))
            for j in range(classes):
                result[j] = (row[j] - top) - near
        else:
            for j in range(classes):
                result[j] /= total


@compiled
def rows_of_gradient(grad, y, out, first, last, logarithm):  # pragma: no cover compiled
    """out = y · (g - Σ g·y), or g - e^y · Σ g: rows first to last."""
    classes = y.shape[1]
    whole = classes // LANES * LANES
    some = numpy.empty(LANES, y.dtype)
    for i in range(first, last):
        g, row, result = grad[i], y[i], out[i]
        if logarithm:
            total = sum_of(g, some)
            for j in range(classes):
                result[j] = g[j] - exp(row[j]) * total
        else:
            some[:] = 0
            for j in range(0, whole, LANES):
                for lane in range(LANES):
                    some[lane] += g[j + lane] * row[j + lane]
            total = some.sum()
            for j in range(whole, classes):
                total += g[j] * row[j]
            for j in range(classes):
                result[j] = row[j] * (g[j] - total)


def _bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """Copies of what does not lie row by row."""
    return 3 * copies(shape, dtype.itemsize)


def _run(kernel, arrays, out, logarithm):
    arrays = [writable(numpy.ascontiguousarray(x)) for x in arrays]
    result = out if out.flags.c_contiguous else numpy.empty(out.shape, out.dtype)
    rows, classes = out.shape
    if classes:
        parallel_blocks(lambda first, last: kernel(*arrays, result, first, last, logarithm), rows, max(1, ITEM // classes))
    if result is not out:
        out[...] = result


@algorithm("softmax", backend="numba", exact=False, workspace=_bytes)
def softmax(shape, x, out):
    _run(rows_of_softmax, [x], out, False)


@algorithm("log_softmax", backend="numba", exact=False, workspace=_bytes)
def log_softmax(shape, x, out):
    _run(rows_of_softmax, [x], out, True)


@algorithm("softmax_grad", backend="numba", exact=False, workspace=_bytes)
def softmax_grad(shape, grad, y, out):
    _run(rows_of_gradient, [grad, y], out, False)


@algorithm("log_softmax_grad", backend="numba", exact=False, workspace=_bytes)
def log_softmax_grad(shape, grad, y, out):
    _run(rows_of_gradient, [grad, y], out, True)

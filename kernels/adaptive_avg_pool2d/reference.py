"""Adaptive average pooling by its definition: one bin after the other, with sums in float64."""

from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


def _bin(size: int, outputs: int, i: int) -> slice:
    return slice(i * size // outputs, ((i + 1) * size + outputs - 1) // outputs)


def _cells(spec: Any, p: int, q: int) -> tuple[slice, slice, int]:
    """Rows and columns of a bin, and how many cells it has."""
    rows, columns = _bin(spec.shape[2], spec.outputs[0], p), _bin(spec.shape[3], spec.outputs[1], q)
    return rows, columns, (rows.stop - rows.start) * (columns.stop - columns.start)


@algorithm("adaptive_avg_pool2d", automatic=False, exact=False)
def adaptive_avg_pool2d(spec: Any, x: Array, out: Array) -> None:
    for p, q in numpy.ndindex(*spec.outputs):
        rows, columns, count = _cells(spec, p, q)
        out[:, :, p, q] = x[:, :, rows, columns].astype(float).sum((2, 3)) / count


@algorithm("adaptive_avg_pool2d_grad", automatic=False, exact=False)
def adaptive_avg_pool2d_grad(spec: Any, grad: Array, out: Array) -> None:
    total = numpy.zeros(spec.shape)
    for p, q in numpy.ndindex(*spec.outputs):
        rows, columns, count = _cells(spec, p, q)
        total[:, :, rows, columns] += grad[:, :, p : p + 1, q : q + 1].astype(float) / count
    out[...] = total

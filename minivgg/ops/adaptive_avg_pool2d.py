"""Adaptive average pooling: an output of any wanted size, from an input of any size. Linear, and so is its transpose.

The average over a rectangle is the average over its rows of the averages over its columns: one matrix-like step an axis,
``AverageBins``, whose transpose ``SpreadBins`` gives each cell its share of the bins that it lies in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.avg_pool2d import avg_pool2d
from minivgg.registry import ErrorSample, Operation, Sample


def bins(size: int, outputs: int) -> list[tuple[int, int]]:
    """Where each bin begins and ends: [⌊i·size/outputs⌋, ⌈(i+1)·size/outputs⌉); neighbours may share a cell.

    >>> bins(7, 3)
    [(0, 3), (2, 5), (4, 7)]
    """
    return [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]


class AverageBins(Function):
    """Along one axis: the average of each bin."""

    def forward(self, x, axis, outputs):
        self.axis, self.size = axis, x.shape[axis]
        out = namespace(x).empty_like(x, shape=(*x.shape[:axis], outputs, *x.shape[axis + 1 :]))
        before = (slice(None),) * axis
        with numpy.errstate(invalid="ignore", over="ignore"):
            for i, (start, stop) in enumerate(bins(self.size, outputs)):
                average = out[(*before, i)]
                average[...] = x[(*before, start)]
                for cell in range(start + 1, stop):  # a bin is short: adding whole planes beats reducing many short rows
                    average += x[(*before, cell)]
                average /= stop - start
        return out

    def backward(self, grad):
        return SpreadBins.apply(grad, self.axis, self.size), None, None


class SpreadBins(Function):
    """Along one axis: each bin's value over its length is added to each of its cells. The transpose of ``AverageBins``."""

    def forward(self, x, axis, size):
        self.axis, self.parts = axis, x.shape[axis]
        out = namespace(x).zeros_like(x, shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))
        before = (slice(None),) * axis
        with numpy.errstate(invalid="ignore", over="ignore"):
            for i, (start, stop) in enumerate(bins(size, self.parts)):
                out[(*before, slice(start, stop))] += x[(*before, slice(i, i + 1))] / (stop - start)
        return out

    def backward(self, grad):
        return AverageBins.apply(grad, self.axis, self.parts), None, None


def read_output_size(operation: str, input: Tensor, output_size: Any) -> tuple[int, int]:
    """Check the input of an adaptive pooling, and read its output's rows and columns; None keeps the input's."""
    if input.ndim not in (3, 4):
        raise ShapeError(operation, f"input must be (N, C, H, W) or (C, H, W), got {input.ndim} dimensions", input=input.shape)
    if input.dtype not in FLOATING:
        raise DtypeError(operation, f"takes float32 or float64, got {input.dtype}")
    if not min(input.shape[-2:]):
        raise ShapeError(operation, f"an input without rows or columns has no bins, got input {input.shape}")
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(sizes) != 2 or not all(size is None or hasattr(size, "__index__") for size in sizes):
        raise ArgumentError(operation, f"output_size must be an int, None or a pair of them, got {output_size!r}")
    rows, columns = (have if size is None else int(size.__index__()) for size, have in zip(sizes, input.shape[-2:], strict=True))
    if min(rows, columns) < 0:
        raise ArgumentError(operation, f"output_size must be at least 0, got {output_size!r}")
    return rows, columns


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """out[..., p, q] = average of input[..., ⌊p·H/P⌋ : ⌈(p+1)·H/P⌉, ⌊q·W/Q⌋ : ⌈(q+1)·W/Q⌉].

    ``input``        (N, C, H, W) or (C, H, W), float32 or float64
    ``output_size``  P and Q: a number for both, or a pair; None keeps the input's rows or columns

    An output of the input's own size is a copy to the bit, a larger one repeats cells. What lies outside a bin, inf and
    nan too, does not touch its average. Cost: H·W additions for the rows and P·W for the columns, for each plane.

    >>> import minivgg
    >>> x = minivgg.arange(16, dtype="float32").reshape(1, 1, 4, 4)
    >>> minivgg.nn.functional.adaptive_avg_pool2d(x, 2)
    tensor([[[[ 2.5000,  4.5000],
              [10.5000, 12.5000]]]])
    >>> minivgg.nn.functional.adaptive_avg_pool2d(x, (None, 1)).shape
    (1, 1, 4, 1)
    """
    rows, columns = read_output_size("adaptive_avg_pool2d", input, output_size)
    if (rows, columns) == input.shape[-2:]:
        return input.clone()
    if rows and columns and input.shape[-3] and not input.shape[-2] % rows and not input.shape[-1] % columns:  # bins of one size, side by side
        return avg_pool2d(input, (input.shape[-2] // rows, input.shape[-1] // columns))
    out = input
    for axis, outputs in ((input.ndim - 2, rows), (input.ndim - 1, columns)):
        if out.shape[axis] != outputs:
            out = AverageBins.apply(out, axis, outputs)
    return out


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, size in (((2, 3, 7, 5), 3), ((1, 2, 4, 6), (2, 3)), ((2, 1, 3, 4), (5, 7)), ((1, 2, 5, 4), (None, 1)), ((3, 6, 6), 6), ((0, 2, 4, 4), 2)):
        yield Sample((rng.standard_normal(shape), size))


def _oracle(x: numpy.ndarray, output_size: Any) -> numpy.ndarray:
    """The definition, one bin after the other."""
    h, w = x.shape[-2:]
    sizes = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    rows, columns = (have if size is None else size for size, have in zip(sizes, (h, w), strict=True))
    out = numpy.empty((*x.shape[:-2], rows, columns))
    for p, q in numpy.ndindex(rows, columns):
        top, bottom = p * h // rows, ((p + 1) * h + rows - 1) // rows
        left, right = q * w // columns, ((q + 1) * w + columns - 1) // columns
        out[..., p, q] = x[..., top:bottom, left:right].sum(axis=(-2, -1)) / ((bottom - top) * (right - left))
    return out


def _errors() -> Iterable[ErrorSample]:
    name, image = "adaptive_avg_pool2d", numpy.zeros((1, 2, 4, 4))
    yield ErrorSample((image, -1), {}, ArgumentError, f"{name}: output_size must be at least 0, got -1")
    yield ErrorSample((image, (2, 2, 2)), {}, ArgumentError, f"{name}: output_size must be an int, None or a pair of them, got (2, 2, 2)")
    yield ErrorSample((image, 1.5), {}, ArgumentError, f"{name}: output_size must be an int, None or a pair of them, got 1.5")
    yield ErrorSample((image[0, 0], 2), {}, ShapeError, f"{name}: input must be (N, C, H, W) or (C, H, W), got 2 dimensions (input (4, 4))")
    yield ErrorSample((numpy.zeros((1, 2, 0, 4)), 2), {}, ShapeError, f"{name}: an input without rows or columns has no bins, got input (1, 2, 0, 4)")
    yield ErrorSample((image.astype("int64"), 2), {}, DtypeError, f"{name}: takes float32 or float64, got int64")


OPERATION = Operation(
    adaptive_avg_pool2d,
    shapes="... H W -> ... P Q",
    samples=_samples,
    oracle=_oracle,
    errors=_errors,
    torch="nn.functional.adaptive_avg_pool2d",
)

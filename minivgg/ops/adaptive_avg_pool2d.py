"""Adaptive average pooling: an output of any wanted size, from an input of any size. Linear, and so is its transpose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import empty, is_channels_last
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_floating, read_int
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel
from minivgg.spec import check_size


def bins(size: int, outputs: int) -> list[tuple[int, int]]:
    """Where each bin begins and ends: [⌊i·size/outputs⌋, ⌈(i+1)·size/outputs⌉); neighbours may share a cell.

    >>> bins(7, 3)
    [(0, 3), (2, 5), (4, 7)]
    """
    return [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]


class Problem(NamedTuple):
    """What the kernels are told: (N, C, H, W), and the rows and columns of the output."""

    shape: tuple[int, ...]
    outputs: tuple[int, int]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return *self.shape[:2], *self.outputs

    @property
    def bins(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Of the rows (P, 2) and of the columns (Q, 2): begin and end of each."""
        rows, columns = (numpy.array(bins(size, outputs)).reshape(-1, 2) for size, outputs in zip(self.shape[2:], self.outputs, strict=True))
        return rows, columns


@formula("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(spec, x, out):
    """The averages of the rows of a bin, then over its columns: adding whole planes beats reducing many short rows."""
    rows, columns = spec.bins
    for p, (top, bottom) in enumerate(rows):
        lines = x[:, :, top].copy()
        for h in range(top + 1, bottom):
            lines += x[:, :, h]
        for q, (left, right) in enumerate(columns):
            out[:, :, p, q] = lines[..., left:right].sum(-1) / ((bottom - top) * (right - left))


@formula("adaptive_avg_pool2d_grad")
def _adaptive_avg_pool2d_grad(spec, grad, out):
    rows, columns = spec.bins
    out[...] = 0
    for p, (top, bottom) in enumerate(rows):
        for q, (left, right) in enumerate(columns):
            out[:, :, top:bottom, left:right] += grad[:, :, p : p + 1, q : q + 1] / ((bottom - top) * (right - left))


class AdaptiveAvgPool2d(Function):
    def forward(self, x, spec, last):
        """``last``: of one row and column, the memory does not say whether channels are last; the gradient's is to be that of the input."""
        self.spec, self.last = spec, last
        out = _in_order(spec.output_shape, x, last)
        kernel("adaptive_avg_pool2d", spec, x)(spec, x, out)
        return out

    def backward(self, grad):
        return AdaptiveAvgPool2dGrad.apply(grad, self.spec, self.last), None, None


class AdaptiveAvgPool2dGrad(Function):
    """Each cell gets its share of the bins that it lies in."""

    def forward(self, grad, spec, last):
        self.spec, self.last = spec, last
        out = _in_order(spec.shape, grad, last)
        kernel("adaptive_avg_pool2d_grad", spec, out)(spec, grad, out)
        return out

    def backward(self, grad):
        return AdaptiveAvgPool2d.apply(grad, self.spec, self.last), None, None


def _in_order(shape: tuple[int, ...], like: Any, last: bool) -> Any:
    """A new array with the channels innermost, ``last``, or row by row."""
    n, c, h, w = shape
    return empty((n, h, w, c), like.dtype, like).transpose(0, 3, 1, 2) if last else empty(shape, like.dtype, like)


def read_output_size(operation: str, input: Tensor, output_size: Any) -> tuple[int, int]:
    """Check the input of an adaptive pooling, and read its output's rows and columns; None keeps the input's."""
    check_floating(operation, input)
    if input.ndim not in (3, 4):
        raise ShapeError(operation, f"input must be (N, C, H, W) or (C, H, W), got {input.ndim} dimensions", input=input.shape)
    if not min(input.shape[-2:]):
        raise ShapeError(operation, f"an input without rows or columns has no bins, got input {input.shape}")
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(sizes) != 2 or not all(size is None or hasattr(size, "__index__") for size in sizes):
        raise ArgumentError(operation, f"output_size must be an int, None or a pair of them, got {output_size!r}")
    rows, columns = (have if size is None else read_int(operation, "a size", size) for size, have in zip(sizes, input.shape[-2:], strict=True))
    if min(rows, columns) < 0:
        raise ArgumentError(operation, f"output_size must be at least 0, got {output_size!r}")
    check_size(operation, (*input.shape[:-2], rows, columns), input=input.shape)
    return rows, columns


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """out[..., p, q] = average of input[..., ⌊p·H/P⌋ : ⌈(p+1)·H/P⌉, ⌊q·W/Q⌋ : ⌈(q+1)·W/Q⌉].

    ``input``        (N, C, H, W) or (C, H, W), float32 or float64
    ``output_size``  P and Q: a number for both, or a pair; None keeps the input's rows or columns

    An output of the input's own size is a copy to the bit, a larger one repeats cells. What lies outside a bin, inf and
    nan too, does not touch its average. Cost: one pass over the input; H·W additions for the rows and P·W for the columns
    of each plane.

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
    images = input if input.ndim == 4 else input.unsqueeze(0)
    spec = Problem(images.shape, (rows, columns))
    out = AdaptiveAvgPool2d.apply(images, spec, is_channels_last(images.array))
    return out if input.ndim == 4 else out.squeeze(0)


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

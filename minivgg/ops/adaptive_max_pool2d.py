"""Adaptive max pooling: the largest cell of each bin, for an output of any wanted size from an input of any size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import Array, namespace
from minivgg.device import table
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.adaptive_avg_pool2d import bins, read_output_size
from minivgg.ops.arguments import check_flags
from minivgg.ops.scatter import scatter_add
from minivgg.registry import ErrorSample, Operation, Sample


class AdaptiveMaxPool2d(Function):
    """(values, indices). Along columns first, then along rows: so ties go to the first cell in row-major order."""

    def forward(self, x, rows, columns):
        h, w = self.size = x.shape[-2:]
        values, indices = _largest(x, namespace(x).arange(h * w).reshape(h, w), -1, columns)
        values, indices = _largest(values, indices, -2, rows)
        self.save_for_backward(indices)
        return values, indices

    def backward(self, grad, _):
        (indices,) = self.saved_tensors
        return ScatterPlanes.apply(grad, indices.array, self.size), None, None


class ScatterPlanes(Function):
    """Zeros (N, C, H, W) with each element of x (N, C, P, Q) added to its plane (n, c) at its index h·W + w."""

    def forward(self, x, indices, size):
        self.save_for_backward(indices)
        n, c = x.shape[:2]
        area = size[0] * size[1]
        # Windows that overlap share cells, so gradients are added up; positions in memory keep that one-dimensional, which is fast.
        channels_last = not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous
        axes, image, plane, element = ((0, 2, 3, 1), area * c, 1, c) if channels_last else ((0, 1, 2, 3), area * c, area, 1)
        xp = namespace(x)
        start = xp.arange(n).reshape(n, 1, 1, 1) * image + xp.arange(c).reshape(1, c, 1, 1) * plane
        positions = start + (indices if element == 1 else indices * element)
        memory = xp.zeros(n * c * area, x.dtype)
        scatter_add(memory, positions.transpose(axes).reshape(-1), x.transpose(axes).reshape(-1))
        return memory.reshape(n, *size, c).transpose(0, 3, 1, 2) if channels_last else memory.reshape(n, c, *size)

    def backward(self, grad):
        (indices,) = self.saved_tensors
        return GatherPlanes.apply(grad, indices.array), None, None


class GatherPlanes(Function):
    """From each plane (n, c) of x the elements at these indices h·W + w: the transpose of ``ScatterPlanes``."""

    def forward(self, x, indices):
        self.save_for_backward(indices)
        n, c, h, w = x.shape
        self.size = h, w
        p, q = indices.shape[2:]
        return namespace(x).take_along_axis(x.reshape(n, c, h * w), indices.reshape(n, c, p * q), 2).reshape(n, c, p, q)

    def backward(self, grad):
        (indices,) = self.saved_tensors
        return ScatterPlanes.apply(grad, indices.array, self.size), None


def _largest(x: Array, places: Array, axis: int, outputs: int) -> tuple[Array, Array]:
    """Along one axis, the first of the largest cells of each bin (the last nan, if there is one), and what ``places`` has there.

    Step t compares the t-th cells of all bins; a bin that has fewer offers its last one again, which changes nothing.
    """
    xp = namespace(x)
    edges = numpy.array(bins(x.shape[axis], outputs), dtype="int64").reshape(outputs, 2)
    values = places_of_values = None
    for t in range(max((stop - start for start, stop in edges), default=1)):
        cells = table(numpy.minimum(edges[:, 0] + t, edges[:, 1] - 1), x)
        value, place = xp.take(x, cells, axis), xp.take(places, cells, axis)
        if values is None:
            values, places_of_values = value, xp.broadcast_to(place, value.shape)
        else:
            wins = (value > values) | (value != value)
            values, places_of_values = xp.where(wins, value, values), xp.where(wins, place, places_of_values)
    return values, places_of_values


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """out[..., p, q] = max of input[..., ⌊p·H/P⌋ : ⌈(p+1)·H/P⌉, ⌊q·W/Q⌋ : ⌈(q+1)·W/Q⌉].

    ``input``           (N, C, H, W) or (C, H, W), float32 or float64
    ``output_size``     P and Q: a number for both, or a pair; None keeps the input's rows or columns
    ``return_indices``  also return h·W + w of each maximum, int64

    Of equal cells the first one counts, and the whole gradient goes to it; nan is greater than any number.
    H·W comparisons for the columns and H·Q for the rows, for each plane.

    >>> import minivgg
    >>> x = minivgg.tensor([[[1.0, 5.0, 2.0], [3.0, 4.0, 8.0]]])
    >>> minivgg.nn.functional.adaptive_max_pool2d(x, (1, 2))
    tensor([[[5., 8.]]])
    >>> minivgg.nn.functional.adaptive_max_pool2d(x, (None, 1), return_indices=True)[1]
    tensor([[[1],
             [5]]])
    """
    rows, columns = read_output_size("adaptive_max_pool2d", input, output_size)
    check_flags("adaptive_max_pool2d", return_indices=return_indices)
    batch = input if input.ndim == 4 else input.unsqueeze(0)
    outputs = AdaptiveMaxPool2d.apply(batch, rows, columns)
    if input.ndim == 3:
        outputs = tuple([out.squeeze(0) for out in outputs])
    return outputs if return_indices else outputs[0]


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, size in (((2, 3, 7, 5), 3), ((1, 2, 4, 6), (2, 3)), ((2, 1, 3, 4), (5, 7)), ((1, 2, 5, 4), (None, 1)), ((3, 6, 6), 6), ((0, 2, 4, 4), 2)):
        yield Sample((rng.permutation(math.prod(shape)).reshape(shape) / 4.0, size))  # nothing ties, and a small step changes no maximum


def _oracle(x: numpy.ndarray, output_size: Any) -> numpy.ndarray:
    """The definition, one bin after the other."""
    h, w = x.shape[-2:]
    sizes = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    rows, columns = (have if size is None else size for size, have in zip(sizes, (h, w), strict=True))
    out = numpy.empty((*x.shape[:-2], rows, columns))
    for p, q in numpy.ndindex(rows, columns):
        top, bottom = p * h // rows, ((p + 1) * h + rows - 1) // rows
        left, right = q * w // columns, ((q + 1) * w + columns - 1) // columns
        out[..., p, q] = x[..., top:bottom, left:right].max(axis=(-2, -1))
    return out


def _errors() -> Iterable[ErrorSample]:
    name, image = "adaptive_max_pool2d", numpy.zeros((1, 2, 4, 4))
    yield ErrorSample((image, -1), {}, ArgumentError, f"{name}: output_size must be at least 0, got -1")
    yield ErrorSample((image, (2, 2, 2)), {}, ArgumentError, f"{name}: output_size must be an int, None or a pair of them, got (2, 2, 2)")
    yield ErrorSample((image[0, 0], 2), {}, ShapeError, f"{name}: input must be (N, C, H, W) or (C, H, W), got 2 dimensions (input (4, 4))")
    yield ErrorSample((numpy.zeros((1, 2, 4, 0)), 2), {}, ShapeError, f"{name}: an input without rows or columns has no bins, got input (1, 2, 4, 0)")
    yield ErrorSample((image.astype("int64"), 2), {}, DtypeError, f"{name}: takes float32 or float64, got int64")


OPERATION = Operation(
    adaptive_max_pool2d,
    shapes="... H W -> ... P Q",
    samples=_samples,
    oracle=_oracle,
    errors=_errors,
    torch="nn.functional.adaptive_max_pool2d",
)

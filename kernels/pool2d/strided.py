"""Pooling by a few passes over whole arrays: cell (r, s) of all windows at once is one strided slice of the input.

Maximum: R·S passes carry the largest value so far and the number of the cell it came from. Average: the sum over a window
is a sum over its rows of sums over its columns, so R + S passes do; the transpose makes the same two steps the other way.
"""

from collections.abc import Iterator
from typing import Any

import numpy

from minivgg.backend import Array, namespace
from minivgg.device import table
from minivgg.registry import algorithm
from minivgg.spec import Pool2dSpec

BLOCK = 2**18
"""Elements of scratch memory that images are worked on together with: enough to make the calls cheap, few enough for the cache."""


def _reach(spec: Pool2dSpec, axis: int, tap: int) -> tuple[slice, slice]:
    """The windows whose cell ``tap`` lies inside the input along an axis (0 rows, 1 columns), and the cells."""
    size, outputs = ((spec.h, spec.p), (spec.w, spec.q))[axis]
    stride, offset = spec.stride[axis], tap * spec.dilation[axis] - spec.padding[axis]
    first = max(0, -(offset // stride))
    count = min(outputs, (size - 1 - offset) // stride + 1) - first
    if count < 1:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, first + count), slice(start, start + (count - 1) * stride + 1, stride)


def _reasonable(spec: Pool2dSpec, dtype: numpy.dtype) -> str | None:
    """A pass for every cell of the window: not for the windows that ``ceil_mode`` lets be larger than any input."""
    h, w = spec.kernel
    return f"the window has {h * w} cells, each of which would be a pass over the input" if h * w > 1 << 16 else None


def _blocks(n: int, elements: int) -> Iterator[slice]:
    """Cut n images of that many elements into blocks of about BLOCK elements, at least one image each."""
    step = max(1, BLOCK // elements)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _block_size(n: int, elements: int) -> int:
    """Elements of the largest block."""
    return min(n, max(1, BLOCK // elements)) * elements


# Maximum --------------------------------------------------------------------------------------------------------------


def _max_workspace(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """The arrays of ``_max_of_block``, and the table."""
    each = dtype.itemsize + 2 + spec.number_dtype.itemsize
    return each * _block_size(spec.n, spec.c * spec.p * spec.q) + 24 * spec.p * spec.q + 4096


def _first_inside(spec: Pool2dSpec) -> numpy.ndarray:
    """The number of each window's first cell inside the input, (P, Q)."""
    first = []
    for outputs, stride, padding, dilation in zip((spec.p, spec.q), spec.stride, spec.padding, spec.dilation, strict=True):
        first.append(numpy.maximum(0, -((numpy.arange(outputs) * stride - padding) // dilation)))
    return (first[0][:, None] * spec.kernel[1] + first[1]).astype(spec.number_dtype)


def _taps(spec: Pool2dSpec) -> list[Any]:
    """For each cell number, the windows in which it lies inside the input, and where."""
    return [(_reach(spec, 0, r), _reach(spec, 1, s)) for r in range(spec.kernel[0]) for s in range(spec.kernel[1])]


@algorithm("max_pool2d", workspace=_max_workspace, supports=_reasonable)
def max_pool2d(spec: Pool2dSpec, x: Array, out: Array, numbers: Array | None) -> None:
    xp, taps = namespace(x), _taps(spec)
    out.fill(-numpy.inf)
    if numbers is None:
        for (p, h), (q, w) in taps:
            xp.maximum(out[:, :, p, q], x[:, :, h, w], out=out[:, :, p, q])
        return
    numbers[...] = table(_first_inside(spec), x)
    for images in _blocks(spec.n, spec.c * spec.p * spec.q):
        _max_of_block(taps, x[images], out[images], numbers[images])


def _max_of_block(taps: list[Any], x: Array, out: Array, best: Array) -> None:
    """Raise ``out`` from -inf to the largest cells, and ``best`` to their numbers within the windows, by PyTorch's rule.

    The rule: a cell wins if it is greater than all before it, or nan. Cells come in ascending order of their number, so
    the last winner is the one with the largest number, and a maximum of numbers does what a masked copy does, but faster.
    """
    xp = namespace(x)
    cells, wins, nans = xp.empty_like(out), xp.empty_like(out, dtype=bool), xp.empty_like(out, dtype=bool)
    for number, ((p, h), (q, w)) in enumerate(taps):
        windows = slice(None), slice(None), p, q
        cell, win, nan, largest, winner = cells[windows], wins[windows], nans[windows], out[windows], best[windows]
        cell[...] = x[:, :, h, w]  # read with a stride once, compared four times in contiguous memory
        xp.greater(cell, largest, out=win)
        xp.not_equal(cell, cell, out=nan)
        xp.logical_or(win, nan, out=win)
        xp.maximum(largest, cell, out=largest)
        xp.maximum(winner, win * best.dtype.type(number), out=winner)


def _max_grad_workspace(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """A tap's mask and what passes it, of one block."""
    return (2 * dtype.itemsize + 2) * _block_size(spec.n, spec.c * spec.p * spec.q) + 4096


@algorithm("max_pool2d_grad_input", workspace=_max_grad_workspace, supports=_reasonable)
def max_pool2d_grad_input(spec: Pool2dSpec, grad: Array, numbers: Array, out: Array) -> None:
    """No two windows have the same cell under the same number: each tap adds to a slice of the input."""
    xp = namespace(grad)
    out.fill(0)
    for images in _blocks(spec.n, spec.c * spec.p * spec.q):
        source, best, result = grad[images], numbers[images], out[images]
        for number, ((p, h), (q, w)) in enumerate(_taps(spec)):
            result[:, :, h, w] += xp.where(best[:, :, p, q] == number, source[:, :, p, q], 0)


# Average --------------------------------------------------------------------------------------------------------------


def _divisors(spec: Pool2dSpec, x: Array) -> Array:
    """What each window's sum is divided by, (P, Q): its rows times its columns, of those that count."""
    if spec.divisor_override is not None:
        return namespace(x).full((1, 1), spec.divisor_override, dtype=x.dtype)
    counts = []
    for size, outputs, kernel, stride, padding in zip((spec.h, spec.w), (spec.p, spec.q), spec.kernel, spec.stride, spec.padding, strict=True):
        begin = numpy.arange(outputs) * stride - padding
        low, high = (-padding, size + padding) if spec.count_include_pad else (0, size)
        counts.append(numpy.minimum(begin + kernel, high) - numpy.maximum(begin, low))
    return table((counts[0][:, None] * counts[1]).astype(x.dtype), x)


def _average_workspace(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """The sums over rows of one block, and the divisors."""
    return _block_size(spec.n, spec.c * spec.p * spec.w) * dtype.itemsize + 32 * spec.p * spec.q + 4096


@algorithm("avg_pool2d", workspace=_average_workspace, supports=_reasonable)
def avg_pool2d(spec: Pool2dSpec, x: Array, out: Array) -> None:
    xp = namespace(x)
    divisors = _divisors(spec, x)
    for images in _blocks(spec.n, spec.c * spec.p * spec.w):
        source, result = x[images], out[images]
        rows = xp.zeros_like(source, shape=(*source.shape[:2], spec.p, spec.w))
        for p, h in (_reach(spec, 0, r) for r in range(spec.kernel[0])):
            rows[:, :, p] += source[:, :, h]
        result.fill(0)
        for q, w in (_reach(spec, 1, s) for s in range(spec.kernel[1])):
            result[:, :, :, q] += rows[:, :, :, w]
        result /= divisors


def _grad_workspace(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """The gradients over their divisors and those spread along columns, of one block; and the divisors."""
    return _block_size(spec.n, spec.c * spec.p * spec.w) * dtype.itemsize * 2 + 32 * spec.p * spec.q + 4096


@algorithm("avg_pool2d_grad_input", exact=False, workspace=_grad_workspace, supports=_reasonable)
def avg_pool2d_grad_input(spec: Pool2dSpec, grad: Array, out: Array) -> None:
    xp = namespace(grad)
    divisors = _divisors(spec, grad)
    for images in _blocks(spec.n, spec.c * spec.p * spec.w):
        source, result = grad[images] / divisors, out[images]
        rows = xp.zeros_like(source, shape=(*source.shape[:2], spec.p, spec.w))
        for q, w in (_reach(spec, 1, s) for s in range(spec.kernel[1])):
            rows[:, :, :, w] += source[:, :, :, q]
        result.fill(0)
        for p, h in (_reach(spec, 0, r) for r in range(spec.kernel[0])):
            result[:, :, h] += rows[:, :, p]

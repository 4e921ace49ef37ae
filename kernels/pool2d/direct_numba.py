"""Pooling in one pass: each input element is read once from memory, each output element written once, a row of windows at a time.

Both memory orders are images (images, H, W, inner) to the kernels: channels last, ``inner`` is the channels, and the
vectors run along them; row by row, each plane is an image, ``inner`` is 1, and the vectors run along the row of windows.

Where windows overlap, gradients are added up in one order, that of the windows, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import by_image
from minivgg.kernels.common.simd import address, lanes
from minivgg.kernels.pool2d._rectangles import places, runs, windows, windows_over
from minivgg.kernels.pool2d._windows import gradient_of_cell, largest_cell, scatter_to_cells
from minivgg.parallel import get_num_threads, parallel
from minivgg.registry import algorithm
from minivgg.spec import Pool2dSpec

ITEM = 1 << 17
"""Input elements of a work item, roughly: few enough to share out, many enough to be worth a call."""


@compiled
def raise_row(x, step, best, number, tap):  # pragma: no cover compiled
    """best[i] = max(best[i], x[i·step]), with the number of the tap where it wins: where it is greater, or nan."""
    if step == 2:  # with a step that it knows, the compiler uses vectors
        for i in range(best.size):
            value, old, place = x[2 * i], best[i], number[i]
            wins = (value > old) | (value != value)
            best[i] = value if wins else old
            number[i] = tap if wins else place
    else:
        for i in range(best.size):
            value = x[step * i]
            if value > best[i] or value != value:
                best[i], number[i] = value, tap


@compiled
def max_rows(
    x, out, numbers, first, last, lanes, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w
):  # pragma: no cover compiled
    """Rows first to last of all images' windows: their largest cells, and the numbers of those within the windows."""
    height, width, inner = x.shape[1:]
    rows, columns = out.shape[1:3]
    zero, size = x.dtype.type(0), x.itemsize
    for row in range(first, last):
        n, p = row // rows, row % rows
        top = p * stride_h - padding_h
        r_first = max(0, -(top // dilation_h))
        r_last = min(kernel_h, (height - 1 - top) // dilation_h + 1)
        if inner >= lanes and numbers.itemsize == 1:
            for q in range(columns):
                left = q * stride_w - padding_w
                s_first = max(0, -(left // dilation_w))
                s_last = min(kernel_w, (width - 1 - left) // dilation_w + 1)
                corner = ((n * height + top + r_first * dilation_h) * width + left + s_first * dilation_w) * inner
                place = (row * columns + q) * inner
                largest_cell(
                    zero, address(x) + size * corner, address(out) + size * place, address(numbers) + place, inner, r_last - r_first, s_last - s_first,
                    dilation_h * width * inner, dilation_w * inner, r_first * kernel_w + s_first, kernel_w,
                )  # fmt: skip
            continue
        best, number = out[n, p].reshape(columns * inner), numbers[n, p].reshape(columns * inner)
        for q in range(columns):
            for i in range(q * inner, (q + 1) * inner):
                best[i] = -numpy.inf
                number[i] = r_first * kernel_w + max(0, -((q * stride_w - padding_w) // dilation_w))
        for r in range(r_first, r_last):
            line = x[n, top + r * dilation_h].reshape(width * inner)
            for s in range(kernel_w):
                offset, tap = s * dilation_w - padding_w, number.dtype.type(r * kernel_w + s)
                q = max(0, -(offset // stride_w))
                q_last = max(q, min(columns, (width - 1 - offset) // stride_w + 1))
                if inner == 1:
                    raise_row(line[q * stride_w + offset :], stride_w, best[q:q_last], number[q:q_last], tap)
                    continue
                for place in range(q, q_last):
                    here = slice(place * inner, (place + 1) * inner)
                    raise_row(line[(place * stride_w + offset) * inner :], 1, best[here], number[here], tap)


@compiled
def max_gradient_rows(grad, numbers, out, first, last, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w):  # pragma: no cover compiled
    """Rows first to last of all images' cells, channels last: the sum of the gradients that belong to each, which is written once."""
    height, width, inner = out.shape[1:]
    rows, columns = grad.shape[1:3]
    zero, size = out.dtype.type(0), out.itemsize
    for line in range(first, last):
        n, h = line // height, line % height
        below = h + padding_h
        p_first = max(0, -((kernel_h - 1 - below) // stride_h))
        p_last = min(rows, below // stride_h + 1)
        for w in range(width):
            behind = w + padding_w
            q_first = max(0, -((kernel_w - 1 - behind) // stride_w))
            q_last = min(columns, behind // stride_w + 1)
            place = ((n * rows + p_first) * columns + q_first) * inner
            number = (below - p_first * stride_h) * kernel_w + behind - q_first * stride_w
            gradient_of_cell(
                zero, address(grad) + size * place, address(numbers) + place, address(out) + size * (line * width + w) * inner, inner,
                max(0, p_last - p_first), max(0, q_last - q_first), columns * inner, inner, number, -stride_h * kernel_w, -stride_w,
            )  # fmt: skip


@compiled
def max_gradient_windows(grad, numbers, out, first, last):  # pragma: no cover compiled
    """Rows first to last of all images' 2x2 windows, which tile the images, channels last: each cell's gradient, by windows and not by cells."""
    zero, size = out.dtype.type(0), out.itemsize
    rows, columns, inner = grad.shape[1:]
    for line in range(first, last):
        for q in range(columns):
            place, corner = (line * columns + q) * inner, (2 * line * out.shape[2] + 2 * q) * inner
            scatter_to_cells(
                zero, address(grad) + size * place, address(numbers) + place, address(out) + size * corner, inner, out.shape[2] * inner, inner
            )  # fmt: skip


@compiled
def max_gradient_images(grad, numbers, begin, reach, out, first, last):  # pragma: no cover compiled
    """Images first to last, in any case: each gradient is added where window (p, q), which begins at begin[p, q], has cell number reach[number]."""
    for n in range(first, last):
        image = out[n].reshape(out[n].size)
        image[:] = 0
        inner = out.shape[3]
        for p in range(grad.shape[1]):
            for q in range(grad.shape[2]):
                for c in range(inner):
                    image[(begin[p, q] + reach[numbers[n, p, q, c]]) * inner + c] += grad[n, p, q, c]


# Average --------------------------------------------------------------------------------------------------------------


@compiled
def average_rows(x, rows, columns, alike, divisors, out, first, last):  # pragma: no cover compiled
    """Rows first to last of all images' averages: window (p, q) holds the cells rows[p, 0] to rows[p, 1], columns[q, 0] to columns[q, 1].

    First the rows of a row of windows are added up, in contiguous memory, then the columns of that sum. ``alike[q]`` windows
    from q on are the same, and are computed once.
    """
    width, inner = x.shape[2:]
    p_count, q_count = out.shape[1:3]
    zero = x.dtype.type(0)
    sums = numpy.empty(width * inner, x.dtype)
    for row in range(first, last):
        n, p = row // p_count, row % p_count
        for i in range(sums.size):
            sums[i] = zero
        for h in range(rows[p, 0], rows[p, 1]):
            line = x[n, h].reshape(width * inner)
            for i in range(sums.size):
                sums[i] += line[i]
        averages = out[n, p].reshape(q_count * inner)
        q = 0
        while q < q_count:
            begin, end, divisor, behind = columns[q, 0], columns[q, 1], divisors[p, q], q + alike[q]
            for c in range(inner):
                averages[q * inner + c] = sums[begin * inner + c] if end > begin else zero
            for w in range(begin + 1, end):
                for c in range(inner):
                    averages[q * inner + c] += sums[w * inner + c]
            if divisor != 1:
                for c in range(inner):
                    averages[q * inner + c] /= divisor
            if inner == 1:
                averages[q + 1 : behind] = averages[q]
            else:
                for other in range(q + 1, behind):
                    for c in range(inner):
                        averages[other * inner + c] = averages[q * inner + c]
            q = behind


# The records ----------------------------------------------------------------------------------------------------------


def _geometry(spec: Pool2dSpec) -> tuple[int, ...]:
    return (*spec.kernel, *spec.stride, *spec.padding, *spec.dilation)


def in_rows(rows: int, elements: int, work: Callable[[int, int], None]) -> None:
    """``work(first, last)`` for slices of ``rows`` rows, which hold ``elements`` elements in all."""
    step = max(1, ITEM * rows // max(elements, 1))
    parallel(lambda item: work(item * step, min((item + 1) * step, rows)), -(-rows // step))


def _max_workspace(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in the result's memory order, numbers that nobody asked for, and tables."""
    return spec.n * spec.c * ((spec.h * spec.w + spec.p * spec.q) * dtype.itemsize + spec.p * spec.q * 2) + 24 * spec.p * spec.q


@algorithm("max_pool2d", backend="numba", workspace=_max_workspace)
def max_pool2d(spec, x, out, numbers):
    if numbers is None:
        numbers = numpy.empty_like(out, dtype=spec.number_dtype)

    def compute(out, numbers, x):
        rows = out.shape[0] * spec.p
        in_rows(rows, x.size, lambda first, last: max_rows(x, out, numbers, first, last, lanes(x.dtype), *_geometry(spec)))

    by_image(compute, [out, numbers], x)


@algorithm("max_pool2d_grad_input", backend="numba", workspace=_max_workspace)
def max_pool2d_grad_input(spec, grad, numbers, out):
    begin, reach = places(spec)

    def compute(out, grad, numbers):
        images, height, _, inner = out.shape
        if inner >= lanes(out.dtype) and spec.kernel == spec.stride == (2, 2) and (spec.h, spec.w) == (2 * spec.p, 2 * spec.q):
            in_rows(images * spec.p, out.size, lambda first, last: max_gradient_windows(grad, numbers, out, first, last))
        elif inner >= lanes(out.dtype) and numbers.itemsize == 1 and spec.dilation == (1, 1):
            geometry = *spec.kernel, *spec.stride, *spec.padding
            in_rows(images * height, out.size, lambda first, last: max_gradient_rows(grad, numbers, out, first, last, *geometry))
        else:
            in_rows(images, out.size, lambda first, last: max_gradient_images(grad, numbers, begin, reach, out, first, last))

    by_image(compute, [out], grad, numbers)


def average(x: numpy.ndarray, rows: numpy.ndarray, columns: numpy.ndarray, divisors: numpy.ndarray, out: numpy.ndarray) -> None:
    """Averages over any rectangles of cells; see ``average_rows``."""
    divisors, alike = divisors.astype(out.dtype), runs(columns, divisors)

    def compute(out: numpy.ndarray, x: numpy.ndarray) -> None:
        count = out.shape[0] * out.shape[1]
        in_rows(count, max(x.size, out.size), lambda first, last: average_rows(x, rows, columns, alike, divisors, out, first, last))

    by_image(compute, [out], x)


def _copies(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in the result's memory order, the sums of a row of windows, and the tables."""
    sums = get_num_threads() * spec.w * spec.c * dtype.itemsize
    return sums + spec.n * spec.c * (spec.h * spec.w + spec.p * spec.q) * dtype.itemsize + 16 * (spec.p * spec.q + spec.p + spec.q + spec.h + spec.w)


def _gradient_bytes(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """Besides, the gradients over their divisors."""
    return _copies(spec, dtype) + (spec.n * spec.c * spec.p * spec.q + spec.h * spec.w) * dtype.itemsize + 16 * spec.h * spec.w


@algorithm("avg_pool2d", backend="numba", workspace=_copies)
def avg_pool2d(spec, x, out):
    average(x, *windows(spec), out)


@algorithm("avg_pool2d_grad_input", backend="numba", exact=False, workspace=_gradient_bytes)
def avg_pool2d_grad_input(spec, grad, out):
    """Each cell adds up the windows over it, which lie side by side: a sum over rectangles of grad / divisor."""
    rows, columns, divisors = windows(spec)
    shares = grad / divisors.astype(grad.dtype)
    over_rows, over_columns = windows_over(rows, spec.h), windows_over(columns, spec.w)
    average(shares, over_rows, over_columns, numpy.ones((spec.h, spec.w)), out)

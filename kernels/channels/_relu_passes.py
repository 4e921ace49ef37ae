"""Batch normalisation with ReLU, and 2x2 max pooling, in its two passes: on (N, H, W, C) memory.

Forward they are applied to what the second pass writes. Backward, the first pass, which only reads otherwise, also writes the
gradient that arrives before the normalisation into the memory of the result; the second pass changes it there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.kernels.channels._passes import side_by_side, sums_of_pixels
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.pool2d.direct_numba import max_gradient_windows
from minivgg.parallel import BLOCK, parallel

BLOCKED = 4
"""In place of the number of a window's largest cell: nothing in it is above 0, so no gradient flows back."""


@compiled
def scale_relu(x, slope, center, offset, first, last, out):  # pragma: no cover compiled
    """Pixels first to last of (pixels, C): out = max(slope · (x - center) + offset, 0), each number that of the channel."""
    zero = x.dtype.type(0)
    for i in range(first, last):
        row, result = x[i], out[i]
        for c in range(slope.size):
            value = slope[c] * (row[c] - center[c]) + offset[c]
            result[c] = zero if value <= zero else value


@compiled
def scale_relu_pool(x, slope, center, offset, first, last, row, out, cells):  # pragma: no cover compiled
    """Rows first to last of all images' windows: the largest of these in each, and its number, or BLOCKED; ``row`` (2, W, C) is scratch memory."""
    zero, rows, columns = x.dtype.type(0), out.shape[1], out.shape[2]
    for line in range(first, last):
        n, p = line // rows, line % rows
        for r in range(2):
            scale_relu(x[n, 2 * p + r], slope, center, offset, 0, x.shape[2], row[r])
        for q in range(columns):
            best, cell = out[n, p, q], cells[n, p, q]
            v0, v1, v2, v3 = row[0, 2 * q], row[0, 2 * q + 1], row[1, 2 * q], row[1, 2 * q + 1]
            for c in range(best.size):
                wins = (v1[c] > v0[c]) | (v1[c] != v1[c])
                value, number = v1[c] if wins else v0[c], numpy.uint8(1) if wins else numpy.uint8(0)
                wins = (v2[c] > value) | (v2[c] != v2[c])
                value, number = v2[c] if wins else value, numpy.uint8(2) if wins else number
                wins = (v3[c] > value) | (v3[c] != v3[c])
                value, number = v3[c] if wins else value, numpy.uint8(3) if wins else number
                best[c], cell[c] = value, numpy.uint8(BLOCKED) if value <= zero else number


@compiled
def through_relu(grad, y, first, last, dx):  # pragma: no cover compiled
    """Pixels first to last of (pixels, C): dx = grad where y > 0 or y is nan, else 0."""
    zero = grad.dtype.type(0)
    for i in range(first, last):
        source, result, out = grad[i], y[i], dx[i]
        for c in range(out.size):
            out[c] = zero if result[c] <= zero else source[c]


@compiled
def combine_in_place(x, factor, slope, center, offset, first, last, g):  # pragma: no cover compiled
    """Pixels first to last of (pixels, C): g = factor · g + slope · (x - center) + offset. In place: see ``relu/fused_numba.py``."""
    for i in range(first, last):
        row, out = x[i], g[i]
        for c in range(factor.size):
            out[c] = factor[c] * out[c] + (slope[c] * (row[c] - center[c]) + offset[c])


def finish(x: numpy.ndarray, slope: numpy.ndarray, center: numpy.ndarray, offset: numpy.ndarray, out: numpy.ndarray, cells: numpy.ndarray | None) -> None:
    """out (N, H, W, C) = max(slope · (x - center) + offset, 0); with ``cells`` the largest of each 2x2 window, (N, H // 2, W // 2, C)."""
    n, h, w, c = x.shape
    if cells is None:
        x, out = x.reshape(n * h * w, c), out.reshape(n * h * w, c)
        _in_blocks(n * h * w, c, lambda first, last: scale_relu(x, slope, center, offset, first, last, out))
        return

    def work(first: int, last: int) -> None:
        scale_relu_pool(x, slope, center, offset, first, last, numpy.empty((2, w, c), x.dtype), out, cells)

    _in_blocks(n * out.shape[1], 2 * w * c, work)


def two_sums_behind(
    grad: numpy.ndarray, x: numpy.ndarray, y: numpy.ndarray, cells: numpy.ndarray | None, center: numpy.ndarray, dx: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:  # fmt: skip
    """dx = the gradient before ReLU and pooling; returns (parts, C) float64: parts of Σ dx and Σ dx · (x - center) of each channel.

    With ``cells`` the windows tile the image: a row of windows is two rows of it.
    """
    n, h, w, c = x.shape
    rows, row = (n * h, w) if cells is None else (n * h // 2, 2 * w)
    pixels, result = x.reshape(n * h * w, c), dx.reshape(n * h * w, c)
    step, beside = _step(row * c), side_by_side(row, c)
    wide, centers = (-1, beside * c), numpy.tile(center, beside)
    sums, products = numpy.zeros((2, -(-rows // step), beside * c))

    def work(first: int, last: int) -> None:
        item, begin, end = first // step, first * row, last * row
        if cells is None:
            through_relu(grad.reshape(n * h * w, c), y.reshape(n * h * w, c), begin, end, result)
        else:
            max_gradient_windows(grad, cells, dx, first, last)
        parts = numpy.empty((2, beside * c), x.dtype)
        sums_of_pixels(pixels.reshape(wide), result.reshape(wide), centers, False, begin // beside, end // beside, parts, sums[item], products[item])

    _in_blocks(rows, row * c, work)
    return sums.reshape(-1, c), products.reshape(-1, c)


def combine_behind(x: numpy.ndarray, factor: numpy.ndarray, slope: numpy.ndarray, center: numpy.ndarray, offset: numpy.ndarray, dx: numpy.ndarray) -> None:
    """dx = factor · dx + slope · (x - center) + offset with numbers a channel, both (N, H, W, C)."""
    pixels, result = x.reshape(-1, x.shape[3]), dx.reshape(-1, x.shape[3])
    _in_blocks(len(pixels), x.shape[3], lambda first, last: combine_in_place(pixels, factor, slope, center, offset, first, last, result))


def _step(row: int) -> int:
    """Rows of so many elements that make a work item of about BLOCK."""
    return max(1, BLOCK // max(row, 1))


def _in_blocks(rows: int, row: int, work: Callable[[int, int], None]) -> None:
    """``work(first, last)`` for the items."""
    step = _step(row)
    parallel(lambda item: work(item * step, min((item + 1) * step, rows)), -(-rows // step))

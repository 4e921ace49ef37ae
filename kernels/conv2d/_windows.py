"""Windows of the input, copied: a band of rows with its zero border; and, where windows are short, each window in one piece.

A filter of R x S taps sees R runs of the input. One matrix product a run is fine where a run is long; VGG's first layer
has runs of 9 numbers. Copied to lie in one piece of 27 they are one product of a useful length. That is im2col, of a
band that stays in the cache.
"""

from __future__ import annotations

import math

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import PANEL_ROWS, VECTOR_BYTES, Vectors, address, copy_vector, emitter, gemm_panel_onto, lanes, round_up, tile_columns
from minivgg.parallel import get_num_threads, parallel
from minivgg.spec import Conv2dSpec, Pair

SHORT_WINDOW = 64
"""Elements of a window (channels times taps) up to which it is copied to lie in one piece: VGG's first layer has 27."""


def is_short(channels: int, taps: Pair, dilation: Pair, groups: int) -> bool:
    """Whether a whole window is so short, and in so few runs of memory, that it is copied: then it is one product, not one a row."""
    return groups == 1 and dilation[1] == 1 and taps[0] > 1 and channels * taps[0] * taps[1] <= SHORT_WINDOW


def with_slack(shape: tuple[int, ...], dtype: numpy.dtype) -> numpy.ndarray:
    """An array behind whose last element a row of the register tile may still be read or written."""
    size = math.prod(shape)
    return empty((size + tile_columns(dtype),), dtype)[:size].reshape(shape)


@emitter
def copy_number(v: Vectors, source, target):
    """Copy one number from address to address."""
    v.builder.store(v.builder.load(v.at(source)), v.at(target))


@compiled
def copy_run(zero, size, vector, source, step, target, length):  # pragma: no cover compiled
    """Copy ``length`` numbers; with ``step`` 0 the first vector again and again. The last vector overlaps the one before."""
    if length < vector:
        for e in range(length):
            copy_number(zero, source + size * e * step, target + size * e)
    else:
        for e in range(0, length, vector):
            here = min(e, length - vector)
            copy_vector(zero, source + size * here * step, target + size * here)


@compiled
def copy_rows(x, n, row, column, step_h, step_w, band):  # pragma: no cover compiled
    """band[i, j, :C] = x[n, row + i, column + j] of an input spread by (step_h, step_w): zeros in the gaps and beyond the border."""
    zero, size, vector = x.dtype.type(0), x.itemsize, VECTOR_BYTES // x.itemsize
    rows, columns, channels = x.shape[1:]
    pitch, apart = band.shape[1:]
    first = min(max(-column, 0), pitch)
    last = max(first, min(pitch, columns - column))
    runs, length = (1, (last - first) * channels) if apart == channels else (last - first, channels)  # what lies side by side is one run
    for i in range(band.shape[0]):
        h, line = row + i, band[i].reshape(pitch * apart)
        if step_h == 1 and step_w == 1 and 0 <= h < rows:
            line[: first * apart] = zero
            line[last * apart :] = zero
            source = address(x) + size * ((n * rows + h) * columns + column + first) * channels
            target = address(band) + size * (i * pitch + first) * apart
            for run in range(runs):
                copy_run(zero, size, vector, source + size * run * length, 1, target + size * run * apart, length)
            continue
        line[:] = zero
        if h % step_h == 0 and 0 <= h // step_h < rows:
            for j in range(pitch):
                w = column + j
                if w % step_w == 0 and 0 <= w // step_w < columns:
                    for c in range(channels):
                        band[i, j, c] = x[n, h // step_h, w // step_w, c]


@compiled
def copy_windows(band, stride_h, stride_w, dilation_h, run, vector, windows):  # pragma: no cover compiled
    """windows[i, j]: the input elements that output pixel (i, j) sees, row of the filter by row, ``run`` neighbours each.

    Whole vectors are copied; what they write too much, the next one overwrites.
    """
    zero, size = band.dtype.type(0), band.itemsize
    pitch, channels = band.shape[1:]
    rows, columns, length = windows.shape
    for i in range(rows):
        for j in range(columns):
            target = address(windows) + size * (i * columns + j) * length
            for r in range(length // run):
                source = address(band) + size * ((i * stride_h + r * dilation_h) * pitch + j * stride_w) * channels
                for e in range(0, run, vector):
                    copy_vector(zero, source + size * e, target + size * (r * run + e))


# Weight gradient of short windows -------------------------------------------------------------------------------------

ITEM_BYTES, MOST_ITEMS = 512 << 10, 64
"""Windows of a work item, and how many items there are at the most, each with a sum of its own."""

DEPTH = 256
"""Pixels added up in registers before they go to the sum: its rounding error grows with the blocks."""


@emitter
def fetch(v: Vectors, place):
    """Bring the line at an address into the second cache."""
    v.prefetch(v.at(place))


@compiled
def sum_windows(
    x, dy, first, last, p_size, top, left, stride_h, stride_w, dilation_h, run, vector, tile, depth, band, windows, padded, total
):  # pragma: no cover compiled
    """total[k, e] += Σ dy[pixel, k] · window[pixel, e] over the pixels of rows first to last, counted through all images."""
    zero, size = x.dtype.type(0), x.itemsize
    q_size, length = windows.shape[1:]
    outputs, columns, height = dy.shape[3], total.shape[2], total.shape[1]
    row = first
    while row < last:
        n, p = row // p_size, row % p_size
        here = min(p_size - p, last - row)
        seen = band[: (here - 1) * stride_h + (length // run - 1) * dilation_h + 1]
        copy_rows(x, n, p * stride_h - top, -left, 1, 1, seen)
        copy_windows(seen, stride_h, stride_w, dilation_h, run, vector, windows[row - first : row - first + here])
        row += here
    pixels = (last - first) * q_size
    source = address(dy) + size * first * q_size * outputs
    if padded.shape[0]:  # the last tile of channels would read beyond them
        for row in range(first, last):
            for q in range(q_size):
                for k in range(outputs):
                    padded[(row - first) * q_size + q, k] = dy[row // p_size, row % p_size, q, k]
        source, outputs = address(padded), padded.shape[1]
    for start in range(0, pixels, depth):
        count = min(depth, pixels - start)
        for panel in range(total.shape[0]):
            for k in range(0, height, tile):
                for line in range(0, count * tile, vector):  # of the next pixels: a tile reads a few numbers of each, which no processor foresees
                    fetch(zero, source + size * ((start + count) * outputs + k * count + line))
                a = source + size * (start * outputs + k)
                b = address(windows) + size * (start * length + panel * columns)
                gemm_panel_onto(zero, a, b, address(total) + size * (panel * height + k) * columns, count, 1, outputs, length, columns)


def _rows_of_item(spec: Conv2dSpec, size: int) -> int:
    row_bytes = spec.q * spec.c * spec.r * spec.s * size
    return max(1, ITEM_BYTES // max(row_bytes, 1), -(-spec.n * spec.p // MOST_ITEMS))


def weight_gradient(x: numpy.ndarray, dy: numpy.ndarray, dw: numpy.ndarray, spec: Conv2dSpec) -> None:
    """dw (K, C, R, S) of the problem ``spec``, from x (N, H, W, C) and dy (N, P, Q, K) in channels-last memory."""
    dtype, columns, vector = x.dtype, tile_columns(x.dtype), lanes(x.dtype)
    window, rows, step = spec.c * spec.r * spec.s, spec.n * spec.p, _rows_of_item(spec, x.itemsize)
    height, panels = round_up(spec.k, PANEL_ROWS), -(-window // columns)
    span, pitch = spec.span[0], (spec.q - 1) * spec.stride[1] + spec.span[1]
    items = -(-rows // step)
    totals = numpy.zeros((items, panels, height, columns), dtype)

    def work(item: int) -> None:
        first, last = item * step, min((item + 1) * step, rows)
        band = with_slack(((min(last - first, spec.p) - 1) * spec.stride[0] + span, pitch, spec.c), dtype)
        windows = with_slack((last - first, spec.q, window), dtype)
        padded = empty(((last - first) * spec.q if height > spec.k else 0, height), dtype)
        sum_windows(
            x, dy, first, last, spec.p, spec.padding[0], spec.padding[2], *spec.stride, spec.dilation[0], spec.s * spec.c, vector, PANEL_ROWS, DEPTH,
            band, windows, padded, totals[item],
        )  # fmt: skip

    parallel(work, items)
    total = numpy.moveaxis(totals.sum(0), 0, 1).reshape(height, panels * columns)[: spec.k, :window]
    dw[...] = total.reshape(spec.k, spec.r, spec.s, spec.c).transpose(0, 3, 1, 2)


def weight_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    """Every item's sum; each thread's band, windows and padded gradients."""
    window, step, columns = spec.c * spec.r * spec.s, _rows_of_item(spec, dtype.itemsize), tile_columns(dtype)
    height, width = round_up(spec.k, PANEL_ROWS), round_up(window, columns)
    pitch = (spec.q - 1) * spec.stride[1] + spec.span[1]
    totals = (-(-spec.n * spec.p // step) + 2) * height * width
    thread = ((min(step, spec.p) - 1) * spec.stride[0] + spec.span[0]) * pitch * spec.c + step * spec.q * (window + height) + 3 * columns
    return dtype.itemsize * (totals + get_num_threads() * thread)

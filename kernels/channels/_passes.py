"""Passes over (N, C, H, W) in either memory order: two sums a channel, and a linear combination with numbers a channel.

Channels last, a row of memory is all channels of a pixel. Row by row, a plane holds one channel; it is added up in LANES
sums side by side, because the order of a sum is fixed, and one sum after the other would be as slow as an addition's latency.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from minivgg.backend import is_channels_last
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import writable
from minivgg.parallel import BLOCK, parallel

LANES = 32

ROWS = 128
"""Rows that are added up in the precision of the elements before their sum goes on in float64."""


@compiled
def sums_of_pixels(x, g, center, square, first, last, parts, sums, products):  # pragma: no cover compiled
    """Channels last, pixels first to last of (pixels, C): Σ g and Σ g · d for each channel, d = x - center; with ``square`` d takes g's place.

    ROWS pixels at a time are added up in x's own precision, four in a step.
    """
    some, others = parts[0], parts[1]
    for begin in range(first, last, ROWS):
        end = min(begin + ROWS, last)
        whole = begin + (end - begin) // 4 * 4
        parts[:] = 0
        for i in range(begin, whole, 4):
            x0, x1, x2, x3, g0, g1, g2, g3 = x[i], x[i + 1], x[i + 2], x[i + 3], g[i], g[i + 1], g[i + 2], g[i + 3]
            for c in range(some.size):
                d0, d1, d2, d3 = x0[c] - center[c], x1[c] - center[c], x2[c] - center[c], x3[c] - center[c]
                v0, v1, v2, v3 = (d0, d1, d2, d3) if square else (g0[c], g1[c], g2[c], g3[c])
                some[c] += (v0 + v1) + (v2 + v3)
                others[c] += (v0 * d0 + v1 * d1) + (v2 * d2 + v3 * d3)
        for i in range(whole, end):
            for c in range(some.size):
                d = x[i, c] - center[c]
                value = d if square else g[i, c]
                some[c] += value
                others[c] += value * d
        for c in range(some.size):
            sums[c] += some[c]
            products[c] += others[c]


@compiled
def sums_of_planes(x, g, center, square, first, last, sums, products):  # pragma: no cover compiled
    """Row by row, planes first to last of (planes, pixels): the same for each plane."""
    pixels, channels = x.shape[1], center.size
    whole = pixels // LANES * LANES
    for plane in range(first, last):
        middle = center[plane % channels]
        some, others = numpy.zeros(LANES, sums.dtype), numpy.zeros(LANES, sums.dtype)
        line, other = x[plane], g[plane]
        for i in range(0, whole, LANES):
            for j in range(LANES):
                d = line[i + j] - middle
                value = d if square else other[i + j]
                some[j] += value
                others[j] += value * d
        for i in range(whole, pixels):
            d = line[i] - middle
            value = d if square else other[i]
            some[i - whole] += value
            others[i - whole] += value * d
        sums[plane], products[plane] = some.sum(), others.sum()


@compiled
def add_rows(x, first, last, part, sums):  # pragma: no cover compiled
    """sums[j] += Σ x[i, j] over the rows first to last, ROWS of them at a time in x's own precision."""
    for begin in range(first, last, ROWS):
        end = min(begin + ROWS, last)
        whole = begin + (end - begin) // 4 * 4
        part[:] = 0
        for i in range(begin, whole, 4):
            a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
            for j in range(part.size):
                part[j] += (a[j] + b[j]) + (c[j] + d[j])
        for i in range(whole, end):
            for j in range(part.size):
                part[j] += x[i, j]
        for j in range(part.size):
            sums[j] += part[j]


@compiled
def add_planes(x, first, last, part, sums):  # pragma: no cover compiled
    """sums[plane] = Σ x[plane, :], LANES sums side by side."""
    pixels = x.shape[1]
    whole = pixels // LANES * LANES
    for plane in range(first, last):
        some = numpy.zeros(LANES, sums.dtype)
        add_rows(x[plane, :whole].reshape(whole // LANES, LANES), 0, whole // LANES, part, some)
        for i in range(whole, pixels):
            some[i - whole] += x[plane, i]
        sums[plane] = some.sum()


@compiled
def combine_pixels(x, g, factor, slope, center, offset, first, last, out):  # pragma: no cover compiled
    """Channels last: out = factor · g + slope · (x - center) + offset, each number that of the channel."""
    for i in range(first, last):
        for c in range(x.shape[1]):
            out[i, c] = factor[c] * g[i, c] + (slope[c] * (x[i, c] - center[c]) + offset[c])


@compiled
def combine_planes(x, g, factor, slope, center, offset, first, last, out):  # pragma: no cover compiled
    """Row by row: the same."""
    for plane in range(first, last):
        c = plane % center.size
        for i in range(x.shape[1]):
            out[plane, i] = factor[c] * g[plane, i] + (slope[c] * (x[plane, i] - center[c]) + offset[c])


@compiled
def scale_pixels(x, slope, center, offset, first, last, out):  # pragma: no cover compiled
    """Channels last: out = slope · (x - center) + offset, each number that of the channel."""
    for i in range(first, last):
        row, result = x[i], out[i]
        for c in range(slope.size):
            result[c] = slope[c] * (row[c] - center[c]) + offset[c]


@compiled
def scale_planes(x, slope, center, offset, first, last, out):  # pragma: no cover compiled
    """Row by row: the same."""
    for plane in range(first, last):
        c = plane % center.size
        for i in range(x.shape[1]):
            out[plane, i] = slope[c] * (x[plane, i] - center[c]) + offset[c]


@compiled
def statistics(sums, squares, center, count, eps, w, mean, variance, slope):  # pragma: no cover compiled
    """Mean and variance of each channel from parts of Σ (x - center) and Σ (x - center)², and slope = w / √(variance + eps)."""
    for c in range(mean.size):
        total, square = sums[:, c].sum(), squares[:, c].sum()
        shift = total / count
        mean[c] = center[c] + shift
        variance[c] = max(square / count - shift * shift, 0.0)
        slope[c] = w[c] / math.sqrt(variance[c] + eps)


@compiled
def coefficients(sums, products, variance, count, eps, w, dw, db, numbers):  # pragma: no cover compiled
    """dw and db of each channel from parts of Σ g and Σ g · (x - mean); dx = numbers[0] · g + numbers[1] · (x - mean) + numbers[2]."""
    for c in range(dw.size):
        total, product = sums[:, c].sum(), products[:, c].sum()
        root = 1.0 / math.sqrt(variance[c] + eps)
        factor = w[c] * root
        dw[c], db[c] = product * root, total
        numbers[0, c], numbers[1, c], numbers[2, c] = factor, -factor * root * root * product / count, -factor * total / count


def lines(last: bool, *arrays: numpy.ndarray) -> list[numpy.ndarray]:
    """The arrays as (pixels, C), ``last``, or as (planes, pixels); copied if they lie otherwise."""
    result = []
    for x in arrays:
        n, c, h, w = x.shape
        x = numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(n * h * w, c) if last else numpy.ascontiguousarray(x).reshape(n * c, h * w)
        result.append(writable(x))
    return result


WIDE = 256
"""Numbers that a row should have, so that beginning it costs little beside adding it up."""


def side_by_side(pixels: int, channels: int) -> int:
    """How many pixels are taken as one row of that width, whose sums are then parts of the channels' sums: 1, 2, 4, ..., a divisor of ``pixels``.

    >>> side_by_side(64, 32), side_by_side(6, 32), side_by_side(64, 512)
    (8, 2, 1)
    """
    count = 1
    while pixels % (2 * count) == 0 and 2 * count * max(channels, 1) <= WIDE:
        count *= 2
    return count


def plain_sums(x: numpy.ndarray) -> numpy.ndarray:
    """(C,) float64: Σ x[:, c]."""
    n, channels, _, _ = x.shape
    last = is_channels_last(x)
    (x,) = lines(last, x)
    pixels = side_by_side(len(x), channels) if last else 1
    x = x.reshape(len(x) // pixels, pixels * x.shape[1])
    step = max(1, BLOCK // max(x.shape[1], 1))
    count = -(-x.shape[0] // step)
    sums = numpy.zeros((count, x.shape[1]) if last else (n, channels))

    def work(item: int) -> None:
        begin, end = item * step, min((item + 1) * step, x.shape[0])
        if last:
            add_rows(x, begin, end, numpy.empty(x.shape[1], x.dtype), sums[item])
        else:
            add_planes(x, begin, end, numpy.empty(LANES, x.dtype), sums.reshape(-1))

    parallel(work, count)
    return sums.reshape(len(sums) * pixels, channels).sum(0)


def two_sums(x: numpy.ndarray, g: numpy.ndarray, center: numpy.ndarray, square: bool) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(parts, C) float64: parts of Σ g and Σ g · (x - center) of each channel; with ``square`` of Σ (x - center) and Σ (x - center)²."""
    n, channels, h, w = x.shape
    last = is_channels_last(x)
    x, g = lines(last, x, x if square else g)
    pixels = side_by_side(len(x), channels) if last else 1
    wide = len(x) // pixels, pixels * x.shape[1]
    x, g, center = x.reshape(wide), g.reshape(wide), numpy.tile(center, pixels)
    step = max(1, BLOCK // max(x.shape[1], 1))
    count = -(-x.shape[0] // step)
    shape = (count, x.shape[1]) if last else (n, channels)
    sums, products = numpy.zeros(shape), numpy.zeros(shape)

    def work(item: int) -> None:
        begin, end = item * step, min((item + 1) * step, x.shape[0])
        if last:
            sums_of_pixels(x, g, center, square, begin, end, numpy.empty((2, x.shape[1]), x.dtype), sums[item], products[item])
        else:
            sums_of_planes(x, g, center, square, begin, end, sums.reshape(-1), products.reshape(-1))

    parallel(work, count)
    return sums.reshape(len(sums) * pixels, channels), products.reshape(len(sums) * pixels, channels)


def scale(x: numpy.ndarray, slope: numpy.ndarray, center: numpy.ndarray, offset: numpy.ndarray, out: numpy.ndarray) -> None:
    """out = slope · (x - center) + offset with numbers a channel."""
    _by_item(scale_pixels, scale_planes, [x], [slope, center, offset], out)


def combine(
    x: numpy.ndarray, g: numpy.ndarray, factor: numpy.ndarray, slope: numpy.ndarray, center: numpy.ndarray, offset: numpy.ndarray, out: numpy.ndarray
) -> None:
    """out = factor · g + slope · (x - center) + offset with numbers a channel."""
    _by_item(combine_pixels, combine_planes, [x, g], [factor, slope, center, offset], out)


def _by_item(pixels: Any, planes: Any, arrays: list[numpy.ndarray], numbers: list[numpy.ndarray], out: numpy.ndarray) -> None:
    last = is_channels_last(out)
    numbers = [writable(number.astype(out.dtype, copy=False)) for number in numbers]
    *arrays, result = lines(last, *arrays, out)
    run, rows = pixels if last else planes, result.shape[0]
    step = max(1, BLOCK // max(result.shape[1], 1))
    parallel(lambda item: run(*arrays, *numbers, item * step, min((item + 1) * step, rows), result), -(-rows // step))
    if not numpy.may_share_memory(result, out):
        n, c, h, w = out.shape
        out[...] = result.reshape(n, h, w, c).transpose(0, 3, 1, 2) if last else result.reshape(out.shape)

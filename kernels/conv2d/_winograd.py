"""Winograd convolution on channels-last memory: what F(2x2, 3x3) and F(4x4, 3x3) share, in three directions.

The output is cut into m x m tiles; each needs an n x n tile of the input, n = m + 2, overlapping its neighbours by 2.
Three steps, for a block of tiles that stays in the cache:

    V[ξ, t, c] = (Bᵀ d Bᵀᵀ)[ξ]                 input transform      ξ: the n² transform points, t: tiles
    M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k]   n² matrix products   [T x C] · [C x K]
    y          = Aᵀ M A + b                    output transform

The input gradient is the same with the filters turned by 180° and their channels swapped. The weight gradient is
F(3x3, m x m) at the same points: the m x m tile of dy is the filter, and the sum runs over all tiles:

    M[ξ, k, c] = Σ_t W[ξ, t, k] · V[ξ, t, c],   W = G' dy G'ᵀ,   dw = A'ᵀ M A'
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import channels_last, into_channels_last, writable
from minivgg.kernels.common.remember import remembered
from minivgg.kernels.common.simd import ROWS, address, gemm_tile, lanes, round_up, tile_columns
from minivgg.kernels.common.threads import get_num_threads, parallel
from minivgg.kernels.conv2d._toom_cook import F2_POINTS, F4_POINTS, MinimalFilter
from minivgg.kernels.conv2d._winograd_transforms import sandwich
from minivgg.spec import Conv2dSpec

BLOCK = 56
"""Tiles that go through the three steps together: 4 register tiles of 14 rows."""

FORWARD = {2: MinimalFilter(2, 3, F2_POINTS), 4: MinimalFilter(4, 3, F4_POINTS)}
WEIGHT = {2: MinimalFilter(3, 2, F2_POINTS), 4: MinimalFilter(3, 4, F4_POINTS)}

input_2, input_4 = (sandwich(FORWARD[m].arrays()[2]) for m in (2, 4))
filter_2, filter_4 = (sandwich(FORWARD[m].arrays()[1]) for m in (2, 4))
output_2, output_4 = (sandwich(FORWARD[m].arrays()[0], bias=True) for m in (2, 4))
dy_2, dy_4 = (sandwich(WEIGHT[m].arrays()[1]) for m in (2, 4))
dw_2, dw_4 = (sandwich(WEIGHT[m].arrays()[0]) for m in (2, 4))


# Tiles of an image ----------------------------------------------------------------------------------------------------


@compiled
def copy_tile(x, n, h, w, side, grid):  # pragma: no cover compiled
    """Cut a side x side tile out of x (N, H, W, C); zeros beyond the image and beyond its channels."""
    zero = x.dtype.type(0)
    rows, columns, channels = x.shape[1:]
    for i in range(side):
        for j in range(side):
            inside = 0 <= h + i < rows and 0 <= w + j < columns
            for c in range(channels if inside else 0):
                grid[i, j, c] = x[n, h + i, w + j, c]
            for c in range(channels if inside else 0, grid.shape[2]):
                grid[i, j, c] = zero


@compiled
def transform_inputs(x, first, last, block, top, left, tiles_h, tiles_w, m, vector, v, grid):  # pragma: no cover compiled
    """V[ξ, t, c] = (Bᵀ d B)[ξ] of tiles first to last, stored from place first - block on."""
    zero, size = x.dtype.type(0), x.itemsize
    images, rows, columns, channels = x.shape
    points, room, width = v.shape
    n = m + 2
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        h, w = place // tiles_w * m - top, place % tiles_w * m - left
        if channels == width and h >= 0 and w >= 0 and h + n <= rows and w + n <= columns:
            source = address(x) + size * ((image * rows + h) * columns + w) * channels
            row, column = columns * channels, channels
        else:
            copy_tile(x, image, h, w, n, grid)
            source, row, column = address(grid), grid.shape[1] * grid.shape[2], grid.shape[2]
        target = address(v) + size * (tile - block) * width
        for c in range(0, width, vector):
            if m == 4:
                input_4(zero, source + size * c, row, column, target + size * c, n * room * width, room * width)
            else:
                input_2(zero, source + size * c, row, column, target + size * c, n * room * width, room * width)


# Output, and input gradient -------------------------------------------------------------------------------------------


@compiled
def multiply_points(v, u, m_, count, first, last):  # pragma: no cover compiled
    """M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k] for the panels first to last of U (ξ, K/NR, C, NR)."""
    zero, size = v.dtype.type(0), v.itemsize
    zeros = numpy.zeros(u.shape[3], v.dtype)
    points, room, width = v.shape
    panels, columns, stride = u.shape[1], u.shape[3], m_.shape[2]
    for point in range(points):
        for panel in range(first, last):
            b = address(u) + size * (point * panels + panel) * width * columns
            for t in range(0, count, ROWS):
                a = address(v) + size * (point * room + t) * width
                c = address(m_) + size * ((point * room + t) * stride + (panel - first) * columns)
                gemm_tile(zero, a, b, c, address(zeros), width, width, 1, columns, stride, 0)


@compiled
def transform_outputs(m_, y, bias, first, last, k0, tiles_h, tiles_w, m, vector, grid):  # pragma: no cover compiled
    """y = Aᵀ M A + bias for tiles first to last and the channels from k0 on that M holds."""
    zero, size = y.dtype.type(0), y.itemsize
    images, rows, columns, channels = y.shape
    points, room, width = m_.shape
    here = min(width, channels - k0)
    n = m + 2
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        p, q = place // tiles_w * m, place % tiles_w * m
        whole = here == width and p + m <= rows and q + m <= columns
        if whole:
            target = address(y) + size * (((image * rows + p) * columns + q) * channels + k0)
            row, column = columns * channels, channels
        else:
            target, row, column = address(grid), grid.shape[1] * grid.shape[2], grid.shape[2]
        source = address(m_) + size * (tile - first) * width
        for k in range(0, width, vector):
            add = address(bias) + size * (k0 + k)
            if m == 4:
                output_4(zero, source + size * k, n * room * width, room * width, target + size * k, row, column, add)
            else:
                output_2(zero, source + size * k, n * room * width, room * width, target + size * k, row, column, add)
        if not whole:
            for i in range(min(m, rows - p)):
                for j in range(min(m, columns - q)):
                    for k in range(here):
                        y[image, p + i, q + j, k0 + k] = grid[i, j, k]


@compiled
def convolve_blocks(x, u, bias, y, top, left, m, tile_first, tile_last, panel_first, panel_last, vector, v, m_, grid):  # pragma: no cover compiled
    """The three steps for a range of tiles and a range of output panels, a block of tiles after the other."""
    tiles_h, tiles_w = -(-y.shape[1] // m), -(-y.shape[2] // m)
    room, columns = v.shape[1], u.shape[3]
    for first in range(tile_first, tile_last, room):
        last = min(first + room, tile_last)
        transform_inputs(x, first, last, first, top, left, tiles_h, tiles_w, m, vector, v, grid)
        multiply_points(v, u, m_, last - first, panel_first, panel_last)
        transform_outputs(m_, y, bias, first, last, panel_first * columns, tiles_h, tiles_w, m, vector, grid)


@compiled
def transform_filters(w, turned, first, last, m, vector, u, grid):  # pragma: no cover compiled
    """U[ξ, panel, c, column] = (G g Gᵀ)[ξ] for the panels first to last; zeros beyond the filters' channels.

    ``turned``: w is (C, K, 3, 3), and its filters are used rotated by 180°, as the input gradient needs them.
    ``grid`` takes some input channels at a time, so that the weights are read in runs and not one by one.
    """
    zero, size = w.dtype.type(0), w.itemsize
    points, panels, width, columns = u.shape
    outputs, inputs = (w.shape[1], w.shape[0]) if turned else (w.shape[0], w.shape[1])
    n, step = m + 2, panels * width * columns
    for panel in range(first, last):
        for start in range(0, width, grid.shape[0]):
            count = min(grid.shape[0], width - start)
            for column in range(columns):
                k = panel * columns + column
                for i in range(count):
                    c = start + i
                    for r in range(3):
                        for s in range(3):
                            if k >= outputs or c >= inputs:
                                grid[i, r, s, column] = zero
                            elif turned:
                                grid[i, r, s, column] = w[c, k, 2 - r, 2 - s]
                            else:
                                grid[i, r, s, column] = w[k, c, r, s]
            for i in range(count):
                target = address(u) + size * (panel * width + start + i) * columns
                for column in range(0, columns, vector):
                    source = address(grid) + size * (i * 9 * columns + column)
                    if m == 4:
                        filter_4(zero, source, 3 * columns, columns, target + size * column, n * step, step)
                    else:
                        filter_2(zero, source, 3 * columns, columns, target + size * column, n * step, step)


def filters(w: numpy.ndarray, turned: bool, m: int) -> numpy.ndarray:
    """The transformed filters, channels padded to whole vectors and panels; kept between calls where nothing is recorded."""
    if not turned:
        return remembered(w, ("winograd", m), lambda: _transformed(w, False, m))
    return _transformed(w, True, m)


def _transformed(w: numpy.ndarray, turned: bool, m: int) -> numpy.ndarray:
    w = writable(numpy.ascontiguousarray(w))
    k, c = w.shape[1::-1] if turned else w.shape[:2]
    columns, vector = tile_columns(w.dtype), lanes(w.dtype)
    u = numpy.empty(((m + 2) ** 2, -(-k // columns), round_up(c, vector), columns), w.dtype)
    parallel(lambda panel: transform_filters(w, turned, panel, panel + 1, m, vector, u, numpy.empty((16, 3, 3, columns), w.dtype)), u.shape[1])
    return u


def _parts(u_bytes: int, panels: int, tiles: int) -> list[tuple[int, int, int, int]]:
    """Work items (tile range, panel range): whichever of the two splits makes the threads read less.

    Filters that fit in a core's cache are best read by every thread (each takes a run of tiles); large ones are best split
    (each takes some output channels, and transforms all tiles itself).
    """
    if u_bytes <= 2 << 20 or panels < 2:
        step = round_up(max(-(-tiles // 8), 1), BLOCK)
        return [(first, min(first + step, tiles), 0, panels) for first in range(0, tiles, step)]
    step = -(-panels // 2)
    return [(0, tiles, first, min(first + step, panels)) for first in range(0, panels, step)]


def convolve(x: numpy.ndarray, u: numpy.ndarray, bias: numpy.ndarray | None, top: int, left: int, y: numpy.ndarray, m: int) -> None:
    """y (N, P, Q, K) = conv(x (N, H, W, C), filters u) + bias, both in channels-last memory."""
    points, panels, width, columns = u.shape
    padded = numpy.zeros(panels * columns, x.dtype)
    if bias is not None:
        padded[: len(bias)] = bias
    tiles = y.shape[0] * -(-y.shape[1] // m) * -(-y.shape[2] // m)
    parts = _parts(u.nbytes, panels, tiles)
    room = min(BLOCK, round_up(tiles, ROWS))

    def work(item: int) -> None:
        tile_first, tile_last, panel_first, panel_last = parts[item]
        span = (panel_last - panel_first) * columns
        v, m_ = numpy.empty((points, room, width), x.dtype), numpy.empty((points, room, span), x.dtype)
        grid = numpy.empty((m + 2, m + 2, max(width, span)), x.dtype)
        convolve_blocks(x, u, padded, y, top, left, m, tile_first, tile_last, panel_first, panel_last, lanes(x.dtype), v, m_, grid)

    parallel(work, len(parts))


# Weight gradient ------------------------------------------------------------------------------------------------------


@compiled
def transform_gradients(dy, first, last, block, tiles_h, tiles_w, m, vector, wt, grid):  # pragma: no cover compiled
    """W[ξ, t, k] = (G' dy G'ᵀ)[ξ] of tiles first to last, stored from place first - block on."""
    zero, size = dy.dtype.type(0), dy.itemsize
    images, rows, columns, channels = dy.shape
    points, room, width = wt.shape
    n = m + 2
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        p, q = place // tiles_w * m, place % tiles_w * m
        if channels == width and p + m <= rows and q + m <= columns:
            source = address(dy) + size * ((image * rows + p) * columns + q) * channels
            row, column = columns * channels, channels
        else:
            copy_tile(dy, image, p, q, m, grid)
            source, row, column = address(grid), grid.shape[1] * grid.shape[2], grid.shape[2]
        target = address(wt) + size * (tile - block) * width
        for k in range(0, width, vector):
            if m == 4:
                dy_4(zero, source + size * k, row, column, target + size * k, n * room * width, room * width)
            else:
                dy_2(zero, source + size * k, row, column, target + size * k, n * room * width, room * width)


@compiled
def accumulate_point(v, wt, total, count, point, sums):  # pragma: no cover compiled
    """M[ξ, k, c] += Σ_t W[ξ, t, k] · V[ξ, t, c]: each block of tiles is summed up from 0 first, so that errors do not grow."""
    zero, size = v.dtype.type(0), v.itemsize
    room, width, span = v.shape[1], v.shape[2], wt.shape[2]
    height, columns = total.shape[1], sums.shape[1]
    zeros = numpy.zeros(columns, v.dtype)
    for c in range(0, width, columns):
        for k in range(0, height, ROWS):
            a = address(wt) + size * (point * room * span + k)
            b = address(v) + size * (point * room * width + c)
            gemm_tile(zero, a, b, address(sums), address(zeros), count, 1, span, width, columns, 0)
            for i in range(ROWS):
                for j in range(columns):
                    total[point, k + i, c + j] += sums[i, j]


@compiled
def transform_weights(total, dw, first, last, m, vector, grid):  # pragma: no cover compiled
    """dw[k, c] = A'ᵀ M[k, c] A' for the filters first to last."""
    zero, size = dw.dtype.type(0), dw.itemsize
    points, height, width = total.shape
    n = m + 2
    step = height * width
    for k in range(first, last):
        for c in range(0, width, vector):
            source = address(total) + size * (k * width + c)
            if m == 4:
                dw_4(zero, source, n * step, step, address(grid) + size * c, 3 * width, width)
            else:
                dw_2(zero, source, n * step, step, address(grid) + size * c, 3 * width, width)
        for c in range(dw.shape[1]):
            for r in range(3):
                for s in range(3):
                    dw[k, c, r, s] = grid[r, s, c]


BLOCK_BYTES = 16 << 20
"""Room for V and W of one block of tiles in the weight gradient."""


def weight_gradient(x: numpy.ndarray, dy: numpy.ndarray, top: int, left: int, dw: numpy.ndarray, m: int) -> None:
    """dw (K, C, 3, 3) of y = conv(x, w), from x (N, H, W, C) and dy (N, P, Q, K) in channels-last memory."""
    (images, p, q, k), c, dtype = dy.shape, x.shape[3], x.dtype
    vector, columns, points = lanes(dtype), tile_columns(dtype), (m + 2) ** 2
    tiles_h, tiles_w = -(-p // m), -(-q // m)
    tiles = images * tiles_h * tiles_w
    width, height = round_up(c, columns), round_up(k, ROWS)
    span = round_up(height, vector)
    room = min(max(tiles, 1), max(BLOCK, BLOCK_BYTES // (points * (width + span) * dtype.itemsize)))
    v, wt = numpy.empty((points, room, width), dtype), numpy.empty((points, room, span), dtype)
    total = numpy.zeros((points, height, width), dtype)
    for block in range(0, tiles, room):
        count = min(room, tiles - block)
        step = -(-count // 8)

        def transform(item: int, block: int = block, count: int = count, step: int = step) -> None:
            first, last = block + item * step, min(block + (item + 1) * step, block + count)
            grid = numpy.empty((m + 2, m + 2, max(width, span)), dtype)
            transform_inputs(x, first, last, block, top, left, tiles_h, tiles_w, m, vector, v, grid)
            transform_gradients(dy, first, last, block, tiles_h, tiles_w, m, vector, wt, grid)

        def accumulate(point: int, count: int = count) -> None:
            accumulate_point(v, wt, total, count, point, numpy.empty((ROWS, columns), dtype))

        parallel(transform, -(-count // step))
        parallel(accumulate, points)
    step = -(-k // 8)
    parallel(lambda item: transform_weights(total, dw, item * step, min((item + 1) * step, k), m, vector, numpy.empty((3, 3, width), dtype)), -(-k // step))


# The algorithm's three directions -------------------------------------------------------------------------------------


def supports(spec: Conv2dSpec, dtype: numpy.dtype) -> str | None:
    """None, or why the tiles do not fit."""
    if (spec.r, spec.s) != (3, 3):
        return f"the filter must be 3x3, got {spec.r}x{spec.s}"
    if spec.stride != (1, 1):
        return f"stride must be 1, got {spec.stride[0]}x{spec.stride[1]}"
    if spec.dilation != (1, 1):
        return f"dilation must be 1, got {spec.dilation[0]}x{spec.dilation[1]}"
    if spec.groups != 1:
        return f"groups must be 1, got {spec.groups}"
    if max(spec.padding) > 2:
        return f"padding must be at most 2, got {max(spec.padding)}"
    return None


def _block_bytes(n_inputs: int, n_outputs: int, shape: tuple[int, int, int], m: int, size: int) -> int:
    """U, each thread's V, M and tile, and a copy of input and output for arrays in another memory order."""
    images, rows, columns = shape
    points, wide, tall = (m + 2) ** 2, round_up(n_inputs, 16), round_up(n_outputs, 32)
    blocks = points * BLOCK * (wide + tall) + points * max(wide, tall)
    return size * (points * wide * tall + get_num_threads() * blocks + tall) + size * images * rows * columns * (n_inputs + n_outputs)


def output_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    return lambda spec, dtype: _block_bytes(spec.c, spec.k, (spec.n, spec.h + 2, spec.w + 2), m, dtype.itemsize)


def input_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    return lambda spec, dtype: _block_bytes(spec.k, spec.c, (spec.n, spec.h + 2, spec.w + 2), m, dtype.itemsize)


def weight_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    def workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
        points, width, span = (m + 2) ** 2, round_up(spec.c, 32), round_up(round_up(spec.k, ROWS), 16)
        tiles = spec.n * -(-spec.p // m) * -(-spec.q // m)
        room = min(max(tiles, 1), max(BLOCK, BLOCK_BYTES // (points * (width + span) * dtype.itemsize)))
        blocks = points * (room * (width + span) + span * width + get_num_threads() * max(width, span))
        return dtype.itemsize * (blocks + spec.n * (spec.c * spec.h * spec.w + spec.k * spec.p * spec.q))

    return workspace


def output(spec: Conv2dSpec, x: numpy.ndarray, w: numpy.ndarray, b: numpy.ndarray | None, out: numpy.ndarray, m: int) -> None:
    """y = conv(x, w) + b."""
    u = filters(w, False, m)
    into_channels_last(out, lambda y: convolve(channels_last(x), u, b, spec.padding[0], spec.padding[2], y, m))


def input_gradient(spec: Conv2dSpec, dy: numpy.ndarray, w: numpy.ndarray, out: numpy.ndarray, m: int) -> None:
    """dx: the filters turned by 180°, and the padding's complement."""
    u = filters(w, True, m)
    into_channels_last(out, lambda dx: convolve(channels_last(dy), u, None, 2 - spec.padding[0], 2 - spec.padding[2], dx, m))

"""Winograd convolution on channels-last memory: what F(2x2, 3x3) and F(4x4, 3x3) share, for output and input gradient.

The output is cut into m x m tiles; each needs an n x n tile of the input, n = m + 2, overlapping its neighbours by 2.
Three steps, for a block of tiles that stays in the cache:

    V[ξ, t, c] = (Bᵀ d B)[ξ]                   input transform      ξ: the n² transform points, t: tiles
    M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k]   n² matrix products   [T x C] · [C x K]
    y          = Aᵀ M A + b                    output transform, with ReLU and 2x2 pooling while the tile is in registers

The input gradient is the same with the filters turned by 180° and their channels swapped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import apart, apart_bytes, channels_last, into_channels_last, writable
from minivgg.kernels.common.remember import remembered
from minivgg.kernels.common.simd import ROWS, address, gemm_rows, lanes, round_up, tile_columns
from minivgg.kernels.conv2d._winograd_tiles import BLOCK, filter_2, filter_4, offsets, output_2, output_4, pooled_2, pooled_4, transform_tiles
from minivgg.parallel import get_num_threads, parallel
from minivgg.spec import Conv2dSpec

# Filters --------------------------------------------------------------------------------------------------------------


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
    places = numpy.empty(9, numpy.int64)
    offsets(0, 0, 3, 3, 3, size * 3 * columns, size * columns, 0, places)
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
                        filter_4(zero, source, address(places), target + size * column, n * step, step, 0)
                    else:
                        filter_2(zero, source, address(places), target + size * column, n * step, step, 0)


def filters(w: numpy.ndarray, turned: bool, m: int) -> numpy.ndarray:
    """The transformed filters, channels padded to whole vectors and panels; kept between calls where nothing is recorded."""
    if not turned:
        return remembered(w, ("winograd", m), lambda: _transformed(w, False, m))
    return _transformed(w, True, m)


def _transformed(w: numpy.ndarray, turned: bool, m: int) -> numpy.ndarray:
    w = writable(numpy.ascontiguousarray(w))
    k, c = w.shape[1::-1] if turned else w.shape[:2]
    columns, vector = tile_columns(w.dtype), lanes(w.dtype)
    u = empty(((m + 2) ** 2, -(-k // columns), round_up(c, vector), columns), w.dtype)
    parallel(lambda panel: transform_filters(w, turned, panel, panel + 1, m, vector, u, empty((16, 3, 3, columns), w.dtype)), u.shape[1])
    return u


# The three steps ------------------------------------------------------------------------------------------------------


@compiled
def multiply_points(v, u, m_, count, first, last):  # pragma: no cover compiled
    """M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k] for the panels first to last of U (ξ, K/NR, C, NR).

    The tiles are shared out evenly among as few register tiles as it takes: 49 as 4 x 13, and not as 4 x 14.
    """
    zero, size = v.dtype.type(0), v.itemsize
    zeros = numpy.zeros(u.shape[3], v.dtype)
    points, width = v.shape[0], v.shape[3]
    panels, columns, stride = u.shape[1], u.shape[3], m_.shape[2]
    products = (count + ROWS - 1) // ROWS
    rows = max((count + products - 1) // products, ROWS // 2)
    for point in range(points):
        for panel in range(first, last):
            b = address(u) + size * (point * panels + panel) * width * columns
            for t in range(0, count, rows):
                a = address(v) + point * v.strides[0] + t * v.strides[2]
                c = address(m_) + point * m_.strides[0] + t * m_.strides[1] + size * (panel - first) * columns
                gemm_rows(zero, rows, a, b, c, address(zeros), width, width, 1, columns, stride, 0)


@compiled
def transform_outputs(m_, y, cells, bias, floor, first, last, k_first, tiles_h, tiles_w, m, pool, vector):  # pragma: no cover compiled
    """y = max(Aᵀ M A + bias, floor) for tiles first to last and the channels from k_first on that M holds.

    ``pool``: y takes the maximum of each 2x2 window, and ``cells`` its number. What lies beyond the image goes nowhere.
    """
    zero, size = y.dtype.type(0), y.itemsize
    rows, columns, channels = y.shape[1:]
    width = m_.shape[2]
    n, side = m + 2, m // 2 if pool else m
    nowhere, grid, numbers = numpy.empty(width, y.dtype), numpy.empty((side * side, vector), y.dtype), numpy.empty((side * side, vector), numpy.uint8)
    sources, tables = numpy.empty(n * n, numpy.int64), numpy.empty((6, side * side), numpy.int64)
    whole, border, copied, cell_whole, cell_border, cell_copied = tables[0], tables[1], tables[2], tables[3], tables[4], tables[5]
    offsets(0, 0, n, n, n, n * m_.strides[0], m_.strides[0], 0, sources)
    offsets(0, 0, side, side, side, size * columns * channels, size * channels, 0, whole)
    offsets(0, 0, side, side, side, columns * channels, channels, 0, cell_whole)
    offsets(0, 0, side, side, side, size * side * vector, size * vector, 0, copied)
    offsets(0, 0, side, side, side, side * vector, vector, 0, cell_copied)
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        p, q = place // tiles_w * side, place % tiles_w * side
        corner = ((image * rows + p) * columns + q) * channels + k_first
        y_corner, cell_corner = address(y) + size * corner, address(cells) + corner
        places, cell_places = address(whole), address(cell_whole)
        if p + side > rows or q + side > columns:
            offsets(p, q, rows, columns, side, size * columns * channels, size * channels, address(nowhere) - y_corner, border)
            offsets(p, q, rows, columns, side, columns * channels, channels, address(nowhere) - cell_corner, cell_border)
            places, cell_places = address(border), address(cell_border)
        for k in range(0, min(width, channels - k_first), vector):
            source, add = address(m_) + (tile - first) * m_.strides[1] + size * k, address(bias) + size * (k_first + k)
            target, cell = y_corner + size * k, cell_corner + k
            rest = channels - k_first - k  # a vector in which the image's channels end is copied
            if rest < vector:
                target, cell, places, cell_places = address(grid), address(numbers), address(copied), address(cell_copied)
            if pool:
                if m == 4:
                    pooled_4(zero, source, address(sources), add, address(floor), target, places, cell, cell_places)
                else:
                    pooled_2(zero, source, address(sources), add, address(floor), target, places, cell, cell_places)
            elif m == 4:
                output_4(zero, source, address(sources), add, address(floor), target, places)
            else:
                output_2(zero, source, address(sources), add, address(floor), target, places)
            if rest < vector:
                for i in range(min(side, rows - p)):
                    for j in range(min(side, columns - q)):
                        y[image, p + i, q + j, k_first + k :] = grid[i * side + j, :rest]
                        if pool:
                            cells[image, p + i, q + j, k_first + k :] = numbers[i * side + j, :rest]


@compiled
def convolve_blocks(
    x, u, bias, floor, y, cells, top, left, tiles_h, tiles_w, m, pool, tile_first, tile_last, panel_first, panel_last, vector, v, m_
):  # pragma: no cover compiled
    """The three steps for a range of tiles and a range of output panels, a block of tiles after the other; only the last register tile is not full."""
    room, columns = v.shape[2] - ROWS, u.shape[3]
    count = tile_last - tile_first
    blocks, products = (count + room - 1) // room, (count + ROWS - 1) // ROWS
    for block in range(blocks):
        first = tile_first + products * block // blocks * ROWS
        last = min(tile_first + products * (block + 1) // blocks * ROWS, tile_last)
        transform_tiles(x, first, last, first, top, left, tiles_h, tiles_w, m, False, vector, v, 0)
        multiply_points(v, u, m_, last - first, panel_first, panel_last)
        transform_outputs(m_, y, cells, bias, floor, first, last, panel_first * columns, tiles_h, tiles_w, m, pool, vector)


FEW_TILES = 3 * BLOCK
"""With fewer tiles a thread, the threads share out the filters instead: a large U is then read once, not once a thread."""

OUTER_CACHE = 32 << 20
"""A larger U comes from memory again for each block of tiles."""


def _parts(u_bytes: int, panels: int, tiles: int, threads: int) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Tiles of a block at most, and work items (tile range, panel range). Both may depend on the threads: an output is the same sum in any.

    Tiles are shared out where there are many, whole register tiles of them; where they are few and U is large, panels are, and each
    thread transforms all tiles; in larger blocks where reading U costs more than leaving the inner caches.
    """
    if u_bytes <= 2 << 20 or tiles >= FEW_TILES * threads or panels < threads:
        products = -(-tiles // ROWS)
        parts = min(4 * threads, max(products, 1)) if threads > 1 else 1
        return BLOCK, [(products * i // parts * ROWS, min(products * (i + 1) // parts * ROWS, tiles), 0, panels) for i in range(parts)]
    return 2 * BLOCK if u_bytes > OUTER_CACHE else BLOCK, [(0, tiles, panels * i // threads, panels * (i + 1) // threads) for i in range(threads)]


def convolve(
    x: numpy.ndarray, u: numpy.ndarray, bias: numpy.ndarray | None, corner: tuple[int, int], size: tuple[int, int], y: numpy.ndarray, m: int,
    relu: bool = False, pool: bool = False, cells: numpy.ndarray | None = None,
) -> None:  # fmt: skip
    """y (N, P, Q, K) = conv(x (N, H, W, C), filters u) + bias, both in channels-last memory; ``corner``: padding above and to the left.

    ``size`` is (P, Q). With ``pool``, y is (N, P // 2, Q // 2, K), and ``cells``, if given, takes the numbers of the winning cells.
    """
    points, panels, width, columns = u.shape
    padded = numpy.zeros(panels * columns, x.dtype)
    if bias is not None:
        padded[: len(bias)] = bias
    floor = numpy.full(lanes(x.dtype), 0 if relu else -numpy.inf, x.dtype)
    tiles_h, tiles_w = -(-size[0] // m), -(-size[1] // m)
    tiles = y.shape[0] * tiles_h * tiles_w
    room, parts = _parts(u.nbytes, panels, tiles, get_num_threads())
    room = min(room, max(tiles, 1))
    numbers = cells if cells is not None else numpy.empty(y.shape if pool else (0, 0, 0, 0), numpy.uint8)

    def work(item: int) -> None:
        tile_first, tile_last, panel_first, panel_last = parts[item]
        span = (panel_last - panel_first) * columns
        v, m_ = apart((points, 1, room + ROWS, width), x.dtype), apart((points, room + ROWS, span), x.dtype)
        convolve_blocks(
            x, u, padded, floor, y, numbers, *corner, tiles_h, tiles_w, m, pool, tile_first, tile_last, panel_first, panel_last, lanes(x.dtype), v, m_
        )  # fmt: skip

    parallel(work, len(parts))


# The two directions ---------------------------------------------------------------------------------------------------


def _bytes(c: int, k: int, images: int, size: tuple[int, int], m: int, dtype: numpy.dtype) -> int:
    """U and each thread's V and M, of a convolution from c to k channels whose result has that many rows and columns."""
    points, columns, threads = (m + 2) ** 2, tile_columns(dtype), get_num_threads()
    width, panels, tiles = round_up(c, lanes(dtype)), -(-k // columns), images * -(-size[0] // m) * -(-size[1] // m)
    u = points * panels * columns * width
    room, parts = _parts(u * dtype.itemsize, panels, tiles, threads)
    span = columns * max(panel_last - panel_first for *_, panel_first, panel_last in parts)
    room = min(room, max(tiles, 1)) + ROWS
    block = apart_bytes((points, room, width), dtype) + apart_bytes((points, room, span), dtype)
    return dtype.itemsize * (u + panels * columns) + min(threads, len(parts)) * block


def output_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    return lambda spec, dtype: _bytes(spec.c, spec.k, spec.n, (spec.p, spec.q), m, dtype)


def input_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    return lambda spec, dtype: _bytes(spec.k, spec.c, spec.n, (spec.h, spec.w), m, dtype)


def output(
    spec: Conv2dSpec, x: numpy.ndarray, w: numpy.ndarray, b: numpy.ndarray | None, out: numpy.ndarray, m: int,
    relu: bool = False, pool: bool = False, cells: numpy.ndarray | None = None,
) -> None:  # fmt: skip
    """y = conv(x, w) + b; with ``relu`` max(y, 0), with ``pool`` the largest of each 2x2 window of that."""
    u = filters(w, False, m)
    corner = spec.padding[0], spec.padding[2]

    def compute(y: numpy.ndarray, numbers: numpy.ndarray | None = None) -> None:
        convolve(channels_last(x), u, b, corner, (spec.p, spec.q), y, m, relu, pool, numbers)

    into_channels_last(out, compute if cells is None else lambda y: into_channels_last(cells, lambda numbers: compute(y, numbers)))


def input_gradient(spec: Conv2dSpec, dy: numpy.ndarray, w: numpy.ndarray, out: numpy.ndarray, m: int) -> None:
    """dx: the filters turned by 180°, and the padding's complement."""
    u = filters(w, True, m)
    corner = 2 - spec.padding[0], 2 - spec.padding[2]
    into_channels_last(out, lambda dx: convolve(channels_last(dy), u, None, corner, (spec.h, spec.w), dx, m))

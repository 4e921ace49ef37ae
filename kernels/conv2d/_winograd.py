"""Winograd convolution on channels-last memory: what F(2x2, 3x3) and F(4x4, 3x3) share, for output and input gradient.

The output is cut into m x m tiles; each needs an n x n tile of the input, n = m + 2, overlapping its neighbours by 2.
Three steps, for a block of tiles:

    V[ξ, t, c] = (Bᵀ d B)[ξ]                   input transform      ξ: the n² transform points, t: tiles
    M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k]   n² matrix products   [T x C] · [C x K]
    y          = Aᵀ M A + b                    output transform, with ReLU and 2x2 pooling while the tile is in registers

V of the block stays in a core's own cache while the second and third step are taken for one panel of output channels after the
other, so M is only as wide as a panel, and gone before it leaves that cache.

The input gradient is the same with the filters turned by 180° and their channels swapped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import apart, apart_bytes, channels_last, into_channels_last, writable
from minivgg.kernels.common.remember import with_remembered
from minivgg.kernels.common.simd import ROWS, address, gemm_rows, lanes, past_the_cache, round_up, tile_columns, transpose_block
from minivgg.kernels.conv2d._winograd_problem import THIN
from minivgg.kernels.conv2d._winograd_tiles import (
    colour_4,
    filter_2,
    filter_4,
    grey_4,
    offsets,
    output_2,
    output_4,
    pooled_2,
    pooled_4,
    transform_tiles,
)  # fmt: skip
from minivgg.parallel import Loop, get_num_threads, parallel
from minivgg.spec import Conv2dSpec

INPUTS = 16
"""Input channels whose filters are gathered together."""

# Filters --------------------------------------------------------------------------------------------------------------


@compiled
def gather_taps(w, turned, k, c, count, taps):  # pragma: no cover compiled
    """taps[9 i + tap, lane]: of the filter from input channel c + i to output channel k + lane; zero beyond the filters' channels.

    ``turned``: w is (C, K, 3, 3). Weights lie side by side in one output channel, so vectors of them, from as many channels as a
    vector has lanes, are turned over as a block. What a block writes too much, the next one overwrites.
    """
    zero, size, vector, line = w.dtype.type(0), w.itemsize, taps.shape[1], w.reshape(w.size)
    outputs, inputs = (w.shape[1], w.shape[0]) if turned else (w.shape[0], w.shape[1])
    runs, length, step = (count, 9, 9) if turned else (1, 9 * count, 9 * inputs)  # of weights side by side, and from one output to the next
    for run in range(runs):
        for start in range(0, length, vector):
            source = (((c + run) * outputs + k) if turned else (k * inputs + c)) * 9 + start
            if k + vector <= outputs and c + count <= inputs and source + (vector - 1) * step + vector <= w.size:
                transpose_block(zero, address(w) + size * source, step, address(taps) + size * (9 * run + start) * vector)
            else:
                for i in range(min(vector, length - start)):
                    for lane in range(vector):
                        inside = k + lane < outputs and c + run + (start + i) // 9 < inputs
                        taps[9 * run + start + i, lane] = line[source + lane * step + i] if inside else zero


@compiled
def transform_filters(w, turned, panel, c_first, c_last, m, stream, u, place, taps):  # pragma: no cover compiled
    """U[place, ξ, c - c_first, column] = (G g Gᵀ)[ξ] for the channels c_first to c_last of a panel; zeros beyond the filters' channels.

    ``turned``: w is (C, K, 3, 3), and its filters are used rotated by 180°, as the input gradient needs them. ``taps`` has room for
    those of some input channels and of a vector of output channels.
    """
    zero, size, vector = w.dtype.type(0), w.itemsize, taps.shape[1]
    columns, step = u.shape[3], u.shape[2] * u.shape[3]
    n = m + 2
    places = numpy.empty(9, numpy.int64)
    for tap in range(9):
        places[tap] = size * vector * (8 - tap if turned else tap)
    for c in range(c_first, c_last, INPUTS):
        count = min(INPUTS, c_last - c)
        for column in range(0, columns, vector):
            gather_taps(w, turned, panel * columns + column, c, count, taps)
            for i in range(count):
                source, target = address(taps) + size * 9 * i * vector, address(u) + place * u.strides[0] + size * ((c - c_first + i) * columns + column)
                if m == 4:
                    filter_4(zero, source, address(places), target, n * step, step, 0, 0, stream)
                else:
                    filter_2(zero, source, address(places), target, n * step, step, 0, 0, stream)


def room_for_taps(dtype: numpy.dtype) -> numpy.ndarray:
    """What ``transform_filters`` takes as ``taps``; a block of vectors may be written too much."""
    return empty((9 * INPUTS + lanes(dtype), lanes(dtype)), dtype)


def filters(w: numpy.ndarray, turned: bool, m: int) -> numpy.ndarray:
    """The transformed filters, channels padded to whole vectors and panels."""
    w = writable(numpy.ascontiguousarray(w))
    k, c = w.shape[1::-1] if turned else w.shape[:2]
    columns, vector = tile_columns(w.dtype), lanes(w.dtype)
    u = empty((-(-k // columns), (m + 2) ** 2, round_up(c, vector), columns), w.dtype)
    stream = int(past_the_cache(u))
    parallel(lambda panel: transform_filters(w, turned, panel, 0, u.shape[2], m, stream, u, panel, room_for_taps(w.dtype)), len(u))
    return u


def thin_filters(w: numpy.ndarray) -> numpy.ndarray:
    """Those for images of few channels, as (vectors of outputs, ξ, C, lanes): no panels, and no other channels."""
    u, vector = filters(w, False, 4)[:, :, : w.shape[1]], lanes(w.dtype)
    panels, points, channels, columns = u.shape
    by_vector = u.reshape(panels, points, channels, columns // vector, vector).transpose(0, 3, 1, 2, 4)
    return numpy.ascontiguousarray(by_vector).reshape(-1, points, channels, vector)


# The three steps ------------------------------------------------------------------------------------------------------


@compiled
def multiply_points(v, u, m_, count, first, last, depth):  # pragma: no cover compiled
    """M[ξ, t, k] = Σ_c V[ξ, t, c] · U[ξ, c, k] over ``depth`` channels, for the panels first to last of U (K/NR, ξ, C, NR).

    The tiles are shared out evenly among as few register tiles as it takes: 49 as 4 x 13, and not as 4 x 14. Each of them fetches
    its share of the panel that comes next.
    """
    zero, size = v.dtype.type(0), v.itemsize
    zeros = numpy.zeros(u.shape[3], v.dtype)
    points, width, columns = u.shape[1:]
    products = (count + ROWS - 1) // ROWS
    rows = max((count + products - 1) // products, ROWS // 2)
    for point in range(points):
        for panel in range(first, last):
            b = address(u) + size * (panel * points + point) * width * columns
            fetch = address(u) + size * (((panel + 1) * points + point) if panel < last - 1 else (first * points + point + 1)) * width * columns
            pace = max(columns // products, 1)
            for t in range(0, count, rows):
                a = address(v) + point * v.strides[0] + t * v.strides[2]
                c = address(m_) + point * m_.strides[0] + t * m_.strides[1] + size * (panel - first) * columns
                gemm_rows(zero, rows, a, b, c, address(zeros), depth, width, 1, columns, m_.shape[2], 0, fetch, pace)
                fetch += size * pace * width


@compiled
def output_tables(m_, y, m, pool, vector):  # pragma: no cover compiled
    """How far apart a tile's numbers lie: ``[0]`` in M; in y, and behind it in the array of cells, ``[1:3]`` within the image, ``[3:5]`` at
    its border, where they are filled in for each tile, and ``[5:7]`` in a copy."""
    size, n, side = y.itemsize, m + 2, m // 2 if pool else m
    columns, channels = y.shape[2:]
    tables = numpy.empty((7, n * n), numpy.int64)
    offsets(0, 0, n, n, n, n * m_.strides[0], m_.strides[0], 0, tables[0])
    offsets(0, 0, side, side, side, size * columns * channels, size * channels, 0, tables[1])
    offsets(0, 0, side, side, side, columns * channels, channels, 0, tables[2])
    offsets(0, 0, side, side, side, size * side * vector, size * vector, 0, tables[5])
    offsets(0, 0, side, side, side, side * vector, vector, 0, tables[6])
    return tables


@compiled
def transform_outputs(
    m_, v, u, y, cells, bias, floor, first, last, k_first, width, tiles_h, tiles_w, m, depth, pool, stream, vector, tables, grid, numbers
):  # pragma: no cover compiled
    """y = max(Aᵀ M A + bias, floor) for tiles first to last and ``width`` channels from k_first on; ``stream``: past the cache.

    M is what lies in ``m_``; or, with a ``depth`` of 1 or 3, a sum over so few channels is computed here, from V and U (vectors of K, ξ, C, lanes).

    ``pool``: y takes the maximum of each 2x2 window, and ``cells`` its number. A copy of a tile lies in ``grid`` and ``numbers``; what
    is beyond the image goes behind it, nowhere.
    """
    zero, size = y.dtype.type(0), y.itemsize
    rows, columns, channels = y.shape[1:]
    side = m // 2 if pool else m
    nowhere, no_cell = address(grid) + size * side * side * vector, address(numbers) + side * side * vector
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        p, q = place // tiles_w * side, place % tiles_w * side
        corner = ((image * rows + p) * columns + q) * channels + k_first
        y_corner, cell_corner = address(y) + size * corner, address(cells) + corner
        tile_table = 1
        if p + side > rows or q + side > columns:
            tile_table = 3
            offsets(p, q, rows, columns, side, size * columns * channels, size * channels, nowhere - y_corner, tables[3])
            offsets(p, q, rows, columns, side, columns * channels, channels, no_cell - cell_corner, tables[4])
        for k in range(0, min(width, channels - k_first), vector):
            source, add = address(m_) + (tile - first) * m_.strides[1] + size * k, address(bias) + size * (k_first + k)
            target, cell, table = y_corner + size * k, cell_corner + k, tile_table
            rest = channels - k_first - k  # a vector in which the image's channels end is copied
            if rest < vector:
                target, cell, table = address(grid), address(numbers), 5
            places, cell_places, past = address(tables[table]), address(tables[table + 1]), stream if table == 1 else 0
            if depth > 0:
                source, factors = address(v) + (tile - first) * v.strides[2], address(u) + (k_first + k) // vector * u.strides[0]
                step = v.strides[0] // size
                if depth == 1:
                    grey_4(zero, source, step, factors, add, address(floor), target, places, past)
                else:
                    colour_4(zero, source, step, factors, add, address(floor), target, places, past)
            elif pool:
                if m == 4:
                    pooled_4(zero, source, address(tables), add, address(floor), target, places, cell, cell_places)
                else:
                    pooled_2(zero, source, address(tables), add, address(floor), target, places, cell, cell_places)
            elif m == 4:
                output_4(zero, source, address(tables), add, address(floor), target, places, past)
            else:
                output_2(zero, source, address(tables), add, address(floor), target, places, past)
            if rest < vector:
                for i in range(min(side, rows - p)):
                    for j in range(min(side, columns - q)):
                        here = (i * side + j) * vector
                        y[image, p + i, q + j, k_first + k :] = grid[here : here + rest]
                        if pool:
                            cells[image, p + i, q + j, k_first + k :] = numbers[here : here + rest]


@compiled
def convolve_blocks(
    x, u, bias, floor, y, cells, top, left, tiles_h, tiles_w, m, depth, pool, stream, tile_first, tile_last, panel_first, panel_last, vector, block, v, m_
):  # pragma: no cover compiled
    """The three steps for a range of tiles and a range of output panels: a block of about ``block`` tiles after the other, and as many
    panels at once as M has room for. Only the last register tile is not full. With a ``depth`` there is no M: see ``transform_outputs``."""
    columns, side = u.shape[3], m // 2 if pool else m
    together = m_.shape[2] // columns
    count = tile_last - tile_first
    blocks, products = number_of_blocks(count, block), (count + ROWS - 1) // ROWS
    tables = output_tables(m_, y, m, pool, vector)
    room = side * side * vector + (len(bias) if depth else m_.shape[2])
    grid, numbers = numpy.empty(room, y.dtype), numpy.empty(room, numpy.uint8)
    for number in range(blocks):
        first = tile_first + products * number // blocks * ROWS
        last = min(tile_first + products * (number + 1) // blocks * ROWS, tile_last)
        transform_tiles(x, first, last, first, top, left, tiles_h, tiles_w, m, False, vector, v, 0)
        for panel in range(panel_first, panel_last, together):
            behind = min(panel + together, panel_last)
            if depth == 0:
                multiply_points(v, u, m_, last - first, panel, behind, x.shape[3])
            width = (behind - panel) * columns
            transform_outputs(
                m_, v, u, y, cells, bias, floor, first, last, panel * columns, width, tiles_h, tiles_w, m, depth, pool, stream, vector, tables, grid, numbers
            )


@compiled
def number_of_blocks(tiles, block):  # pragma: no cover compiled
    """Rounded to the nearest: U is read once a block, so a little more than one block is one."""
    return max((tiles + block // 2) // block, 1)


INNER_BYTES, BLOCK = 256 << 10, 42
"""Room for V of a block, and its tiles at most: half of a small second cache, whose other half M and two panels of U pass through."""

OUTER_CACHE = 32 << 20
"""A larger U comes from memory again for each block of tiles."""

LARGE_BLOCK = 98
"""Tiles of a block then: V is larger than the inner caches anyway, but each of its points is read once, for all panels."""


class _Plan:
    """How a convolution is cut up into work items (tile range, panel range), and how large V (n², 1, tiles, C) and M (n², tiles, columns) are.

    It may depend on the threads: an output is the same sum in any item. Tiles are shared out, whole register tiles of them; but
    where they are few and U is large, panels are: U is then read once, not once a thread, and each thread transforms all tiles.

    Where U stays in the outer cache, a block is as many tiles as V has room for in the inner one, and M holds one panel.
    """

    def __init__(self, c: int, panels: int, tiles: int, m: int, dtype: numpy.dtype, threads: int) -> None:
        points, width, columns = (m + 2) ** 2, round_up(c, lanes(dtype)), tile_columns(dtype)
        large = points * panels * width * columns * dtype.itemsize > OUTER_CACHE
        products, threads = max(-(-tiles // ROWS), 1), max(threads, 1)
        fitting = min(INNER_BYTES // (ROWS * points * width * dtype.itemsize), BLOCK // ROWS)
        self.block = LARGE_BLOCK if large else max(fitting, 1) * ROWS
        if large and tiles < LARGE_BLOCK * threads and panels >= threads:
            self.parts = [(0, tiles, panels * i // threads, panels * (i + 1) // threads) for i in range(threads)]
        else:
            parts = min((2 if large else 4) * threads, products) if threads > 1 else 1
            self.parts = [(products * i // parts * ROWS, min(products * (i + 1) // parts * ROWS, tiles), 0, panels) for i in range(parts)]
        longest = max(last - first for first, last, *_ in self.parts)
        room = min(self.block * 3 // 2, longest) + ROWS  # a little more than a block is one, and its last register tile need not be full
        self.v = points, 1, room, width
        self.m = points, room, columns * (max(last - first for *_, first, last in self.parts) if large else 1)


_plan = functools.lru_cache(maxsize=1024)(_Plan)
"""A network asks for the same ones in every pass."""


def convolve(
    x: numpy.ndarray, u: numpy.ndarray, bias: numpy.ndarray | None, corner: tuple[int, int], size: tuple[int, int], y: numpy.ndarray, m: int,
    relu: bool = False, pool: bool = False, cells: numpy.ndarray | None = None, beside: Loop | None = None, depth: int = 0,
) -> None:  # fmt: skip
    """y (N, P, Q, K) = conv(x (N, H, W, C), filters u) + bias, both in channels-last memory; ``corner``: padding above and to the left.

    ``size`` is (P, Q). With ``pool``, y is (N, P // 2, Q // 2, K), and ``cells``, if given, takes the numbers of the winning cells.
    """
    panels, columns = len(u), u.shape[3]
    padded = numpy.zeros(panels * columns, x.dtype)
    if bias is not None:
        padded[: len(bias)] = bias
    floor = numpy.full(lanes(x.dtype), 0 if relu else -numpy.inf, x.dtype)
    tiles_h, tiles_w = -(-size[0] // m), -(-size[1] // m)
    plan = _plan(x.shape[3], panels, y.shape[0] * tiles_h * tiles_w, m, x.dtype, get_num_threads())
    stream = int(past_the_cache(y) and not pool)
    numbers = cells if cells is not None else numpy.empty(y.shape if pool else (0, 0, 0, 0), numpy.uint8)

    def work(item: int) -> None:
        v, m_ = apart(plan.v, x.dtype), apart(plan.m, x.dtype)
        convolve_blocks(
            x, u, padded, floor, y, numbers, *corner, tiles_h, tiles_w, m, depth, pool, stream, *plan.parts[item], lanes(x.dtype), plan.block, v, m_
        )

    parallel(work, len(plan.parts), beside)


def convolution_bytes(c: int, k: int, images: int, size: tuple[int, int], m: int, dtype: numpy.dtype) -> int:
    """U and each thread's V and M, of a convolution from c to k channels whose result has that many rows and columns."""
    columns, tiles = tile_columns(dtype), images * -(-size[0] // m) * -(-size[1] // m)
    panels = -(-k // columns)
    plan = _plan(c, panels, tiles, m, dtype, get_num_threads())
    u = (m + 2) ** 2 * panels * columns * round_up(c, lanes(dtype))
    block = apart_bytes(plan.v, dtype) + apart_bytes(plan.m, dtype)
    return dtype.itemsize * (u + panels * columns) + min(get_num_threads(), len(plan.parts)) * block


def output_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    return lambda spec, dtype: convolution_bytes(spec.c, spec.k, spec.n, (spec.p, spec.q), m, dtype)


def output(
    spec: Conv2dSpec, x: numpy.ndarray, w: numpy.ndarray, b: numpy.ndarray | None, out: numpy.ndarray, m: int,
    relu: bool = False, pool: bool = False, cells: numpy.ndarray | None = None,
) -> None:  # fmt: skip
    """y = conv(x, w) + b; with ``relu`` max(y, 0), with ``pool`` the largest of each 2x2 window of that."""
    corner, size = (spec.padding[0], spec.padding[2]), (spec.p, spec.q)
    depth = spec.c if m == 4 and spec.c in THIN and not pool else 0

    def compute(y: numpy.ndarray, numbers: numpy.ndarray | None = None) -> None:
        lying = channels_last(x)

        def with_filters(u: numpy.ndarray, beside: Loop | None) -> None:
            convolve(lying, u, b, corner, size, y, m, relu, pool, numbers, beside, depth)

        with_remembered(w, ("winograd", m, depth), lambda: thin_filters(w) if depth else filters(w, False, m), with_filters)

    into_channels_last(out, compute if cells is None else lambda y: into_channels_last(cells, lambda numbers: compute(y, numbers)))

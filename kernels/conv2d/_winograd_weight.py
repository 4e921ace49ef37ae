"""The weight gradient by Winograd: F(3x3, m x m) at the points of the convolution itself, summed over all tiles.

The m x m tile of dy is the filter, the n x n tile of x the input, n = m + 2, and 3x3 the output:

    V[ξ, t, c] = (Bᵀ d B)[ξ],   W[ξ, t, k] = (G' dy G'ᵀ)[ξ]    both transforms
    M[ξ, k, c] = Σ_t W[ξ, t, k] · V[ξ, t, c]                   n² matrix products   [K x T] · [T x C]
    dw         = A'ᵀ M A'                                      once a filter, not once a tile
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import apart, apart_bytes
from minivgg.kernels.common.simd import PANEL_ROWS, address, gemm_panel_onto, lanes, panel_rows, round_up, tile_columns
from minivgg.kernels.conv2d._winograd_tiles import dw_2, dw_4, offsets, transform_tiles
from minivgg.parallel import get_num_threads, parallel
from minivgg.spec import Conv2dSpec
from minivgg.threads import LITTLE

BLOCK_BYTES = 16 << 20
"""Room for V and W of one block of tiles: as much as stays in the outer cache."""

DEPTH = 168
"""Tiles that are summed up in registers before they are added to M: so many that a panel of V and one of W fit in the inner cache."""


@compiled
def accumulate_points(v, wt, total, count, first, last, depth, tile):  # pragma: no cover compiled
    """M[ξ, k, c] += Σ_t W[ξ, t, k] · V[ξ, t, c] for the points first to last.

    All three lie in panels, so that every product reads and writes memory in order.
    """
    zero, size = v.dtype.type(0), v.itemsize
    columns, rows = v.shape[3], wt.shape[3]
    c_panels, height = total.shape[1:3]
    for point in range(first, last):
        for start in range(0, count, depth):
            here = min(depth, count - start)
            for c in range(c_panels):
                b = address(v) + point * v.strides[0] + c * v.strides[1] + start * v.strides[2]
                for k in range(0, height, tile):
                    a = address(wt) + point * wt.strides[0] + k // rows * wt.strides[1] + start * wt.strides[2] + size * (k % rows)
                    target = address(total) + point * total.strides[0] + size * (c * height + k) * columns
                    gemm_panel_onto(zero, a, b, target, here, 1, rows, columns, columns)


@compiled
def accumulate_tiles(x, dy, first, last, top, left, tiles_h, tiles_w, m, vector, tile, v, wt, total):  # pragma: no cover compiled
    """Transform tiles first to last and add them to M, block by block: where M is small, all of it stays in one core's cache."""
    room = v.shape[2]
    for block in range(first, last, room):
        end = min(block + room, last)
        transform_tiles(x, block, end, block, top, left, tiles_h, tiles_w, m, False, vector, v, 1)
        transform_tiles(dy, block, end, block, 0, 0, tiles_h, tiles_w, m, True, vector, wt, 1)
        accumulate_points(v, wt, total, end - block, 0, v.shape[0], room, tile)


@compiled
def transform_weights(total, dw, first, last, m, vector, grid):  # pragma: no cover compiled
    """dw[k, c] = A'ᵀ M[k, c] A' for the filters first to last."""
    zero, size = dw.dtype.type(0), dw.itemsize
    panels, height, columns = total.shape[1:]
    n, step, width = m + 2, total.strides[0], panels * columns
    places = numpy.empty(n * n, numpy.int64)
    offsets(0, 0, n, n, n, n * step, step, 0, places)
    for k in range(first, last):
        for c in range(0, width, vector):
            source = address(total) + size * ((c // columns * height + k) * columns + c % columns)
            if m == 4:
                dw_4(zero, source, address(places), address(grid) + size * c, 3 * width, width, 0, 0, 0)
            else:
                dw_2(zero, source, address(places), address(grid) + size * c, 3 * width, width, 0, 0, 0)
        for c in range(dw.shape[1]):
            for r in range(3):
                for s in range(3):
                    dw[k, c, r, s] = grid[r, s, c]


@compiled
def products_and_weights(v, wt, dw, count, first, last, m, vector, tile, m_, grid):  # pragma: no cover compiled
    """dw[k, c] = A'ᵀ (Σ_t W[ξ, t, k] · V[ξ, t, c]) A' for the panels first to last of V, where V and W hold all tiles.

    Of M there is one register tile at each point, which does not leave the inner cache: for 512 channels all of it is 36 MiB.
    """
    zero, size = v.dtype.type(0), v.itemsize
    points, columns, rows, step, n = v.shape[0], v.shape[3], wt.shape[3], m_.strides[0], m + 2
    outputs, inputs = dw.shape[:2]
    places = numpy.empty(n * n, numpy.int64)
    offsets(0, 0, n, n, n, n * step, step, 0, places)
    for panel in range(first, last):
        width = min(columns, inputs - panel * columns)
        for k in range(0, outputs, tile):
            m_[...] = 0
            for point in range(points):
                b = address(v) + point * v.strides[0] + panel * v.strides[1]
                a = address(wt) + point * wt.strides[0] + k // rows * wt.strides[1] + size * (k % rows)
                gemm_panel_onto(zero, a, b, address(m_) + point * step, count, 1, rows, columns, columns)
            for i in range(min(tile, outputs - k)):
                for c in range(0, width, vector):
                    source, target = address(m_) + size * (i * columns + c), address(grid) + size * c
                    if m == 4:
                        dw_4(zero, source, address(places), target, 3 * columns, columns, 0, 0, 0)
                    else:
                        dw_2(zero, source, address(places), target, 3 * columns, columns, 0, 0, 0)
                for c in range(width):
                    for r in range(3):
                        for s in range(3):
                            dw[k + i, panel * columns + c, r, s] = grid[r, s, c]


def _shares(count: int, threads: int) -> list[tuple[int, int]]:
    """(first, last) of the parts that some tiles, points or filters are shared out in; what is summed up is never cut."""
    parts = min(count, 6 * threads) if threads > 1 else 1
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


SMALL_BYTES = 1280 << 10
"""An M up to which each part of the tiles has an M of its own, and no thread waits for another until the end."""

PARTS = 16
"""Parts of the tiles then; fixed, because the order of sums must not depend on the threads. One, where nothing is shared out anyway."""


AT_ONCE_BYTES = 576 << 10
"""Room for a panel of V and one of W, of all tiles: as much as stays in the inner cache. Up to then no more of M than a register tile is needed
(1.3 times as fast at 80 tiles of 512 channels, 2.3 times at 16); a tenth slower from 96 tiles on."""


class _Sizes:
    """Extents of the arrays V (points, panels, room, columns), W (points, panels, room, rows) and M (points, panels, height, columns)."""

    def __init__(self, c: int, k: int, tiles: int, m: int, dtype: numpy.dtype, little: bool) -> None:
        self.points, self.columns, self.rows = (m + 2) ** 2, tile_columns(dtype), panel_rows(dtype)
        self.width, self.height = round_up(c, self.columns), round_up(k, self.rows)
        self.small = self.points * self.width * self.height * dtype.itemsize <= SMALL_BYTES
        tile_bytes = self.points * (self.width + self.height) * dtype.itemsize
        room = max(16, min(DEPTH, (1 << 20) // tile_bytes)) if self.small else max(DEPTH, BLOCK_BYTES // tile_bytes)
        self.parts = max(1, min(PARTS, -(-tiles // room))) if self.small and not little else 1
        room = min(room, max(tiles, 1))
        self.at_once = not self.small and 0 < tiles <= room and self.points * tiles * (self.columns + self.rows) * dtype.itemsize <= AT_ONCE_BYTES
        self.room, self.v, self.w = room, *((self.points, size // panel, room, panel) for size, panel in ((self.width, self.columns), (self.height, self.rows)))

    def tiles(self, dtype: numpy.dtype) -> tuple[numpy.ndarray, numpy.ndarray]:
        """V and W."""
        return apart(self.v, dtype), apart(self.w, dtype)

    def tile(self, dtype: numpy.dtype) -> tuple[numpy.ndarray, numpy.ndarray]:
        """One register tile of M at each point, and the weights that it becomes, a row at a time."""
        return empty((self.points, PANEL_ROWS, self.columns), dtype), empty((3, 3, self.columns), dtype)

    def sums(self, dtype: numpy.dtype) -> numpy.ndarray:
        """Every part's M, all 0."""
        sums = empty((self.parts, self.points, self.width // self.columns, self.height, self.columns), dtype)
        sums[...] = 0
        return sums

    def bytes(self, dtype: numpy.dtype, threads: int) -> int:
        """Every part's M, and then V and W of the blocks at work or, when these are gone, the sum of the parts and a filter of each thread.

        At once: V and W, and a register tile of each thread.
        """
        if self.at_once:
            tile = (self.points * PANEL_ROWS + 9) * self.columns * dtype.itemsize
            return apart_bytes(self.v, dtype) + apart_bytes(self.w, dtype) + threads * tile
        blocks = min(threads, self.parts) if self.small else 1
        sums = self.points * self.width * self.height * dtype.itemsize
        end = sums * (self.parts > 1) + threads * 9 * self.width * dtype.itemsize
        return self.parts * sums + max(blocks * (apart_bytes(self.v, dtype) + apart_bytes(self.w, dtype)), end)


_sizes = functools.lru_cache(maxsize=1024)(_Sizes)
"""A network asks for the same ones in every step."""


def weight_gradient(x: numpy.ndarray, dy: numpy.ndarray, top: int, left: int, dw: numpy.ndarray, m: int) -> None:
    """dw (K, C, 3, 3) of y = conv(x, w), from x (N, H, W, C) and dy (N, P, Q, K) in channels-last memory."""
    (images, p, q, k), dtype = dy.shape, x.dtype
    tiles_h, tiles_w = -(-p // m), -(-q // m)
    tiles = images * tiles_h * tiles_w
    sizes = _sizes(x.shape[3], k, tiles, m, dtype, 9 * dy.size * x.shape[3] < LITTLE)
    places = top, left, tiles_h, tiles_w, m
    if sizes.at_once:
        v, wt = sizes.tiles(dtype)
        _transform(x, dy, places, 0, tiles, v, wt)
        parallel(lambda panel: products_and_weights(v, wt, dw, tiles, panel, panel + 1, m, lanes(dtype), PANEL_ROWS, *sizes.tile(dtype)), v.shape[1])
        return
    sums = sizes.sums(dtype)
    if sizes.small:
        ends = [tiles * part // sizes.parts for part in range(sizes.parts + 1)]

        def work(part: int) -> None:
            v, wt = sizes.tiles(dtype)
            accumulate_tiles(x, dy, ends[part], ends[part + 1], *places, lanes(dtype), PANEL_ROWS, v, wt, sums[part])

        parallel(work, sizes.parts)
    else:
        _accumulate_in_blocks(x, dy, places, tiles, sizes, sums[0])
    total = sums.sum(0) if sizes.parts > 1 else sums[0]
    shares = _shares(k, get_num_threads())
    parallel(lambda item: transform_weights(total, dw, *shares[item], m, lanes(dtype), empty((3, 3, sizes.width), dtype)), len(shares))


def _transform(x: numpy.ndarray, dy: numpy.ndarray, places: tuple[int, ...], block: int, count: int, v: numpy.ndarray, wt: numpy.ndarray) -> None:
    """``count`` tiles from the one numbered ``block`` on, shared out among the threads."""
    top, left, *rest = places
    shares, vector = _shares(count, get_num_threads()), lanes(x.dtype)

    def work(item: int) -> None:
        first, last = (block + edge for edge in shares[item])
        transform_tiles(x, first, last, block, top, left, *rest, False, vector, v, 1)
        transform_tiles(dy, first, last, block, 0, 0, *rest, True, vector, wt, 1)

    parallel(work, len(shares))


def _accumulate_in_blocks(x: numpy.ndarray, dy: numpy.ndarray, places: tuple[int, ...], tiles: int, sizes: _Sizes, total: numpy.ndarray) -> None:
    """Where M is large and the tiles are many: the threads share out those of a block to transform them, then the points to add them up."""
    v, wt = sizes.tiles(x.dtype)
    spans = _shares(sizes.points, get_num_threads())
    for block in range(0, tiles, sizes.room):
        count = min(sizes.room, tiles - block)
        _transform(x, dy, places, block, count, v, wt)
        parallel(lambda item, count=count: accumulate_points(v, wt, total, count, *spans[item], DEPTH, PANEL_ROWS), len(spans))


def weight_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    def workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
        sizes = _sizes(spec.c, spec.k, spec.n * -(-spec.p // m) * -(-spec.q // m), m, dtype, spec.macs < LITTLE)
        return sizes.bytes(dtype, get_num_threads())

    return workspace

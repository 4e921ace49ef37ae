"""The weight gradient by Winograd: F(3x3, m x m) at the points of the convolution itself, summed over all tiles.

The m x m tile of dy is the filter, the n x n tile of x the input, n = m + 2, and 3x3 the output:

    V[ξ, t, c] = (Bᵀ d B)[ξ],   W[ξ, t, k] = (G' dy G'ᵀ)[ξ]    both transforms
    M[ξ, k, c] = Σ_t W[ξ, t, k] · V[ξ, t, c]                   n² matrix products   [K x T] · [T x C]
    dw         = A'ᵀ M A'                                      once a filter, not once a tile
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import PANEL_ROWS, address, gemm_panel_onto, lanes, panel_rows, round_up, tile_columns
from minivgg.kernels.common.threads import get_num_threads, parallel
from minivgg.kernels.conv2d._winograd_tiles import dw_2, dw_4, transform_tiles
from minivgg.spec import Conv2dSpec

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
    room, columns = v.shape[2:]
    rows = wt.shape[3]
    c_panels, height = total.shape[1:3]
    for point in range(first, last):
        for start in range(0, count, depth):
            here = min(depth, count - start)
            for c in range(c_panels):
                b = address(v) + size * ((point * c_panels + c) * room + start) * columns
                for k in range(0, height, tile):
                    a = address(wt) + size * (((point * wt.shape[1] + k // rows) * room + start) * rows + k % rows)
                    target = address(total) + size * ((point * c_panels + c) * height + k) * columns
                    gemm_panel_onto(zero, a, b, target, here, 1, rows, columns, columns)


@compiled
def transform_weights(total, dw, first, last, m, vector, grid):  # pragma: no cover compiled
    """dw[k, c] = A'ᵀ M[k, c] A' for the filters first to last."""
    zero, size = dw.dtype.type(0), dw.itemsize
    points, panels, height, columns = total.shape
    n, step, width = m + 2, panels * height * columns, panels * columns
    for k in range(first, last):
        for c in range(0, width, vector):
            source = address(total) + size * ((c // columns * height + k) * columns + c % columns)
            if m == 4:
                dw_4(zero, source, n * step, step, address(grid) + size * c, 3 * width, width)
            else:
                dw_2(zero, source, n * step, step, address(grid) + size * c, 3 * width, width)
        for c in range(dw.shape[1]):
            for r in range(3):
                for s in range(3):
                    dw[k, c, r, s] = grid[r, s, c]


def _shares(count: int, threads: int) -> list[tuple[int, int]]:
    """(first, last) of the parts that some tiles, points or filters are shared out in; what is summed up is never cut."""
    parts = min(count, 6 * threads) if threads > 1 else 1
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def _room(tiles: int, m: int, width: int, height: int, size: int) -> int:
    """Tiles of a block."""
    return min(max(tiles, 1), max(DEPTH, BLOCK_BYTES // ((m + 2) ** 2 * (width + height) * size)))


def weight_gradient(x: numpy.ndarray, dy: numpy.ndarray, top: int, left: int, dw: numpy.ndarray, m: int) -> None:
    """dw (K, C, 3, 3) of y = conv(x, w), from x (N, H, W, C) and dy (N, P, Q, K) in channels-last memory."""
    (images, p, q, k), c, dtype = dy.shape, x.shape[3], x.dtype
    vector, columns, rows, points = lanes(dtype), tile_columns(dtype), panel_rows(dtype), (m + 2) ** 2
    tiles_h, tiles_w = -(-p // m), -(-q // m)
    tiles = images * tiles_h * tiles_w
    width, height = round_up(c, columns), round_up(k, rows)
    room = _room(tiles, m, width, height, dtype.itemsize)
    v, wt = empty((points, width // columns, room, columns), dtype), empty((points, height // rows, room, rows), dtype)
    total = empty((points, width // columns, height, columns), dtype)
    total[...] = 0
    spans = _shares(points, get_num_threads())
    for block in range(0, tiles, room):
        count = min(room, tiles - block)
        shares = _shares(count, get_num_threads())

        def transform(item: int, block: int = block, shares: list[tuple[int, int]] = shares) -> None:
            first, last = (block + edge for edge in shares[item])
            grid = empty((m + 2, m + 2, max(width, height)), dtype)
            transform_tiles(x, first, last, block, top, left, tiles_h, tiles_w, m, False, vector, v, grid)
            transform_tiles(dy, first, last, block, 0, 0, tiles_h, tiles_w, m, True, vector, wt, grid)

        def accumulate(item: int, count: int = count) -> None:
            accumulate_points(v, wt, total, count, *spans[item], DEPTH, PANEL_ROWS)

        parallel(transform, len(shares))
        parallel(accumulate, len(spans))
    shares = _shares(k, get_num_threads())
    parallel(lambda item: transform_weights(total, dw, *shares[item], m, vector, empty((3, 3, width), dtype)), len(shares))


def weight_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    def workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
        points, width, height = (m + 2) ** 2, round_up(spec.c, tile_columns(dtype)), round_up(spec.k, panel_rows(dtype))
        room = _room(spec.n * -(-spec.p // m) * -(-spec.q // m), m, width, height, dtype.itemsize)
        blocks = points * (room * (width + height) + height * width + get_num_threads() * max(width, height))
        return dtype.itemsize * (blocks + spec.n * (spec.c * spec.h * spec.w + spec.k * spec.p * spec.q))

    return workspace

"""Tiles of an image, and what becomes of them at Winograd's points: the parts that output and weight gradient share."""

from __future__ import annotations

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import address
from minivgg.kernels.conv2d._toom_cook import F2_POINTS, F4_POINTS, MinimalFilter
from minivgg.kernels.conv2d._winograd_transforms import finished_sandwich, pooled_sandwich, product_sandwich, sandwich

FORWARD = {2: MinimalFilter(2, 3, F2_POINTS), 4: MinimalFilter(4, 3, F4_POINTS)}
WEIGHT = {2: MinimalFilter(3, 2, F2_POINTS), 4: MinimalFilter(3, 4, F4_POINTS)}

input_2, input_4 = (sandwich(FORWARD[m].arrays()[2]) for m in (2, 4))
filter_2, filter_4 = (sandwich(FORWARD[m].arrays()[1]) for m in (2, 4))
output_2, output_4 = (finished_sandwich(FORWARD[m].arrays()[0]) for m in (2, 4))
pooled_2, pooled_4 = (pooled_sandwich(FORWARD[m].arrays()[0]) for m in (2, 4))
grey_4, colour_4 = (product_sandwich(FORWARD[4].arrays()[0], channels) for channels in (1, 3))
dy_2, dy_4 = (sandwich(WEIGHT[m].arrays()[1]) for m in (2, 4))
dw_2, dw_4 = (sandwich(WEIGHT[m].arrays()[0]) for m in (2, 4))


@compiled
def offsets(h, w, rows, columns, side, row, column, elsewhere, table):  # pragma: no cover compiled
    """How far behind its corner at (h, w) of an image the pixels of a tile lie, in bytes; ``elsewhere`` for those beyond the image."""
    for i in range(side):
        for j in range(side):
            inside = 0 <= h + i < rows and 0 <= w + j < columns
            table[i * side + j] = i * row + j * column if inside else elsewhere


@compiled
def copy_tile(x, n, h, w, c0, side, grid):  # pragma: no cover compiled
    """Cut a side x side tile of the channels from c0 on out of x (N, H, W, C); zeros beyond the image and beyond its channels."""
    rows, columns, channels = x.shape[1:]
    grid[...] = 0
    for i in range(max(0, -h), min(side, rows - h)):
        for j in range(max(0, -w), min(side, columns - w)):
            for c in range(min(grid.shape[1], channels - c0)):
                grid[i * side + j, c] = x[n, h + i, w + j, c0 + c]


@compiled
def transform_tiles(x, first, last, block, top, left, tiles_h, tiles_w, m, gradient, vector, v, ahead):  # pragma: no cover compiled
    """Tiles first to last at the transform points, stored from place first - block on: V[ξ, t, c] = (Bᵀ d B)[ξ].

    V lies in panels, (ξ, panel, t, channel in the panel); where one panel holds all channels, that is (ξ, t, c). Where V is
    larger than the caches, ``ahead`` is how many tiles before its turn a place is fetched, else 0. The pixels of the next tile are
    fetched meanwhile: a processor does not guess them, since in each of a tile's rows they lie in another place.

    Lanes beyond the image's channels hold anything, mostly what lies behind a pixel, and nobody may look at them: a sum over channels ends
    where they end. Only where that would be behind the whole image, a tile is copied.

    ``gradient``: x is dy, its tiles are m x m, do not overlap, and are the filters of F(3x3, m x m): W[ξ, t, k] = (G' d G'ᵀ)[ξ].
    """
    zero, size = x.dtype.type(0), x.itemsize
    images, rows, columns, channels = x.shape
    panels, panel = v.shape[1], v.shape[3]
    step, row, column = v.strides[0] // size, size * columns * channels, size * channels
    following = m * channels
    n, side = m + 2, m if gradient else m + 2
    zeros, grid = numpy.zeros(panels * panel, x.dtype), numpy.empty((side * side, vector), x.dtype)
    tables = numpy.empty((3, side * side), numpy.int64)
    whole, border, copied = tables[0], tables[1], tables[2]
    offsets(0, 0, side, side, side, row, column, 0, whole)
    offsets(0, 0, side, side, side, size * side * vector, size * vector, 0, copied)
    far = (side - 1) * (row + column) + size * panels * panel  # what is loaded of a tile ends at most so far behind its corner
    end = address(x) + images * rows * row
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        h, w = place // tiles_w * m - top, place % tiles_w * m - left
        corner, places = address(x) + image * rows * row + h * row + w * column, address(whole)
        if h < 0 or w < 0 or h + side > rows or w + side > columns:
            offsets(h, w, rows, columns, side, row, column, address(zeros) - corner, border)
            places = address(border)
        for number in range(panels):
            c0 = number * panel
            target = address(v) + number * v.strides[1] + (tile - block) * v.strides[2]
            for c in range(0, panel, vector):
                source, to = corner + size * (c0 + c), target + size * c
                if c0 + c + vector > channels and corner + far > end:
                    copy_tile(x, image, h, w, c0 + c, side, grid)
                    source, places = address(grid), address(copied)
                if m == 4:
                    if gradient:
                        dy_4(zero, source, places, to, n * step, step, ahead * panel, following, 0)
                    else:
                        input_4(zero, source, places, to, n * step, step, ahead * panel, following, 0)
                elif gradient:
                    dy_2(zero, source, places, to, n * step, step, ahead * panel, following, 0)
                else:
                    input_2(zero, source, places, to, n * step, step, ahead * panel, following, 0)

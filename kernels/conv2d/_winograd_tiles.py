"""Tiles of an image, and what becomes of them at Winograd's points: the parts that output and weight gradient share."""

from __future__ import annotations

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import address
from minivgg.kernels.conv2d._toom_cook import F2_POINTS, F4_POINTS, MinimalFilter
from minivgg.kernels.conv2d._winograd_transforms import finished_sandwich, pooled_sandwich, sandwich

BLOCK = 42
"""Tiles that go through the three steps together: 3 register tiles of 14 rows."""

FORWARD = {2: MinimalFilter(2, 3, F2_POINTS), 4: MinimalFilter(4, 3, F4_POINTS)}
WEIGHT = {2: MinimalFilter(3, 2, F2_POINTS), 4: MinimalFilter(3, 4, F4_POINTS)}

input_2, input_4 = (sandwich(FORWARD[m].arrays()[2]) for m in (2, 4))
filter_2, filter_4 = (sandwich(FORWARD[m].arrays()[1]) for m in (2, 4))
output_2, output_4 = (finished_sandwich(FORWARD[m].arrays()[0]) for m in (2, 4))
pooled_2, pooled_4 = (pooled_sandwich(FORWARD[m].arrays()[0]) for m in (2, 4))
dy_2, dy_4 = (sandwich(WEIGHT[m].arrays()[1]) for m in (2, 4))
dw_2, dw_4 = (sandwich(WEIGHT[m].arrays()[0]) for m in (2, 4))


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
def transform_tiles(x, first, last, block, top, left, tiles_h, tiles_w, m, gradient, vector, v, grid):  # pragma: no cover compiled
    """Tiles first to last at the transform points, stored from place first - block on: V[ξ, t, c] = (Bᵀ d B)[ξ].

    V lies in panels, (ξ, panel, t, channel in the panel); where one panel holds all channels, that is (ξ, t, c).

    ``gradient``: x is dy, its tiles are m x m, do not overlap, and are the filters of F(3x3, m x m): W[ξ, t, k] = (G' d G'ᵀ)[ξ].
    """
    zero, size = x.dtype.type(0), x.itemsize
    images, rows, columns, channels = x.shape
    points, panels, room, panel = v.shape
    width, step = panels * panel, panels * room * panel
    n, side = m + 2, m if gradient else m + 2
    for tile in range(first, last):
        image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
        h, w = place // tiles_w * m - top, place % tiles_w * m - left
        if channels == width and h >= 0 and w >= 0 and h + side <= rows and w + side <= columns:
            source = address(x) + size * ((image * rows + h) * columns + w) * channels
            row, column = columns * channels, channels
        else:
            copy_tile(x, image, h, w, side, grid)
            source, row, column = address(grid), grid.shape[1] * grid.shape[2], grid.shape[2]
        for c in range(0, width, vector):
            target = address(v) + size * ((c // panel * room + tile - block) * panel + c % panel)
            if m == 4:
                if gradient:
                    dy_4(zero, source + size * c, row, column, target, n * step, step)
                else:
                    input_4(zero, source + size * c, row, column, target, n * step, step)
            elif gradient:
                dy_2(zero, source + size * c, row, column, target, n * step, step)
            else:
                input_2(zero, source + size * c, row, column, target, n * step, step)

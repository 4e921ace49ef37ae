"""The input gradient by Winograd: the convolution of dy with the filters turned by 180°.

Its filters are used once, in this call. Where they are large and the tiles are few, U is as much to write and to read again as all
else; so a thread that has one panel of outputs transforms some input channels of its filters, multiplies them, and forgets them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import apart, apart_bytes, channels_last, into_channels_last, writable
from minivgg.kernels.common.simd import ROWS, address, gemm_rows, lanes, round_up, tile_columns
from minivgg.kernels.conv2d._winograd import (
    OUTER_CACHE,
    convolution_bytes,
    convolve,
    filters,
    output_tables,
    room_for_taps,
    transform_filters,
    transform_outputs,
)
from minivgg.kernels.conv2d._winograd_tiles import transform_tiles
from minivgg.parallel import get_num_threads, parallel
from minivgg.spec import Conv2dSpec

CHANNELS = 64
"""Input channels that are transformed at once: for a panel of outputs, that is a part of the inner cache, M of the tiles being another."""

FEW_TILES = 128
"""Up to so many, M of a panel stays in the inner cache, or nearly (1.4 times as fast at 64 tiles of 512 channels, 1.05 times at 128)."""


@compiled
def convolve_panel(v, w, zeros, floor, y, cells, panel, tiles, tiles_h, tiles_w, m, vector, u, taps, m_, grid, numbers):  # pragma: no cover compiled
    """The outputs of one panel, from the transformed tiles and the filters as they are: CHANNELS input channels after the others."""
    zero, size = v.dtype.type(0), v.itemsize
    points, width, columns, depth = v.shape[0], v.shape[3], u.shape[3], w.shape[0]
    products = (tiles + ROWS - 1) // ROWS
    rows = max((tiles + products - 1) // products, ROWS // 2)
    for c in range(0, depth, CHANNELS):
        count = min(CHANNELS, depth - c)
        transform_filters(w, True, panel, c, c + count, m, 0, u, 0, taps)
        for point in range(points):
            b = address(u) + point * u.strides[1]
            for t in range(0, tiles, rows):
                a = address(v) + point * v.strides[0] + t * v.strides[2] + size * c
                target = address(m_) + point * m_.strides[0] + t * m_.strides[1]
                before, step = (address(zeros), 0) if c == 0 else (target, columns)
                gemm_rows(zero, rows, a, b, target, before, count, width, 1, columns, columns, step, b, 0)
    tables = output_tables(m_, y, m, False, vector)
    transform_outputs(m_, v, u, y, cells, zeros, floor, 0, tiles, panel * columns, columns, tiles_h, tiles_w, m, 0, False, 0, vector, tables, grid, numbers)


class _Plan:
    """V (n², 1, tiles, K) of all tiles; U (1, n², CHANNELS + 1, columns) and M (n², tiles, columns) of a panel."""

    def __init__(self, spec: Conv2dSpec, m: int, dtype: numpy.dtype) -> None:
        self.columns, points = tile_columns(dtype), (m + 2) ** 2
        self.tiles_h, self.tiles_w = -(-spec.h // m), -(-spec.w // m)
        self.tiles, self.panels = spec.n * self.tiles_h * self.tiles_w, -(-spec.c // self.columns)
        width, room = round_up(spec.k, lanes(dtype)), self.tiles + ROWS  # the last register tile need not be full
        self.v, self.m = (points, 1, room, width), (points, room, self.columns)
        self.u = 1, points, CHANNELS + 1, self.columns  # one more, lest its points lie a power of two apart
        self.large = points * self.panels * self.columns * width * dtype.itemsize > OUTER_CACHE

    @property
    def pays(self) -> bool:
        return self.large and 0 < self.tiles <= FEW_TILES

    def bytes(self, dtype: numpy.dtype, threads: int) -> int:
        of_thread = int(numpy.prod(self.u)) * dtype.itemsize + apart_bytes(self.m, dtype) + room_for_taps(dtype).nbytes
        return apart_bytes(self.v, dtype) + min(threads, self.panels) * of_thread


def input_gradient(spec: Conv2dSpec, dy: numpy.ndarray, w: numpy.ndarray, out: numpy.ndarray, m: int) -> None:
    """dx: the filters turned by 180°, and the padding's complement."""
    corner, plan = (2 - spec.padding[0], 2 - spec.padding[2]), _Plan(spec, m, dy.dtype)
    if plan.pays:
        into_channels_last(out, lambda dx: _by_panels(channels_last(dy), writable(numpy.ascontiguousarray(w)), corner, dx, m, plan))
        return
    u = filters(w, True, m)
    into_channels_last(out, lambda dx: convolve(channels_last(dy), u, None, corner, (spec.h, spec.w), dx, m))


def _by_panels(dy: numpy.ndarray, w: numpy.ndarray, corner: tuple[int, int], dx: numpy.ndarray, m: int, plan: _Plan) -> None:
    dtype, vector, threads = dy.dtype, lanes(dy.dtype), get_num_threads()
    v, parts = apart(plan.v, dtype), min(plan.tiles, 4 * threads)
    ends = [plan.tiles * part // parts for part in range(parts + 1)]
    parallel(lambda part: transform_tiles(dy, ends[part], ends[part + 1], 0, *corner, plan.tiles_h, plan.tiles_w, m, False, vector, v, 0), parts)
    zeros, floor, cells = numpy.zeros(plan.panels * plan.columns, dtype), numpy.full(vector, -numpy.inf, dtype), numpy.empty((0, 0, 0, 0), numpy.uint8)

    def work(panel: int) -> None:
        u, m_, room = empty(plan.u, dtype), apart(plan.m, dtype), m * m * vector + plan.columns
        convolve_panel(
            v, w, zeros, floor, dx, cells, panel, plan.tiles, plan.tiles_h, plan.tiles_w, m, vector, u, room_for_taps(dtype), m_,
            numpy.empty(room, dtype), numpy.empty(room, numpy.uint8),
        )  # fmt: skip

    parallel(work, plan.panels)


def input_workspace(m: int) -> Callable[[Conv2dSpec, numpy.dtype], int]:
    def workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
        plan = _Plan(spec, m, dtype)
        if plan.pays:
            return plan.bytes(dtype, get_num_threads())
        return convolution_bytes(spec.k, spec.c, spec.n, (spec.h, spec.w), m, dtype)

    return workspace

"""Implicit GEMM: im2col without a column matrix. What a matrix product packs anyway, it packs straight out of the image.

Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, arXiv:1410.0759, section 3. A fast matrix product copies
blocks of its operands into buffers that stay in the cache. Here that copy takes the image's numbers to where they stand in
im2col's columns, so the packed block is a block of the column matrix, and the only one that exists:

    sums [places x K/g] += block [places x slice] · filters [slice x K/g]     one slice of the C/g·R·S rows after the other

im2col writes 4·C·R·S bytes a place to memory and reads them again: 110 MiB for VGG's second layer. A block of at most 1 MiB
is written and read in the core's second cache, and memory sees the image, the filters and the result alone. What remains of
im2col's price is that the cache takes C·R·S numbers a place, where direct convolution, which reads the image where it lies, takes C.
So that is faster by a tenth where there are many output channels, by more where there are few.

The input gradient is such a product for each phase of the stride: the inputs h ≡ h₀ (mod stride) are seen by the taps with
r·dilation ≡ h₀ + padding alone, so no zero is multiplied. (Direct convolution fills the stride's gaps with zeros.) The weight gradient

    dW [K/g x slice] += dyᵀ [K/g x places] · block [places x slice]

takes blocks, too. Where the slices are few, the places are cut into fixed parts with sums of their own, added in order at last.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import channels_last, into_channels_last
from minivgg.kernels.common.remember import with_remembered
from minivgg.kernels.common.simd import (
    PANEL_ROWS,
    ROWS,
    address,
    gemm_panel_onto,
    gemm_tile_floor,
    lanes,
    panel_rows,
    round_up,
    tile_columns,
)
from minivgg.kernels.conv2d._filters import packed
from minivgg.kernels.conv2d._windows import copy_run
from minivgg.parallel import Loop, get_num_threads, parallel
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec, Pair

SLICE = 192
"""Elements of a column that are packed at a time: so many rows of a panel of filters, and of a tile's places, fit in the first cache."""

BLOCK_BYTES = 1 << 20
"""A block and its sums: half of a core's second cache."""

PAPER = "Chetlur et al. 2014, arXiv:1410.0759"


class Grid(NamedTuple):
    """The places (i, j) that one product computes, what they see, and where the result goes: y[i·spread + origin].

    Their columns are made of runs: ``pixels`` neighbours each, the first one x[i·step + run]. Convolution has one grid, the
    input gradient has one for each phase of the stride.
    """

    size: Pair
    step: Pair
    origin: Pair
    spread: Pair
    taps: numpy.ndarray
    """[T, (r, s)] in the order in which they stand in the column."""
    runs: numpy.ndarray
    """[T / pixels, (h, w)]."""
    pixels: int

    @classmethod
    def of(cls, size: Pair, step: Pair, origin: Pair, spread: Pair, rows: list[Pair], columns: list[Pair], groups: int) -> Grid:
        """The taps are pairs (r, offset of the pixel seen) and (s, offset). Neighbours in one row of memory are one run."""
        offsets = [offset for _, offset in columns]
        joined = groups == 1 and bool(columns) and offsets == list(range(offsets[0], offsets[0] + len(columns)))
        taps = [(r, s) for r, _ in rows for s, _ in columns]
        runs = [(h, w) for _, h in rows for w in (offsets[:1] if joined else offsets)]
        as_array = [numpy.array(pairs, numpy.int64).reshape(-1, 2) for pairs in (taps, runs)]
        return cls(size, step, origin, spread, *as_array, len(columns) if joined else 1)


def output_grid(spec: Conv2dSpec) -> Grid:
    """Every output place sees all taps."""
    rows, columns = ([(tap, tap * spec.dilation[axis] - spec.padding[2 * axis]) for tap in range((spec.r, spec.s)[axis])] for axis in (0, 1))
    return Grid.of((spec.p, spec.q), spec.stride, (0, 0), (1, 1), rows, columns, spec.groups)


def input_grids(spec: Conv2dSpec) -> Iterator[Grid]:
    """Input h₀ + i·stride is seen from output i + (h₀ + padding - r·dilation) / stride by the taps r for which that is a whole number."""

    def axis_taps(first: int, axis: int) -> list[Pair]:
        ends = [(tap, first + spec.padding[2 * axis] - tap * spec.dilation[axis]) for tap in reversed(range((spec.r, spec.s)[axis]))]
        return [(tap, end // spec.stride[axis]) for tap, end in ends if end % spec.stride[axis] == 0]

    for h in range(min(spec.stride[0], spec.h)):
        for w in range(min(spec.stride[1], spec.w)):
            size = -(-(spec.h - h) // spec.stride[0]), -(-(spec.w - w) // spec.stride[1])
            yield Grid.of(size, (1, 1), (h, w), spec.stride, axis_taps(h, 0), axis_taps(w, 1), spec.groups)


# The block ------------------------------------------------------------------------------------------------------------


@compiled
def pack_block(x, runs, pixels, rows, columns, step_h, step_w, group, depth, first, count, start, end, vector, block):  # pragma: no cover compiled
    """block[i] = the elements ``start`` to ``end`` of the column of place first + i: of each run what lies in the image, and zeros around it."""
    zero, size = x.dtype.type(0), x.itemsize
    height, width, channels = x.shape[1:]
    zeros = numpy.zeros(vector, x.dtype)
    length = pixels * depth
    n, p, q = first // (rows * columns), first // columns % rows, first % columns
    first_run, last_run = start // length, (end - 1) // length
    for i in range(count):
        target = address(block) + size * i * block.shape[1]
        for run in range(first_run, last_run + 1):
            h, w = p * step_h + runs[run, 0], q * step_w + runs[run, 1]
            begin, stop = max(start - run * length, 0), min(end - run * length, length)
            left, right = (-w * depth, (width - w) * depth) if 0 <= h < height else (stop, stop)
            left = min(max(left, begin), stop)
            right = max(min(right, stop), left)
            source = address(x) + size * (((n * height + h) * width + w) * channels + group * depth)
            copy_run(zero, size, vector, address(zeros), 0, target, left - begin)
            copy_run(zero, size, vector, source + size * left, 1, target + size * (left - begin), right - left)
            copy_run(zero, size, vector, address(zeros), 0, target + size * (right - begin), stop - right)
            target += size * (stop - begin)
        q += 1
        if q == columns:
            p, q = p + 1, 0
        if p == rows:
            n, p = n + 1, 0


def pitch(slice_: int, dtype: numpy.dtype) -> int:
    """Elements from row to row of a block. An odd number of lines: rows a power of two apart drive each other out of the cache."""
    return slice_ + lanes(dtype)


# Output and input gradient --------------------------------------------------------------------------------------------


@compiled
def multiply_block(
    x, u, bias, floors, y, runs, pixels, rows, columns, step_h, step_w, h, w, spread_h, spread_w, slice_, vector, first, count, panel_first,
    panel_last, block, sums,
):  # pragma: no cover compiled  # fmt: skip
    """y = columns · u + bias for ``count`` places of a grid from ``first`` on, and some panels of every group; nothing below the last of ``floors``.

    A tile is summed up in y itself, if it has all its rows and columns there, and the rows of y lie evenly apart; else in ``sums``.
    """
    zero, size = x.dtype.type(0), x.itemsize
    groups, panels, length, width = u.shape
    room, depth, outputs = sums.shape[1], x.shape[3] // groups, y.shape[3] // groups
    even = count // ROWS * ROWS if spread_h == 1 and spread_w == 1 else 0
    for group in range(groups):
        for start in range(0, length, slice_):
            end = min(start + slice_, length)
            pack_block(x, runs, pixels, rows, columns, step_h, step_w, group, depth, first, count, start, end, vector, block)
            floor = address(floors) + size * (vector if end == length else 0)
            for panel in range(panel_first, panel_last):
                b = address(u) + size * ((group * panels + panel) * length + start) * width
                for i in range(0, count, ROWS):
                    a = address(block) + size * i * block.shape[1]
                    if i < even and (panel + 1) * width <= outputs:
                        c, c_row = address(y) + size * ((first + i) * y.shape[3] + group * outputs + panel * width), y.shape[3]
                    else:
                        c, c_row = address(sums) + size * ((panel - panel_first) * room + i) * width, width
                    d, d_row = (address(bias) + size * (group * panels + panel) * width, 0) if start == 0 else (c, c_row)
                    gemm_tile_floor(zero, a, b, c, d, end - start, block.shape[1], 1, width, c_row, d_row, floor)
        for panel in range(panel_first, panel_last):
            k, here = group * outputs + panel * width, min(width, outputs - panel * width)
            for i in range(even if here == width else 0, count):
                n, p, q = (first + i) // (rows * columns), (first + i) // columns % rows * spread_h + h, (first + i) % columns * spread_w + w
                target = address(y) + size * (((n * y.shape[1] + p) * y.shape[2] + q) * y.shape[3] + k)
                copy_run(zero, size, vector, address(sums) + size * ((panel - panel_first) * room + i) * width, 1, target, here)


@compiled
def multiply_blocks(
    x, u, bias, floors, y, runs, pixels, rows, columns, step_h, step_w, h, w, spread_h, spread_w, slice_, vector, first, last, panel_first,
    panel_last, block, sums,
):  # pragma: no cover compiled  # fmt: skip
    """The same for the places first to last, as many at a time as ``sums`` has room for."""
    for place in range(first, last, sums.shape[1]):
        multiply_block(
            x, u, bias, floors, y, runs, pixels, rows, columns, step_h, step_w, h, w, spread_h, spread_w, slice_, vector,
            place, min(sums.shape[1], last - place), panel_first, panel_last, block, sums,
        )  # fmt: skip


MOST_PLACES, FEWEST_PLACES = 24 * ROWS, 7 * ROWS
"""Places of a block. With more of them a panel of filters is used longer while it is in the first cache; with fewer there is more to share out."""


def _places(places: int, width: int, itemsize: int) -> int:
    """Places of a block; every output element is the same sum in any, so they may depend on the threads."""
    fitting, shared = BLOCK_BYTES // ((SLICE + width) * itemsize), -(-places // (4 * get_num_threads()))
    return round_up(max(ROWS, min(MOST_PLACES, fitting, max(FEWEST_PLACES, shared), places)), ROWS)


def multiply(
    x: numpy.ndarray, u: numpy.ndarray, bias: numpy.ndarray | None, y: numpy.ndarray, grid: Grid, relu: bool = False, beside: Loop | None = None
) -> None:
    """y [places x K] = columns [places x C·R·S] · u + bias for the places of a grid; x (N, H, W, C), y (N, P, Q, K)."""
    groups, panels, _, width = u.shape
    dtype, threads = y.dtype, get_num_threads()
    padded = numpy.zeros((groups, panels * width), dtype)
    if bias is not None:
        padded[:, : y.shape[3] // groups] = bias.reshape(groups, -1)
    floors = numpy.array([[-numpy.inf], [0 if relu else -numpy.inf]], dtype).repeat(lanes(dtype), 1)
    places = y.shape[0] * grid.size[0] * grid.size[1]
    room = _places(places, panels * width, dtype.itemsize)
    step = round_up(max(-(-places // (8 * threads)), 1), room)
    items = -(-places // step)
    parts = 1 if items >= threads else min(panels, threads)

    def work(item: int) -> None:
        first, part = item // parts * step, item % parts
        panel_first, panel_last = panels * part // parts, panels * (part + 1) // parts
        block, sums = empty((room, pitch(SLICE, dtype)), dtype), empty((panel_last - panel_first, room, width), dtype)
        multiply_blocks(
            x, u, padded, floors, y, grid.runs, grid.pixels, *grid.size, *grid.step, *grid.origin, *grid.spread, SLICE, lanes(dtype),
            first, min(first + step, places), panel_first, panel_last, block, sums,
        )  # fmt: skip

    parallel(work, items * parts, beside)


# Weight gradient ------------------------------------------------------------------------------------------------------

DEPTH, WIDE_SLICE = 168, 288
"""Places of a block, and elements of a column: a panel of the block and one of gradients, so many places each, fit in the first cache."""

FEW_ITEMS = 16
"""With fewer slices, the places are cut into parts. Fixed, because the order of sums must not depend on the threads."""


@compiled
def accumulate_slice(
    x, dy, runs, pixels, rows, columns, step_h, step_w, group, depth, outputs, first, last, start, end, vector, tile, block, gradient, total
):  # pragma: no cover compiled  # fmt: skip
    """total[panel, k, e] = Σ dy[place, k] · column[place, start + panel·columns + e] over the places first to last, up to ``end``.

    dy (places, K) is packed as well, into gradient [K/g in panels, places, panel], so that the product reads it in order.
    """
    zero, size = x.dtype.type(0), x.itemsize
    room, high = gradient.shape[1:]
    panels, height, width = total.shape
    for panel in range(panels):
        for k in range(height):
            for e in range(width):
                total[panel, k, e] = zero
    for i in range(room):
        for e in range(end - start, panels * width):
            block[i, e] = zero
    for place in range(first, last, room):
        count = min(room, last - place)
        pack_block(x, runs, pixels, rows, columns, step_h, step_w, group, depth, place, count, start, end, vector, block)
        for k in range(0, height, high):
            for i in range(count):
                source = address(dy) + size * ((place + i) * dy.shape[1] + group * outputs + k)
                copy_run(zero, size, vector, source, 1, address(gradient) + size * (k * room + i * high), min(high, outputs - k))
        for panel in range(panels):
            b = address(block) + size * panel * width
            for k in range(0, height, tile):
                a, c = address(gradient) + size * (k // high * high * room + k % high), address(total) + size * (panel * height + k) * width
                gemm_panel_onto(zero, a, b, c, count, 1, high, block.shape[1], width)


class Parts(NamedTuple):
    """How the weight gradient is cut: slices of a column, ``panels`` panels each, and parts of the places, each with a sum of its own."""

    slices: int
    panels: int
    parts: int
    height: int

    @classmethod
    def of(cls, spec: Conv2dSpec, dtype: numpy.dtype) -> Parts:
        """Slices of nearly equal length."""
        panels, most = -(-(spec.c // spec.groups * spec.r * spec.s) // tile_columns(dtype)), WIDE_SLICE // tile_columns(dtype)
        step = -(-panels // -(-panels // most))
        slices, places = -(-panels // step), spec.n * spec.p * spec.q
        parts = max(1, min(-(-FEW_ITEMS // (spec.groups * slices)), -(-places // DEPTH)))
        return cls(slices, step, parts, round_up(spec.k // spec.groups, panel_rows(dtype)))


def weight_gradient(spec: Conv2dSpec, x: numpy.ndarray, dy: numpy.ndarray, dw: numpy.ndarray) -> None:
    """dw (K, C/g, R, S) from x (N, H, W, C) and dy (N, P, Q, K)."""
    dtype, grid, cut = x.dtype, output_grid(spec), Parts.of(spec, x.dtype)
    depth, outputs, high, width = spec.c // spec.groups, spec.k // spec.groups, panel_rows(dtype), tile_columns(dtype)
    length, places = depth * spec.r * spec.s, spec.n * spec.p * spec.q
    total = empty((cut.parts, spec.groups, -(-length // width), cut.height, width), dtype)
    dy = dy.reshape(places, spec.k)

    def work(item: int) -> None:
        rest, part = divmod(item, cut.parts)
        group, panel = rest // cut.slices, rest % cut.slices * cut.panels
        block, gradient = empty((DEPTH, pitch(WIDE_SLICE, dtype)), dtype), empty((cut.height // high, DEPTH, high), dtype)
        accumulate_slice(
            x, dy, grid.runs, grid.pixels, *grid.size, *grid.step, group, depth, outputs, places * part // cut.parts, places * (part + 1) // cut.parts,
            panel * width, min((panel + cut.panels) * width, length), lanes(dtype), PANEL_ROWS, block, gradient,
            total[part, group, panel : panel + cut.panels],
        )  # fmt: skip

    parallel(work, spec.groups * cut.slices * cut.parts)
    target = dw.reshape(spec.groups, outputs, depth, spec.r, spec.s)

    def finish(item: int) -> None:
        k = slice(outputs * item // FEW_ITEMS, outputs * (item + 1) // FEW_ITEMS)
        taps = total[0, :, :, k] if cut.parts == 1 else total[:, :, :, k].sum(0)
        taps = taps.transpose(0, 2, 1, 3).reshape(spec.groups, taps.shape[2], len(taps[0]) * width)[..., :length]
        target[:, k] = taps.reshape(*taps.shape[:2], spec.r, spec.s, depth).transpose(0, 1, 4, 2, 3)

    parallel(finish, FEW_ITEMS)


# The algorithm's three directions -------------------------------------------------------------------------------------


def _product_bytes(spec: Conv2dSpec, dtype: numpy.dtype, inputs: int, outputs: int, places: int) -> int:
    """The packed filters with the bias, and each thread's block and sums."""
    width = round_up(outputs // spec.groups, tile_columns(dtype))
    filters = spec.groups * width * (inputs // spec.groups * spec.r * spec.s + 1)
    room = _places(places, width, dtype.itemsize)
    return dtype.itemsize * (filters + get_num_threads() * room * (pitch(SLICE, dtype) + width))


def output_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    return _product_bytes(spec, dtype, spec.c, spec.k, spec.n * spec.p * spec.q)


def input_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    """Of the first phase, which is the largest."""
    return _product_bytes(spec, dtype, spec.k, spec.c, spec.n * -(-spec.h // spec.stride[0]) * -(-spec.w // spec.stride[1]))


def weight_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    """The parts' sums, and on the way out two more; each thread's block and gradients."""
    cut = Parts.of(spec, dtype)
    sums = (cut.parts + 2) * spec.groups * cut.height * cut.slices * cut.panels * tile_columns(dtype)
    return dtype.itemsize * (sums + get_num_threads() * DEPTH * (pitch(WIDE_SLICE, dtype) + cut.height))


@algorithm("conv2d", backend="numba", workspace=output_workspace, paper=PAPER, channels_last=True, fuses=("relu",))
def output(spec, x, w, b, out, relu=False):
    """Y [places x K] = columns [places x C·R·S] · W [C·R·S x K] + b."""
    grid = output_grid(spec)

    def compute(y: numpy.ndarray) -> None:
        lying = channels_last(x)
        make = functools.partial(packed, w, False, grid.taps, spec.groups, tile_columns(w.dtype))
        kind = "implicit_gemm", spec.groups, grid.taps.tobytes()
        with_remembered(w, kind, make, lambda u, beside: multiply(lying, u, b, y, grid, relu, beside))

    into_channels_last(out, compute)


@algorithm("conv2d_grad_input", backend="numba", workspace=input_workspace, paper=PAPER, channels_last=True)
def input_gradient(spec, dy, w, out):
    """dX [places x C] = columns of dY [places x K·taps] · W [K·taps x C], one phase of the stride after the other."""

    def compute(dx: numpy.ndarray) -> None:
        lying = channels_last(dy)
        for grid in input_grids(spec):
            if len(grid.taps):
                multiply(lying, packed(w, True, grid.taps, spec.groups, tile_columns(w.dtype)), None, dx, grid)
            else:  # a stride longer than the filter skips these inputs
                dx[:, grid.origin[0] :: grid.spread[0], grid.origin[1] :: grid.spread[1]] = 0

    into_channels_last(out, compute)


@algorithm("conv2d_grad_weight", backend="numba", workspace=weight_workspace, paper=PAPER, channels_last=True)
def filter_gradient(spec, dy, x, out):
    """dW [K/g x C/g·R·S] = dYᵀ [K/g x places] · columns [places x C/g·R·S], one group after the other."""
    weight_gradient(spec, channels_last(x), channels_last(dy), out)

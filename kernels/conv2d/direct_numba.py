"""Direct convolution on channels-last memory: the definition, with the loops in the order that the processor likes.

A few neighbouring output pixels times a panel of output channels are one register tile. For every filter tap (r, s) it takes
a small matrix product: as many pixels of the input, which lie a fixed step apart, times the tap's C x panel weights:

    y[p, q..q+rows, panel] += x[p·stride + r·dilation - pad, (q..)·stride + s·dilation - pad, :] · w[panel, :, r, s]

so there is no column matrix: the input is read where it lies. Only a band of rows is copied first, with its zero border,
so that no tap needs to ask whether it is inside. Several tiles take a slice of the weights, one after the other, while that
lies in the first cache. Where a pixel has few channels, the taps of a filter row, which lie side by side, are one longer product.

The input gradient is the same loop over dy with the filters turned by 180°, their channels swapped, and the stride's gaps
filled with zeros. The weight gradient is one product per tap with the pixels as the inner dimension.
"""

from __future__ import annotations

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import channels_last, into_channels_last
from minivgg.kernels.common.remember import with_remembered
from minivgg.kernels.common.simd import CHUNK, ROWS, VECTOR_BYTES, address, gemm_tile, gemm_tile_floor, lanes, past_the_cache, round_up, tile_columns
from minivgg.kernels.common.wide_tile import FEWEST_ROWS, WIDE_ROWS, WIDE_VECTORS, gemm_wide_floor, wide_columns
from minivgg.kernels.conv2d import _windows
from minivgg.kernels.conv2d._filters import packed
from minivgg.kernels.conv2d._windows import copy_rows, copy_windows, is_short, with_slack
from minivgg.parallel import Loop, get_num_threads, parallel
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec, Pair

BAND_BYTES = 512 << 10
"""Size of the copied band, so that it stays in a core's cache."""

IMAGES_BYTES = 8 << 20
"""Images copied together for the weight gradient: few large ones, many small ones."""

TILES = 24
"""Tiles that take a slice of the weights before the next slice comes, so that it is fetched once for all of them."""

STAGGERED = 96
"""Channels from which a number is left free behind each pixel of the band. Else all pixels of a tile would reach their next
lines of the cache in the same step, and wait for them at once; and a power of two apart, they share few places in it."""

DEPTH = 256
"""Pixels added up in registers before they go to the weight gradient's sum: its rounding error grows with the blocks."""


@compiled
def convolve_band(
    band,
    u,
    bias,
    floors,
    y,
    n,
    p_first,
    p_last,
    top,
    height,
    group,
    panel_first,
    panel_last,
    stride_h,
    stride_w,
    dilation_h,
    dilation_w,
    slice_,
    sums,
    stream,
):  # pragma: no cover compiled
    """Output rows p_first to p_last of image n, for the panels panel_first to panel_last of a group; nothing below the last of ``floors``.

    The band's first row is row p_first · stride_h - top of an input that has ``height`` rows; the zeros above and below it are not multiplied.
    A tile is summed up in y itself, if it has all its rows and columns there; else in ``sums``. ``stream``: what is written once goes past the cache.
    """
    zero, size = y.dtype.type(0), y.itemsize
    rows, columns, outputs = y.shape[1:]
    groups, panels, taps_h, taps_w, depth, width = u.shape
    pitch, apart = band.shape[1:]
    joined = apart == depth and dilation_w == 1
    products, length = (1, depth * taps_w) if joined else (taps_w, depth)
    wide = width == WIDE_VECTORS * VECTOR_BYTES // size
    tile_rows, fewest = (WIDE_ROWS, FEWEST_ROWS) if wide else (ROWS, ROWS)
    tiles = (columns + tile_rows - 1) // tile_rows
    room = tiles * tile_rows
    together = max(1, sums.shape[0] // room)
    for panel in range(panel_first, panel_last):
        k, here = group * (outputs // groups) + panel * width, min(width, outputs // groups - panel * width)
        whole = columns if wide and columns >= fewest else columns // tile_rows * tile_rows  # places of tiles that lie in the row
        even = whole if here == width else 0
        for block in range(p_first, p_last, together):
            block_last = min(block + together, p_last)
            for r in range(taps_h):
                for s in range(products):
                    for start in range(0, length, slice_):
                        count = min(slice_, length - start)
                        b = address(u) + size * ((((group * panels + panel) * taps_h + r) * taps_w + s) * depth + start) * width
                        for p in range(block, block_last):
                            row = p * stride_h - top
                            r_first, r_last = max(0, -(row // dilation_h)), min(taps_h, (height - row + dilation_h - 1) // dilation_h)
                            if r_first >= r_last:
                                r_first, r_last = 0, 1  # nothing but zeros: the bias is still to be written
                            if r < r_first or r >= r_last:
                                continue
                            first, last = r == r_first and s == 0 and start == 0, r == r_last - 1 and s == products - 1 and start + count == length
                            floor = address(floors) + (floors.strides[0] if last else 0)
                            pixel = ((p - p_first) * stride_h + r * dilation_h) * pitch + s * dilation_w
                            a = address(band) + size * (pixel * apart + group * depth + start)
                            for tile in range(tiles):
                                q = columns * tile // tiles if wide else tile * tile_rows
                                if q < even:
                                    c, c_row = address(y) + size * (((n * rows + p) * columns + q) * outputs + k), outputs
                                else:
                                    c, c_row = address(sums) + size * ((p - block) * room + q) * width, width
                                d, d_row = (address(bias) + size * (group * panels + panel) * width, 0) if first else (c, c_row)
                                here_a = a + size * q * stride_w * apart
                                if wide:
                                    places = columns * (tile + 1) // tiles - q
                                    past = stream if first and last and q < even else 0
                                    gemm_wide_floor(zero, places, here_a, b, c, d, count, stride_w * apart, c_row, d_row, floor, past)
                                else:
                                    gemm_tile_floor(zero, here_a, b, c, d, count, stride_w * apart, 1, width, c_row, d_row, floor)
            for p in range(block, block_last):
                for q in range(even, columns):
                    for j in range(here):
                        y[n, p, q, k + j] = sums[(p - block) * room + q, j]


@compiled
def convolve_images(
    x, u, bias, floors, y, n_first, n_last, p_first, p_last, group, panel_first, panel_last, top, left, spread_h, spread_w, stride_h, stride_w,
    dilation_h, dilation_w, run, vector, slice_, seen, windows, sums, stream,
):  # pragma: no cover compiled  # fmt: skip
    """The same rows of several images. ``windows`` has room where windows are copied, with ``run`` neighbours a filter row.

    Copied, the windows of all rows stand in one line, and so do the outputs.
    """
    rows, (columns, outputs) = p_last - p_first, y.shape[2:]
    height = (x.shape[1] - 1) * spread_h + 1
    for n in range(n_first, n_last):
        copy_rows(x, n, p_first * stride_h - top, -left, spread_h, spread_w, seen)
        if windows.shape[1]:
            copy_windows(seen, stride_h, stride_w, dilation_h, run, vector, windows[0, : rows * columns].reshape(rows, columns, windows.shape[2]))
            line = y[n, p_first:p_last].reshape(1, 1, rows * columns, outputs)
            convolve_band(windows, u, bias, floors, line, 0, 0, 1, 0, 1, group, panel_first, panel_last, 1, 1, 1, 1, slice_, sums, stream)
        else:
            convolve_band(
                seen, u, bias, floors, y, n, p_first, p_last, top, height, group, panel_first, panel_last, stride_h, stride_w, dilation_h, dilation_w,
                slice_, sums, stream,
            )  # fmt: skip


def band_rows(rows: int, row_bytes: int, stride: int, span: int) -> int:
    """Output rows whose input, copied with its border, takes about BAND_BYTES; as many in each band, since all filters are read for each.

    >>> band_rows(14, 40960, 1, 3)
    7
    """
    most = max(1, min(rows, (BAND_BYTES // max(row_bytes, 1) - span) // stride + 1))
    return -(-rows // -(-rows // most)) if rows else 1


def _work_items(images: int, rows: int, band: int, image_bytes: int, groups: int, panels: int) -> list[tuple[int, ...]]:
    """(first image, last, first row, last, group, first panel, last): bands of rows, or several whole images where they are small.

    Few of them are split by panels too. Every output element is the same sum in any item, so they may depend on the threads.
    """
    threads = get_num_threads()
    together = max(1, min(BAND_BYTES // max(image_bytes, 1), -(-images // (4 * threads)))) if band >= rows else 1
    places = [
        (n, min(n + together, images), p, min(p + band, rows), g) for n in range(0, images, together) for p in range(0, rows, band) for g in range(groups)
    ]
    step = panels if len(places) >= 4 * threads or threads == 1 else max(1, panels * len(places) // (4 * threads))
    return [(*place, first, min(first + step, panels)) for place in places for first in range(0, panels, step)]


def _panel(outputs: int, dtype: numpy.dtype) -> int:
    """Output channels of a panel of filters: those of the wide tile, if it leaves no more of them empty."""
    narrow, wide = tile_columns(dtype), wide_columns(dtype)
    return wide if round_up(outputs, wide) == round_up(outputs, narrow) else narrow


def _packed(w: numpy.ndarray, turned: bool, groups: int, columns: int) -> numpy.ndarray:
    """[G, panels, R, S, C/g, columns]; ``turned``: rotated by 180°, and with the channels of each group swapped."""
    taps = numpy.argwhere(numpy.ones(w.shape[2:]))
    u = packed(w, turned, taps[::-1].copy() if turned else taps, groups, columns)
    return u.reshape(*u.shape[:2], *w.shape[2:], -1, u.shape[3])


def _apart(channels: int) -> int:
    """Numbers from one pixel of the band to the next."""
    return channels + 1 if channels >= STAGGERED else channels


def _sums_rows(line: int) -> int:
    """Places of TILES tiles, or of one line, if that is longer."""
    return max(TILES * ROWS, round_up(line, ROWS))


def convolve(
    x: numpy.ndarray, w: numpy.ndarray, turned: bool, bias: numpy.ndarray | None, y: numpy.ndarray, corner: Pair,
    spread: Pair, stride: Pair, dilation: Pair, groups: int, relu: bool = False,
) -> None:  # fmt: skip
    """y (N, P, Q, K) = conv(x (N, H, W, C) with ``spread - 1`` zeros between its pixels, w) + bias, in channels-last memory.

    ``corner`` is the padding above and to the left; it may be negative. ``relu``: nothing below 0.
    """
    (images, p, q, outputs), channels, dtype = y.shape, x.shape[3], y.dtype
    taps_h, taps_w = w.shape[2:]
    columns = _panel(outputs // groups, dtype)
    panels = -(-(outputs // groups) // columns)
    padded = numpy.zeros((groups, panels * columns), dtype)
    if bias is not None:
        padded[:, : outputs // groups] = bias.reshape(groups, -1)
    floors = numpy.array([[-numpy.inf], [0 if relu else -numpy.inf]], dtype).repeat(lanes(dtype), 1)
    pitch = (round_up(q, ROWS) - 1) * stride[1] + dilation[1] * (taps_w - 1) + 1
    span = dilation[0] * (taps_h - 1) + 1
    windowed, run = is_short(channels, (taps_h, taps_w), dilation, groups), taps_w * channels
    window, apart = taps_h * run if windowed else channels, _apart(channels)
    band = band_rows(p, pitch * window * dtype.itemsize, stride[0], span)
    items = _work_items(images, p, band, (p * stride[0] + span) * pitch * window * dtype.itemsize, groups, panels)
    side_by_side = taps_h * taps_w if windowed else taps_w if apart == channels // groups and dilation[1] == 1 else 1  # taps of one product
    length = channels // groups * side_by_side
    slice_ = -(-length // -(-length // CHUNK))
    stream = int(past_the_cache(y) and outputs // groups % lanes(dtype) == 0)

    def compute(u: numpy.ndarray, beside: Loop | None) -> None:
        if windowed:
            u = u.reshape(1, panels, 1, 1, taps_h * run, columns)

        def work(item: int) -> None:
            n_first, n_last, p_first, p_last, group, panel_first, panel_last = items[item]
            seen = with_slack(((p_last - p_first - 1) * stride[0] + span, pitch, apart), dtype)
            windows = with_slack((1, round_up((p_last - p_first) * q, ROWS) if windowed else 0, window), dtype)
            sums = empty((_sums_rows((p_last - p_first) * q if windowed else q), columns), dtype)
            convolve_images(
                x, u, padded, floors, y, n_first, n_last, p_first, p_last, group, panel_first, panel_last, *corner, *spread, *stride, *dilation, run,
                lanes(dtype), slice_, seen, windows, sums, stream,
            )  # fmt: skip

        parallel(work, len(items), beside)

    if turned:
        compute(_packed(w, True, groups, columns), None)
    else:
        with_remembered(w, ("direct", groups), lambda: _packed(w, False, groups, columns), compute)


# Weight gradient ------------------------------------------------------------------------------------------------------


@compiled
def accumulate_tap(
    x, dy, pixels, total, r, s, k_first, k_last, group, stride_h, stride_w, dilation_h, dilation_w, depth_limit, sums
):  # pragma: no cover compiled
    """total[k, r, s, c] += Σ dy[pixel, k] · x[pixel seen through tap (r, s), c] for the output channels k_first to k_last.

    x (rows, pitch, C) and dy (P, dy pitch, K) carry their zero borders. With stride 1 both have one pitch, and the rows of
    an image are one long run of pixels; else each row of dy is a run.
    """
    zero, size = x.dtype.type(0), x.itemsize
    pitch, channels = x.shape[1:]
    rows, dy_pitch, outputs = dy.shape
    depth, columns = total.shape[3], sums.shape[1]
    zeros = numpy.zeros(columns, x.dtype)
    runs, length = (rows, pixels) if stride_h != 1 or stride_w != 1 else (1, (rows - 1) * dy_pitch + pixels)
    for run in range(runs):
        for start in range(0, length, depth_limit):
            count = min(depth_limit, length - start)
            pixel = (run * stride_h + r * dilation_h) * pitch + start * stride_w + s * dilation_w
            for c in range(0, depth, columns):
                b = address(x) + size * (pixel * channels + group * depth + c)
                for k in range(k_first, k_last, ROWS):
                    a = address(dy) + size * ((run * dy_pitch + start) * outputs + k)
                    gemm_tile(zero, a, b, address(sums), address(zeros), count, 1, outputs, stride_w * channels, columns, 0)
                    for i in range(min(ROWS, k_last - k)):
                        for j in range(min(columns, depth - c)):
                            total[k + i, r, s, c + j] += sums[i, j]


def _images_at_once(size: int, images: int, itemsize: int) -> int:
    """How many copied images of that many elements fit into IMAGES_BYTES."""
    return max(1, min(images, IMAGES_BYTES // max(size * itemsize, 1)))


def weight_gradient(x: numpy.ndarray, dy: numpy.ndarray, dw: numpy.ndarray, spec: Conv2dSpec) -> None:
    """dw (K, C/g, R, S) of the problem ``spec``, from x (N, H, W, C) and dy (N, P, Q, K) in channels-last memory."""
    dtype, columns = x.dtype, tile_columns(x.dtype)
    pitch = (spec.q - 1) * spec.stride[1] + spec.span[1]
    height = (spec.p - 1) * spec.stride[0] + spec.span[0]
    dy_pitch = pitch if spec.stride == (1, 1) else spec.q
    total = numpy.zeros((spec.k, spec.r, spec.s, spec.c // spec.groups), dtype)
    group_outputs = spec.k // spec.groups
    step = round_up(-(-group_outputs // 2), ROWS)
    items = [
        (r, s, group, first, min(first + step, (group + 1) * group_outputs))
        for r in range(spec.r) for s in range(spec.s) for group in range(spec.groups)
        for first in range(group * group_outputs, (group + 1) * group_outputs, step)
    ]  # fmt: skip
    x_size, dy_size = height * pitch * spec.c, spec.p * dy_pitch * spec.k
    chunk = _images_at_once(x_size + dy_size, spec.n, dtype.itemsize)
    x_room = numpy.zeros(chunk * x_size + columns, dtype)  # the last tile reads a little beyond the last pixel
    dy_room = numpy.zeros(chunk * dy_size + ROWS, dtype)
    x_images = x_room[: chunk * x_size].reshape(chunk, height, pitch, spec.c)
    dy_images = dy_room[: chunk * dy_size].reshape(chunk, spec.p, dy_pitch, spec.k)
    parts = max(1, 8 // chunk)
    for first in range(0, spec.n, chunk):
        count = min(chunk, spec.n - first)

        def copy(item: int, first: int = first) -> None:
            image, part = divmod(item, parts)
            h_first, h_last = part * height // parts, (part + 1) * height // parts
            p_first, p_last = part * spec.p // parts, (part + 1) * spec.p // parts
            copy_rows(x, first + image, h_first - spec.padding[0], -spec.padding[2], 1, 1, x_images[image, h_first:h_last])
            copy_rows(dy, first + image, p_first, 0, 1, 1, dy_images[image, p_first:p_last])

        def accumulate(item: int, count: int = count) -> None:
            r, s, group, k_first, k_last = items[item]
            sums = empty((ROWS, columns), dtype)
            for image in range(count):
                accumulate_tap(x_images[image], dy_images[image], spec.q, total, r, s, k_first, k_last, group, *spec.stride, *spec.dilation, DEPTH, sums)

        parallel(copy, count * parts)
        parallel(accumulate, len(items))
    dw[...] = total.transpose(0, 3, 1, 2)


# The algorithm's three directions -------------------------------------------------------------------------------------


def _convolution_bytes(spec: Conv2dSpec, dtype: numpy.dtype, turned: bool) -> int:
    """The packed filters and each thread's band."""
    inputs, outputs = (spec.k, spec.c) if turned else (spec.c, spec.k)
    stride = (1, 1) if turned else spec.stride
    rows, columns = (spec.h, spec.w) if turned else (spec.p, spec.q)
    panel = _panel(outputs // spec.groups, dtype)
    packed = spec.groups * round_up(outputs // spec.groups, panel) * (inputs // spec.groups * spec.r * spec.s + 1)
    pitch = (round_up(columns, ROWS) - 1) * stride[1] + spec.span[1]
    window = inputs * spec.r * spec.s if is_short(inputs, (spec.r, spec.s), spec.dilation, spec.groups) else inputs
    band = band_rows(rows, pitch * window * dtype.itemsize, stride[0], spec.span[0])
    copied = ((band - 1) * stride[0] + spec.span[0]) * pitch * _apart(inputs) + 2 * panel
    if window > inputs:
        copied += round_up(band * columns, ROWS) * window
    copied += _sums_rows(band * columns if window > inputs else columns) * panel
    return dtype.itemsize * (packed + get_num_threads() * copied)


def output_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    return _convolution_bytes(spec, dtype, turned=False)


def input_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    return _convolution_bytes(spec, dtype, turned=True)


def weight_workspace(spec: Conv2dSpec, dtype: numpy.dtype) -> int:
    """Some images of x and of dy with their borders, and the sum."""
    pitch, height = (spec.q - 1) * spec.stride[1] + spec.span[1], (spec.p - 1) * spec.stride[0] + spec.span[0]
    if is_short(spec.c, (spec.r, spec.s), spec.dilation, spec.groups):
        return _windows.weight_workspace(spec, dtype)
    one = height * pitch * spec.c + spec.p * max(pitch, spec.q) * spec.k
    one = one * _images_at_once(one, spec.n, dtype.itemsize) + (get_num_threads() + 1) * ROWS * tile_columns(dtype)
    return dtype.itemsize * (one + spec.k * spec.c // spec.groups * spec.r * spec.s)


@algorithm("conv2d", backend="numba", workspace=output_workspace, channels_last=True, fuses=("relu",))
def direct(spec, x, w, b, out, relu=False):
    """y = conv(x, w) + b, then ReLU if asked."""
    corner = spec.padding[0], spec.padding[2]
    into_channels_last(out, lambda y: convolve(channels_last(x), w, False, b, y, corner, (1, 1), spec.stride, spec.dilation, spec.groups, relu))


@algorithm("conv2d_grad_input", backend="numba", workspace=input_workspace, channels_last=True)
def direct_grad_input(spec, dy, w, out):
    """dx: dy spread by the stride, the filters turned by 180°, and the padding's complement."""
    corner = spec.span[0] - 1 - spec.padding[0], spec.span[1] - 1 - spec.padding[2]
    into_channels_last(out, lambda dx: convolve(channels_last(dy), w, True, None, dx, corner, spec.stride, (1, 1), spec.dilation, spec.groups))


@algorithm("conv2d_grad_weight", backend="numba", workspace=weight_workspace, channels_last=True)
def direct_grad_weight(spec, dy, x, out):
    """dw, summed over images, rows and columns in blocks."""
    short = is_short(spec.c, (spec.r, spec.s), spec.dilation, spec.groups)
    (_windows.weight_gradient if short else weight_gradient)(channels_last(x), channels_last(dy), out, spec)

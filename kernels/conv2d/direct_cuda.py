"""Direct convolution on the GPU: the definition, on tiles in shared memory. The kernels are in direct.cu.

Nothing is laid out for a matrix product, so it is the one for many groups of few channels, whose products would be too
small: a depthwise convolution reads each channel once, neighbouring lanes neighbouring channels.
"""

from __future__ import annotations

import math
from pathlib import Path

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import SHARED_BYTES, TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last
from minivgg.kernels.conv2d import _gather
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("direct.cu"), ({"T": "float"}, {"T": "double"}))

TILE, LANES, TAPS = 8, 32, 9
"""As in direct.cu: a block has TILE x TILE places and LANES columns, a thread up to TAPS taps of the weight gradient."""

THREADS, BLOCKS, SHARE = 256, 528, 64
"""Threads of a block; blocks that keep a GPU of 132 multiprocessors busy; places that a part of the weight gradient has at least."""


def chunk(spec, dtype, step, span, depth: int, columns: int) -> int:
    """Channels of each group whose patch fits in shared memory; 0 if not even one does."""
    rows, across = ((TILE - 1) * s + length for s, length in zip(step, span, strict=True))
    groups = min(spec.groups, (LANES - 2) // columns + 2)
    return min(depth, SHARED_BYTES // (rows * across * groups * dtype.itemsize))


def output_chunk(spec, dtype) -> int:
    return chunk(spec, dtype, spec.stride, spec.span, spec.c // spec.groups, spec.k // spec.groups)


def input_gradient_chunk(spec, dtype) -> int:
    return chunk(spec, dtype, (1, 1), spec.span, spec.k // spec.groups, spec.c // spec.groups)


def supports(spec, dtype) -> str | None:
    if min(output_chunk(spec, dtype), input_gradient_chunk(spec, dtype)) == 0:
        return f"what a tile of {TILE}x{TILE} places looks at does not fit in {SHARED_BYTES >> 10} KiB of shared memory"
    if max(math.prod(shape) for shape in (spec.input_shape, spec.output_shape, spec.weight_shape)) >= 1 << 31:
        return "it counts the elements of an array in 31 bits"
    return None


def filter_bytes(spec, dtype) -> int:
    """The filters in another order, and the bias."""
    return dtype.itemsize * (math.prod(spec.weight_shape) + spec.k)


def splits(spec) -> int:
    """Into how many parts the weight gradient's sums are cut."""
    blocks = ceil_div(spec.k, LANES) * ceil_div(spec.r * spec.s, TAPS) * (spec.c // spec.groups)
    return max(1, min(BLOCKS // blocks, spec.n * spec.p * spec.q // SHARE))


def weight_gradient_bytes(spec, dtype) -> int:
    return dtype.itemsize * splits(spec) * math.prod(spec.weight_shape)


RECORD = {"backend": "cuda", "supports": supports, "channels_last": True}


@algorithm("conv2d", workspace=filter_bytes, fuses=("relu",), **RECORD)
def output(spec, x, w, b, out, relu=False):
    channels, bias = output_chunk(spec, x.dtype), None if b is None else dense(b)
    into_channels_last(out, lambda y: gather(_gather.of_output(spec, w), channels_last(x), bias, y, relu, channels))


@algorithm("conv2d_grad_input", workspace=filter_bytes, **RECORD)
def input_gradient(spec, dy, w, out):
    source, channels = channels_last(dy), input_gradient_chunk(spec, dy.dtype)

    def compute(dx):
        for phase in _gather.of_input_gradient(spec, w):
            gather(phase, source, None, dx, False, channels)

    into_channels_last(out, compute)


def gather(item, source, bias, out, relu, channels):
    filters = dense(item.filters.transpose(1, 2, 3, 0, 4))  # [taps_y, taps_x, depth, G, columns]
    tiles = source.shape[0] * math.prod(ceil_div(places, TILE) for places in item.places)
    rows, across = (
        (TILE - 1) * step + max(0, taps - 1) * abs(tap) + 1 for step, taps, tap in zip(item.step, filters.shape[:2], item.tap, strict=True)
    )  # fmt: skip
    groups = min(filters.shape[3], (LANES - 2) // filters.shape[4] + 2)
    blocks = tiles, ceil_div(filters.shape[3] * filters.shape[4], LANES)
    kernel = PROGRAM.kernel("gather", T=TYPES[out.dtype])
    shared = rows * across * groups * channels * out.dtype.itemsize
    kernel(blocks, THREADS, source, filters, bias, out, item.grid(source), item.target(out), int(relu), channels, shared=shared)


@algorithm("conv2d_grad_weight", workspace=weight_gradient_bytes, **RECORD)
def weight_gradient(spec, dy, x, out):
    source, gradient, count = channels_last(x), channels_last(dy), splits(spec)
    grid = _gather.of_output(spec, out).grid(source, count)
    partial = namespace(x).empty((count, out.size), x.dtype)
    blocks = ceil_div(spec.k, LANES) * ceil_div(spec.r * spec.s, TAPS) * (spec.c // spec.groups), count
    PROGRAM.kernel("weights", T=TYPES[x.dtype])(blocks, THREADS, source, gradient, partial, grid)
    into(out, lambda out: PROGRAM.kernel("finish_weights", T=TYPES[x.dtype])(ceil_div(out.size, THREADS), THREADS, partial, out, grid))

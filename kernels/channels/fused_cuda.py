"""Sums over channels on a GPU, the gradient of a convolution's bias: each number is read once. The kernels are in sums.cu."""

from __future__ import annotations

import math
from pathlib import Path

import numpy

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("sums.cu"), tuple({"T": T, "VECTOR": V} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1))))

THREADS, BLOCKS = 256, 1056
"""As in sums.cu; and blocks that keep a GPU of 132 multiprocessors busy."""


def sums_bytes(shape, dtype) -> int:
    return copies(shape, dtype.itemsize) + dtype.itemsize * BLOCKS * max(shape[1], 1)


@algorithm("channel_sums", backend="cuda", exact=False, workspace=sums_bytes)
def channel_sums(shape, x, out):
    images, channels, *size = shape
    length = math.prod(size)
    if x.size == 0:
        out.fill(0)
        return
    last = x.ndim == 4 and not x.flags.c_contiguous
    x = channels_last(x) if last else dense(x)
    side_by_side = channels if last else length
    width = vector(x) if side_by_side % vector(x) == 0 else 1
    kernel = lambda name: PROGRAM.kernel(name, T=TYPES[x.dtype], VECTOR=width)  # noqa: E731
    if last:
        lanes = min(THREADS, 1 << (ceil_div(channels, width) - 1).bit_length())
        across, rows = ceil_div(channels, lanes * width), images * length
        count = max(1, min(BLOCKS // across, rows // (THREADS // lanes)))
        parts = namespace(x).empty((count, channels), x.dtype)
        kernel("sums_of_columns")((across, count), (lanes, THREADS // lanes), x, parts, numpy.int64(rows), channels)
    else:
        count = max(1, min(BLOCKS // channels, images))
        parts = namespace(x).empty((count, channels), x.dtype)
        kernel("sums_of_planes")((channels, count), (THREADS, 1), x, parts, images, channels, length)
    into(out, lambda out: kernel("sums_of_parts")(ceil_div(channels, 32), THREADS, parts, out, count, channels))

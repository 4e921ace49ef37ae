"""Dropout on the GPU in one pass, with the masks of the CPU. The kernels are in fused.cu."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import is_channels_last
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import WARP, channels_last, dense, flat, into, into_channels_last, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), tuple({"T": T, "VECTOR": V} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1))))

THREADS, DECIDED = 256, 8
"""Of a block; and elements that a thread decides on, as in fused.cu."""


def _width(keep: Any, *arrays: Any) -> int:
    """Elements at once: the bytes of the mask are as many, or ``DECIDED``."""
    return vector(*arrays) if keep.data.ptr % DECIDED == 0 else 1


def _drop(out: Any, keep: Any, x: Any, *numbers: Any) -> None:
    kernel = PROGRAM.kernel("drop", T=TYPES[x.dtype], VECTOR=_width(keep, out, x))
    kernel(ceil_div(out.size, DECIDED * THREADS), THREADS, out, keep, x, *numbers, numpy.int64(out.size))


def _drop_channels_last(out: Any, keep: Any, x: Any, *numbers: Any) -> None:
    images, height, width, channels = out.shape
    groups, down = images * ceil_div(height * width, DECIDED), THREADS // WARP
    kernel = PROGRAM.kernel("drop_channels_last", T=TYPES[x.dtype], VECTOR=1)
    kernel((ceil_div(groups, down), ceil_div(channels, WARP)), (WARP, down), out, keep, x, *numbers, images, channels, height * width)


@algorithm("dropout", backend="cuda", exact=False, workspace=lambda spec, dtype: copies(spec.shape, 2 * dtype.itemsize + 1))
def dropout(spec, x, out, keep):
    """The stream goes along the rows of the shape, whatever the memory order."""
    seed, place = (numpy.uint64(spec.seed), None) if isinstance(spec.seed, int) else (numpy.uint64(0), spec.seed)
    numbers = seed, place, numpy.uint32(math.ceil(spec.p * 2**32) - 1), x.dtype.type(spec.scale)
    drop, fill, source = (_drop_channels_last, into_channels_last, channels_last(x)) if is_channels_last(out) else (_drop, into, dense(x))
    fill(out, lambda out: fill(keep, lambda keep: drop(out, keep, source, *numbers)))


@algorithm("dropout_grad", backend="cuda", exact=False, workspace=lambda spec, dtype: copies(spec.shape, 2 * dtype.itemsize + 1))
def dropout_grad(spec, grad, keep, out):
    scale = out.dtype.type(spec.scale)

    def compute(out, grad, keep):
        width = _width(keep, out, grad)
        kernel = PROGRAM.kernel("scale_kept", T=TYPES[out.dtype], VECTOR=width)
        kernel(ceil_div(out.size, THREADS * width), THREADS, out, grad, keep, scale, numpy.int64(out.size))

    flat(compute, [out], grad, keep)

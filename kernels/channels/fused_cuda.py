"""Bias gradients in one pass on a GPU, batch normalisation in two: one for the sums, one for the result. The kernels are in sums.cu and scale.cu."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from minivgg.backend import Array, is_channels_last, namespace
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

VARIANTS = tuple({"T": T, "VECTOR": V, "LAST": last} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1)) for last in (True, False))
SUMS, SCALE = (Program(Path(__file__).with_name(name), VARIANTS) for name in ("sums.cu", "scale.cu"))

THREADS, PIECE = 256, 1 << 14
"""As in walk.cuh."""

BLOCKS = 1056
"""Keep a GPU of 132 multiprocessors busy."""


class _Walk(NamedTuple):
    """Arrays (N, C, H, W) as the kernels take them, all of them channels last or all row by row; and who walks through which part."""

    last: bool
    arrays: tuple[Array, ...]
    constants: dict[str, Any]
    blocks: tuple[int, int]
    threads: tuple[int, int]
    extent: numpy.ndarray

    def launch(self, program: Program, name: str, *arguments: Any) -> None:
        program.kernel(name, **self.constants)(self.blocks, self.threads, *arguments, self.extent)

    def parts(self, name: str, sums: int, *arguments: Any) -> Array:
        """So many sums of each channel in each part."""
        parts = namespace(self.arrays[0]).empty((self.blocks[1], sums, int(self.extent["channels"][0])), "float64")
        self.launch(SUMS, name, parts, *arguments)
        return parts

    def of_parts(self, name: str, parts: Array, outputs: tuple[Array, ...], *arguments: Any) -> None:
        """The kernel that adds them up, and writes what it makes of the sums: numbers a channel."""
        count, _, channels = parts.shape
        SUMS.kernel(name, **self.constants)(ceil_div(channels, 32), THREADS, *outputs, parts, count, *arguments)

    def into(self, out: Array, name: str, *arguments: Any) -> None:
        """The kernel that fills an ``out`` of shape (N, C, H, W)."""
        (into_channels_last if self.last else into)(out, lambda out: self.launch(SCALE, name, out, *arguments))


def _walk(last: bool, *arrays: Array, out: Array | None = None) -> _Walk:
    images, channels, *size = arrays[0].shape
    length = math.prod(size)
    arrays = tuple(channels_last(x) if last else dense(x) for x in arrays)
    outer, inner = (images * length, 1) if last or length == 1 else (images, length)
    side_by_side, lines = (channels, outer) if inner == 1 else (inner, images * ceil_div(inner, PIECE))
    width = vector(*arrays, *([] if out is None else [out]))
    width = 1 if side_by_side % width else width
    lanes = min(THREADS, 1 << (ceil_div(side_by_side, width) - 1).bit_length())
    across = ceil_div(channels, lanes * width) if inner == 1 else channels
    parts = max(1, min(BLOCKS // across, ceil_div(lines, THREADS // lanes)))
    constants = {"T": TYPES[arrays[0].dtype], "VECTOR": width, "LAST": inner == 1}
    extent = struct(outer=numpy.int64(outer), inner=numpy.int64(inner), channels=channels)
    return _Walk(last, arrays, constants, (across, parts), (lanes, THREADS // lanes), extent)


def _bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order, two sums of each channel in each part, and some numbers a channel."""
    return 3 * copies(shape, dtype.itemsize) + (16 * BLOCKS + 8 * dtype.itemsize) * shape[1]


def _norm_bytes(spec: Any, dtype: numpy.dtype) -> int:
    return _bytes(spec.shape, dtype)


def _dense(*numbers: Array | None) -> list[Array | None]:
    """Numbers a channel, if they are given."""
    return [None if each is None else dense(each) for each in numbers]


@algorithm("channel_sums", backend="cuda", exact=False, workspace=_bytes)
def channel_sums(shape, x, out):
    if x.size == 0:
        out.fill(0)
        return
    walk = _walk(x.ndim == 4 and not x.flags.c_contiguous, x)
    parts = walk.parts("sums", 1, *walk.arrays)
    into(out, lambda out: walk.of_parts("total", parts, (out,), shape[1]))


@algorithm("batch_norm", backend="cuda", exact=False, workspace=_norm_bytes)
def batch_norm(spec, x, w, b, out, mean, variance):
    walk = _walk(is_channels_last(out), x, out=out)
    (x,), (w, b), slope = walk.arrays, _dense(w, b), namespace(x).empty_like(mean)
    walk.of_parts("statistics", walk.parts("moments", 2, x), (mean, variance, slope), x, w, numpy.float64(spec.eps), walk.extent)
    walk.into(out, "scale", x, slope, mean, b)


@algorithm("batch_norm_grad", backend="cuda", exact=False, workspace=_norm_bytes)
def batch_norm_grad(spec, grad, x, w, mean, variance, dx, dw, db):
    walk = _walk(is_channels_last(dx), x, grad, out=dx)
    (x, grad), (w, mean, variance), numbers = walk.arrays, _dense(w, mean, variance), namespace(x).empty((3, spec.shape[1]), x.dtype)
    parts = walk.parts("projections", 2, x, grad, mean)
    walk.of_parts("coefficients", parts, (dw, db, numbers), w, variance, numpy.float64(spec.eps), walk.extent)
    walk.into(dx, "combine", x, grad, numbers, mean)


@algorithm("scale_and_shift", backend="cuda", exact=False, workspace=_bytes)
def scale_and_shift(shape, x, slope, offset, out):
    if x.size:
        walk = _walk(is_channels_last(out), x, out=out)
        slope, offset = _dense(slope, offset)
        walk.into(out, "scale", *walk.arrays, slope, None, offset)

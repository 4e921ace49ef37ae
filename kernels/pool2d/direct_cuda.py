"""Pooling on the GPU in one pass, in both memory orders: bound by the memory alone. The kernels are in direct.cu and squares.cu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import by_image, vector
from minivgg.registry import algorithm
from minivgg.spec import Pool2dSpec

PROGRAM = Program(
    Path(__file__).with_name("direct.cu"),
    tuple({"T": T, "VECTOR": V, "TWO": two} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1)) for two in (True, False)),
)

SQUARES = Program(Path(__file__).with_name("squares.cu"), ({"T": "float", "VECTOR": 4}, {"T": "double", "VECTOR": 2}))

THREADS = 128
PLACES = 4
"""What a thread computes of a row, so that finding the row is worth it."""

MOST_BLOCKS = 65535
"""In the second dimension of a grid; threads walk on from there."""

LARGEST = 1 << 30
"""Sums of two such numbers are an ``int``."""


def _axis(spec: Pool2dSpec, axis: int) -> dict[str, int]:
    kernel, stride, padding, dilation = (pair[axis] for pair in (spec.kernel, spec.stride, spec.padding, spec.dilation))
    return {
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
        "cells": (spec.h, spec.w)[axis], "windows": (spec.p, spec.q)[axis],
    }  # fmt: skip


def fits(spec: Pool2dSpec, dtype: numpy.dtype) -> str | None:
    spans = [axis["cells"] + 2 * axis["padding"] + axis["kernel"] * axis["dilation"] for axis in (_axis(spec, 0), _axis(spec, 1))]
    extent = max(*spans, spec.n * spec.c * max(spec.h, spec.p), spec.c * max(spec.w, spec.q))
    return f"its kernels count up to 2**30 rows, numbers of a row and cells across a padded image and a window, got {extent}" if extent > LARGEST else None


def numbers_in_a_byte(spec: Pool2dSpec, dtype: numpy.dtype) -> str | None:
    cells = spec.kernel[0] * spec.kernel[1]
    return f"a window's cells are numbered by one byte, and {cells} are more than 256" if cells > 256 else fits(spec, dtype)


def _copies(spec: Pool2dSpec, dtype: numpy.dtype) -> int:
    """Of what does not lie in the result's memory order, with the numbers."""
    return spec.n * spec.c * ((spec.h * spec.w + spec.p * spec.q) * dtype.itemsize + spec.p * spec.q)


def _launch(name: str, spec: Pool2dSpec, arrays: tuple[Any, ...], *average: Any) -> None:
    """The first of the arrays (images, H, W, inner) is written, each place of it by one thread."""
    images, height, width, inner = arrays[0].shape
    lanes = vector(*(array for array in arrays if array is not None))
    two = spec.kernel == spec.stride == (2, 2) and spec.padding == (0, 0) and spec.dilation == (1, 1) and spec.h >= 2 * spec.p and spec.w >= 2 * spec.q
    size = images * spec.p * spec.q // (lanes // 2) if lanes > 1 else 0
    if two and inner == 1 and lanes > 1 and spec.w % lanes == 0 and (spec.h, spec.w) == (2 * spec.p, 2 * spec.q) and size <= LARGEST:
        divisor = (average[1] or average[1].dtype.type(4),) if average else ()
        kernel = SQUARES.kernel(name, T=TYPES[arrays[0].dtype], VECTOR=lanes)
        kernel(ceil_div(size, THREADS), THREADS, *arrays, spec.w // lanes, size, *divisor)
        return
    lanes = lanes if inner % lanes == 0 else 1
    kernel = PROGRAM.kernel(name, T=TYPES[arrays[0].dtype], VECTOR=lanes, TWO=two)
    places = width * inner // lanes
    across = min(THREADS, 1 << (places - 1).bit_length())
    down = THREADS // across
    blocks = ceil_div(images * height, down), min(ceil_div(places, PLACES * across), MOST_BLOCKS)
    kernel(blocks, (across, down), *arrays, struct(**_axis(spec, 0)), struct(**_axis(spec, 1)), images, inner, *average)


def _average(spec: Pool2dSpec, dtype: numpy.dtype) -> tuple[int, Any]:
    return int(spec.count_include_pad), dtype.type(spec.divisor_override or 0)


@algorithm("max_pool2d", backend="cuda", supports=numbers_in_a_byte, workspace=_copies)
def max_pool2d(spec: Pool2dSpec, x: Array, out: Array, numbers: Array | None) -> None:
    by_image(lambda *arrays: _launch("largest", spec, arrays), [out, numbers], x)


@algorithm("max_pool2d_grad_input", backend="cuda", supports=numbers_in_a_byte, workspace=_copies)
def max_pool2d_grad_input(spec: Pool2dSpec, grad: Array, numbers: Array, out: Array) -> None:
    by_image(lambda *arrays: _launch("to_largest", spec, arrays), [out], grad, numbers)


@algorithm("avg_pool2d", backend="cuda", supports=fits, workspace=_copies)
def avg_pool2d(spec: Pool2dSpec, x: Array, out: Array) -> None:
    by_image(lambda *arrays: _launch("average", spec, arrays, *_average(spec, out.dtype)), [out], x)


@algorithm("avg_pool2d_grad_input", backend="cuda", exact=False, supports=fits, workspace=_copies)
def avg_pool2d_grad_input(spec: Pool2dSpec, grad: Array, out: Array) -> None:
    by_image(lambda *arrays: _launch("to_average", spec, arrays, *_average(spec, out.dtype)), [out], grad)

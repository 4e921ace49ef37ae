"""Adaptive average pooling on the GPU in one pass, in both memory orders. The kernels are in fused.cu."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import by_image, vector
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), tuple({"T": T, "VECTOR": V} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1))))

THREADS = 256
"""As in fused.cu."""

SHARE = 16
"""Cells of a bin that one thread adds up by itself; more are shared out."""

TOGETHER = 8
"""Threads whose channels lie side by side: 128 bytes, which memory hands out at once."""

LARGEST = 1 << 30
"""Numbers of an image array, and products of the rows or columns of both, are an ``int``."""


def _fits(spec: Any, dtype: numpy.dtype) -> str | None:
    products = [size * outputs + max(size, outputs) for size, outputs in zip(spec.shape[2:], spec.outputs, strict=True)]
    extent = max(*products, math.prod(spec.shape), math.prod(spec.output_shape))
    return f"its kernels count up to 2**30 numbers, and bins times cells of an axis, got {extent}" if extent > LARGEST else None


def _copies(spec: Any, dtype: numpy.dtype) -> int:
    """Of what does not lie in the result's memory order."""
    return (math.prod(spec.shape) + math.prod(spec.output_shape)) * dtype.itemsize


def _launch(name: str, out: Array, given: Array, team: int = 1) -> None:
    images, rows, columns, inner = out.shape
    lanes = vector(out, given) if inner % vector(out, given) == 0 else 1
    shape = struct(images=images, inner=inner, rows=rows, columns=columns, of_rows=given.shape[1], of_columns=given.shape[2])
    team = min(team, THREADS // min(TOGETHER, 1 << (inner // lanes).bit_length() - 1))
    results = out.size // lanes
    PROGRAM.kernel(name, T=TYPES[out.dtype], VECTOR=lanes)(ceil_div(results * team, THREADS), THREADS, out, given, shape, results, team)


@algorithm("adaptive_avg_pool2d", backend="cuda", exact=False, supports=_fits, workspace=_copies)
def adaptive_avg_pool2d(spec, x, out):
    cells = math.prod(-(-size // outputs) for size, outputs in zip(spec.shape[2:], spec.outputs, strict=True)) if out.size else 0
    team = min(THREADS, 1 << max(0, (ceil_div(cells, SHARE) - 1).bit_length()))
    by_image(lambda out, x: _launch("average", out, x, team), [out], x)


@algorithm("adaptive_avg_pool2d_grad", backend="cuda", exact=False, supports=_fits, workspace=_copies)
def adaptive_avg_pool2d_grad(spec, grad, out):
    if not grad.size:
        out.fill(0)
        return
    by_image(lambda out, grad: _launch("to_average", out, grad), [out], grad)

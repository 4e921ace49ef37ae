"""ReLU on the GPU in one pass: bound by the memory alone. The kernel is in fused.cu."""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import flat, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), tuple({"T": T, "VECTOR": V} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1))))

THREADS = 256


def pass_positive(out, x, y):
    width = vector(out, x, y)
    kernel = PROGRAM.kernel("pass_positive", T=TYPES[out.dtype], VECTOR=width)
    kernel(ceil_div(out.size, THREADS * width), THREADS, out, x, y, numpy.int64(out.size))


@algorithm("relu", backend="cuda", workspace=lambda shape, dtype: 2 * copies(shape, dtype.itemsize))
def relu(shape, x, out):
    flat(lambda out, x: pass_positive(out, x, x), [out], x)


@algorithm("relu_grad", backend="cuda", workspace=lambda shape, dtype: 3 * copies(shape, dtype.itemsize))
def relu_grad(shape, grad, y, out):
    flat(pass_positive, [out], grad, y)

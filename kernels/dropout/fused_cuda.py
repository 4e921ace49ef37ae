"""Dropout on the GPU in one pass, with the masks of the CPU. The kernels are in fused.cu."""

from __future__ import annotations

import math
from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import dense, flat, into
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), ({"T": "float"}, {"T": "double"}))

THREADS = 256


@algorithm("dropout", backend="cuda", exact=False, workspace=lambda spec, dtype: copies(spec.shape, 2 * dtype.itemsize + 1))
def dropout(spec, x, out, keep):
    """The stream goes along the rows of the shape, whatever the memory order."""
    kernel = PROGRAM.kernel("drop", T=TYPES[x.dtype])
    seed, place = (numpy.uint64(spec.seed), None) if isinstance(spec.seed, int) else (numpy.uint64(0), spec.seed)
    limit, scale = numpy.uint32(math.ceil(spec.p * 2**32) - 1), x.dtype.type(spec.scale)
    source = dense(x)

    def compute(out):
        into(keep, lambda keep: kernel(ceil_div(out.size, 8 * THREADS), THREADS, out, keep, source, seed, place, limit, scale, numpy.int64(out.size)))

    into(out, compute)


@algorithm("dropout_grad", backend="cuda", exact=False, workspace=lambda spec, dtype: copies(spec.shape, 2 * dtype.itemsize + 1))
def dropout_grad(spec, grad, keep, out):
    kernel, scale = PROGRAM.kernel("scale_kept", T=TYPES[out.dtype]), out.dtype.type(spec.scale)
    flat(lambda out, grad, keep: kernel(ceil_div(out.size, THREADS), THREADS, out, grad, keep, scale, numpy.int64(out.size)), [out], grad, keep)

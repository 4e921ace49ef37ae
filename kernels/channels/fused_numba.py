"""Bias gradients in one pass, batch normalisation in two: one for the sums, one for the result."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.kernels.channels._passes import ITEM, coefficients, combine, plain_sums, scale, statistics, two_sums
from minivgg.kernels.common.layout import copies, writable
from minivgg.registry import algorithm


def _bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order, the sums of each work item, and a few numbers a channel."""
    size = copies(shape, 1)
    return 3 * size * dtype.itemsize + 16 * shape[1] * (size // ITEM + shape[0] + 16) + 4096


@algorithm("channel_sums", backend="numba", exact=False, workspace=_bytes)
def channel_sums(shape, x, out):
    out[...] = plain_sums(x)


def _norm_bytes(spec: Any, dtype: numpy.dtype) -> int:
    return _bytes(spec.shape, dtype)


@algorithm("batch_norm", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm(spec, x, w, b, out, mean, variance):
    """Moments come from one pass over differences to the first element: near it, little cancels."""
    center, slope = x[0, :, 0, 0].copy(), numpy.empty_like(mean)
    statistics(*two_sums(x, x, center, True), center, x.size // x.shape[1], spec.eps, _weight(w, mean), mean, variance, slope)
    scale(x, slope, mean, numpy.zeros_like(mean) if b is None else b, out)


@algorithm("batch_norm_grad", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm_grad(spec, grad, x, w, mean, variance, dx, dw, db):
    numbers, center = numpy.empty((3, len(mean)), x.dtype), writable(mean)
    parts = two_sums(x, grad, center, False)
    coefficients(*parts, writable(variance), x.size // x.shape[1], spec.eps, _weight(w, mean), dw, db, numbers)
    factor, slope, offset = numbers
    combine(x, grad, factor, slope, center, offset, dx)


def _weight(w: numpy.ndarray | None, like: numpy.ndarray) -> numpy.ndarray:
    return numpy.ones_like(like) if w is None else writable(numpy.ascontiguousarray(w))


@algorithm("scale_and_shift", backend="numba", exact=False, workspace=_bytes)
def scale_and_shift(shape, x, slope, offset, out):
    zeros = numpy.zeros(shape[1])
    scale(x, zeros + 1 if slope is None else slope, zeros, zeros if offset is None else offset, out)

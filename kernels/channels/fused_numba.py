"""Bias gradients in one pass, batch normalisation in two: one for the sums, one for the result."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.kernels.channels._passes import ITEM, combine, plain_sums, scale, two_sums
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm


def _bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order, the sums of each work item, and a few numbers a channel."""
    size = copies(shape, 1)
    return 3 * size * dtype.itemsize + 16 * shape[1] * (size // ITEM + shape[0] + 16) + 4096


def moments(x: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and variance of each channel, from one pass over differences to its first element: near it, little cancels."""
    n, c, h, w = x.shape
    count = n * h * w
    center = x[0, :, 0, 0].copy()
    sums, squares = two_sums(x, x, center, True)
    shift = sums / count
    return center + shift, numpy.maximum(squares / count - shift * shift, 0)


@algorithm("channel_sums", backend="numba", exact=False, workspace=_bytes)
def channel_sums(shape, x, out):
    out[...] = plain_sums(x)


def _norm_bytes(spec: Any, dtype: numpy.dtype) -> int:
    return _bytes(spec.shape, dtype)


@algorithm("batch_norm", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm(spec, x, w, b, out, mean, variance):
    mean[...], variance[...] = moments(x)
    slope = (variance.astype(float) + spec.eps) ** -0.5 * (1 if w is None else w)
    scale(x, slope, mean, numpy.zeros(mean.size) if b is None else b, out)


@algorithm("batch_norm_grad", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm_grad(spec, grad, x, w, mean, variance, dx, dw, db):
    root = (variance.astype(float) + spec.eps) ** -0.5
    sums, products = two_sums(x, grad, mean, False)
    count = x.size // x.shape[1]
    dw[...], db[...] = products * root, sums
    factor = root if w is None else root * w
    combine(x, grad, factor, -factor * root * root * products / count, mean, -factor * sums / count, dx)


@algorithm("scale_and_shift", backend="numba", exact=False, workspace=_bytes)
def scale_and_shift(shape, x, slope, offset, out):
    zeros = numpy.zeros(shape[1])
    scale(x, zeros + 1 if slope is None else slope, zeros, zeros if offset is None else offset, out)

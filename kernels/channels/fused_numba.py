"""Bias gradients in one pass, batch normalisation in two: one for the sums, one for the result."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.kernels.channels._passes import coefficients, combine, plain_sums, scale, statistics, two_sums
from minivgg.kernels.channels._relu_passes import combine_behind, finish, two_sums_behind
from minivgg.kernels.common.layout import channels_last, copies, writable
from minivgg.parallel import BLOCK
from minivgg.registry import algorithm


def _bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order, the sums of each work item, and a few numbers a channel."""
    size = copies(shape, 1)
    return 3 * size * dtype.itemsize + 16 * shape[1] * (size // BLOCK + shape[0] + 16) + 4096


@algorithm("channel_sums", backend="numba", exact=False, workspace=_bytes)
def channel_sums(shape, x, out):
    out[...] = plain_sums(x)


def _norm_bytes(spec: Any, dtype: numpy.dtype) -> int:
    return _bytes(spec.shape, dtype)


@algorithm("batch_norm", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm(spec, x, w, b, out, mean, variance, relu=False, cells=None):
    """Moments come from one pass over differences to the first element: near it, little cancels. ReLU and pooling: channels last alone."""
    center, slope = x[0, :, 0, 0].copy(), numpy.empty_like(mean)
    statistics(*two_sums(x, x, center, True), center, x.size // x.shape[1], spec.eps, _weight(w, mean), mean, variance, slope)
    offset = numpy.zeros_like(mean) if b is None else writable(b)
    if relu:
        finish(*_lying(x), slope, mean, offset, *_lying(out, cells))
    else:
        scale(x, slope, mean, offset, out)


@algorithm("batch_norm_grad", backend="numba", exact=False, workspace=_norm_bytes)
def batch_norm_grad(spec, grad, x, w, mean, variance, dx, dw, db, y=None, cells=None):
    """With ``y``, what came out of ReLU, and ``cells``, those of pooling behind it, ``grad`` is that of their result."""
    numbers, center = numpy.empty((3, len(mean)), x.dtype), writable(mean)
    if y is None:
        parts = two_sums(x, grad, center, False)
    else:
        lying, result, *others = _lying(x, dx, y, cells)
        parts = two_sums_behind(channels_last(grad), lying, *others, center, result)
    coefficients(*parts, writable(variance), x.size // x.shape[1], spec.eps, _weight(w, mean), dw, db, numbers)
    factor, slope, offset = numbers
    if y is None:
        combine(x, grad, factor, slope, center, offset, dx)
    else:
        combine_behind(lying, factor, slope, center, offset, result)


def _lying(*arrays: numpy.ndarray | None) -> list[numpy.ndarray | None]:
    """Arrays that lie in channels-last memory, as (N, H, W, C)."""
    return [None if array is None else writable(array.transpose(0, 2, 3, 1)) for array in arrays]


def _weight(w: numpy.ndarray | None, like: numpy.ndarray) -> numpy.ndarray:
    return numpy.ones_like(like) if w is None else writable(numpy.ascontiguousarray(w))


@algorithm("scale_and_shift", backend="numba", exact=False, workspace=_bytes)
def scale_and_shift(shape, x, slope, offset, out):
    zeros = numpy.zeros(shape[1])
    scale(x, zeros + 1 if slope is None else slope, zeros, zeros if offset is None else offset, out)

"""Cross entropy in one pass over the scores, and its gradient in another: no probabilities are written or read."""

from __future__ import annotations

import math
from typing import Any

import numpy

from minivgg.kernels.common.exponential import exp
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, writable
from minivgg.kernels.softmax._rows import ITEM, LANES, largest, sum_of
from minivgg.parallel import parallel_blocks
from minivgg.registry import algorithm


@compiled
def losses_of_rows(x, target, losses, tops, logs, first, last, smoothing):  # pragma: no cover compiled
    """The loss of each row, its largest score, and the logarithm of the sum over e^(x - top)."""
    classes, zero, one = x.shape[1], x.dtype.type(0), x.dtype.type(1)
    some, powers = numpy.empty(LANES, x.dtype), numpy.empty(classes, x.dtype)
    for i in range(first, last):
        row = x[i]
        top = largest(row, some)
        for j in range(classes):
            powers[j] = exp(row[j] - top)
        log = row.dtype.type(math.log(sum_of(powers, some)))
        tops[i], logs[i] = top, log
        if target[i] < 0:
            losses[i] = zero
            continue
        loss = log - (row[target[i]] - top)
        if smoothing != zero:
            for j in range(classes):
                powers[j] = row[j] - top
            loss = (one - smoothing) * loss + smoothing * (log - sum_of(powers, some) / row.dtype.type(classes))
        losses[i] = loss


@compiled
def gradient_of_rows(x, target, tops, logs, scale, dx, first, last, smoothing):  # pragma: no cover compiled
    """dx = (e^(x - top - log) - q) · scale."""
    classes, zero, one = x.shape[1], x.dtype.type(0), x.dtype.type(1)
    rest = smoothing / x.dtype.type(classes)
    for i in range(first, last):
        row, result, top, log, factor = x[i], dx[i], tops[i], logs[i], scale[i]
        if target[i] < 0:
            result[:] = zero
            continue
        for j in range(classes):
            result[j] = exp((row[j] - top) - log) - rest
        result[target[i]] -= one - smoothing
        for j in range(classes):
            result[j] *= factor


def _bytes(spec: Any, dtype: numpy.dtype) -> int:
    """Copies of what does not lie row by row."""
    return 2 * copies(spec.shape, dtype.itemsize) + spec.shape[0] * (8 + 4 * dtype.itemsize)


def _plain(x: numpy.ndarray) -> numpy.ndarray:
    return writable(numpy.ascontiguousarray(x))


@algorithm("cross_entropy", backend="numba", exact=False, workspace=_bytes)
def cross_entropy(spec, x, target, losses, tops, logs):
    x, target, smoothing = _plain(x), _plain(target), x.dtype.type(spec.label_smoothing)
    step = max(1, ITEM // max(spec.shape[1], 1))
    parallel_blocks(lambda first, last: losses_of_rows(x, target, losses, tops, logs, first, last, smoothing), len(x), step)


@algorithm("cross_entropy_grad", backend="numba", exact=False, workspace=_bytes)
def cross_entropy_grad(spec, x, target, tops, logs, scale, dx):
    numbers = [_plain(array) for array in (x, target, tops, logs, scale)]
    result, smoothing = dx if dx.flags.c_contiguous else numpy.empty(dx.shape, dx.dtype), x.dtype.type(spec.label_smoothing)
    step = max(1, ITEM // max(spec.shape[1], 1))
    parallel_blocks(lambda first, last: gradient_of_rows(*numbers, result, first, last, smoothing), len(x), step)
    if result is not dx:
        dx[...] = result

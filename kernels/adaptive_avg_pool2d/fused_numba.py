"""Adaptive average pooling in one pass: averages over rectangles, as pooling computes them."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.kernels.common.layout import copies
from minivgg.kernels.pool2d._rectangles import windows_over
from minivgg.kernels.pool2d.direct_numba import average
from minivgg.parallel import get_num_threads
from minivgg.registry import algorithm


def _bytes(spec: Any, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in the result's memory order, the sums of a row of bins, and the tables."""
    h, w = spec.shape[2:]
    p, q = spec.outputs
    arrays = copies(spec.shape, dtype.itemsize) + 2 * copies(spec.output_shape, dtype.itemsize)
    return arrays + get_num_threads() * max(w, q) * spec.shape[1] * dtype.itemsize + 64 * (h + w + p + q) + 16 * (h * w + p * q)


def _divisors(rows: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray:
    """Cells of each bin, (P, Q)."""
    return ((rows[:, 1] - rows[:, 0])[:, None] * (columns[:, 1] - columns[:, 0])).astype(float)


@algorithm("adaptive_avg_pool2d", backend="numba", exact=False, workspace=_bytes)
def adaptive_avg_pool2d(spec, x, out):
    rows, columns = spec.bins
    average(x, rows, columns, _divisors(rows, columns), out)


@algorithm("adaptive_avg_pool2d_grad", backend="numba", exact=False, workspace=_bytes)
def adaptive_avg_pool2d_grad(spec, grad, out):
    """Each cell adds up the bins over it, which lie side by side: a sum over rectangles of their shares."""
    rows, columns = spec.bins
    shares, (h, w) = grad / _divisors(rows, columns).astype(grad.dtype), spec.shape[2:]
    average(shares, windows_over(rows, h), windows_over(columns, w), numpy.ones((h, w)), out)

"""Local response normalisation in one pass, a pixel at a time: its channels lie side by side, and so do the sums over neighbours.

Row-major memory is turned a block of pixels at a time, which stays in the cache. The root that β asks for is made of square
roots where β is 1/2 or 3/4 (AlexNet's): a power takes ten times as long.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from minivgg.backend import is_channels_last
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, writable
from minivgg.parallel import get_num_threads, parallel
from minivgg.registry import algorithm

ITEM = 1 << 15
"""Elements of a work item."""


@compiled
def sum_over_neighbours(padded, before, after, out):  # pragma: no cover compiled
    """out[c] = Σ of the elements before to after around padded[reach + c], where reach is the length of the border on either side."""
    reach = (padded.size - out.size) // 2
    middle = padded[reach : reach + out.size]
    for c in range(out.size):
        out[c] = middle[c]
    for distance in range(-before, after + 1):
        if distance != 0:
            shifted = padded[reach + distance : reach + distance + out.size]
            for c in range(out.size):
                out[c] += shifted[c]


@compiled
def raise_to(total, beta, out):  # pragma: no cover compiled
    """out = total^beta."""
    if beta == 0.75:
        for c in range(out.size):
            root = math.sqrt(total[c])
            out[c] = root * math.sqrt(root)
    elif beta == 0.5:
        for c in range(out.size):
            out[c] = math.sqrt(total[c])
    elif beta == 1:
        for c in range(out.size):
            out[c] = total[c]
    else:
        for c in range(out.size):
            out[c] = total[c] ** beta


@compiled
def denominators(row, before, after, scale, beta, k, padded, total, power):  # pragma: no cover compiled
    """total = k + scale · Σ row² over the neighbours, and power = total^beta; the border of ``padded`` is zero and stays so."""
    reach = (padded.size - row.size) // 2
    middle = padded[reach : reach + row.size]
    for c in range(row.size):
        middle[c] = row[c] * row[c]
    sum_over_neighbours(padded, before, after, total)
    for c in range(row.size):
        total[c] = k + scale * total[c]
    raise_to(total, beta, power)


@compiled
def normalise(x, out, before, after, scale, beta, k, padded, total, power):  # pragma: no cover compiled
    """Rows of channels: out = x / total^beta."""
    for i in range(x.shape[0]):
        row, result = x[i], out[i]
        denominators(row, before, after, scale, beta, k, padded, total, power)
        for c in range(row.size):
            result[c] = row[c] / power[c]


@compiled
def gradient(grad, x, dx, before, after, scale, beta, k, padded, total, power, share):  # pragma: no cover compiled
    """dx = g / total^beta - 2 · beta · scale · x · Σ g · x / total^(beta + 1), the sum over those who have this one as a neighbour."""
    reach = (padded.size - x.shape[1]) // 2
    middle = padded[reach : reach + x.shape[1]]
    factor = (beta + beta) * scale
    for i in range(x.shape[0]):
        g, row, result = grad[i], x[i], dx[i]
        denominators(row, before, after, scale, beta, k, padded, total, power)
        for c in range(row.size):
            direct = g[c] / power[c]
            middle[c] = direct * row[c] / total[c]
            power[c] = direct
        sum_over_neighbours(padded, after, before, share)
        for c in range(row.size):
            result[c] = power[c] - factor * row[c] * share[c]


def _scratch(spec: Any, dtype: numpy.dtype) -> list[numpy.ndarray]:
    channels = spec.shape[1]
    reach = min(spec.size // 2, channels)
    return [numpy.zeros(channels + 2 * reach, dtype), *(numpy.empty(channels, dtype) for _ in range(3))]


def _run(kernel: Any, spec: Any, inputs: list[numpy.ndarray], out: numpy.ndarray, rows: int) -> None:
    """``kernel(*inputs, out, *numbers, *scratch)`` on (pixels, C), with ``rows`` arrays of scratch."""
    n, channels = spec.shape[:2]
    if not out.size:
        return
    pixels = out.size // channels
    last = is_channels_last(out)
    arrays = [writable(x.transpose(0, 2, 3, 1) if last else x) for x in (*inputs, out)]
    images = [numpy.ascontiguousarray(x).reshape((pixels, channels) if last else (n, channels, pixels // n)) for x in arrays]
    numbers = [out.dtype.type(number) for number in (spec.alpha / spec.size, spec.beta, spec.k)]
    reach = min(spec.size // 2, channels), min((spec.size - 1) // 2, channels)
    step = max(1, ITEM // channels)
    each = -(-(pixels if last else pixels // n) // step)

    def work(item: int) -> None:
        image, first = item // each, item % each * step
        scratch = _scratch(spec, out.dtype)[:rows]
        if last:
            kernel(*(x[first : first + step] for x in images), *reach, *numbers, *scratch)
            return
        blocks = [x[image, :, first : first + step].T for x in images]
        turned = [numpy.ascontiguousarray(block) for block in blocks[:-1]] + [numpy.empty(blocks[-1].shape, out.dtype)]
        kernel(*turned, *reach, *numbers, *scratch)
        blocks[-1][...] = turned[-1]

    parallel(work, each * (1 if last else n))
    if not numpy.may_share_memory(images[-1], out):
        out[...] = images[-1].reshape(arrays[-1].shape).transpose(0, 3, 1, 2) if last else images[-1].reshape(out.shape)


def _bytes(spec: Any, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order; each thread's blocks and rows."""
    return dtype.itemsize * (3 * copies(spec.shape, 1) + get_num_threads() * (3 * (ITEM + spec.shape[1]) + 6 * spec.shape[1]))


@algorithm("local_response_norm", backend="numba", exact=False, workspace=_bytes)
def local_response_norm(spec, x, out):
    _run(normalise, spec, [x], out, 3)


@algorithm("local_response_norm_grad", backend="numba", exact=False, workspace=_bytes)
def local_response_norm_grad(spec, grad, x, dx):
    _run(gradient, spec, [grad, x], dx, 4)

"""Local response normalisation and its gradient by their definitions, in float64, one channel after the other."""

from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


def _around(spec: Any, c: int) -> range:
    """The channels that channel c is compared with."""
    first = c - spec.size // 2
    return range(max(0, first), min(spec.shape[1], first + spec.size))


def _total(spec: Any, x: Array, c: int) -> Array:
    return spec.k + spec.alpha / spec.size * sum(x[:, j].astype(float) ** 2 for j in _around(spec, c))


@algorithm("local_response_norm", automatic=False, exact=False)
def local_response_norm(spec: Any, x: Array, out: Array) -> None:
    for c in range(spec.shape[1]):
        out[:, c] = x[:, c] / _total(spec, x, c) ** spec.beta


@algorithm("local_response_norm_grad", automatic=False, exact=False)
def local_response_norm_grad(spec: Any, grad: Array, x: Array, dx: Array) -> None:
    """Channel c gets a share from each channel that it stands beside."""
    result = numpy.zeros(x.shape)
    for c in range(spec.shape[1]):
        total = _total(spec, x, c)
        result[:, c] += grad[:, c] / total**spec.beta
        for j in _around(spec, c):
            share = x[:, c] / total * x[:, j] / total**spec.beta  # in an order in which nothing overflows before it is divided
            result[:, j] -= 2 * spec.alpha * spec.beta / spec.size * grad[:, c] * share
    dx[...] = result

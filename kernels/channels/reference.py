"""Sums over channels and batch normalisation by their definitions, in float64, one channel after the other."""

from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


@algorithm("channel_sums", automatic=False, exact=False)
def channel_sums(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for c in range(shape[1]):
        out[c] = x[:, c].astype(float).sum()


@algorithm("batch_norm", automatic=False, exact=False)
def batch_norm(spec: Any, x: Array, w: Array | None, b: Array | None, out: Array, mean: Array, variance: Array) -> None:
    for c in range(spec.shape[1]):
        channel = x[:, c].astype(float)
        mean[c], variance[c] = channel.mean(), channel.var()
        y = (channel - channel.mean()) / numpy.sqrt(channel.var() + spec.eps)
        out[:, c] = y * (1 if w is None else w[c]) + (0 if b is None else b[c])


@algorithm("batch_norm_grad", automatic=False, exact=False)
def batch_norm_grad(
    spec: Any, grad: Array, x: Array, w: Array | None, mean: Array, variance: Array, dx: Array, dw: Array, db: Array
) -> None:  # fmt: skip
    """With y the standardised channel: dx = (g - ⟨g⟩ - y·⟨g·y⟩) / √(variance + eps), where g = grad · w."""
    for c in range(spec.shape[1]):
        channel, g = x[:, c].astype(float), grad[:, c].astype(float)
        root = numpy.sqrt(channel.var() + spec.eps)
        y = (channel - channel.mean()) / root
        dw[c], db[c] = (g * y).sum(), g.sum()
        g = g * (1 if w is None else w[c])
        dx[:, c] = (g - g.mean() - y * (g * y).mean()) / root


@algorithm("scale_and_shift", automatic=False, exact=False)
def scale_and_shift(shape: tuple[int, ...], x: Array, slope: Array | None, offset: Array | None, out: Array) -> None:
    for c in range(shape[1]):
        out[:, c] = x[:, c].astype(float) * (1 if slope is None else slope[c]) + (0 if offset is None else offset[c])

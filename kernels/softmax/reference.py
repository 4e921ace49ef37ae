"""softmax and log_softmax by their definitions, one row at a time in float64, with exact sums."""

import math

from minivgg.backend import Array
from minivgg.registry import algorithm


@algorithm("softmax", automatic=False, exact=False)
def softmax(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for i in range(shape[0]):
        powers = [math.exp(float(value) - float(x[i].max())) for value in x[i]]
        out[i] = [power / math.fsum(powers) for power in powers]


@algorithm("log_softmax", automatic=False, exact=False)
def log_softmax(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for i in range(shape[0]):
        top = float(x[i].max())
        total = math.log(math.fsum(math.exp(float(value) - top) for value in x[i]))
        out[i] = [float(value) - top - total for value in x[i]]


@algorithm("softmax_grad", automatic=False, exact=False)
def softmax_grad(shape: tuple[int, ...], grad: Array, y: Array, out: Array) -> None:
    for i in range(shape[0]):
        total = math.fsum(float(g) * float(p) for g, p in zip(grad[i], y[i], strict=True))
        out[i] = [float(p) * (float(g) - total) for g, p in zip(grad[i], y[i], strict=True)]


@algorithm("log_softmax_grad", automatic=False, exact=False)
def log_softmax_grad(shape: tuple[int, ...], grad: Array, y: Array, out: Array) -> None:
    for i in range(shape[0]):
        total = math.fsum(float(g) for g in grad[i])
        out[i] = [float(g) - math.exp(float(value)) * total for g, value in zip(grad[i], y[i], strict=True)]

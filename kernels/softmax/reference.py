"""softmax and log_softmax by their definitions, one row at a time in float64, with exact sums."""

import math

from minivgg.backend import Array
from minivgg.kernels.common.sums import exact_sum
from minivgg.registry import algorithm


@algorithm("softmax", automatic=False, exact=False)
def softmax(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for i in range(shape[0]):
        powers = [math.exp(float(value) - float(x[i].max())) for value in x[i]]
        out[i] = [power / exact_sum(powers) for power in powers]


@algorithm("log_softmax", automatic=False, exact=False)
def log_softmax(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for i in range(shape[0]):
        top = float(x[i].max())
        total = math.log(exact_sum(math.exp(float(value) - top) for value in x[i]))
        out[i] = [float(value) - top - total for value in x[i]]


@algorithm("softmax_grad", automatic=False, exact=False)
def softmax_grad(shape: tuple[int, ...], grad: Array, y: Array, out: Array) -> None:
    for i in range(shape[0]):
        total = exact_sum(float(g) * float(p) for g, p in zip(grad[i], y[i], strict=True))
        out[i] = [float(p) * (float(g) - total) for g, p in zip(grad[i], y[i], strict=True)]


@algorithm("log_softmax_grad", automatic=False, exact=False)
def log_softmax_grad(shape: tuple[int, ...], grad: Array, y: Array, out: Array) -> None:
    for i in range(shape[0]):
        total = exact_sum(float(g) for g in grad[i])
        out[i] = [float(g) - math.exp(float(value)) * total for g, value in zip(grad[i], y[i], strict=True)]

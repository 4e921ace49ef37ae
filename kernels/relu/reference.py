"""ReLU by its definition, one element at a time."""

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


@algorithm("relu", automatic=False)
def relu(shape: tuple[int, ...], x: Array, out: Array) -> None:
    for place in numpy.ndindex(shape):
        out[place] = 0 if x[place] <= 0 else x[place]


@algorithm("relu_grad", automatic=False)
def relu_grad(shape: tuple[int, ...], grad: Array, y: Array, out: Array) -> None:
    for place in numpy.ndindex(shape):
        out[place] = 0 if y[place] <= 0 else grad[place]

"""The optimisers' formulas, one element at a time in float64, as their docstrings state them."""

import math
from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


@algorithm("sgd", automatic=False, exact=False)
def sgd(step: Any, p: Array, g: Array, v: Array | None, new_p: Array, new_v: Array | None) -> None:
    for i in numpy.ndindex(p.shape):
        d = (-g[i] if step.maximize else g[i]) + step.weight_decay * p[i]
        if v is not None and new_v is not None:
            new_v[i] = step.momentum * v[i] + step.fresh * d
            d = d + step.momentum * new_v[i] if step.nesterov else new_v[i]
        new_p[i] = p[i] - step.lr * d


@algorithm("adam", automatic=False, exact=False)
def adam(
    step: Any, p: Array, g: Array, m: Array, v: Array, w: Array | None, new_p: Array, new_m: Array, new_v: Array, new_w: Array | None
) -> None:  # fmt: skip
    for i in numpy.ndindex(p.shape):
        gradient, start = -g[i] if step.maximize else g[i], p[i]
        if step.decoupled:
            start = (1 - step.lr * step.weight_decay) * start
        else:
            gradient = gradient + step.weight_decay * p[i]
        new_m[i] = step.beta1 * m[i] + (1 - step.beta1) * gradient
        new_v[i] = largest = step.beta2 * v[i] + (1 - step.beta2) * gradient**2
        if w is not None and new_w is not None:
            new_w[i] = largest = max(w[i], new_v[i])
        mean, square = new_m[i] / (1 - step.beta1**step.number), largest / (1 - step.beta2**step.number)
        new_p[i] = start - step.lr * mean / (math.sqrt(square) + step.eps)


@algorithm("rmsprop", automatic=False, exact=False)
def rmsprop(
    step: Any, p: Array, g: Array, v: Array, a: Array | None, b: Array | None, new_p: Array, new_v: Array, new_a: Array | None, new_b: Array | None
) -> None:  # fmt: skip
    for i in numpy.ndindex(p.shape):
        gradient = (-g[i] if step.maximize else g[i]) + step.weight_decay * p[i]
        new_v[i] = square = step.alpha * v[i] + (1 - step.alpha) * gradient**2
        if a is not None and new_a is not None:
            new_a[i] = step.alpha * a[i] + (1 - step.alpha) * gradient
            square = max(square - new_a[i] ** 2, 0)
        gradient = gradient / (math.sqrt(square) + step.eps)
        if b is not None and new_b is not None:
            new_b[i] = gradient = step.momentum * b[i] + gradient
        new_p[i] = p[i] - step.lr * gradient


@algorithm("scaled", automatic=False, exact=False)
def scaled(spec: Any, g: Array, new_g: Array) -> None:
    for i in numpy.ndindex(spec.shape):
        new_g[i] = g[i] * spec.factor

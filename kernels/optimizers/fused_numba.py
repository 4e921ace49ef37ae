"""The optimisers in one pass, in the arithmetic of the parameters' dtype; options that are off cost nothing, nor do they spread nan.

An array that is not there (no momentum, say) is stood in for by the gradient, which is then neither read nor written for it.
Each array is passed once and changed in place: of an old one and a new one that are the same, the compiler would have to
fear that they overlap otherwise, and use no vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, flat
from minivgg.parallel import parallel_blocks
from minivgg.registry import algorithm


@compiled
def sgd_step(p, v, g, first, last, lr, momentum, fresh, decay, sign, nesterov):  # pragma: no cover compiled
    p, v, g = p[first:last], v[first:last], g[first:last]
    if momentum == 0:
        for i in range(p.size):
            d = sign * g[i]
            d = d + decay * p[i] if decay != 0 else d
            p[i] -= lr * d
    else:
        for i in range(p.size):
            d = sign * g[i]
            d = d + decay * p[i] if decay != 0 else d
            velocity = momentum * v[i] + fresh * d
            v[i] = velocity
            p[i] -= lr * (d + momentum * velocity if nesterov else velocity)


@compiled
def adam_step(p, m, v, w, g, first, last, step_size, rest1, beta2, rest2, root, eps, decay, shrink, sign, amsgrad):  # pragma: no cover compiled
    p, m, v, w, g = p[first:last], m[first:last], v[first:last], w[first:last], g[first:last]
    for i in range(p.size):
        d, start = sign * g[i], shrink * p[i]
        d = d + decay * p[i] if decay != 0 else d
        mean = m[i] + rest1 * (d - m[i])
        square = beta2 * v[i] + rest2 * d * d
        m[i] = mean
        v[i] = square
        if amsgrad:
            square = square if square > w[i] or square != square else w[i]
            w[i] = square
        p[i] = start - step_size * mean / (math.sqrt(square) / root + eps)


@compiled
def rmsprop_step(p, v, a, b, g, first, last, lr, alpha, rest, eps, decay, momentum, sign, centered):  # pragma: no cover compiled
    p, v, a, b, g = p[first:last], v[first:last], a[first:last], b[first:last], g[first:last]
    zero = p.dtype.type(0)
    for i in range(p.size):
        d = sign * g[i]
        d = d + decay * p[i] if decay != 0 else d
        square = alpha * v[i] + rest * d * d
        v[i] = square
        if centered:
            mean = a[i] + rest * (d - a[i])
            a[i] = mean
            square = square - mean * mean
            square = zero if square < zero else square
        d = d / (math.sqrt(square) + eps)
        if momentum != 0:
            d = momentum * b[i] + d
            b[i] = d
        p[i] -= lr * d


@compiled
def multiply(g, first, last, factor):  # pragma: no cover compiled
    """g = factor · g."""
    g = g[first:last]
    for i in range(g.size):
        g[i] *= factor


def _run(kernel: Any, changed: list[Any], old: list[Any], gradient: Any, scalars: list[float], *flags: bool) -> None:
    numbers = [gradient.dtype.type(scalar) for scalar in scalars]
    there = [array for array in changed if array is not None]
    for new, array in zip(changed, old, strict=True):
        if new is not array:
            new[...] = array

    def compute(*lines: numpy.ndarray) -> None:
        given = iter(lines)
        arrays = [lines[-1] if array is None else next(given) for array in changed]
        parallel_blocks(lambda first, last: kernel(*arrays, lines[-1], first, last, *numbers, *flags), lines[-1].size)

    flat(compute, there, gradient)


def _copies(step: Any, dtype: numpy.dtype) -> int:
    """Of arrays that lie in another order than the parameter."""
    return 9 * copies(step.shape, dtype.itemsize)


@algorithm("sgd", backend="numba", exact=False, workspace=_copies)
def sgd(step, p, g, v, new_p, new_v):
    momentum = 0.0 if v is None else step.momentum
    scalars = [step.lr, momentum, step.fresh, step.weight_decay, -1.0 if step.maximize else 1.0]
    _run(sgd_step, [new_p, new_v], [p, v], g, scalars, step.nesterov)


@algorithm("adam", backend="numba", exact=False, workspace=_copies)
def adam(step, p, g, m, v, w, new_p, new_m, new_v, new_w):
    step_size, root = step.lr / (1 - step.beta1**step.number), (1 - step.beta2**step.number) ** 0.5
    decay, shrink = (0.0, 1 - step.lr * step.weight_decay) if step.decoupled else (step.weight_decay, 1.0)
    scalars = [step_size, 1 - step.beta1, step.beta2, 1 - step.beta2, root, step.eps, decay, shrink, -1.0 if step.maximize else 1.0]
    _run(adam_step, [new_p, new_m, new_v, new_w], [p, m, v, w], g, scalars, w is not None)


@algorithm("rmsprop", backend="numba", exact=False, workspace=_copies)
def rmsprop(step, p, g, v, a, b, new_p, new_v, new_a, new_b):
    momentum = 0.0 if b is None else step.momentum
    scalars = [step.lr, step.alpha, 1 - step.alpha, step.eps, step.weight_decay, momentum, -1.0 if step.maximize else 1.0]
    _run(rmsprop_step, [new_p, new_v, new_a, new_b], [p, v, a, b], g, scalars, a is not None)


@algorithm("scaled", backend="numba", exact=False, workspace=lambda spec, dtype: copies(spec.shape, dtype.itemsize))
def scaled(spec, g, new_g):
    if new_g is not g:
        new_g[...] = g
    factor = g.dtype.type(spec.factor)
    flat(lambda line: parallel_blocks(lambda first, last: multiply(line, first, last, factor), line.size), [new_g])

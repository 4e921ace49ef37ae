"""The optimisers on a GPU in one pass over each parameter, in the arithmetic of its dtype. The kernels are in fused.cu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from minivgg.kernels.common.cuda import TYPES, Program, ceil_div
from minivgg.kernels.common.cuda_memory import flat, vector
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), tuple({"T": T, "VECTOR": V} for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1))))

THREADS = 256


def _run(name: str, changed: list[Any], old: list[Any], gradient: Any, scalars: list[float], *flags: int) -> None:
    """New arrays begin as the old ones, and are then changed in place; arrays that are None stay so."""
    for new, array in zip(changed, old, strict=True):
        if new is not array:
            new[...] = array
    numbers = [gradient.dtype.type(scalar) for scalar in scalars]

    def compute(*lines: Any) -> None:
        given = iter(lines)
        arrays = [None if array is None else next(given) for array in changed]
        width = vector(*lines)
        kernel = PROGRAM.kernel(name, T=TYPES[gradient.dtype], VECTOR=width)
        size = lines[0].size
        kernel(ceil_div(size, THREADS * width), THREADS, *arrays, *given, *numbers, *flags, numpy.int64(size))

    flat(compute, [array for array in changed if array is not None], gradient)


def _copies(step: Any, dtype: numpy.dtype) -> int:
    """Of arrays that lie in another order than the parameter."""
    return 9 * copies(step.shape, dtype.itemsize)


@algorithm("sgd", backend="cuda", exact=False, workspace=_copies)
def sgd(step, p, g, v, new_p, new_v):
    scalars = [step.lr, step.momentum, step.fresh, step.weight_decay, -1.0 if step.maximize else 1.0]
    _run("sgd", [new_p, new_v], [p, v], g, scalars, int(step.nesterov))


@algorithm("adam", backend="cuda", exact=False, workspace=_copies)
def adam(step, p, g, m, v, w, new_p, new_m, new_v, new_w):
    step_size, root = step.lr / (1 - step.beta1**step.number), (1 - step.beta2**step.number) ** 0.5
    decay, shrink = (0.0, 1 - step.lr * step.weight_decay) if step.decoupled else (step.weight_decay, 1.0)
    scalars = [step_size, 1 - step.beta1, step.beta2, 1 - step.beta2, root, step.eps, decay, shrink, -1.0 if step.maximize else 1.0]
    _run("adam", [new_p, new_m, new_v, new_w], [p, m, v, w], g, scalars)


@algorithm("rmsprop", backend="cuda", exact=False, workspace=_copies)
def rmsprop(step, p, g, v, a, b, new_p, new_v, new_a, new_b):
    scalars = [step.lr, step.alpha, 1 - step.alpha, step.eps, step.weight_decay, step.momentum, -1.0 if step.maximize else 1.0]
    _run("rmsprop", [new_p, new_v, new_a, new_b], [p, v, a, b], g, scalars)


@algorithm("scaled", backend="cuda", exact=False, workspace=lambda spec, dtype: 2 * copies(spec.shape, dtype.itemsize))
def scaled(spec, g, new_g):
    if new_g is not g:
        new_g[...] = g
    if g.size:
        flat(lambda line: _scale(line, spec.factor), [new_g])


def _scale(line: Any, factor: float) -> None:
    width = vector(line)
    kernel = PROGRAM.kernel("scaled", T=TYPES[line.dtype], VECTOR=width)
    kernel(ceil_div(line.size, THREADS * width), THREADS, line, line.dtype.type(factor), numpy.int64(line.size))

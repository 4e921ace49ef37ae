"""Convolution, ReLU and 2x2 max pooling in one pass: what VGG is made of, without writing and reading back what lies between.

The large arrays of a network are bound by the memory, not by the arithmetic. Three layers one after the other write the
convolution's output, read and write it for ReLU, and read it for pooling. An algorithm that ``fuses`` does both to a tile
that is still in registers. For the gradient the output itself says where ReLU passes, and one byte a window which cell won.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import device_of, empty
from minivgg.ops.arguments import check_flags
from minivgg.ops.conv2d import Conv2d, Conv2dGradInput, Conv2dGradWeight, Size, conv2d, problem_of
from minivgg.ops.max_pool2d import MaxPool2dGradInput, max_pool2d
from minivgg.ops.relu import ReLUGrad, relu
from minivgg.registry import Operation, Sample, forced, select
from minivgg.spec import Conv2dSpec, Pool2dSpec


class Conv2dReLU(Function):
    """max(y(x, w) + b, 0), of which ``pool`` keeps the largest of each 2x2 window. Takes an algorithm that fuses both."""

    def forward(self, x, w, b, spec, pool, algorithm):
        self.spec, self.algorithm = spec, algorithm
        self.pooling = Pool2dSpec.of("max_pool2d", spec.output_shape, 2) if pool else None
        need_x, need_w, need_b, *_ = self.needs_input_grad
        n, k, p, q = self.pooling.output_shape if self.pooling else spec.output_shape
        out = empty((n, p, q, k), x.dtype, x).transpose(0, 3, 1, 2)
        cells = empty((n, p, q, k), "uint8", x).transpose(0, 3, 1, 2) if pool and (need_x or need_w or need_b) else None
        together = select("conv2d", spec, x.dtype, algorithm, device_of(x))
        together(spec, x, w, b, out, relu=True, **({"pool": True, "cells": cells} if pool else {}))
        self.save_for_backward(x if need_w else None, w if need_x else None, out, cells)
        return out

    def backward(self, grad):
        x, w, out, cells = self.saved_tensors
        need_x, need_w, need_b, *_ = self.needs_input_grad
        grad = ReLUGrad.apply(grad, out.array)
        grad_b = grad.sum((0, 2, 3)) if need_b else None
        if self.pooling is not None and (need_x or need_w):
            grad = MaxPool2dGradInput.apply(grad, cells.array, self.pooling, None)
        grad_x = Conv2dGradInput.apply(grad, w, self.spec, self.algorithm) if need_x else None
        grad_w = Conv2dGradWeight.apply(grad, x, self.spec, self.algorithm) if need_w else None
        return grad_x, grad_w, grad_b, None, None, None


def conv2d_relu(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Size = 1, padding: Size | str = 0, dilation: Size = 1, groups: int = 1, *, pool: bool = False, algorithm: str | None = None,
) -> Tensor:  # fmt: skip
    """``relu(conv2d(...))``, and with ``pool`` ``max_pool2d(relu(conv2d(...)), 2)``: the same numbers in fewer passes.

    Arguments and errors are those of ``conv2d``. Where the chosen algorithm cannot do it in one pass, the operations
    follow one another. ``nn.Sequential`` calls this by itself where these modules are neighbours.

    >>> import minivgg
    >>> image = minivgg.arange(16, dtype="float32").reshape(1, 1, 4, 4) - 8
    >>> minivgg.nn.functional.conv2d_relu(image, minivgg.ones(1, 1, 1, 1), pool=True).tolist()
    [[[[0.0, 0.0], [5.0, 7.0]]]]
    """
    check_flags("conv2d_relu", pool=pool)
    spec = problem_of(input, weight, bias, stride, padding, dilation, groups)
    algorithm = forced("conv2d", algorithm)
    if input.ndim == 3:
        return solve(spec, input.unsqueeze(0), weight, bias, pool, algorithm).squeeze(0)
    return solve(spec, input, weight, bias, pool, algorithm)


def solve(spec: Conv2dSpec, input: Tensor, weight: Tensor, bias: Tensor | None, pool: bool, algorithm: str | None) -> Tensor:
    """In one pass if the algorithm can, else one after the other."""
    if not (pool and forced("max_pool2d")) and can_fuse(spec, input, pool, algorithm):
        return Conv2dReLU.apply(input, weight, bias, spec, pool, algorithm)
    if pool:
        return max_pool2d(solve(spec, input, weight, bias, False, algorithm), 2)
    return relu(Conv2d.apply(input, weight, bias, spec, algorithm), inplace=True)


def can_fuse(spec: Conv2dSpec, input: Tensor, pool: bool, algorithm: str | None) -> bool:
    """Whether the algorithm that would be chosen does what follows in its own pass."""
    if pool and min(spec.p, spec.q) < 2:
        return False
    return ("pool" if pool else "relu") in select("conv2d", spec, input.dtype, algorithm, device_of(input.array)).fuses


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    def arrays(text: str) -> tuple[numpy.ndarray, ...]:
        spec = Conv2dSpec.parse(text)
        return tuple(rng.standard_normal(shape) for shape in (spec.input_shape, spec.weight_shape, (spec.k,)))

    for algorithm in ("winograd_f4", "winograd_f2"):
        yield Sample(arrays("n2 c2 h5 w7 k3 r3 p1"), {"padding": 1, "pool": True, "algorithm": algorithm})
        yield Sample(arrays("n1 c3 h6 w4 k2 r3"), {"algorithm": algorithm})
    yield Sample(arrays("n1 c2 h7 w6 k3 r3 s2 p1"), {"stride": 2, "padding": 1})
    yield Sample(arrays("n1 c2 h6 w6 k2 r3 p1")[:2], {"padding": 1, "pool": True})
    yield Sample((rng.standard_normal((2, 4, 4)), rng.standard_normal((3, 2, 3, 3))), {"padding": 1, "algorithm": "im2col"})


def _oracle(
    x: numpy.ndarray, w: numpy.ndarray, b: numpy.ndarray | None = None, *, pool: bool = False, algorithm: str | None = None, **kwargs: Any
) -> numpy.ndarray:
    y = numpy.maximum(conv2d(Tensor(x), Tensor(w), None if b is None else Tensor(b), **kwargs, algorithm="reference").array, 0)
    return max_pool2d(Tensor(y), 2, algorithm="reference").array if pool else y


OPERATION = Operation(conv2d_relu, shapes="... C H W, K C/g R S, K? -> ... K P Q", samples=_samples, oracle=_oracle)

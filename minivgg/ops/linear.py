"""linear: out = input · weightᵀ + bias, the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING, empty
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.arguments import check_tensors, hint
from minivgg.products import product
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel
from minivgg.spec import LinearSpec


@formula("linear")
def _linear(spec, x, w, b, y):
    product(x, w.T, y)
    if b is not None:
        y += b


@formula("linear_grad_input")
def _linear_grad_input(spec, dy, w, dx):
    product(dy, w, dx)


@formula("linear_grad_weight")
def _linear_grad_weight(spec, dy, x, dw):
    product(dy.T, x, dw)


class Linear(Function):
    """x · wᵀ + b. Output, input gradient and weight gradient are bilinear, and the derivative of each is made of the other two."""

    def forward(self, x, w, b=None):
        need_x, need_w = self.needs_input_grad[:2]
        self.save_for_backward(x if need_w else None, w if need_x else None)
        self.spec = LinearSpec(x.shape[0], w.shape[1], w.shape[0])
        y = empty((self.spec.n, self.spec.k), w.dtype, w)
        kernel("linear", self.spec, w)(self.spec, x, w, b, y)
        return y

    def backward(self, grad):
        x, w = self.saved_tensors
        need_x, need_w, *need_b = self.needs_input_grad
        grad_x = LinearGradInput.apply(grad, w) if need_x else None
        grad_w = LinearGradWeight.apply(grad, x) if need_w else None
        return grad_x, grad_w, *(grad.sum(0) if need else None for need in need_b)


class LinearGradInput(Function):
    """dx = dy · w."""

    def forward(self, dy, w):
        need_dy, need_w = self.needs_input_grad
        self.save_for_backward(dy if need_w else None, w if need_dy else None)
        spec = LinearSpec(dy.shape[0], w.shape[1], w.shape[0])
        dx = empty((spec.n, spec.c), w.dtype, w)
        kernel("linear_grad_input", spec, w)(spec, dy, w, dx)
        return dx

    def backward(self, grad):
        dy, w = self.saved_tensors
        need_dy, need_w = self.needs_input_grad
        return Linear.apply(grad, w) if need_dy else None, LinearGradWeight.apply(dy, grad) if need_w else None


class LinearGradWeight(Function):
    """dw = dyᵀ · x."""

    def forward(self, dy, x):
        need_dy, need_x = self.needs_input_grad
        self.save_for_backward(dy if need_x else None, x if need_dy else None)
        spec = LinearSpec(x.shape[0], x.shape[1], dy.shape[1])
        dw = empty((spec.k, spec.c), x.dtype, x)
        kernel("linear_grad_weight", spec, dw)(spec, dy, x, dw)
        return dw

    def backward(self, grad):
        dy, x = self.saved_tensors
        need_dy, need_x = self.needs_input_grad
        return Linear.apply(x, grad) if need_dy else None, LinearGradInput.apply(dy, grad) if need_x else None


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """out[..., k] = Σ_c input[..., c] · weight[k, c] + bias[k].

    ``input`` (..., C), ``weight`` (K, C), ``bias`` (K,) or None; the result is (..., K). All of one dtype, float32 or
    float64. Cost: rows · C · K multiply-adds; VGG's first such layer has C = 25088, K = 4096, 102,760,448 of them.

    >>> import minivgg
    >>> weight = minivgg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> minivgg.nn.functional.linear(minivgg.tensor([1.0, 10.0]), weight, minivgg.tensor([0.0, 0.5, 0.0]))
    tensor([21.0000, 43.5000, 65.0000])
    """
    check_tensors("linear", input=input, weight=weight, **({} if bias is None else {"bias": bias}))
    if input.ndim < 1 or weight.ndim != 2 or (bias is not None and bias.ndim != 1):
        facts = {"input": input.shape, "weight": weight.shape} | ({} if bias is None else {"bias": bias.shape})
        raise ShapeError("linear", "expects input (..., C), weight (K, C) and bias (K,)", **facts)
    if input.shape[-1] != weight.shape[1]:
        raise ShapeError("linear", f"weight expects {weight.shape[1]} input features, input has {input.shape[-1]}", input=input.shape, weight=weight.shape)
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise ShapeError("linear", f"weight has {weight.shape[0]} output features, bias {bias.shape[0]}", weight=weight.shape, bias=bias.shape)
    if input.dtype not in FLOATING or weight.dtype != input.dtype or (bias is not None and bias.dtype != input.dtype):
        dtypes = f"input {input.dtype}, weight {weight.dtype}" + ("" if bias is None else f", bias {bias.dtype}")
        raise DtypeError("linear", f"takes float32 or float64, the same for all, got {dtypes}{hint(input.dtype, weight.dtype)}")
    rows = input if input.ndim == 2 else input.reshape(math.prod(input.shape[:-1]), weight.shape[1])
    out = Linear.apply(rows, weight) if bias is None else Linear.apply(rows, weight, bias)
    return out if input.ndim == 2 else out.reshape(*input.shape[:-1], weight.shape[0])


def _oracle(x, w, b=None):
    """The definition: one output element at a time, one product at a time."""
    out = numpy.zeros((*x.shape[:-1], w.shape[0]))
    for place in numpy.ndindex(*x.shape[:-1]):
        for k in range(w.shape[0]):
            terms = [float(x[place][c]) * float(w[k, c]) for c in range(w.shape[1])]
            out[place][k] = math.fsum(terms if b is None else [*terms, float(b[k])])
    return out


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for leading, c, k in (((3,), 4, 5), ((), 4, 2), ((2, 3), 3, 2), ((0,), 3, 2), ((1,), 1, 1), ((2, 1, 2), 2, 3)):
        x, w, b = rng.standard_normal((*leading, c)), rng.standard_normal((k, c)), rng.standard_normal(k)
        yield Sample((x, w, b))
        yield Sample((x, w))


def _errors() -> Iterable[ErrorSample]:
    def zeros(*shape: int) -> numpy.ndarray:
        return numpy.zeros(shape)

    form = "linear: expects input (..., C), weight (K, C) and bias (K,)"
    yield ErrorSample((zeros(), zeros(4, 3)), {}, ShapeError, f"{form} (input (), weight (4, 3))")
    yield ErrorSample((zeros(2, 3), zeros(3)), {}, ShapeError, f"{form} (input (2, 3), weight (3,))")
    yield ErrorSample((zeros(2, 3), zeros(4, 3), zeros(1, 4)), {}, ShapeError, f"{form} (input (2, 3), weight (4, 3), bias (1, 4))")
    text = "linear: weight expects 3 input features, input has 2 (input (5, 2), weight (4, 3))"
    yield ErrorSample((zeros(5, 2), zeros(4, 3)), {}, ShapeError, text)
    text = "linear: weight has 4 output features, bias 1 (weight (4, 3), bias (1,))"
    yield ErrorSample((zeros(2, 3), zeros(4, 3), zeros(1)), {}, ShapeError, text)
    text = "linear: takes float32 or float64, the same for all, got input float64, weight float32"
    yield ErrorSample((zeros(2, 3), zeros(4, 3).astype("float32")), {}, DtypeError, text)
    text = "linear: takes float32 or float64, the same for all, got input int64, weight int64, bias int64"
    yield ErrorSample((zeros(2, 3).astype("int64"), zeros(4, 3).astype("int64"), zeros(4).astype("int64")), {}, DtypeError, text)


OPERATION = Operation(linear, shapes="... C, K C, K? -> ... K", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.linear")

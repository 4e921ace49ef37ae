"""linear: out = input · weightᵀ + bias, the fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.matmul import MatMul
from minivgg.registry import ErrorSample, Operation, Sample


class Linear(Function):
    """All leading dimensions are rows of one matrix product: [rows × c] · [c × k] -> [rows × k]."""

    def forward(self, x, w, b=None):
        need_x, need_w = self.needs_input_grad[:2]
        self.save_for_backward(x if need_w else None, w if need_x else None)
        self.shape, self.rows, self.features = x.shape, math.prod(x.shape[:-1]), w.shape
        out = x.reshape(self.rows, self.features[1]) @ w.T
        if b is not None:
            out += b
        return out.reshape(*x.shape[:-1], self.features[0])

    def backward(self, grad):
        x, w = self.saved_tensors
        need_x, need_w, *need_b = self.needs_input_grad
        k, c = self.features
        grad = grad.reshape(self.rows, k)
        grad_x = MatMul.apply(grad, w).reshape(self.shape) if need_x else None
        grad_w = MatMul.apply(grad.transpose(0, 1), x.reshape(self.rows, c)) if need_w else None
        return grad_x, grad_w, *(grad.sum(0) if need else None for need in need_b)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """out[..., k] = Σ_c input[..., c] · weight[k, c] + bias[k].

    ``input`` (..., C), ``weight`` (K, C), ``bias`` (K,) or None; the result is (..., K). All of one dtype, float32 or
    float64. Cost: rows · C · K multiply-adds; VGG's first such layer has C = 25088, K = 4096, 102,760,448 of them.

    >>> import minivgg
    >>> weight = minivgg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> minivgg.nn.functional.linear(minivgg.tensor([1.0, 10.0]), weight, minivgg.tensor([0.0, 0.5, 0.0]))
    tensor([21.0000, 43.5000, 65.0000])
    """
    if input.ndim < 1 or weight.ndim != 2 or (bias is not None and bias.ndim != 1):
        facts = {"input": input.shape, "weight": weight.shape} | ({} if bias is None else {"bias": bias.shape})
        raise ShapeError("linear", "expects input (..., C), weight (K, C) and bias (K,)", **facts)
    if input.shape[-1] != weight.shape[1]:
        raise ShapeError("linear", f"weight expects {weight.shape[1]} input features, input has {input.shape[-1]}", input=input.shape, weight=weight.shape)
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise ShapeError("linear", f"weight has {weight.shape[0]} output features, bias {bias.shape[0]}", weight=weight.shape, bias=bias.shape)
    if input.dtype not in FLOATING or weight.dtype != input.dtype or (bias is not None and bias.dtype != input.dtype):
        dtypes = f"input {input.dtype}, weight {weight.dtype}" + ("" if bias is None else f", bias {bias.dtype}")
        raise DtypeError("linear", f"takes float32 or float64, the same for all, got {dtypes}")
    return Linear.apply(input, weight) if bias is None else Linear.apply(input, weight, bias)


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

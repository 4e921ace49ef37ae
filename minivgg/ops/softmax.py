"""softmax and log_softmax: from any numbers to probabilities that add up to 1, and their logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled, method
from minivgg.backend import FLOATING, empty, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_tensors, read_int
from minivgg.ops.cast import read_dtype, to
from minivgg.ops.reduce import dims_of
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel


def _shifted(x, axes):
    """x minus its largest element along ``axes``: no exponential of it overflows, and one of them is 1."""
    with numpy.errstate(invalid="ignore"):  # inf - inf is nan: rows of nothing but -inf, and rows with +inf, have no softmax
        return x - x.max(axis=axes, keepdims=True)


@formula("softmax")
def _softmax(shape, x, out):
    xp = namespace(x)
    out[...] = xp.exp(_shifted(x, 1))
    out /= out.sum(axis=1, keepdims=True)


@formula("log_softmax")
def _log_softmax(shape, x, out):
    xp = namespace(x)
    out[...] = _shifted(x, 1)
    out -= xp.log(xp.exp(out).sum(axis=1, keepdims=True))


@formula("softmax_grad")
def _softmax_grad(shape, grad, y, out):
    namespace(grad).multiply(grad, y, out=out)
    out -= y * out.sum(axis=1, keepdims=True)


@formula("log_softmax_grad")
def _log_softmax_grad(shape, grad, y, out):
    out[...] = grad - namespace(y).exp(y) * grad.sum(axis=1, keepdims=True)


def _along(axes, operation, *inputs):
    """An operation on rows, with the dimension ``axes`` as the rows' own."""
    xp, shape = namespace(inputs[0]), inputs[0].shape
    axis = axes[0] if axes else 0
    rows = [xp.moveaxis(x if axes else x.reshape(1), axis, -1) for x in inputs]
    if not inputs[0].size:
        return xp.empty_like(inputs[0])
    matrices = [x.reshape(-1, x.shape[-1]) for x in rows]
    out = empty(matrices[0].shape, inputs[0].dtype, inputs[0])
    kernel(operation, out.shape, out)(out.shape, *matrices, out)
    return xp.moveaxis(out.reshape(rows[0].shape), -1, axis).reshape(shape)


class Softmax(Function):
    """With y the output: d/dx = y · (grad - Σ grad · y)."""

    def forward(self, x, axes):
        self.axes = axes
        out = _along(axes, "softmax", x)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        if not is_grad_enabled():
            return Tensor(_along(self.axes, "softmax_grad", grad.array, out.array)), None
        product = grad * out
        return product - out * product.sum(self.axes, keepdim=True), None


class LogSoftmax(Function):
    """With y the output: d/dx = grad - e^y · Σ grad."""

    def forward(self, x, axes):
        self.axes = axes
        out = _along(axes, "log_softmax", x)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        if not is_grad_enabled():
            return Tensor(_along(self.axes, "log_softmax_grad", grad.array, out.array)), None
        return grad - out.exp() * grad.sum(self.axes, keepdim=True), None


def _prepare(operation: str, input: Tensor, dim: int, dtype: Any) -> tuple[Tensor, tuple[int, ...]]:
    check_tensors(operation, input=input)
    dim = read_int(operation, "dim", dim)
    if dtype is not None:
        input = to(input, read_dtype(operation, dtype))
    if input.dtype not in FLOATING:
        raise DtypeError(operation, f"takes float32 or float64, got {input.dtype}; pass dtype=minivgg.float32")
    return input, dims_of(operation, input.ndim, dim)


@method()
def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """e^x_i / Σ_j e^x_j along ``dim``; ``dtype`` casts the input first.

    Computed from x - max x, so nothing overflows. -inf becomes 0; a slice of nothing but -inf, or with +inf, becomes nan.

    >>> import minivgg
    >>> minivgg.softmax(minivgg.tensor([1000.0, 1000.0, -float("inf")]), dim=0)
    tensor([0.5000, 0.5000, 0.0000])
    """
    return Softmax.apply(*_prepare("softmax", input, dim, dtype))


@method()
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """x_i - ln Σ_j e^x_j along ``dim``: the logarithm of ``softmax``, without computing a tiny probability first.

    >>> import minivgg
    >>> minivgg.log_softmax(minivgg.tensor([0.0, -1000.0]), dim=0)
    tensor([    0., -1000.])
    """
    return LogSoftmax.apply(*_prepare("log_softmax", input, dim, dtype))


def _oracle_softmax(x, dim):
    """The definition on each slice, with exact sums."""

    def one(row):
        exponentials = [math.exp(value - max(row)) for value in row]
        return numpy.array(exponentials) / math.fsum(exponentials)

    return numpy.apply_along_axis(one, dim, x) if x.ndim and x.size else numpy.ones(x.shape)


def _oracle_log_softmax(x, dim):
    def one(row):
        total = math.fsum(math.exp(value - max(row)) for value in row)
        return numpy.array([value - max(row) - math.log(total) for value in row])

    return numpy.apply_along_axis(one, dim, x) if x.ndim and x.size else numpy.zeros(x.shape)


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, dim in (((3, 5), 1), ((3, 5), 0), ((2, 3, 2, 2), 1), ((4,), -1), ((2, 1), 1), ((), 0), ((0, 3), 1), ((2, 0), 1)):
        yield Sample((rng.standard_normal(shape), dim))
    yield Sample((rng.choice([-1.0, 1.0], (3, 4)) * 800 + rng.standard_normal((3, 4)), 1))


def _errors(name: str) -> Iterable[ErrorSample]:
    yield ErrorSample((numpy.zeros((2, 3)), 2), {}, ArgumentError, f"{name}: dim must lie in [-2, 1] for 2 dimensions, got 2")
    yield ErrorSample((numpy.zeros((2, 3)), None), {}, ArgumentError, f"{name}: dim must be an int, got None")
    text = f"{name}: takes float32 or float64, got int64; pass dtype=minivgg.float32"
    yield ErrorSample((numpy.zeros(3, "int64"), 0), {}, DtypeError, text)


Operation(softmax, shapes="* -> *", samples=_samples, oracle=_oracle_softmax, errors=lambda: _errors("softmax"), torch="nn.functional.softmax")
Operation(log_softmax, shapes="* -> *", samples=_samples, oracle=_oracle_log_softmax, errors=lambda: _errors("log_softmax"), torch="nn.functional.log_softmax")

"""softmax and log_softmax: from any numbers to probabilities that add up to 1, and their logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.cast import read_dtype, to
from minivgg.ops.reduce import dims_of
from minivgg.registry import ErrorSample, Operation, Sample


def _shifted(x, axes):
    """x minus its largest element along ``axes``: no exponential of it overflows, and one of them is 1."""
    with numpy.errstate(invalid="ignore"):  # inf - inf is nan: rows of nothing but -inf, and rows with +inf, have no softmax
        return x - x.max(axis=axes, keepdims=True)


class Softmax(Function):
    """With y the output: d/dx = y · (grad - Σ grad · y)."""

    def forward(self, x, axes):
        self.axes = axes
        xp = namespace(x)
        out = x.copy()
        if x.size:
            out = xp.asarray(xp.exp(_shifted(x, axes)))
            out /= out.sum(axis=axes, keepdims=True)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        product = grad * out
        return product - out * product.sum(self.axes, keepdim=True), None


class LogSoftmax(Function):
    """With y the output: d/dx = grad - e^y · Σ grad."""

    def forward(self, x, axes):
        self.axes = axes
        xp = namespace(x)
        out = x.copy()
        if x.size:
            out = xp.asarray(_shifted(x, axes))
            out -= xp.log(xp.exp(out).sum(axis=axes, keepdims=True))
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad - out.exp() * grad.sum(self.axes, keepdim=True), None


def _prepare(operation: str, input: Tensor, dim: int, dtype: Any) -> tuple[Tensor, tuple[int, ...]]:
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise ArgumentError(operation, f"dim must be one int, got {dim!r}")
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
    yield ErrorSample((numpy.zeros((2, 3)), None), {}, ArgumentError, f"{name}: dim must be one int, got None")
    text = f"{name}: takes float32 or float64, got int64; pass dtype=minivgg.float32"
    yield ErrorSample((numpy.zeros(3, "int64"), 0), {}, DtypeError, text)


Operation(softmax, shapes="* -> *", samples=_samples, oracle=_oracle_softmax, errors=lambda: _errors("softmax"), torch="nn.functional.softmax")
Operation(log_softmax, shapes="* -> *", samples=_samples, oracle=_oracle_log_softmax, errors=lambda: _errors("log_softmax"), torch="nn.functional.log_softmax")

"""Sums over dimensions: sum, mean, var, std; and sum_to, the transpose of broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, empty, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_flags, check_tensors
from minivgg.ops.cast import read_dtype, to
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel

Dim = int | tuple[int, ...] | list[int] | None


def dims_of(operation: str, ndim: int, dim: Dim) -> tuple[int, ...]:
    """The dimensions that ``dim`` names, each in [0, ndim); None and () mean all.

    >>> dims_of("sum", 3, -1), dims_of("sum", 3, (0, -1)), dims_of("sum", 3, None)
    ((2,), (0, 2), (0, 1, 2))
    """
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    result = []
    limit = ndim or 1  # a tensor without dimensions takes 0 and -1
    for d in dim if isinstance(dim, tuple | list) else (dim,):
        if isinstance(d, bool) or not hasattr(d, "__index__"):
            raise ArgumentError(operation, f"dim must be an int or a tuple of ints, got {dim!r}")
        d = d.__index__()
        if not -limit <= d < limit:
            raise ArgumentError(operation, f"dim must lie in [{-limit}, {limit - 1}] for {ndim} dimensions, got {d}")
        result.append(d % limit)
    if len(set(result)) != len(result):
        raise ArgumentError(operation, f"dim names a dimension twice, got {dim}")
    return tuple(result) if ndim else ()


@formula("channel_sums")
def _channel_sums(shape, x, out):
    out[...] = x.sum(axis=(0, 2, 3))


class Sum(Function):
    def forward(self, x, axes, keepdim):
        self.shape, self.axes, self.keepdim = x.shape, axes, keepdim
        if axes == (0, 2, 3) and x.ndim == 4 and x.dtype in FLOATING:  # the gradient of a convolution's bias
            out = empty((x.shape[1],), x.dtype, x)
            kernel("channel_sums", x.shape, x)(x.shape, x, out)
            return out.reshape(1, -1, 1, 1) if keepdim else out
        return x.sum(axis=axes, keepdims=keepdim)

    def backward(self, grad):
        if not self.keepdim and self.axes:
            grad = grad.reshape(tuple([1 if i in self.axes else size for i, size in enumerate(self.shape)]))
        return grad.expand(self.shape), None, None


class Root(Function):
    """√variance, with derivative 0 where the variance is 0: the spread of equal numbers has no direction to grow in."""

    def forward(self, variance):
        out = namespace(variance).sqrt(variance)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad / (2 * out).masked_fill(out == 0, math.inf)


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add up what broadcasting copied: the transpose of ``expand``.

    >>> import minivgg
    >>> sum_to(minivgg.ones(4, 3), (3,))
    tensor([4., 4., 4.])
    """
    have = input.array.shape
    if have == shape:
        return input
    extra = len(have) - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, size in enumerate(shape) if size == 1 and have[extra + i] != 1)
    result = Sum.apply(input, axes, True) if axes else input
    return result.reshape(shape)


@method()
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ over the given dimensions, or all; integers and booleans are added up in int64.

    >>> import minivgg
    >>> minivgg.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    check_tensors("sum", input=input)
    check_flags("sum", keepdim=keepdim)
    wanted = read_dtype("sum", dtype) if dtype is not None else input.dtype if input.dtype.kind == "f" else numpy.int64
    return Sum.apply(to(input, wanted), dims_of("sum", input.ndim, dim), keepdim)


@method()
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x / m over the given dimensions, m = number of elements added; the mean of nothing is nan.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0], [3.0, 6.0]]).mean(0)
    tensor([2., 4.])
    """
    check_tensors("mean", input=input)
    check_flags("mean", keepdim=keepdim)
    input = input if dtype is None else to(input, read_dtype("mean", dtype))
    _check_floating("mean", input)
    axes = dims_of("mean", input.ndim, dim)
    return Sum.apply(input, axes, keepdim) / _count(input, axes)


@method()
def var(input: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
    """Σ (x - mean)² / (m - correction): two passes, so that a large mean does not cancel the digits of a small spread.

    The sum of the differences, 0 but for the rounding of the mean, is taken off (Chan, Golub & LeVeque 1983).

    ``unbiased`` is the older name: True for correction 1, False for 0. With m <= correction the result is nan or inf.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]).var().item()
    1.0
    """
    return _variance("var", input, dim, correction if unbiased is None else int(unbiased), keepdim)


@method()
def std(input: Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
    """√var; where all numbers are equal, the derivative is taken as 0.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]).std().item()
    1.0
    """
    return Root.apply(_variance("std", input, dim, correction if unbiased is None else int(unbiased), keepdim))


def _variance(operation: str, input: Tensor, dim: Dim, correction: float, keepdim: bool) -> Tensor:
    _check_floating(operation, input)
    check_flags(operation, keepdim=keepdim)
    axes = dims_of(operation, input.ndim, dim)
    count = _count(input, axes)
    centred = input - Sum.apply(input, axes, True) / count
    rest = Sum.apply(centred, axes, True)  # 0 but for the rounding of the mean, which is as large as the spread where the mean is 2²⁴ times larger
    centred = centred - rest / count
    return Sum.apply(centred * centred, axes, keepdim) / max(count - correction, 0)


def _count(input: Tensor, axes: tuple[int, ...]) -> int:
    return math.prod(input.array.shape[axis] for axis in axes)


def _check_floating(operation: str, input: Tensor) -> None:
    check_tensors(operation, input=input)
    if input.dtype not in FLOATING:
        raise DtypeError(operation, f"takes float32 or float64, got {input.dtype}; convert with x.to(minivgg.float32)")


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for kwargs in ({}, {"dim": 0}, {"dim": (0, -1), "keepdim": True}, {"dim": [1], "keepdim": True}):
        yield Sample((rng.standard_normal((2, 3, 4)),), kwargs)


def _mean_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from _samples(rng)
    yield Sample((rng.standard_normal((2, 3)),), {"dim": ()})
    yield Sample((rng.standard_normal((3, 0)), 0))
    yield Sample((numpy.array(1.5), -1))


def _sum_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from _mean_samples(rng)
    yield Sample((rng.standard_normal((3, 0)), 1))


def _var_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from _samples(rng)
    yield Sample((rng.standard_normal((3, 4)), 1), {"correction": 0})
    yield Sample((rng.standard_normal((3, 4)), 0), {"unbiased": False, "keepdim": True})


def _errors(name: str, floating: bool = True) -> Callable[[], Iterable[ErrorSample]]:
    def errors() -> Iterable[ErrorSample]:
        x = numpy.zeros((2, 3))
        yield ErrorSample((x, 2), {}, ArgumentError, f"{name}: dim must lie in [-2, 1] for 2 dimensions, got 2")
        yield ErrorSample((x, (0, -2)), {}, ArgumentError, f"{name}: dim names a dimension twice, got (0, -2)")
        yield ErrorSample((x, 0.5), {}, ArgumentError, f"{name}: dim must be an int or a tuple of ints, got 0.5")
        if floating:
            text = f"{name}: takes float32 or float64, got int64; convert with x.to(minivgg.float32)"
            yield ErrorSample((numpy.zeros(2, "int64"),), {}, DtypeError, text)

    return errors


def _axis(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim or None if isinstance(dim, tuple) else dim


def _oracle_sum(x: numpy.ndarray, dim: Any = None, keepdim: bool = False) -> numpy.ndarray:
    return numpy.sum(x, _axis(dim), keepdims=keepdim)


def _oracle_mean(x: numpy.ndarray, dim: Any = None, keepdim: bool = False) -> numpy.ndarray:
    return numpy.mean(x, _axis(dim) if x.ndim else None, keepdims=keepdim)


def _oracle_var(x: numpy.ndarray, dim: Any = None, correction: int = 1, keepdim: bool = False, unbiased: bool | None = None) -> numpy.ndarray:
    return numpy.var(x, _axis(dim), ddof=correction if unbiased is None else int(unbiased), keepdims=keepdim)


Operation(sum, shapes="* -> _", samples=_sum_samples, oracle=_oracle_sum, errors=_errors("sum", floating=False), torch="sum")
Operation(mean, shapes="* -> _", samples=_mean_samples, oracle=_oracle_mean, errors=_errors("mean"), torch="mean")
Operation(var, shapes="* -> _", samples=_var_samples, oracle=_oracle_var, errors=_errors("var"), torch="var")
Operation(
    std,
    shapes="* -> _",
    samples=_var_samples,
    oracle=lambda *args, **kwargs: numpy.sqrt(_oracle_var(*args, **kwargs)),
    errors=_errors("std"),
    torch="std",
)

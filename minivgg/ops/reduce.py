"""Reductions: sum, mean, var, std, max, min, argmax, argmin; and sum_to, the transpose of broadcasting."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.cast import read_dtype, to

Dim = int | tuple[int, ...] | list[int] | None


class ValuesAndIndices(NamedTuple):
    """What ``max(dim=...)`` and ``min(dim=...)`` return."""

    values: Tensor
    indices: Tensor


def dims_of(operation: str, ndim: int, dim: Dim) -> tuple[int, ...]:
    """The dimensions to reduce, each in [0, ndim); None and () mean all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(ndim))
    result = []
    for d in dim if isinstance(dim, tuple | list) else (dim,):
        d = int(d)
        if not -builtins.max(ndim, 1) <= d < builtins.max(ndim, 1):
            raise ArgumentError(operation, f"dim must lie in [{-builtins.max(ndim, 1)}, {builtins.max(ndim, 1) - 1}] for {ndim} dimensions, got {d}")
        if ndim:
            result.append(d % ndim)
    if len(set(result)) != len(result):
        raise ArgumentError(operation, f"dim names a dimension twice, got {dim}")
    return tuple(result)


class Sum(Function):
    def forward(self, x, axes, keepdim):
        self.shape, self.axes, self.keepdim = x.shape, axes, keepdim
        return x.sum(axis=axes, keepdims=keepdim)

    def backward(self, grad):
        if not self.keepdim and self.axes:
            grad = grad.reshape(tuple([1 if i in self.axes else size for i, size in enumerate(self.shape)]))
        return grad.expand(self.shape), None, None


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add up what broadcasting copied: the transpose of ``expand``.

    >>> import minivgg
    >>> sum_to(minivgg.ones(4, 3), (3,))
    tensor([4., 4., 4.])
    """
    if input.array.shape == shape:
        return input
    extra = input.array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, size in enumerate(shape) if size == 1 and input.array.shape[extra + i] != 1)
    result = Sum.apply(input, axes, True) if axes else input
    return result.reshape(shape)


@method()
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ over the given dimensions, or all; integers are added up in int64.

    >>> import minivgg
    >>> minivgg.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    if dtype is not None:
        input = to(input, read_dtype("sum", dtype))
    axes = dims_of("sum", input.ndim, dim)
    if input.dtype not in FLOATING:
        return Tensor(numpy.asarray(input.array.sum(axis=axes, keepdims=keepdim, dtype="int64")))
    return Sum.apply(input, axes, keepdim)


@method()
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x / m over the given dimensions, m = number of elements added.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0], [3.0, 6.0]]).mean(0)
    tensor([2., 4.])
    """
    if dtype is not None:
        input = to(input, read_dtype("mean", dtype))
    if input.dtype not in FLOATING:
        raise DtypeError("mean", f"takes float32 or float64, got {input.dtype}; pass dtype=minivgg.float32")
    axes = dims_of("mean", input.ndim, dim)
    count = 1
    for axis in axes:
        count *= input.array.shape[axis]
    return Sum.apply(input, axes, keepdim) / count


@method()
def var(input: Tensor, dim: Dim = None, *, correction: int = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
    """Σ (x - mean)² / (m - correction): two passes, so that a large mean does not cancel the digits of a small spread.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]).var().item()
    1.0
    """
    if unbiased is not None:
        correction = int(unbiased)
    axes = dims_of("var", input.ndim, dim)
    count = 1
    for axis in axes:
        count *= input.array.shape[axis]
    centred = input - mean(input, axes, keepdim=True)
    total = Sum.apply(centred * centred, axes, keepdim)
    return total / builtins.max(count - correction, 0)


@method()
def std(input: Tensor, dim: Dim = None, *, correction: int = 1, keepdim: bool = False, unbiased: bool | None = None) -> Tensor:
    """√var.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]).std().item()
    1.0
    """
    return var(input, dim, correction=correction, keepdim=keepdim, unbiased=unbiased).sqrt()


class Extremum(Function):
    """max or min over all elements; elements that tie share the gradient equally."""

    def forward(self, x, name):
        out = getattr(x, name)()
        self.mask = x == out
        return out

    def backward(self, grad):
        mask = Tensor(self.mask.astype(grad.dtype))
        return mask * (grad / float(self.mask.sum())), None


def _argument(operation: str, input: Tensor, dim: int | None, keepdim: bool) -> Any:
    """The index of the first extreme element; a NaN wins."""
    if not input.array.size and (dim is None or not input.array.shape[dim]):
        raise ArgumentError(operation, "an empty tensor has no extreme element")
    return numpy.asarray(getattr(input.array, operation)(axis=dim, keepdims=keepdim))


@method()
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element (the first of equals).

    >>> import minivgg
    >>> minivgg.tensor([1.0, 3.0, 3.0]).argmax().item()
    1
    """
    return Tensor(_argument("argmax", input, dim, keepdim))


@method()
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element (the first of equals)."""
    return Tensor(_argument("argmin", input, dim, keepdim))


def _extremum(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor):
        from minivgg.ops.pointwise import maximum, minimum

        return (maximum if name == "max" else minimum)(input, dim)
    if dim is None:
        if not input.array.size:
            raise ArgumentError(name, "an empty tensor has no extreme element")
        return Extremum.apply(input, name)
    (axis,) = dims_of(name, input.ndim, dim)
    indices = Tensor(_argument("arg" + name, input, axis, True))
    values = input.gather(axis, indices)
    return ValuesAndIndices(*((values, indices) if keepdim else (values.squeeze(axis), indices.squeeze(axis))))


@method()
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with ``dim``, (values, indices) along it; with a tensor, the elementwise maximum.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 5.0], [4.0, 2.0]]).max(dim=1).indices
    tensor([1, 0])
    """
    return _extremum("max", input, dim, keepdim)


@method()
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; the same three forms as ``max``."""
    return _extremum("min", input, dim, keepdim)

"""Reading and writing by index: x[...], x[...] = v, gather, scatter_add, where, masked_fill.

Reading is linear; its transpose adds each gradient up at the place that was read: ``Get`` and ``Put`` are each other's
derivatives, and so are ``Gather`` and ``ScatterAdd``.
"""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, as_tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arithmetic import operands
from minivgg.ops.reduce import dims_of, sum_to


class Get(Function):
    is_view = True

    def forward(self, x, index):
        self.shape, self.index = x.shape, index
        return x[index]

    def backward(self, grad):
        return Put.apply(grad, self.shape, self.index), None


class Put(Function):
    """Zeros of ``shape`` with ``x`` added up at ``index``."""

    def forward(self, x, shape, index):
        self.index = index
        xp = namespace(x)
        out = xp.zeros(shape, x.dtype)
        if _is_basic(index):
            out[index] = x
        else:
            xp.add.at(out, index, x)  # a place that is read twice gets two gradients
        return out

    def backward(self, grad):
        return Get.apply(grad, self.index), None, None


class Set(Function):
    """x[index] = value, in place."""

    def forward(self, x, value, index):
        self.index, self.shape = index, value.shape
        x[index] = value
        return x

    def backward(self, grad):
        need_x, need_value, _ = self.needs_input_grad
        grad_x = None
        if need_x:
            keep = namespace(grad.array).ones(grad.shape, bool)
            keep[self.index] = False
            grad_x = grad * Tensor(keep.astype(grad.dtype))
        return grad_x, sum_to(Get.apply(grad, self.index), self.shape) if need_value else None, None


class Gather(Function):
    def forward(self, x, axis, index):
        self.shape, self.axis, self.index = x.shape, axis, index
        return namespace(x).take_along_axis(x, index, axis)

    def backward(self, grad):
        return ScatterAdd.apply(grad, self.shape, self.axis, self.index), None, None


class ScatterAdd(Function):
    """Zeros of ``shape`` with ``x`` added up at the places that ``gather`` would read."""

    def forward(self, x, shape, axis, index):
        self.axis, self.index = axis, index
        xp = namespace(x)
        out = xp.zeros(shape, x.dtype)
        places = list(xp.ogrid[tuple(slice(size) for size in index.shape)])
        places[axis] = index
        xp.add.at(out, tuple(places), x)
        return out

    def backward(self, grad):
        return Gather.apply(grad, self.axis, self.index), None, None, None


class Where(Function):
    def forward(self, condition, a, b):
        self.condition, self.shapes = condition, (a.shape, b.shape)
        return namespace(condition).where(condition, a, b)

    def backward(self, grad):
        _, need_a, need_b = self.needs_input_grad
        condition = Tensor(self.condition)
        zero = Tensor(namespace(grad.array).zeros((), grad.dtype))
        return (
            None,
            sum_to(Where.apply(condition, grad, zero), self.shapes[0]) if need_a else None,
            sum_to(Where.apply(condition, zero, grad), self.shapes[1]) if need_b else None,
        )


def _is_basic(index: Any) -> bool:
    """True if NumPy reads this index as a view, so that no place is read twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts) and not any(isinstance(part, bool) for part in parts)


def _read_index(x: Tensor, index: Any) -> Any:
    """Tensors inside an index become arrays; an index out of range names the dimension."""
    parts = index if isinstance(index, tuple) else (index,)
    read = tuple([part.array if isinstance(part, Tensor) else numpy.asarray(part) if isinstance(part, list) else part for part in parts])
    for part in read:
        if isinstance(part, numpy.ndarray) and part.dtype.kind == "f":
            raise DtypeError("index", f"an index must be an integer or boolean tensor, got {part.dtype}")
    return read if isinstance(index, tuple) else read[0]


@method("__getitem__")
def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``: integers, slices, ``None``, ``...``, boolean masks and integer tensors, as in NumPy.

    >>> import minivgg
    >>> x = minivgg.arange(6).reshape(2, 3)
    >>> x[0, 1:], x[x > 3]
    (tensor([1, 2]), tensor([4, 5]))
    """
    index = _read_index(input, index)
    try:
        return Get.apply(input, index)
    except IndexError as error:
        raise _OutOfRange("getitem", str(error), shape=input.shape) from None


class _OutOfRange(ArgumentError, IndexError):
    """Iteration over a tensor and the user's ``except IndexError`` both rely on this class."""


@method("__setitem__")
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``, in place; the gradient of what is overwritten becomes 0."""
    index = _read_index(input, index)
    value = as_tensor(value, like=input).to(input.dtype)
    try:
        Set.apply_(input, value, index)
    except IndexError as error:
        raise _OutOfRange("setitem", str(error), shape=input.shape) from None
    except ValueError as error:
        raise ShapeError("setitem", f"a value of shape {value.shape} does not fit: {error}", input=input.shape) from None


@method("__iter__")
def iterate(input: Tensor) -> Any:
    """``for row in tensor``: the entries along the first dimension."""
    if not input.ndim:
        raise TypeError("iter: a tensor without dimensions has no rows")
    return (getitem(input, i) for i in range(input.shape[0]))


@method()
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on: one element read for every element of ``index``.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0], [3.0, 4.0]]).gather(1, minivgg.tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    (axis,) = dims_of("gather", input.ndim, dim)
    if index.ndim != input.ndim:
        raise ShapeError("gather", f"index has {index.ndim} dimensions, input {input.ndim}", input=input.shape, index=index.shape)
    if index.array.size and not 0 <= int(index.array.min()) <= int(index.array.max()) < input.shape[axis]:
        raise _OutOfRange("gather", f"indices must lie in [0, {input.shape[axis] - 1}], got {int(index.array.min())} to {int(index.array.max())}")
    for i, (have, wanted) in enumerate(zip(input.shape, index.shape, strict=True)):
        if i != axis and wanted > have:
            raise ShapeError("gather", f"index is larger than input in dimension {i}", input=input.shape, index=index.shape)
        if i != axis and wanted < have:
            input = getitem(input, (slice(None),) * i + (slice(0, wanted),))
    return Gather.apply(input, axis, index.array)


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """``input`` where the condition holds, else ``other``.

    >>> import minivgg
    >>> x = minivgg.tensor([-1.0, 2.0])
    >>> minivgg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = as_tensor(condition)
    if condition.dtype != bool:
        raise DtypeError("where", f"the condition must be boolean, got {condition.dtype}")
    a, b = operands("where", input, other)
    return Where.apply(condition, a, b)


@method()
def masked_fill(input: Tensor, mask: Tensor, value: float) -> Tensor:
    """``value`` where the mask is true, else ``input``.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0]).masked_fill(minivgg.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    return where(mask, Tensor(namespace(input.array).asarray(value, dtype=input.dtype)), input)

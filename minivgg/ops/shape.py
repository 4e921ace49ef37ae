"""Operations that move elements without changing them: reshape, flatten, transpose, permute, squeeze, unsqueeze, expand,
cat, stack, split. Each one's derivative is the opposite move.

All but cat and stack return views where NumPy can: the result shares the memory, and in-place changes are noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, ShapeError
from minivgg.ops.reduce import dims_of, sum_to


class Reshape(Function):
    is_view = True

    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, grad):
        return grad.reshape(self.shape), None


class Permute(Function):
    is_view = True

    def forward(self, x, axes):
        self.axes = axes
        return x.transpose(axes)

    def backward(self, grad):
        return Permute.apply(grad, tuple(int(i) for i in numpy.argsort(self.axes))), None


class Expand(Function):
    is_view = True

    def forward(self, x, shape):
        self.shape = x.shape
        return namespace(x).broadcast_to(x, shape)

    def backward(self, grad):
        return sum_to(grad, self.shape), None


class Cat(Function):
    def forward(self, axis, *arrays):
        self.axis, self.sizes = axis, [array.shape[axis] for array in arrays]
        return namespace(arrays[0]).concatenate(arrays, axis=axis)

    def backward(self, grad):
        return (None, *split(grad, self.sizes, self.axis))


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = tuple(shape[0])
    return tuple([int(size) for size in shape])


@method()
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements, in row-major order, in another shape; one size may be -1 and follows from the others.

    >>> import minivgg
    >>> minivgg.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    sizes = _sizes(shape)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise ShapeError("reshape", f"sizes must be at least 0, one of them may be -1, got {sizes}")
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        if known == 0 or input.array.size % known:
            raise ShapeError("reshape", f"{input.array.size} elements of shape {input.shape} do not fit into {sizes}")
        sizes = tuple(input.array.size // known if size == -1 else size for size in sizes)
    elif known != input.array.size:
        raise ShapeError("reshape", f"{input.array.size} elements of shape {input.shape} do not fit into {sizes}")
    return Reshape.apply(input, sizes)


@method()
def view(input: Tensor, *shape: Any) -> Tensor:
    """``reshape`` that refuses to copy."""
    result = reshape(input, *shape)
    if result.array.size and not numpy.may_share_memory(result.array, input.array):
        raise ShapeError("view", f"shape {result.shape} needs a copy, because the memory of this tensor is not in row-major order; use reshape()", strides=input.stride())
    return result


@method()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one: (N, C, H, W) to (N, C·H·W), index c·H·W + h·W + w.

    >>> import minivgg
    >>> minivgg.zeros(2, 3, 4, 5).flatten(1).shape
    (2, 60)
    """
    if not input.ndim:
        return reshape(input, 1)
    (start,), (end,) = dims_of("flatten", input.ndim, start_dim), dims_of("flatten", input.ndim, end_dim)
    if start > end:
        raise ArgumentError("flatten", f"start_dim {start_dim} lies behind end_dim {end_dim} for {input.ndim} dimensions")
    shape = input.shape
    return reshape(input, *shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


@method()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Reorder the dimensions: result dimension i is input dimension dims[i].

    >>> import minivgg
    >>> minivgg.zeros(2, 3, 4, 5).permute(0, 2, 3, 1).shape
    (2, 4, 5, 3)
    """
    order = _sizes(dims)
    axes = dims_of("permute", input.ndim, order) if order else ()
    if len(axes) != input.ndim:
        raise ArgumentError("permute", f"needs each of the {input.ndim} dimensions once, got {order}")
    return Permute.apply(input, axes)


@method()
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions.

    >>> import minivgg
    >>> minivgg.zeros(2, 3).transpose(0, 1).shape
    (3, 2)
    """
    axes = list(range(input.ndim))
    (first,), (second,) = dims_of("transpose", input.ndim, dim0), dims_of("transpose", input.ndim, dim1)
    axes[first], axes[second] = second, first
    return Permute.apply(input, tuple(axes))


@method()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors are returned as they are."""
    if input.ndim > 2:
        raise ShapeError("t", f"expects at most 2 dimensions, got {input.ndim}", input=input.shape)
    return Permute.apply(input, tuple(range(input.ndim))[::-1])


@method()
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Drop dimensions of size 1: all of them, or the given ones.

    >>> import minivgg
    >>> minivgg.zeros(1, 3, 1).squeeze().shape, minivgg.zeros(1, 3, 1).squeeze(0).shape
    ((3,), (3, 1))
    """
    axes = dims_of("squeeze", input.ndim, dim)
    return Reshape.apply(input, tuple([size for i, size in enumerate(input.shape) if size != 1 or i not in axes]))


@method()
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of size 1.

    >>> import minivgg
    >>> minivgg.zeros(3).unsqueeze(0).shape
    (1, 3)
    """
    (axis,) = dims_of("unsqueeze", input.ndim + 1, dim)
    return Reshape.apply(input, (*input.shape[:axis], 1, *input.shape[axis:]))


@method()
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Repeat dimensions of size 1 without copying (their stride becomes 0); -1 keeps a size.

    >>> import minivgg
    >>> minivgg.tensor([[1.0], [2.0]]).expand(2, 3)
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    shape = _sizes(sizes)
    lead = len(shape) - input.ndim
    target = tuple(input.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(shape))
    if lead < 0 or any(size < 0 for size in target) or any(have not in (1, size) for have, size in zip(input.shape, target[lead:], strict=True)):
        raise ShapeError("expand", f"shape {input.shape} does not expand to {shape}: only dimensions of size 1 and new leading ones can grow")
    return Expand.apply(input, target)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension; all other sizes are equal.

    >>> import minivgg
    >>> minivgg.cat([minivgg.zeros(2, 3), minivgg.ones(1, 3)]).shape
    (3, 3)
    """
    if not len(tensors):
        raise ArgumentError("cat", "needs at least one tensor")
    first = tensors[0]
    (axis,) = dims_of("cat", first.ndim, dim) or (0,)
    for i, tensor in enumerate(tensors):
        if tensor.ndim != first.ndim or any(a != b for j, (a, b) in enumerate(zip(tensor.shape, first.shape, strict=True)) if j != axis):
            raise ShapeError("cat", f"tensor {i} has shape {tensor.shape}, tensor 0 {first.shape}: only dimension {axis} may differ")
    dtype = numpy.result_type(*(tensor.dtype for tensor in tensors))
    return Cat.apply(axis, *(tensor.to(dtype) for tensor in tensors))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    >>> import minivgg
    >>> minivgg.stack([minivgg.zeros(3), minivgg.ones(3)], dim=1).shape
    (3, 2)
    """
    for i, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ShapeError("stack", f"tensor {i} has shape {tensor.shape}, tensor 0 {tensors[0].shape}")
    return cat([unsqueeze(tensor, dim) for tensor in tensors], dim)


@method()
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along a dimension into pieces of one size (the last may be smaller), or of the given sizes.

    >>> import minivgg
    >>> [piece.shape for piece in minivgg.arange(5).split(2)]
    [(2,), (2,), (1,)]
    """
    (axis,) = dims_of("split", tensor.ndim, dim)
    total = tensor.shape[axis]
    if isinstance(split_size_or_sections, int):
        if split_size_or_sections < 1:
            raise ArgumentError("split", f"the size must be at least 1, got {split_size_or_sections}")
        sizes = [min(split_size_or_sections, total - start) for start in range(0, total, split_size_or_sections)] or [0]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise ShapeError("split", f"sizes {sizes} do not add up to {total}, the size of dimension {axis}")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(tensor[(slice(None),) * axis + (slice(start, start + size),)])
        start += size
    return tuple(pieces)

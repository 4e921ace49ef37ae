"""Operations that give the same elements another shape: reshape, view, flatten, permute, transpose, t, squeeze, unsqueeze, expand.

Each one's derivative is the opposite move. They return views where NumPy can: the result shares the memory, and in-place
changes of it are noticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, ShapeError
from minivgg.ops.arguments import check_tensors, read_int
from minivgg.ops.reduce import dims_of, sum_to
from minivgg.registry import ErrorSample, Operation, Sample
from minivgg.spec import check_size


class Reshape(Function):
    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, grad):
        return Reshape.apply(grad, self.shape), None


class Permute(Function):
    def forward(self, x, axes):
        self.axes = axes
        return x.transpose(axes)

    def backward(self, grad):
        return Permute.apply(grad, tuple(self.axes.index(i) for i in range(len(self.axes)))), None


class Expand(Function):
    def forward(self, x, shape):
        self.shape = x.shape
        return namespace(x).broadcast_to(x, shape)

    def backward(self, grad):
        return sum_to(grad, self.shape), None


def _sizes(operation: str, what: str, input: Tensor, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    check_tensors(operation, input=input)
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = tuple(shape[0])
    return tuple([read_int(operation, what, size) for size in shape])


@method()
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements, in row-major order, in another shape; one size may be -1 and follows from the others.

    >>> import minivgg
    >>> minivgg.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    sizes, total = _sizes("reshape", "a size", input, shape), input.array.size
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise ShapeError("reshape", f"sizes must be at least 0, one of them may be -1, got {sizes}")
    known = math.prod(size for size in sizes if size != -1)
    fits = known and total % known == 0 if -1 in sizes else known == total
    if not fits:
        raise ShapeError("reshape", f"{total} elements of shape {input.shape} do not fit into {sizes}")
    return Reshape.apply(input, tuple([total // known if size == -1 else size for size in sizes]))


@method()
def view(input: Tensor, *shape: Any) -> Tensor:
    """``reshape`` that refuses to copy.

    >>> import minivgg
    >>> minivgg.zeros(2, 3).view(3, 2).shape
    (3, 2)
    """
    result = reshape(input, *shape)
    if result.array.size and not namespace(input.array).may_share_memory(result.array, input.array):
        raise ShapeError(
            "view", f"shape {result.shape} needs a copy, because the elements do not lie in row-major order; use reshape()", strides=input.stride()
        )
    return result


@method()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one: (N, C, H, W) to (N, C·H·W), index c·H·W + h·W + w.

    >>> import minivgg
    >>> minivgg.zeros(2, 3, 4, 5).flatten(1).shape
    (2, 60)
    """
    check_tensors("flatten", input=input)
    start, end = (dims_of("flatten", input.ndim, read_int("flatten", "start_dim and end_dim", dim)) for dim in (start_dim, end_dim))
    if not input.ndim:
        return reshape(input, 1)
    if start > end:
        raise ArgumentError("flatten", f"start_dim {start_dim} lies behind end_dim {end_dim} for {input.ndim} dimensions")
    shape, first, last = input.shape, start[0], end[0] + 1
    return Reshape.apply(input, (*shape[:first], math.prod(shape[first:last]), *shape[last:]))


@method()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Reorder the dimensions: result dimension i is input dimension dims[i].

    >>> import minivgg
    >>> minivgg.zeros(2, 3, 4, 5).permute(0, 2, 3, 1).shape
    (2, 4, 5, 3)
    """
    order = _sizes("permute", "a dimension", input, dims)
    axes = dims_of("permute", input.ndim, order) if order else ()
    if not len(axes) == len(order) == input.ndim:
        raise ArgumentError("permute", f"needs each of the {input.ndim} dimensions once, got {order}")
    return Permute.apply(input, axes)


@method()
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions.

    >>> import minivgg
    >>> minivgg.zeros(2, 3).transpose(0, 1).shape
    (3, 2)
    """
    check_tensors("transpose", input=input)
    axes = list(range(input.ndim))
    first, second = (dims_of("transpose", input.ndim, read_int("transpose", "dim0 and dim1", dim)) for dim in (dim0, dim1))
    if axes:
        axes[first[0]], axes[second[0]] = second[0], first[0]
    return Permute.apply(input, tuple(axes))


@method()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector is returned as it is.

    >>> import minivgg
    >>> minivgg.zeros(2, 3).t().shape
    (3, 2)
    """
    check_tensors("t", input=input)
    if input.ndim > 2:
        raise ShapeError("t", f"expects at most 2 dimensions, got {input.ndim}", input=input.shape)
    return Permute.apply(input, tuple(range(input.ndim))[::-1])


method("T")(property(lambda self: Permute.apply(self, tuple(range(self.ndim))[::-1]), doc="All dimensions in reverse order."))
method("mT")(property(lambda self: transpose(self, -2, -1), doc="The last two dimensions swapped."))


@method()
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Drop dimensions of size 1: all of them, or the given ones.

    >>> import minivgg
    >>> minivgg.zeros(1, 3, 1).squeeze().shape, minivgg.zeros(1, 3, 1).squeeze(0).shape
    ((3,), (3, 1))
    """
    check_tensors("squeeze", input=input)
    axes = () if dim == () else dims_of("squeeze", input.ndim, dim)
    return Reshape.apply(input, tuple([size for i, size in enumerate(input.shape) if size != 1 or i not in axes]))


@method()
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of size 1.

    >>> import minivgg
    >>> minivgg.zeros(3).unsqueeze(0).shape
    (1, 3)
    """
    check_tensors("unsqueeze", input=input)
    (axis,) = dims_of("unsqueeze", input.ndim + 1, read_int("unsqueeze", "dim", dim))
    return Reshape.apply(input, (*input.shape[:axis], 1, *input.shape[axis:]))


@method()
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Repeat dimensions of size 1 without copying (their stride becomes 0); -1 keeps a size.

    >>> import minivgg
    >>> minivgg.tensor([[1.0], [2.0]]).expand(2, 3)
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    shape = _sizes("expand", "a size", input, sizes)
    lead = len(shape) - input.ndim
    target = tuple(input.shape[i - lead] if size == -1 and i >= lead else size for i, size in enumerate(shape))
    if lead < 0 or any(size < 0 for size in target) or any(have not in (1, size) for have, size in zip(input.shape, target[lead:], strict=True)):
        raise ShapeError("expand", f"shape {input.shape} does not expand to {shape}: only dimensions of size 1 and new leading ones can grow")
    check_size("expand", target, input=input.shape)
    return Expand.apply(input, target)


def _calls(*calls: tuple[Any, ...]) -> Callable[[numpy.random.Generator], Iterable[Sample]]:
    """Samples from (shape, arguments...)."""
    return lambda rng: [Sample((rng.standard_normal(shape), *arguments)) for shape, *arguments in calls]


def _refusals(*calls: tuple[Any, ...]) -> Callable[[], Iterable[ErrorSample]]:
    """Error samples from (shape, arguments..., error, message)."""
    return lambda: [ErrorSample((numpy.zeros(shape), *arguments), {}, error, text) for shape, *arguments, error, text in calls]


def _oracle_flatten(x: numpy.ndarray, start: int = 0, end: int = -1) -> numpy.ndarray:
    if not x.ndim:
        return x.reshape(1)
    first, last = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:first], int(numpy.prod(x.shape[first : last + 1])), *x.shape[last + 1 :])


Operation(
    reshape,
    shapes="* -> _",
    samples=_calls(((2, 6), 3, 4), ((2, 6), (-1, 3)), ((6,), [2, 3]), ((1,), ()), ((), 1, 1), ((0, 3), -1), ((0, 3), 2, 0)),
    oracle=lambda x, *shape: numpy.reshape(x, shape[0] if isinstance(shape[0], tuple | list) else shape),
    errors=_refusals(
        ((2, 3), 4, ShapeError, "reshape: 6 elements of shape (2, 3) do not fit into (4,)"),
        ((2, 3), 4, -1, ShapeError, "reshape: 6 elements of shape (2, 3) do not fit into (4, -1)"),
        ((0, 3), 0, -1, ShapeError, "reshape: 0 elements of shape (0, 3) do not fit into (0, -1)"),
        ((2, 3), -1, -1, ShapeError, "reshape: sizes must be at least 0, one of them may be -1, got (-1, -1)"),
    ),
    torch="Tensor.reshape",
)
Operation(
    flatten,
    shapes="* -> _",
    samples=_calls(((2, 3, 4),), ((2, 3, 4), 1), ((2, 3, 4), -3, -2), ((2, 0), 0), ((),), ((3,), 0, 0)),
    oracle=_oracle_flatten,
    errors=_refusals(((2, 3), 1, 0, ArgumentError, "flatten: start_dim 1 lies behind end_dim 0 for 2 dimensions")),
    torch="flatten",
)
Operation(
    permute,
    shapes="* -> _",
    samples=_calls(((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (0, -1, 1)), ((3,), (0,)), ((), ()), ((2, 0), [1, 0])),
    oracle=numpy.transpose,
    errors=_refusals(
        ((2, 3), (0,), ArgumentError, "permute: needs each of the 2 dimensions once, got (0,)"),
        ((2, 3), (0, 0), ArgumentError, "permute: dim names a dimension twice, got (0, 0)"),
    ),
    torch="permute",
)
Operation(
    transpose,
    shapes="* -> _",
    samples=_calls(((2, 3, 4), 0, 2), ((2, 3, 4), -1, -2), ((2, 3), 1, 1), ((), 0, -1), ((2, 0), 0, 1)),
    oracle=lambda x, dim0, dim1: numpy.swapaxes(x, dim0, dim1) if x.ndim else x,
    errors=_refusals(((2, 3), 0, 2, ArgumentError, "transpose: dim must lie in [-2, 1] for 2 dimensions, got 2")),
    torch="transpose",
)
Operation(
    t,
    shapes="* -> _",
    samples=_calls(((2, 3),), ((3,),), ((),)),
    oracle=numpy.transpose,
    errors=_refusals(((2, 3, 4), ShapeError, "t: expects at most 2 dimensions, got 3 (input (2, 3, 4))")),
    torch="t",
)
Operation(
    squeeze,
    shapes="* -> _",
    samples=_calls(((1, 3, 1),), ((1, 3, 1), -1), ((1, 3, 1), 1), ((1, 3, 1), (0, 1)), ((),), ((1, 0),)),
    oracle=lambda x, dim=None: numpy.squeeze(x, None if dim is None else tuple(d for d in numpy.atleast_1d(dim) if x.shape[d] == 1)),
    errors=_refusals(((2, 3), 2, ArgumentError, "squeeze: dim must lie in [-2, 1] for 2 dimensions, got 2")),
    torch="squeeze",
)
Operation(
    unsqueeze,
    shapes="* -> _",
    samples=_calls(((2, 3), 0), ((2, 3), -1), ((2, 3), 1), ((), 0), ((0,), 1)),
    oracle=numpy.expand_dims,
    errors=_refusals(((2, 3), 3, ArgumentError, "unsqueeze: dim must lie in [-3, 2] for 3 dimensions, got 3")),
    torch="unsqueeze",
)
Operation(
    expand,
    shapes="* -> _",
    samples=_calls(((2, 1), 2, 3), ((2, 1), (4, -1, 3)), ((1,), 3), ((), 2, 2), ((1, 3), 0, 3), ((), ())),
    oracle=lambda x, *sizes: _oracle_expand(x, sizes[0] if isinstance(sizes[0], tuple) else sizes),
    errors=_refusals(
        ((2, 3), 4, 3, ShapeError, "expand: shape (2, 3) does not expand to (4, 3): only dimensions of size 1 and new leading ones can grow"),
        ((2,), -1, 2, ShapeError, "expand: shape (2,) does not expand to (-1, 2): only dimensions of size 1 and new leading ones can grow"),
    ),
    torch="Tensor.expand",
)


def _oracle_expand(x: numpy.ndarray, sizes: tuple[int, ...]) -> numpy.ndarray:
    have = (1,) * (len(sizes) - x.ndim) + x.shape
    return x + numpy.zeros([old if new == -1 else new for old, new in zip(have, sizes, strict=True)])

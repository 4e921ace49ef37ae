"""The largest and the smallest: max, min, argmax, argmin of one tensor; maximum, minimum of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_flags, check_tensors, read_int
from minivgg.ops.arithmetic import pair_errors
from minivgg.ops.promotion import Operand, operands
from minivgg.ops.reduce import dims_of, sum_to
from minivgg.ops.where import keep
from minivgg.registry import ErrorSample, Operation, Sample


class ValuesAndIndices(NamedTuple):
    """What ``max(dim=...)`` and ``min(dim=...)`` return."""

    values: Tensor
    indices: Tensor


class Extremum(Function):
    """max or min over all elements; elements that tie share the gradient equally."""

    def forward(self, x, name):
        out = getattr(x, name)()
        self.save_for_backward((x == out) | (x != x))  # a nan is the extreme element
        return out

    def backward(self, grad):
        (ties,) = self.saved_tensors
        return keep((grad / ties.sum()).expand(ties.shape), ties), None


class Extreme(Function):
    """maximum or minimum of two; where they are equal, each gets half of the gradient."""

    def forward(self, a, b, name):
        self.shapes = a.shape, b.shape
        a_loses, b_loses = (a < b, a > b) if name == "maximum" else (a > b, a < b)
        self.save_for_backward(~a_loses, ~b_loses, a == b)
        return getattr(namespace(a), name)(a, b)

    def backward(self, grad):
        a_shares, b_shares, equal = self.saved_tensors
        need_a, need_b, _ = self.needs_input_grad
        grad = grad / (1 + equal.to(grad.dtype))
        return sum_to(keep(grad, a_shares), self.shapes[0]) if need_a else None, sum_to(keep(grad, b_shares), self.shapes[1]) if need_b else None, None


def _check_numbers(operation: str, input: Tensor) -> None:
    check_tensors(operation, input=input)
    if input.dtype.kind == "b":
        raise DtypeError(operation, "takes numbers, got bool")


def _argument(operation: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """The index of the first extreme element; a nan wins."""
    check_tensors(operation, input=input)
    check_flags(operation, keepdim=keepdim)
    axes = () if dim is None else dims_of(operation, input.ndim, read_int(operation, "dim", dim))
    if (dim is None and not input.array.size) or 0 in [input.shape[axis] for axis in axes]:
        raise ArgumentError(operation, "an empty tensor has no extreme element", shape=input.shape, dim=dim)
    xp = namespace(input.array)
    return Tensor(xp.asarray(getattr(input.array, operation)(axis=None if dim is None or not axes else axes[0], keepdims=keepdim)))


@method()
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element (the first of equals) along ``dim``, or in the flattened tensor.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 3.0, 3.0]).argmax().item()
    1
    """
    _check_numbers("argmax", input)
    return _argument("argmax", input, dim, keepdim)


@method()
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element (the first of equals) along ``dim``, or in the flattened tensor.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 0.0], [2.0, 3.0]]).argmin(dim=1)
    tensor([1, 0])
    """
    _check_numbers("argmin", input)
    return _argument("argmin", input, dim, keepdim)


def _extremum(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    check_tensors(name, input=input)
    check_flags(name, keepdim=keepdim)
    if isinstance(dim, Tensor):
        return (maximum if name == "max" else minimum)(input, dim)
    if dim is None:
        if not input.array.size:
            raise ArgumentError(name, "an empty tensor has no extreme element", shape=input.shape)
        return Extremum.apply(input, name)
    axis = dims_of(name, input.ndim, read_int(name, "dim", dim))
    if not axis:
        return ValuesAndIndices(input.reshape(()), Tensor(namespace(input.array).zeros((), "int64")))
    if not input.shape[axis[0]]:
        raise ArgumentError(name, "an empty dimension has no extreme element", shape=input.shape, dim=dim)
    indices = _argument("arg" + name, input, dim, True)
    values = input.gather(dim, indices)
    return ValuesAndIndices(values, indices) if keepdim else ValuesAndIndices(values.squeeze(dim), indices.squeeze(dim))


@method()
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; with ``dim``, (values, indices) along it; with a tensor, the elementwise maximum.

    Without ``dim``, equal largest elements share the gradient; with it, the element at the returned index gets it all.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 5.0], [4.0, 2.0]]).max(dim=1).indices
    tensor([1, 0])
    """
    return _extremum("max", input, dim, keepdim)


@method()
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; the same three forms as ``max``.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 5.0], [4.0, 2.0]]).min().item()
    1.0
    """
    return _extremum("min", input, dim, keepdim)


@method()
def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two, elementwise; nan wins.

    >>> import minivgg
    >>> minivgg.maximum(minivgg.tensor([1.0, 5.0]), minivgg.tensor([2.0, 3.0]))
    tensor([2., 5.])
    """
    return Extreme.apply(*operands("maximum", input, other), "maximum")


@method()
def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two, elementwise; nan wins.

    >>> import minivgg
    >>> minivgg.minimum(minivgg.tensor([1.0, 5.0]), minivgg.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    return Extreme.apply(*operands("minimum", input, other), "minimum")


def _distinct(rng: numpy.random.Generator, shape: tuple[int, ...]) -> numpy.ndarray:
    """Numbers in random order that differ by at least 0.5, so that no small step changes which is the largest."""
    return numpy.asarray(0.5 * rng.permutation(math.prod(shape)).reshape(shape) - 1.0)


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((2, 3), (), (1,)):
        yield Sample((_distinct(rng, shape),))
    for dim, keepdim in ((0, False), (-1, False), (1, True)):
        yield Sample((_distinct(rng, (2, 4, 3)),), {"dim": dim, "keepdim": keepdim})
    yield Sample((_distinct(rng, (0, 3)), 1))


def _argument_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from _samples(rng)
    yield Sample((_distinct(rng, (2, 3)),), {"keepdim": True})


def _pairs(rng: numpy.random.Generator) -> Iterable[Sample]:
    for left, right in (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((), ()), ((0, 3), (1, 3))):
        yield Sample((_distinct(rng, left), numpy.asarray(_distinct(rng, right) + 0.25)))


def _errors(name: str) -> Callable[[], Iterable[ErrorSample]]:
    def errors() -> Iterable[ErrorSample]:
        text = "an empty tensor has no extreme element (shape (0, 3)" + (", dim None)" if name.startswith("arg") else ")")
        yield ErrorSample((numpy.zeros((0, 3)),), {}, ArgumentError, f"{name}: {text}")
        text = "dim must lie in [-1, 0] for 1 dimensions, got 1"
        yield ErrorSample((numpy.zeros(2), 1), {}, ArgumentError, f"{name}: {text}")

    return errors


def _oracle(name: str) -> Callable[..., Any]:
    whole, where = getattr(numpy, name), getattr(numpy, f"arg{name}")

    def oracle(x: numpy.ndarray, dim: int | None = None, keepdim: bool = False) -> Any:
        return whole(x) if dim is None else (whole(x, dim, keepdims=keepdim), where(x, dim, keepdims=keepdim))

    return oracle


for _function in (max, min):
    _name = _function.__name__
    Operation(_function, shapes="* -> _, _?", samples=_samples, oracle=_oracle(_name), errors=_errors(_name), torch=_name)
for _function, _oracle_of in ((argmax, numpy.argmax), (argmin, numpy.argmin)):
    _name = _function.__name__
    Operation(
        _function,
        shapes="* -> _",
        samples=_argument_samples,
        oracle=lambda x, dim=None, keepdim=False, oracle=_oracle_of: oracle(x, dim, keepdims=keepdim),
        errors=_errors(_name),
        order=0,
        torch=_name,
    )
Operation(maximum, shapes="..., ... -> ...", samples=_pairs, oracle=numpy.maximum, errors=pair_errors("maximum"), torch="maximum")
Operation(minimum, shapes="..., ... -> ...", samples=_pairs, oracle=numpy.minimum, errors=pair_errors("minimum"), torch="minimum")

"""Choice by a mask: where, masked_fill."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_fits, check_tensors
from minivgg.ops.cast import to
from minivgg.ops.promotion import Operand, as_tensor, check_broadcast, operands
from minivgg.ops.reduce import sum_to
from minivgg.registry import ErrorSample, Operation, Sample


class Where(Function):
    def forward(self, condition, a, b):
        self.shapes = a.shape, b.shape
        self.save_for_backward(condition)
        return namespace(condition).where(condition, a, b)

    def backward(self, grad):
        (condition,) = self.saved_tensors
        _, need_a, need_b = self.needs_input_grad
        zero = zero_of(grad)
        return (
            None,
            sum_to(Where.apply(condition, grad, zero), self.shapes[0]) if need_a else None,
            sum_to(Where.apply(condition, zero, grad), self.shapes[1]) if need_b else None,
        )


def zero_of(like: Tensor) -> Tensor:
    """0 without dimensions, in another tensor's dtype."""
    return Tensor(namespace(like.array).zeros((), like.dtype))


def keep(input: Tensor, mask: Tensor) -> Tensor:
    """``input`` where the mask is true, else 0: what ``input * mask`` is for finite input, and inf · 0 is not."""
    return Where.apply(mask, input, zero_of(input))


def where(condition: Any, input: Operand, other: Operand) -> Tensor:
    """``input`` where the condition holds, else ``other``.

    >>> import minivgg
    >>> x = minivgg.tensor([-1.0, 2.0])
    >>> minivgg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = as_tensor(condition)
    if condition.dtype.kind != "b":
        raise DtypeError("where", f"the condition must be boolean, got {condition.dtype}")
    a, b = operands("where", input, other)
    check_broadcast("where", condition.shape, a.shape, b.shape)
    return Where.apply(condition, a, b)


@method()
def masked_fill(input: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """``value`` (a number, or a tensor without dimensions) where the mask is true, else ``input``.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0]).masked_fill(minivgg.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    check_tensors("masked_fill", input=input, mask=mask)
    if mask.dtype.kind != "b":
        raise DtypeError("masked_fill", f"the mask must be boolean, got {mask.dtype}")
    if not isinstance(value, Tensor | int | float | numpy.number | numpy.bool_):
        raise DtypeError("masked_fill", f"the value must be a number or a tensor without dimensions, got {value!r}")
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError("masked_fill", f"the value must be a number or have no dimensions, got shape {value.shape}; use where()")
    if input.dtype.kind in "iu":
        check_fits("masked_fill", input.dtype, value.array.item() if isinstance(value, Tensor) else value)
    with numpy.errstate(over="ignore"):  # a number that float32 does not hold is infinity, as in arithmetic
        fill = value if isinstance(value, Tensor) else Tensor(namespace(input.array).full((), value, input.dtype))
    check_broadcast("masked_fill", input.shape, mask.shape)
    return Where.apply(mask, to(fill, input.dtype), input)


def _where_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for condition, left, right in (((2, 3), (2, 3), (2, 3)), ((3,), (2, 1), ()), ((2, 1), (), (3,)), ((), (), ()), ((0, 2), (2,), (1, 2))):
        yield Sample((numpy.asarray(rng.random(condition) < 0.5), rng.standard_normal(left), rng.standard_normal(right)))


def _where_errors() -> Iterable[ErrorSample]:
    x = numpy.zeros(2)
    yield ErrorSample((numpy.zeros(2, "int64"), x, x), {}, DtypeError, "where: the condition must be boolean, got int64")
    text = "where: shapes (3,), (2,) and (2,) do not broadcast: counted from the last, two dimensions must be equal or one of them 1"
    yield ErrorSample((numpy.zeros(3, bool), x, x), {}, ShapeError, text)


def _fill_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for mask, shape in (((2, 3), (2, 3)), ((3,), (2, 3)), ((2, 3), (3,)), ((), ()), ((0, 2), (0, 2))):
        yield Sample((rng.standard_normal(shape), numpy.asarray(rng.random(mask) < 0.5), 2.5))
    yield Sample((rng.standard_normal((2, 3)), rng.random(3) < 0.5, rng.standard_normal(())))


def _fill_errors() -> Iterable[ErrorSample]:
    x, mask = numpy.zeros(2), numpy.zeros(2, bool)
    yield ErrorSample((x, x, 0.0), {}, DtypeError, "masked_fill: the mask must be boolean, got float64")
    yield ErrorSample((x.astype("uint8"), mask, 300), {}, ArgumentError, "masked_fill: 300 does not fit into uint8")
    yield ErrorSample((x.astype("int64"), mask, math.inf), {}, ArgumentError, "masked_fill: inf does not fit into int64")
    yield ErrorSample((x, mask, x), {}, ShapeError, "masked_fill: the value must be a number or have no dimensions, got shape (2,); use where()")


Operation(where, shapes="..., ..., ... -> ...", samples=_where_samples, oracle=numpy.where, errors=_where_errors, torch="where")
Operation(
    masked_fill,
    shapes="..., ..., ...? -> ...",
    samples=_fill_samples,
    oracle=lambda x, mask, value: numpy.where(mask, value, x),
    errors=_fill_errors,
    torch="masked_fill",
)

"""Comparisons and logic: boolean tensors, through which no gradient flows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import Tensor, as_tensor, method
from minivgg.backend import namespace
from minivgg.ops.arithmetic import operands


def _comparison(name: str, symbol: str) -> Callable[[Any, Any], Tensor]:
    compute = getattr(operator, name)

    def compare(input: Any, other: Any) -> Tensor:
        a, b = operands(name, input, other)
        return Tensor(numpy.asarray(compute(a.array, b.array)) if a.device == "cpu" else compute(a.array, b.array))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"``input {symbol} other``, elementwise: a boolean tensor."
    return compare


lt, le, gt, ge = _comparison("lt", "<"), _comparison("le", "<="), _comparison("gt", ">"), _comparison("ge", ">=")
eq, ne = _comparison("eq", "=="), _comparison("ne", "!=")

for _function in (lt, le, gt, ge, eq, ne):
    method(_function.__name__, f"__{_function.__name__}__")(_function)


@method()
def isnan(input: Tensor) -> Tensor:
    """Where the element is not a number."""
    return Tensor(namespace(input.array).isnan(input.array))


@method()
def isfinite(input: Tensor) -> Tensor:
    """Where the element is neither infinite nor nan."""
    return Tensor(namespace(input.array).isfinite(input.array))


@method()
def any(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether any element is true (not zero)."""
    return Tensor(numpy.asarray(input.array.any(axis=dim, keepdims=keepdim)))


@method()
def all(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true (not zero)."""
    return Tensor(numpy.asarray(input.array.all(axis=dim, keepdims=keepdim)))


@method()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    return input.shape == other.shape and bool((input.array == other.array).all())


@method()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """|input - other| <= atol + rtol · |other| everywhere.

    >>> import minivgg
    >>> minivgg.allclose(minivgg.ones(2), minivgg.ones(2) + 1e-9)
    True
    """
    return bool(namespace(input.array).allclose(input.array, as_tensor(other, like=input).array, rtol=rtol, atol=atol, equal_nan=equal_nan))

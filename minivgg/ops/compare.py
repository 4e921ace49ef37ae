"""Comparisons and logic: boolean tensors, through which no gradient flows."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from minivgg.autograd import Tensor, method
from minivgg.backend import is_array, namespace
from minivgg.errors import DtypeError
from minivgg.ops.arguments import check_flags, check_tensors
from minivgg.ops.arithmetic import pair_errors
from minivgg.ops.promotion import Operand, as_tensor, operands
from minivgg.ops.reduce import Dim, dims_of
from minivgg.registry import Operation, Sample


def _comparison(name: str, symbol: str) -> Callable[[Operand, Operand], Tensor]:
    compute = getattr(operator, name)

    def compare(input: Operand, other: Operand) -> Tensor:
        a, b = operands(name, input, other)
        return _boolean(compute(a.array, b.array), a)

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"``input {symbol} other``, elementwise: a boolean tensor; false with nan, except for ``!=``."
    return compare


def _boolean(result: Any, like: Tensor) -> Tensor:
    """NumPy makes scalars of arrays without dimensions."""
    return Tensor(namespace(like.array).asarray(result))


lt, le, gt, ge = _comparison("lt", "<"), _comparison("le", "<="), _comparison("gt", ">"), _comparison("ge", ">=")
eq, ne = _comparison("eq", "=="), _comparison("ne", "!=")

for _function in (lt, le, gt, ge):
    method(_function.__name__, f"__{_function.__name__}__")(_function)


def _equality(function: Callable[[Operand, Operand], Tensor]) -> Callable[[Tensor, Any], Any]:
    def compare(self: Tensor, other: Any) -> Any:
        comparable = is_array(other) or isinstance(other, Tensor | bool | int | float | numpy.generic)
        return function(self, other) if comparable else NotImplemented  # so that x == None is False, as everywhere in Python

    return compare


for _function in (eq, ne):
    method(_function.__name__)(_function)
    method(f"__{_function.__name__}__")(_equality(_function))


def _logic(name: str) -> Callable[[Tensor, Operand], Tensor]:
    compute = getattr(operator, f"__{name}__")

    def combine(self: Tensor, other: Operand) -> Tensor:
        a, b = operands(name, self, other)
        if a.dtype.kind == "f":
            raise DtypeError(name, f"takes booleans or integers, got {a.dtype}")
        return _boolean(compute(a.array, b.array), a)

    return combine


for _name in ("and", "or", "xor"):
    method(f"__{_name}__", f"__r{_name}__")(_logic(_name))


@method("__invert__")
def invert(input: Tensor) -> Tensor:
    """``~input``: true where the element is false; of an integer, all bits turned over.

    >>> import minivgg
    >>> ~minivgg.tensor([True, False])
    tensor([False,  True])
    """
    if input.dtype.kind == "f":
        raise DtypeError("invert", f"takes booleans or integers, got {input.dtype}")
    return _boolean(~input.array, input)


@method()
def isnan(input: Tensor) -> Tensor:
    """Where the element is not a number.

    >>> import minivgg
    >>> minivgg.isnan(minivgg.tensor([1.0, float("nan")]))
    tensor([False,  True])
    """
    check_tensors("isnan", input=input)
    return _boolean(namespace(input.array).isnan(input.array), input)


@method()
def isfinite(input: Tensor) -> Tensor:
    """Where the element is neither infinite nor nan.

    >>> import minivgg
    >>> minivgg.isfinite(minivgg.tensor([1.0, float("inf")]))
    tensor([ True, False])
    """
    check_tensors("isfinite", input=input)
    return _boolean(namespace(input.array).isfinite(input.array), input)


@method()
def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether any element is true (not zero), over all dimensions or the given ones.

    >>> import minivgg
    >>> minivgg.tensor([[True, False], [False, False]]).any(dim=1)
    tensor([ True, False])
    """
    check_tensors("any", input=input)
    check_flags("any", keepdim=keepdim)
    return _boolean(input.array.any(axis=dims_of("any", input.ndim, dim), keepdims=keepdim), input)


@method()
def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true (not zero), over all dimensions or the given ones.

    >>> import minivgg
    >>> minivgg.tensor([[True, False], [True, True]]).all(dim=1)
    tensor([False,  True])
    """
    check_tensors("all", input=input)
    check_flags("all", keepdim=keepdim)
    return _boolean(input.array.all(axis=dims_of("all", input.ndim, dim), keepdims=keepdim), input)


@method()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements.

    >>> import minivgg
    >>> minivgg.equal(minivgg.ones(2), minivgg.ones(2, 1))
    False
    """
    return input.shape == other.shape and bool((input.array == other.array).all())


@method()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """|input - other| <= atol + rtol · |other| everywhere.

    >>> import minivgg
    >>> minivgg.allclose(minivgg.ones(2), minivgg.ones(2) + 1e-9)
    True
    """
    return bool(namespace(input.array).allclose(input.array, as_tensor(other, like=input).array, rtol=rtol, atol=atol, equal_nan=equal_nan))


def _pairs(rng: numpy.random.Generator) -> Iterable[Sample]:
    """Small whole numbers, so that many are equal."""
    for left, right in (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((), ()), ((0, 3), (1, 3))):
        yield Sample(tuple(numpy.asarray(rng.integers(0, 3, shape), "float64") for shape in (left, right)))
    yield Sample((numpy.array([1.0, math.nan, math.inf]), 1))


def _special(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield Sample((numpy.array([[0.0, math.nan], [math.inf, -math.inf]]),))
    yield Sample((numpy.array(math.nan),))


def _reductions(rng: numpy.random.Generator) -> Iterable[Sample]:
    for dim, keepdim in ((None, False), (0, False), (-1, True)):
        yield Sample((rng.random((3, 2)) < 0.5, dim, keepdim))
    yield Sample((numpy.zeros((0, 2)), 0))


for _function in (lt, le, gt, ge, eq, ne):
    _name = _function.__name__
    Operation(_function, shapes="..., ... -> ...", samples=_pairs, oracle=getattr(operator, _name), errors=pair_errors(_name), order=0, torch=_name)
for _test in (isnan, isfinite):
    Operation(_test, shapes="* -> *", samples=_special, oracle=getattr(numpy, _test.__name__), order=0, torch=_test.__name__)
for _reduction, _oracle in ((any, numpy.any), (all, numpy.all)):
    Operation(
        _reduction,
        shapes="* -> _",
        samples=_reductions,
        oracle=lambda x, dim=None, keepdim=False, oracle=_oracle: oracle(x, axis=dim, keepdims=keepdim),
        order=0,
        torch=_reduction.__name__,
    )

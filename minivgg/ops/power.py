"""pow: x ** 2, 2 ** x, x ** y."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_fits
from minivgg.ops.arithmetic import broadcasting_pairs, pair_errors
from minivgg.ops.cast import to
from minivgg.ops.promotion import Operand, operands
from minivgg.ops.reduce import sum_to
from minivgg.ops.where import keep, zero_of
from minivgg.registry import ErrorSample, Operation, Sample


class Power(Function):
    """x ** number: d/dx = number · x^(number - 1), and 0 for x ** 0."""

    def forward(self, x, exponent):
        self.exponent = exponent
        self.save_for_backward(x)
        return x**exponent

    def backward(self, grad):
        (x,) = self.saved_tensors
        if self.exponent == 0:
            return zero_of(grad).expand(grad.shape), None
        return grad * (self.exponent * x ** (self.exponent - 1)), None


class Pow(Function):
    """a ** b: d/da = b · a^(b - 1) (0 where b is 0), d/db = a^b · ln a (0 where a is 0 and b is not negative)."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a**b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        grad_a = grad_b = None
        if need_a:
            grad_a = sum_to(keep(grad * (b * a ** (b - 1)), b != 0), a.shape)
        if need_b:
            grad_b = sum_to(keep(grad * (a**b * a.log()), ~((a == 0) & (b >= 0))), b.shape)
        return grad_a, grad_b


@method("pow", "__pow__")
def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent, elementwise; 0 ** 0 is 1, a negative number to a fractional power is nan.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]) ** 2
    tensor([1., 4., 9.])
    """
    if isinstance(exponent, numpy.generic):
        exponent = exponent.item()
    if isinstance(input, Tensor) and isinstance(exponent, int | float) and input.dtype.kind != "b":
        if isinstance(exponent, float) and input.dtype.kind != "f":
            input = to(input, numpy.float32)
        _check_integers(input, exponent)
        check_fits("pow", input.dtype, exponent)
        return Power.apply(input, exponent)
    a, b = operands("pow", input, exponent)
    if a.dtype.kind == "b":
        raise DtypeError("pow", "takes numbers, got two booleans")
    _check_integers(a, b.array.min() if b.dtype.kind == "i" and b.array.size else 0)
    return Pow.apply(a, b)


def _check_integers(input: Tensor, exponent: float) -> None:
    if exponent < 0 and input.dtype.kind != "f":
        raise ArgumentError("pow", f"an integer to the negative power {int(exponent)} is no integer; use x.to(minivgg.float32)")


method("__rpow__")(lambda self, other: pow(other, self))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from broadcasting_pairs(rng)
    base = rng.uniform(0.5, 2.0, (2, 3))
    for exponent in (2, 3, 0.5, -1, -1.5, 1, 0):
        yield Sample((base, exponent))
    yield Sample((-base, 3))
    yield Sample((2.5, base))


def _errors() -> Iterable[ErrorSample]:
    yield from pair_errors("pow")()
    yield ErrorSample((numpy.ones(2, "int64"), -1), {}, ArgumentError, "pow: an integer to the negative power -1 is no integer; use x.to(minivgg.float32)")
    yield ErrorSample((numpy.ones(2, "uint8"), 300), {}, ArgumentError, "pow: 300 does not fit into uint8")


Operation(pow, shapes="..., ... -> ...", samples=_samples, oracle=numpy.power, errors=_errors, torch="pow")

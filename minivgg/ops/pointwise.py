"""Functions of one element: exp, log, sqrt, abs, clamp."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_fits, check_tensors
from minivgg.ops.cast import to
from minivgg.ops.inplace import in_place
from minivgg.ops.where import keep
from minivgg.registry import ErrorSample, Operation, Sample


class Exp(Function):
    """Its own derivative, so its output is what it saves."""

    def forward(self, x):
        out = namespace(x).exp(x)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad * out


class Log(Function):
    def forward(self, x):
        self.save_for_backward(x)
        return namespace(x).log(x)

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad / x


class Sqrt(Function):
    def forward(self, x):
        out = namespace(x).sqrt(x)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad / (2 * out)


class Abs(Function):
    """|x|; the derivative at 0 (and at nan) is taken as 0."""

    def forward(self, x):
        self.save_for_backward((x > 0).astype(x.dtype) - (x < 0).astype(x.dtype))
        return namespace(x).abs(x)

    def backward(self, grad):
        (sign,) = self.saved_tensors
        return grad * sign


class Clamp(Function):
    """min(max(x, low), high); the gradient passes where low <= x <= high."""

    def forward(self, x, low, high):
        inside = (x >= (-numpy.inf if low is None else low)) & (x <= (numpy.inf if high is None else high))
        self.save_for_backward(inside)
        return namespace(x).clip(x, low, high)

    def backward(self, grad):
        (inside,) = self.saved_tensors
        return keep(grad, inside), None, None


def _floating(operation: str, input: Tensor) -> Tensor:
    check_tensors(operation, input=input)
    return input if input.dtype.kind == "f" else to(input, numpy.float32)


@method()
def exp(input: Tensor) -> Tensor:
    """e^x; integers become float32.

    >>> import minivgg
    >>> minivgg.tensor([0.0, 1.0]).exp()
    tensor([1.0000, 2.7183])
    """
    return Exp.apply(_floating("exp", input))


@method()
def log(input: Tensor) -> Tensor:
    """ln x: -inf at 0, nan below; integers become float32.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0]).log()
    tensor([0.0000, 0.6931])
    """
    return Log.apply(_floating("log", input))


@method()
def sqrt(input: Tensor) -> Tensor:
    """√x: nan below 0; integers become float32.

    >>> import minivgg
    >>> minivgg.tensor([4.0, 9.0]).sqrt()
    tensor([2., 3.])
    """
    return Sqrt.apply(_floating("sqrt", input))


@method("abs", "__abs__")
def abs(input: Tensor) -> Tensor:
    """|x|.

    >>> import minivgg
    >>> minivgg.tensor([-1.0, 2.0]).abs()
    tensor([1., 2.])
    """
    check_tensors("abs", input=input)
    if input.dtype.kind == "b":
        raise DtypeError("abs", "takes numbers, got bool")
    return Abs.apply(input)


@method()
def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min(max(x, low), high); nan stays nan, and where low > high the result is high. Bounds of integers must fit into their dtype.

    >>> import minivgg
    >>> minivgg.tensor([-1.0, 0.5, 3.0]).clamp(0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    check_tensors("clamp", input=input)
    _check_bounds("clamp", min, max)
    if isinstance(min, float) or isinstance(max, float):
        input = _floating("clamp", input)
    elif input.dtype.kind == "b":
        if not any(type(bound) is int for bound in (min, max)):
            raise DtypeError("clamp", "takes numbers, got booleans")
        input = to(input, numpy.int64)
    check_fits("clamp", input.dtype, min, max)
    return Clamp.apply(input, min, max)


@method()
def clamp_(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """``clamp`` in place.

    >>> import minivgg
    >>> minivgg.tensor([-1.0, 2.0]).clamp_(min=0)
    tensor([0., 2.])
    """
    _check_bounds("clamp_", min, max)
    if input.dtype.kind != "f" and (input.dtype.kind == "b" or isinstance(min, float) or isinstance(max, float)):
        raise DtypeError("clamp_", f"the result would not fit in a tensor of {input.dtype}")
    check_fits("clamp_", input.dtype, min, max)
    return in_place(Clamp, input, min, max)


def _check_bounds(operation: str, *bounds: float | None) -> None:
    if bounds == (None, None):
        raise ArgumentError(operation, "needs min, max or both")
    if not all(bound is None or isinstance(bound, int | float) for bound in bounds):
        raise DtypeError(operation, "min and max are numbers; use maximum() and minimum() with tensors")


def _samples(low: float, high: float) -> Callable[[numpy.random.Generator], Iterable[Sample]]:
    """Random numbers from an interval, in several shapes."""
    return lambda rng: [Sample((rng.uniform(low, high, shape),)) for shape in ((2, 3), (), (0, 2), (2, 1, 3))]


def _abs_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((2, 3), (), (0, 2)):
        yield Sample((numpy.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 2.0, shape)),))


def _clamp_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for bounds in ((-1.0, 1.0), (None, 0.5), (-0.5, None), (1.0, -1.0), (0, 1)):
        yield Sample((rng.uniform(-2.0, 2.0, (2, 3)), *bounds))
    yield Sample((rng.uniform(-2.0, 2.0, ()),), {"min": 0.0})
    yield Sample((numpy.zeros((0, 2)),), {"max": 0.5})


def _clamp_errors() -> Iterable[ErrorSample]:
    yield ErrorSample((numpy.zeros(2),), {}, ArgumentError, "clamp: needs min, max or both")
    yield ErrorSample((numpy.zeros(2), numpy.zeros(2)), {}, DtypeError, "clamp: min and max are numbers; use maximum() and minimum() with tensors")
    yield ErrorSample((numpy.zeros(2, "uint8"), None, -2), {}, ArgumentError, "clamp: -2 does not fit into uint8")
    yield ErrorSample((numpy.zeros(2, "int8"), 200), {}, ArgumentError, "clamp: 200 does not fit into int8")
    yield ErrorSample((numpy.zeros(2, "bool"), None, True), {}, DtypeError, "clamp: takes numbers, got booleans")


Operation(exp, shapes="* -> *", samples=_samples(-2.0, 2.0), oracle=numpy.exp, torch="exp")
Operation(log, shapes="* -> *", samples=_samples(0.2, 3.0), oracle=numpy.log, torch="log")
Operation(sqrt, shapes="* -> *", samples=_samples(0.2, 3.0), oracle=numpy.sqrt, torch="sqrt")
Operation(
    abs,
    shapes="* -> *",
    samples=_abs_samples,
    oracle=numpy.abs,
    errors=lambda: [ErrorSample((numpy.ones(2, bool),), {}, DtypeError, "abs: takes numbers, got bool")],
    torch="abs",
)
Operation(
    clamp,
    shapes="* -> *",
    samples=_clamp_samples,
    oracle=lambda x, min=None, max=None: numpy.clip(x, min, max),
    errors=_clamp_errors,
    torch="clamp",
)

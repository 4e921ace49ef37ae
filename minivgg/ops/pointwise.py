"""Functions of one element: exp, log, sqrt, abs, clamp; and maximum, minimum of two."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError
from minivgg.ops.arithmetic import operands
from minivgg.ops.cast import to
from minivgg.ops.reduce import sum_to


class Exp(Function):
    def forward(self, x):
        with numpy.errstate(over="ignore"):
            out = namespace(x).exp(x)
        out = out if out.ndim else namespace(x).asarray(out)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad * out


class Log(Function):
    def forward(self, x):
        self.save_for_backward(x)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return namespace(x).log(x)

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad / x


class Sqrt(Function):
    def forward(self, x):
        with numpy.errstate(invalid="ignore"):
            out = namespace(x).asarray(namespace(x).sqrt(x))
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return grad / (2 * out)


class Abs(Function):
    """|x|; the derivative at 0 is taken as 0."""

    def forward(self, x):
        self.sign = namespace(x).sign(x)
        return namespace(x).abs(x)

    def backward(self, grad):
        return grad * Tensor(numpy.asarray(self.sign))


class Clamp(Function):
    """min(max(x, low), high); the gradient passes where low <= x <= high."""

    def forward(self, x, low, high):
        xp = namespace(x)
        self.inside = xp.asarray(((x >= low) if low is not None else True) & ((x <= high) if high is not None else True))
        return xp.clip(x, low, high)

    def backward(self, grad):
        return grad * Tensor(self.inside.astype(grad.dtype)), None, None


class Extreme(Function):
    """maximum or minimum of two; where they are equal, each gets half of the gradient."""

    def forward(self, a, b, name):
        xp = namespace(a)
        self.shapes = a.shape, b.shape
        first = a > b if name == "maximum" else a < b
        self.share = xp.where(a == b, 0.5, first)
        return getattr(xp, name)(a, b)

    def backward(self, grad):
        need_a, need_b, _ = self.needs_input_grad
        share = Tensor(self.share.astype(grad.dtype))
        return sum_to(grad * share, self.shapes[0]) if need_a else None, sum_to(grad * (1 - share), self.shapes[1]) if need_b else None, None


def _floating(input: Tensor) -> Tensor:
    return input if input.dtype in FLOATING else to(input, numpy.float32)


@method()
def exp(input: Tensor) -> Tensor:
    """e^x.

    >>> import minivgg
    >>> minivgg.tensor([0.0, 1.0]).exp()
    tensor([1.    , 2.7183])
    """
    return Exp.apply(_floating(input))


@method()
def log(input: Tensor) -> Tensor:
    """ln x: -inf at 0, nan below.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0]).log()
    tensor([0.    , 0.6931])
    """
    return Log.apply(_floating(input))


@method()
def sqrt(input: Tensor) -> Tensor:
    """√x: nan below 0.

    >>> import minivgg
    >>> minivgg.tensor([4.0, 9.0]).sqrt()
    tensor([2., 3.])
    """
    return Sqrt.apply(_floating(input))


@method("abs", "__abs__")
def abs(input: Tensor) -> Tensor:
    """|x|.

    >>> import minivgg
    >>> minivgg.tensor([-1.0, 2.0]).abs()
    tensor([1., 2.])
    """
    return Abs.apply(input)


@method()
def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min(max(x, low), high).

    >>> import minivgg
    >>> minivgg.tensor([-1.0, 0.5, 3.0]).clamp(0, 1)
    tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ArgumentError("clamp", "needs min, max or both")
    return Clamp.apply(input, min, max)


@method()
def maximum(input: Any, other: Any) -> Tensor:
    """The larger of two, elementwise; nan wins.

    >>> import minivgg
    >>> minivgg.maximum(minivgg.tensor([1.0, 5.0]), minivgg.tensor([2.0, 3.0]))
    tensor([2., 5.])
    """
    return Extreme.apply(*operands("maximum", input, other), "maximum")


@method()
def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of two, elementwise; nan wins.

    >>> import minivgg
    >>> minivgg.minimum(minivgg.tensor([1.0, 5.0]), minivgg.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    return Extreme.apply(*operands("minimum", input, other), "minimum")

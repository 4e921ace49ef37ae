"""Overwriting all elements in place: copy_, fill_, zero_."""

from __future__ import annotations

from typing import Any

from minivgg.autograd import Function, Tensor, as_tensor, method
from minivgg.errors import ShapeError
from minivgg.ops.cast import to
from minivgg.ops.reduce import sum_to
from minivgg.ops.where import zero_of


class Copy(Function):
    """All elements are replaced, so the gradient goes to the source alone."""

    def forward(self, x, source):
        self.shape = source.shape
        x[...] = source
        return x

    def backward(self, grad):
        return zero_of(grad).expand(grad.shape), sum_to(grad, self.shape)


@method()
def copy_(input: Tensor, source: Any) -> Tensor:
    """Overwrite every element with ``source``, broadcast and cast to this tensor's shape and dtype.

    >>> import minivgg
    >>> minivgg.zeros(2).copy_(minivgg.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    source = to(as_tensor(source, like=input), input.dtype)
    try:
        return Copy.apply_(input, source)
    except ValueError:
        raise ShapeError("copy_", f"a source of shape {source.shape} does not fit into {input.shape}") from None


@method()
def fill_(input: Tensor, value: float) -> Tensor:
    """Overwrite every element with a number.

    >>> import minivgg
    >>> minivgg.zeros(2).fill_(3)
    tensor([3., 3.])
    """
    return copy_(input, value)


@method()
def zero_(input: Tensor) -> Tensor:
    """Overwrite every element with 0.

    >>> import minivgg
    >>> minivgg.ones(2).zero_()
    tensor([0., 0.])
    """
    return copy_(input, 0)

"""In-place operations that are not arithmetic: copy_, fill_, zero_."""

from __future__ import annotations

from typing import Any

from minivgg.autograd import Function, Tensor, as_tensor, method
from minivgg.errors import ShapeError
from minivgg.ops.reduce import sum_to


class Copy(Function):
    """All elements are replaced, so the gradient goes to the source alone."""

    def forward(self, x, source):
        self.shape = source.shape
        x[...] = source
        return x

    def backward(self, grad):
        return grad * 0, sum_to(grad, self.shape)


@method()
def copy_(input: Tensor, source: Any) -> Tensor:
    """Overwrite every element with ``source``, broadcast and cast to this tensor's shape and dtype.

    >>> import minivgg
    >>> minivgg.zeros(2).copy_(minivgg.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    source = as_tensor(source, like=input).to(input.dtype)
    try:
        return Copy.apply_(input, source)
    except ValueError as error:
        raise ShapeError("copy_", f"a source of shape {source.shape} does not fit into {input.shape}") from error


@method()
def fill_(input: Tensor, value: float) -> Tensor:
    """Overwrite every element with a number."""
    return copy_(input, value)


@method()
def zero_(input: Tensor) -> Tensor:
    """Overwrite every element with 0."""
    return copy_(input, 0)

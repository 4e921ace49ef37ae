"""Entering and leaving the graph: is_leaf, requires_grad_, detach, detach_, data."""

from __future__ import annotations

from minivgg.autograd import Tensor, method
from minivgg.errors import DtypeError


@method()
def requires_grad_(input: Tensor, requires_grad: bool = True) -> Tensor:
    """Set ``requires_grad``, and return the tensor.

    >>> import minivgg
    >>> minivgg.ones(2).requires_grad_()
    tensor([1., 1.], requires_grad=True)
    """
    input.requires_grad = requires_grad
    return input


@method()
def detach(input: Tensor) -> Tensor:
    """The same memory, outside the graph. In-place changes of either are noticed by the other's graph.

    >>> import minivgg
    >>> x = minivgg.ones(2, requires_grad=True)
    >>> (x * 2).detach().requires_grad
    False
    """
    result = Tensor(input.array.view())
    result._version = input._version
    return result


@method()
def detach_(input: Tensor) -> Tensor:
    """Cut this tensor out of the graph, in place.

    >>> import minivgg
    >>> y = minivgg.ones(2, requires_grad=True) * 2
    >>> y.detach_().is_leaf
    True
    """
    input.grad_fn, input.output_nr, input.retains_grad, input._requires_grad = None, 0, False, False
    return input


def _data(self: Tensor) -> Tensor:
    """The same memory outside the graph, with a version counter of its own: changes are *not* noticed."""
    return Tensor(self.array.view())


def _set_data(self: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise DtypeError("data", f"takes a tensor, got {type(value).__name__}")
    self._version[0] += 1  # a graph that saved the old elements notices
    self.array, self._version = value.array.view(), [0, 0]


method("is_leaf")(property(lambda self: self.grad_fn is None, doc="Whether no recorded operation made it: ``backward`` leaves the gradient in its ``grad``."))
method("data")(property(_data, _set_data))

"""Tensor: an array that remembers how it was computed.

A tensor is an array (``.array``) and, if it takes part in differentiation, a link to the ``Function`` node that made
it (``.grad_fn``, ``.output_nr``). Nothing links forwards, so dropping the last result frees the whole graph.

Everything else, from arithmetic to ``repr``, lives in ``minivgg/ops`` and hangs itself on this class with ``@method``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy

from minivgg.backend import FLOATING, Array
from minivgg.errors import ArgumentError, DtypeError, GraphError

if TYPE_CHECKING:
    from minivgg.autograd.function import Function
    from minivgg.ops.operators import Operators
else:
    Operators = object  # what ops/ hangs on Tensor, declared for type checkers only

NO_HOOKS: Any = MappingProxyType({})


class Tensor(Operators):
    """An n-dimensional array with a gradient. Create one with ``minivgg.tensor``, ``zeros``, ``randn``, ...

    ``array``          the NumPy or CuPy array
    ``requires_grad``  whether gradients flow to or through this tensor
    ``grad``           after ``backward()``: d(loss)/d(self), for leaves (and after ``retain_grad()``)
    ``grad_fn``        the Function node that made it, None for a leaf; ``output_nr`` says which of its outputs this is
    """

    __slots__ = ("__weakref__", "_base", "_made_at", "_requires_grad", "_version", "array", "grad", "grad_fn", "hooks", "output_nr", "retains_grad")
    __array_priority__ = 1000  # an ndarray on the left of an operator leaves the work to this class
    __hash__ = object.__hash__  # by identity: == compares elements

    def __init__(self, array: Array, requires_grad: bool = False) -> None:
        self.array = array
        self.grad: Tensor | None = None
        self.grad_fn: Function | None = None
        self.output_nr = 0
        self.hooks = NO_HOOKS  # of a leaf; those of other tensors are kept by the node
        self.retains_grad = False
        self._version = [0, 0]  # in-place changes, and those of them that were recorded; shared by all views of the memory
        self._base: Tensor | None = None  # what this is a view of
        self._made_at = 0  # recorded changes when the view was taken
        self._requires_grad = False
        if requires_grad is not False:
            self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> numpy.dtype:
        return self.array.dtype

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool | numpy.bool_):
            raise ArgumentError("requires_grad", f"must be True or False, got {value!r}")
        if value and self.array.dtype not in FLOATING:
            raise DtypeError("requires_grad", f"only float32 and float64 carry a gradient, this tensor is {self.dtype}")
        if not value and self.grad_fn is not None:
            raise GraphError("requires_grad", f"only a leaf can stop requiring a gradient, this tensor was made by {self.grad_fn.name}; use detach()")
        self._requires_grad = bool(value)

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        """Add d(self)/d(leaf) to the ``grad`` of every leaf. See ``minivgg.autograd.backward``."""
        from minivgg.autograd import engine  # which imports this file

        engine.backward(self, gradient, retain_graph, create_graph, inputs)


def method(*names: str) -> Callable[[Any], Any]:
    """Hang the decorated function on Tensor, under its own name or the given ones."""

    def hang(function: Any) -> Any:
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return hang

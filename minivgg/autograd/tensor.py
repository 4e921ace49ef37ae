"""Tensor: an array that remembers how it was computed.

A tensor is an array (``.array``) and, if it takes part in differentiation, a link to the ``Function`` node that made
it (``.grad_fn``, ``.output_nr``). Nothing links forwards, so dropping the last result frees the whole graph.

Arithmetic, ``reshape``, ``repr`` and everything else live in ``minivgg/ops``, one file a family, and hang themselves on
this class with ``@method``.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from minivgg.backend import FLOATING, Array, device_of, is_array, namespace
from minivgg.errors import DtypeError, GraphError

if TYPE_CHECKING:
    from minivgg.autograd.function import Function
    from minivgg.ops.operators import Operators
else:
    Operators = object  # what ops/ hangs on Tensor, declared for type checkers only

Hook = Callable[["Tensor"], "Tensor | None"]


class Tensor(Operators):
    """An n-dimensional array with a gradient. Create one with ``minivgg.tensor``, ``zeros``, ``randn``, ...

    ``array``          the NumPy or CuPy array
    ``requires_grad``  whether gradients flow to or through this tensor
    ``grad``           after ``backward()``: d(loss)/d(self), for leaves (and after ``retain_grad()``)
    ``grad_fn``        the Function node that made it, None for a leaf
    """

    __slots__ = ("__weakref__", "_base", "_hooks", "_made_at", "_requires_grad", "_retained", "_version", "array", "grad", "grad_fn", "output_nr")
    __array_priority__ = 1000  # an ndarray on the left of an operator leaves the work to this class
    __hash__ = object.__hash__  # by identity: == compares elements

    def __init__(self, array: Array, requires_grad: bool = False) -> None:
        self.array = array
        self.grad: Tensor | None = None
        self.grad_fn: Function | None = None
        self.output_nr = 0
        self._version = [0, 0]  # in-place changes, and those of them that were recorded; shared by all views of the memory
        self._base: Tensor | None = None  # what this is a view of
        self._made_at = 0  # recorded changes when the view was taken
        self._hooks: dict[int, Hook] | None = None
        self._retained = False
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> numpy.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda:0"``."""
        return device_of(self.array)

    @property
    def is_leaf(self) -> bool:
        """True if no recorded operation made it: ``backward`` leaves the gradient in its ``grad``."""
        return self.grad_fn is None

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.array.dtype not in FLOATING:
            raise DtypeError("requires_grad", f"only float32 and float64 carry a gradient, this tensor is {self.dtype}")
        if not value and self.grad_fn is not None:
            raise GraphError("requires_grad", f"only a leaf can stop requiring a gradient, this tensor was made by {self.grad_fn.name}; use detach()")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set ``requires_grad``, and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        """Add d(self)/d(leaf) to the ``grad`` of every leaf. See ``minivgg.autograd.backward``."""
        from minivgg.autograd.engine import backward

        backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """The same memory, outside the graph. In-place changes of either are noticed by the other's graph."""
        result = Tensor(self.array.view())
        result._version = self._version
        return result

    def detach_(self) -> Tensor:
        """Cut this tensor out of the graph, in place."""
        self.grad_fn, self.output_nr, self._requires_grad, self._retained = None, 0, False, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory outside the graph, with a version counter of its own: changes are *not* noticed."""
        return Tensor(self.array.view())

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array.view()
        self._version = [self._version[0] + 1, 0]  # what was saved before is no longer this tensor's

    def retain_grad(self) -> None:
        """Keep this non-leaf's gradient in ``grad`` when ``backward`` passes through."""
        if not self._requires_grad:
            raise GraphError("retain_grad", "this tensor does not require a gradient")
        if self.grad_fn is not None:
            self._retained = True
            self.grad_fn.retained = {**self.grad_fn.retained, self.output_nr: weakref.ref(self)}  # weak: a node does not keep its results

    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(grad)`` when this tensor's gradient is known; a returned tensor replaces the gradient.

        >>> import minivgg
        >>> x = minivgg.tensor(1.0, requires_grad=True)
        >>> handle = x.register_hook(lambda grad: grad * 10)
        >>> (x * 3).backward()
        >>> x.grad
        tensor(30.)
        """
        if not self._requires_grad:
            raise GraphError("register_hook", "this tensor does not require a gradient")
        if self.grad_fn is not None:
            return RemovableHandle(self.grad_fn.hooks_of(self.output_nr), hook)
        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle(self._hooks, hook)


class RemovableHandle:
    """Takes a hook away again: ``handle.remove()``, or at the end of a ``with`` block."""

    keys = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self._hooks, self._key = hooks, next(self.keys)
        hooks[self._key] = hook

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def method(*names: str) -> Callable[[Any], Any]:
    """Hang the decorated function on Tensor, under its own name or the given ones."""

    def hang(function: Any) -> Any:
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return hang


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """A tensor as it is; arrays, NumPy scalars and numbers wrapped (numbers in the dtype of ``like``)."""
    if isinstance(value, Tensor):
        return value
    if is_array(value):
        return Tensor(value)
    xp = namespace(like.array) if like is not None else numpy
    dtype = like.dtype if like is not None and isinstance(value, bool | int | float) else None
    return Tensor(xp.asarray(value, dtype=dtype))

"""Tensor: an array that remembers how it was computed.

A tensor is an array (``.array``) and, if it takes part in differentiation, a link to the ``Function`` node that made
it (``.grad_fn``, ``.output_nr``). Nothing links forwards, so dropping the last result frees the whole graph.

Arithmetic, ``reshape``, ``sum`` and all other operations live in ``minivgg/ops``, one file a family, and hang themselves
on this class with ``@method``.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from minivgg.backend import FLOATING, Array, device_of, is_array, namespace, to_numpy
from minivgg.errors import DtypeError, GraphError, ShapeError

if TYPE_CHECKING:
    from minivgg.autograd.function import Function

Hook = Callable[["Tensor"], "Tensor | None"]


class GradMode(threading.local):
    """Whether operations are recorded; each thread has its own switch."""

    enabled = True


grad_mode = GradMode()


class Tensor:
    """An n-dimensional array with a gradient. Create one with ``minivgg.tensor``, ``zeros``, ``randn``, ...

    ``array``          the NumPy or CuPy array
    ``requires_grad``  whether gradients flow to or through this tensor
    ``grad``           after ``backward()``: d(loss)/d(self), for leaves (and after ``retain_grad()``)
    ``grad_fn``        the Function node that made it, None for a leaf
    """

    __slots__ = ("__weakref__", "_base", "_hooks", "_made_at", "_requires_grad", "_retained", "_version", "array", "grad", "grad_fn", "output_nr")
    __array_priority__ = 1000  # an ndarray on the left of an operator leaves the work to this class

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

    # What it is -----------------------------------------------------------------------------------------------------

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
        return device_of(self.array)

    @property
    def itemsize(self) -> int:
        return self.array.itemsize

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its numbers."""
        return self.array.shape if dim is None else self.array.shape[dim]

    def dim(self) -> int:
        return self.array.ndim

    def numel(self) -> int:
        return self.array.size

    def stride(self) -> tuple[int, ...]:
        """Elements (not bytes) between neighbours along each dimension."""
        return tuple(step // self.array.itemsize for step in self.array.strides)

    def is_contiguous(self) -> bool:
        return self.array.flags.c_contiguous

    def is_floating_point(self) -> bool:
        return self.array.dtype in FLOATING

    # Differentiation ------------------------------------------------------------------------------------------------

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
        self.grad_fn, self.output_nr, self._requires_grad = None, 0, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory outside the graph, with a version counter of its own: changes are *not* noticed."""
        return Tensor(self.array.view())

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array.view()

    def retain_grad(self) -> None:
        """Keep this non-leaf's gradient in ``grad`` when ``backward`` passes through."""
        if not self._requires_grad:
            raise GraphError("retain_grad", "this tensor does not require a gradient")
        if self.grad_fn is not None and not self._retained:
            reference = weakref.ref(self)  # the node must not keep its own result alive
            self.grad_fn.keep_gradient(self.output_nr, reference)
        self._retained = True

    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(grad)`` when this tensor's gradient is known; a returned tensor replaces the gradient."""
        if not self._requires_grad:
            raise GraphError("register_hook", "this tensor does not require a gradient")
        if self.grad_fn is not None:
            return RemovableHandle(self.grad_fn.hooks_of(self.output_nr), hook)
        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle(self._hooks, hook)

    # Leaving for other libraries ------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element as a Python number."""
        if self.array.size != 1:
            raise ShapeError("item", f"needs exactly one element, this tensor has {self.array.size}", shape=self.shape)
        return self.array.item()

    def tolist(self) -> Any:
        return self.array.tolist()

    def numpy(self) -> numpy.ndarray:
        """The elements as a NumPy array sharing the memory."""
        if self._requires_grad:
            raise GraphError("numpy", "this tensor requires a gradient, which NumPy would lose in silence; use tensor.detach().numpy()")
        if not isinstance(self.array, numpy.ndarray):
            raise DtypeError("numpy", f"the elements lie on {self.device}; use tensor.to('cpu').numpy()")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        return numpy.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        if self._requires_grad:
            raise GraphError("__dlpack__", "this tensor requires a gradient; use tensor.detach()")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    # Python's own protocols -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len: a tensor without dimensions has no length")
        return self.array.shape[0]

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ShapeError("bool", f"the truth of {self.array.size} elements is ambiguous", shape=self.shape)
        return bool(self.array.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iub":
            raise DtypeError("index", f"only an integer tensor can be an index, this one is {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.array.size == 1 else format(repr(self), spec)

    def __contains__(self, value: Any) -> bool:
        return bool((self.array == (value.array if isinstance(value, Tensor) else value)).any())

    __hash__ = object.__hash__  # by identity: == compares elements

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.grad_fn is not None:
            raise GraphError("deepcopy", f"only leaves can be deep-copied, this tensor was made by {self.grad_fn.name}; use detach().clone()")
        result = type(self).__new__(type(self))
        Tensor.__init__(result, self.array.copy(), self._requires_grad)
        memo[id(self)] = result
        if self.grad is not None:
            result.grad = Tensor(self.grad.array.copy())
        return result

    def __reduce__(self) -> Any:
        if self.grad_fn is not None:
            raise GraphError("pickle", f"only leaves can be pickled, this tensor was made by {self.grad_fn.name}; use detach()")
        return _rebuild, (type(self), self.array, self._requires_grad)

    def __repr__(self) -> str:
        text = numpy.array2string(to_numpy(self.array), separator=", ", prefix="tensor(", precision=4, suppress_small=False, threshold=1000)
        if self.dtype not in (numpy.dtype("float32"), numpy.dtype("int64"), numpy.dtype("bool")):
            text += f", dtype={self.dtype}"
        if self.device != "cpu":
            text += f", device='{self.device}'"
        if self.grad_fn is not None:
            text += f", grad_fn=<{self.grad_fn.name}>"
        elif self._requires_grad:
            text += ", requires_grad=True"
        return f"tensor({text})"

    if TYPE_CHECKING:  # hung on this class by minivgg/ops

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __iter__(self) -> Any: ...


def method(*names: str) -> Callable[[Any], Any]:
    """Hang the decorated function on Tensor, under its own name or the given ones."""

    def hang(function: Any) -> Any:
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return hang


def _rebuild(cls: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    result = cls.__new__(cls)
    Tensor.__init__(result, array, requires_grad)
    return result


class RemovableHandle:
    """Takes a hook away again: ``handle.remove()``, or at the end of a ``with`` block."""

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._key = max(hooks, default=-1) + 1
        hooks[self._key] = hook

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """A tensor as it is; arrays, NumPy scalars and numbers wrapped (numbers in the dtype of ``like``)."""
    if isinstance(value, Tensor):
        return value
    if is_array(value):
        return Tensor(value.view())
    xp = namespace(like.array) if like is not None else numpy
    dtype = like.dtype if like is not None and isinstance(value, bool | int | float) else None
    return Tensor(xp.asarray(value, dtype=dtype))

"""How a tensor meets Python and other libraries: its sizes, NumPy, DLPack, numbers, truth, copies, pickling."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Tensor, method
from minivgg.backend import Array, device_of
from minivgg.errors import DtypeError, GraphError, ShapeError

# Sizes ----------------------------------------------------------------------------------------------------------------


@method()
def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one of its numbers."""
    if dim is None:
        return self.array.shape
    if not -self.ndim <= dim < self.ndim:
        raise ShapeError("size", f"there is no dimension {dim}", shape=self.shape)
    return self.array.shape[dim]


@method()
def stride(self: Tensor) -> tuple[int, ...]:
    """Elements (not bytes) between neighbours along each dimension."""
    return tuple(step // self.array.itemsize for step in self.array.strides)


method("device")(property(lambda self: device_of(self.array), doc="Where the elements lie: ``cpu`` or ``cuda:0``."))
method("ndim")(property(lambda self: self.array.ndim, doc="How many dimensions."))
method("dim")(lambda self: self.array.ndim)
method("numel")(lambda self: self.array.size)
method("itemsize")(property(lambda self: self.array.itemsize, doc="Bytes of one element."))
method("nbytes")(property(lambda self: self.array.nbytes, doc="Bytes of all elements."))
method("is_contiguous")(lambda self: bool(self.array.flags.c_contiguous))
method("is_floating_point")(lambda self: self.array.dtype.kind == "f")


# Other libraries ------------------------------------------------------------------------------------------------------


@method("numpy")
def as_numpy(self: Tensor) -> numpy.ndarray:
    """The elements as a NumPy array sharing the memory."""
    if self._requires_grad:
        raise GraphError("numpy", "this tensor requires a gradient, which NumPy would lose in silence; use tensor.detach().numpy()")
    if not isinstance(self.array, numpy.ndarray):
        raise DtypeError("numpy", f"the elements lie on {self.device}; use tensor.to('cpu').numpy()")
    return self.array


@method("__array__")
def array_protocol(self: Tensor, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
    """``numpy.asarray(tensor)`` shares the memory."""
    return numpy.array(as_numpy(self), dtype=dtype, copy=copy)


@method("__dlpack__")
def dlpack_protocol(self: Tensor, **options: Any) -> Any:
    """``torch.from_dlpack(tensor)`` shares the memory."""
    if self._requires_grad:
        raise GraphError("__dlpack__", "this tensor requires a gradient; use tensor.detach()")
    return self.array.__dlpack__(**options)


method("__dlpack_device__")(lambda self: self.array.__dlpack_device__())


# Numbers, truth, membership -------------------------------------------------------------------------------------------


@method()
def item(self: Tensor) -> Any:
    """The only element as a Python number.

    >>> import minivgg
    >>> minivgg.tensor([[2.5]]).item()
    2.5
    """
    if self.array.size != 1:
        raise ShapeError("item", f"needs exactly one element, this tensor has {self.array.size}", shape=self.shape)
    return self.array.item()


@method("__index__")
def index_protocol(self: Tensor) -> int:
    """An integer tensor of one element counts as a number: ``range(t)``, ``items[t]``."""
    if self.array.dtype.kind not in "iub":
        raise DtypeError("index", f"only an integer tensor can be an index, this one is {self.dtype}")
    return int(item(self))


@method("__bool__")
def bool_protocol(self: Tensor) -> bool:
    """The truth of a single element."""
    if self.array.size != 1:
        raise ShapeError("bool", f"the truth of {self.array.size} elements is ambiguous; use any() or all()", shape=self.shape)
    return bool(self.array.item())


@method("__len__")
def length(self: Tensor) -> int:
    """The size of the first dimension."""
    if not self.array.ndim:
        raise DtypeError("len", "a tensor without dimensions has no length")
    return self.array.shape[0]


method("tolist")(lambda self: self.array.tolist())
method("__float__")(lambda self: float(item(self)))
method("__int__")(lambda self: int(item(self)))
method("__contains__")(lambda self, value: bool((self.array == (value.array if isinstance(value, Tensor) else value)).any()))
method("__format__")(lambda self, spec: format(item(self), spec) if spec and self.array.size == 1 else format(repr(self), spec))


# Copies of leaves -----------------------------------------------------------------------------------------------------


def _check_leaf(operation: str, tensor: Tensor) -> None:
    if tensor.grad_fn is not None:
        raise GraphError(operation, f"only leaves can be copied with what they are, this tensor was made by {tensor.grad_fn.name}; use detach()")


@method("__deepcopy__")
def deepcopy_protocol(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """``copy.deepcopy`` of a leaf, its ``grad`` included; a subclass stays one."""
    _check_leaf("deepcopy", self)
    memo[id(self)] = result = _rebuild(type(self), self.array.copy(), self._requires_grad)
    if self.grad is not None:
        result.grad = Tensor(self.grad.array.copy())
    return result


@method("__reduce__")
def pickle_protocol(self: Tensor) -> Any:
    """``pickle`` of a leaf, without its ``grad``."""
    _check_leaf("pickle", self)
    return _rebuild, (type(self), self.array, self._requires_grad)


def _rebuild(cls: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    result = cls.__new__(cls)
    Tensor.__init__(result, array, requires_grad)
    return result

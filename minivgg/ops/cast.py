"""Change of dtype or place, and copies: to, clone, contiguous."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, device_of, namespace, to_numpy
from minivgg.errors import ArgumentError, UnsupportedError


class Cast(Function):
    def forward(self, x, dtype):
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad):
        return to(grad, self.dtype), None


class Clone(Function):
    def forward(self, x):
        return x.copy(order="K")

    def backward(self, grad):
        return grad


class Contiguous(Function):
    def forward(self, x):
        return namespace(x).ascontiguousarray(x)

    def backward(self, grad):
        return grad


def read_dtype(operation: str, dtype: Any) -> numpy.dtype:
    """A dtype from NumPy's types, their names, or Python's ``float`` and ``int`` (float32 and int64, as in PyTorch)."""
    if dtype is float:
        return numpy.dtype("float32")
    try:
        return numpy.dtype(dtype)
    except TypeError as error:
        raise ArgumentError(operation, f"{dtype!r} is no dtype; use minivgg.float32, 'float64', ...") from error


def check_device(operation: str, device: Any) -> str:
    """``"cpu"``; anything else is refused with the reason."""
    if device is None or str(device) == "cpu":
        return "cpu"
    raise UnsupportedError(operation, f"device {str(device)!r} is not available: this version computes on the CPU")


@method()
def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False) -> Tensor:
    """``x.to(dtype)``, ``x.to("cpu")``, ``x.to(other)``: itself if nothing changes.

    >>> import minivgg
    >>> minivgg.ones(2).to(minivgg.float64).dtype
    dtype('float64')
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    if device is not None and str(device) != device_of(input.array):
        if str(device) == "cpu":
            return to(Tensor(to_numpy(input.array)), dtype=dtype)
        check_device("to", device)
    wanted = input.dtype if dtype is None else read_dtype("to", dtype)
    if wanted == input.dtype:
        return Clone.apply(input) if copy else input
    return Cast.apply(input, wanted) if wanted in FLOATING else Tensor(input.array.astype(wanted))


@method()
def clone(input: Tensor) -> Tensor:
    """A copy with memory of its own, through which gradients flow."""
    return Clone.apply(input)


@method()
def contiguous(input: Tensor) -> Tensor:
    """The same elements in row-major memory; itself if they are so already."""
    return input if input.array.flags.c_contiguous else Contiguous.apply(input)


for _name, _dtype in (("float", "float32"), ("double", "float64"), ("long", "int64"), ("bool", "bool")):
    method(_name)(lambda self, dtype=numpy.dtype(_dtype): to(self, dtype))
method("type_as")(lambda self, other: to(self, other.dtype))
method("cpu")(lambda self: to(self, "cpu"))

"""Change of dtype or place, and copies: to, clone, contiguous."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, device_of, namespace, to_numpy
from minivgg.errors import ArgumentError, DtypeError, UnsupportedError
from minivgg.ops.arguments import check_tensors
from minivgg.registry import ErrorSample, Operation, Sample


class Cast(Function):
    def forward(self, x, dtype):
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad):
        return Cast.apply(grad, self.dtype), None


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
    """A dtype from NumPy's types, their names, or Python's ``float``, ``int`` and ``bool`` (float32 and int64, as in PyTorch).

    >>> read_dtype("to", "float64"), read_dtype("to", float)
    (dtype('float64'), dtype('float32'))
    """
    if dtype is float:
        return numpy.dtype("float32")
    try:
        result = numpy.dtype(dtype)
    except TypeError:
        raise ArgumentError(operation, f"{dtype!r} is no dtype; use minivgg.float32, 'float64', ...") from None
    if result not in FLOATING and result.kind not in "iub":
        raise DtypeError(operation, f"tensors hold float32, float64, integers or booleans, not {result}")
    return result


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
        check_device("to", device)
        return to(Tensor(to_numpy(input.array)), dtype=dtype)
    if dtype is None or dtype == input.array.dtype:
        return Clone.apply(input) if copy else input
    wanted = read_dtype("to", dtype)
    return Cast.apply(input, wanted) if wanted != input.array.dtype or copy else input


@method()
def clone(input: Tensor) -> Tensor:
    """A copy with memory of its own, through which gradients flow.

    >>> import minivgg
    >>> x = minivgg.zeros(2)
    >>> y = x.clone().add_(1)
    >>> x, y
    (tensor([0., 0.]), tensor([1., 1.]))
    """
    check_tensors("clone", input=input)
    return Clone.apply(input)


@method()
def contiguous(input: Tensor) -> Tensor:
    """The same elements in row-major memory; itself if they are so already.

    >>> import minivgg
    >>> minivgg.zeros(2, 3).t().contiguous().stride()
    (2, 1)
    """
    check_tensors("contiguous", input=input)
    return input if input.array.flags.c_contiguous else Contiguous.apply(input)


for _name, _dtype in (("float", "float32"), ("double", "float64"), ("int", "int32"), ("long", "int64"), ("bool", "bool")):
    method(_name)(lambda self, dtype=_dtype: to(self, dtype))
method("type_as")(lambda self, other: to(self, other.dtype))
method("cpu")(lambda self: to(self, "cpu"))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((2, 3), (), (0, 2)):
        yield Sample((rng.standard_normal(shape),))


def _to_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield Sample((rng.standard_normal((2, 3)),))
    yield Sample((rng.standard_normal((2, 3)), numpy.dtype("float64")))
    yield Sample((rng.standard_normal(()),), {"dtype": numpy.dtype("float64"), "copy": True})


def _to_errors() -> Iterable[ErrorSample]:
    x = numpy.zeros(2)
    yield ErrorSample((x, "float33"), {}, ArgumentError, "to: 'float33' is no dtype; use minivgg.float32, 'float64', ...")
    yield ErrorSample((x, "complex128"), {}, DtypeError, "to: tensors hold float32, float64, integers or booleans, not complex128")
    yield ErrorSample((x, "cuda"), {}, UnsupportedError, "to: device 'cuda' is not available: this version computes on the CPU")


Operation(to, shapes="* -> *", samples=_to_samples, oracle=lambda x, *args, **kwargs: x, errors=_to_errors)
Operation(clone, shapes="* -> *", samples=_samples, oracle=numpy.copy, torch="clone")
Operation(
    contiguous,
    shapes="* -> *",
    samples=lambda rng: [*_samples(rng), Sample((rng.standard_normal((3, 2)).T,))],
    oracle=numpy.copy,
    torch="Tensor.contiguous",
)

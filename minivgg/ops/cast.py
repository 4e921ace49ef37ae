"""Change of dtype or place, and copies: to, cuda, cpu, pin_memory, clone, contiguous."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled, method
from minivgg.backend import FLOATING, HALF, device_of, namespace, to_numpy
from minivgg.device import copied_ahead, is_pinned_array, moved, pinned, read_device
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
    """A dtype from NumPy's types, their names, or Python's ``float``, ``int`` and ``bool`` (float64 and int64, as in PyTorch).

    >>> read_dtype("to", "float32"), read_dtype("to", float)
    (dtype('float32'), dtype('float64'))
    """
    try:
        result = numpy.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise ArgumentError(operation, f"{dtype!r} is no dtype; use minivgg.float32, 'float64', ...") from None
    if (result not in FLOATING and result != HALF and result.kind not in "iub") or not result.isnative:
        raise DtypeError(operation, f"tensors hold float16, float32, float64, integers or booleans, not {result if result.isnative else result.str}")
    return result


def read_target(operation: str, args: tuple[Any, ...], dtype: Any, device: Any) -> tuple[numpy.dtype | None, str | None]:
    """The dtype and the device that the arguments of ``to`` name, None where they name none.

    >>> read_target("to", ("cpu", "float64"), None, None)
    (dtype('float64'), 'cpu')
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    return None if dtype is None else read_dtype(operation, dtype), None if device is None else read_device(operation, device)


class Move(Function):
    def forward(self, x, device):
        self.device = device_of(x)
        return moved(x, device)

    def backward(self, grad):
        return Move.apply(grad, self.device), None


class MoveAhead(Move):
    """The same from page-locked memory, and the host does not wait for it."""

    def forward(self, x, device):
        self.device = device_of(x)
        return copied_ahead(x, device)


@method()
def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False) -> Tensor:
    """``x.to(dtype)``, ``x.to("cuda")``, ``x.to(other)``: itself if nothing changes. Gradients go back to where x lies.

    float16 halves what is stored. Elementwise arithmetic and sums take it, rounding each result; it carries no gradient, and
    layers and losses want float32 or float64: ``x.float()`` goes back, exactly.

    ``non_blocking``: from page-locked memory (``pin_memory``) the device copies by itself, and the host does not wait.

    >>> import minivgg
    >>> minivgg.ones(2).to(minivgg.float64).dtype
    dtype('float64')
    """
    wanted, there = read_target("to", args, dtype, device)
    if there is not None and there != device_of(input.array):
        ahead = non_blocking and there != "cpu" and is_pinned(input)
        input = (MoveAhead if ahead else Move).apply(input, there)
    elif copy and (wanted is None or wanted == input.array.dtype):
        return Clone.apply(input)
    if wanted is None or wanted == input.array.dtype:
        return input
    if wanted == HALF and input.requires_grad and is_grad_enabled():
        raise DtypeError("to", "float16 carries no gradient, and this tensor requires one; detach() it first")
    return Cast.apply(input, wanted)


@method()
def cuda(input: Tensor, device: Any = "cuda", non_blocking: bool = False) -> Tensor:
    """The same as ``to("cuda")``; ``device`` may be a number."""
    return to(input, device=device, non_blocking=non_blocking)


@method()
def cpu(input: Tensor) -> Tensor:
    """The same as ``to("cpu")``."""
    return to(input, device="cpu")


@method()
def pin_memory(input: Tensor) -> Tensor:
    """A copy in page-locked host memory, from where a device reads by itself: ``.to("cuda", non_blocking=True)`` does not wait."""
    check_tensors("pin_memory", input=input)
    return Tensor(pinned(to_numpy(input.array)))


@method()
def is_pinned(input: Tensor) -> bool:
    """Whether ``pin_memory`` made it, or it is a view of what it made."""
    return is_pinned_array(input.array)


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


for _name, _dtype in (("half", "float16"), ("float", "float32"), ("double", "float64"), ("int", "int32"), ("long", "int64"), ("bool", "bool")):
    method(_name)(lambda self, dtype=_dtype: to(self, dtype))
method("type_as")(lambda self, other: to(self, other.dtype))


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
    yield ErrorSample((x, "complex128"), {}, DtypeError, "to: tensors hold float16, float32, float64, integers or booleans, not complex128")
    yield ErrorSample((x,), {"device": "tpu"}, UnsupportedError, "to: there is no device 'tpu'; there are 'cpu', 'cuda' and 'cuda:0' with a number")


Operation(to, shapes="* -> *", samples=_to_samples, oracle=lambda x, *args, **kwargs: x, errors=_to_errors)
Operation(clone, shapes="* -> *", samples=_samples, oracle=numpy.copy, torch="clone")
Operation(
    contiguous,
    shapes="* -> *",
    samples=lambda rng: [*_samples(rng), Sample((rng.standard_normal((3, 2)).T,))],
    oracle=numpy.copy,
    torch="Tensor.contiguous",
)

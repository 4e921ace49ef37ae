"""The two sides of an operator: tensors of one dtype, in shapes that broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy

from minivgg.anomaly import place
from minivgg.autograd import Tensor
from minivgg.backend import Array, device_of, is_array, namespace
from minivgg.device import mixed_devices
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_fits
from minivgg.ops.cast import read_dtype, to

Operand = Any
"""A Tensor, an array, a NumPy scalar or a Python number."""

LARGEST = {numpy.dtype("float16"): math.nextafter(65520, 0), numpy.dtype("float32"): float(numpy.finfo("float32").max)}
"""The largest numbers that do not become infinite."""

KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}
"""The rank of each kind of dtype: booleans below integers below floats."""


def as_tensor(value: Operand, like: Tensor | None = None, operation: str = "tensor") -> Tensor:
    """A tensor as it is; arrays, NumPy scalars and numbers wrapped (numbers in the dtype of ``like``, if they fit into it).

    >>> as_tensor(2, like=Tensor(numpy.ones(2)))
    tensor(2., dtype=float64)
    """
    if isinstance(value, Tensor):
        return value
    if is_array(value):
        return _of_array(operation, value)
    xp = namespace(like.array) if like is not None else numpy
    dtype = like.dtype if like is not None and isinstance(value, bool | int | float) else None
    if dtype is not None:
        check_fits(operation, dtype, value)
    if xp is not numpy:
        return Tensor(xp.full((), value, dtype))  # not a copy from the host
    try:
        with numpy.errstate(over="ignore"):  # too large a number is infinite
            array = numpy.asarray(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise DtypeError(operation, f"takes tensors, arrays and numbers, got {type(value).__name__}: {error}") from None
    if array.dtype.kind not in KINDS:
        raise DtypeError(operation, f"takes tensors, arrays and numbers, got {type(value).__name__}")
    return Tensor(array)


def operands(operation: str, a: Operand, b: Operand, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Both sides as tensors of one dtype that broadcast; with ``floating``, integers become float32.

    PyTorch's rules: floats before integers before booleans; within one of these kinds, a Python number gives way to a
    tensor, and a tensor without dimensions to one that has some. So it is with devices: one without dimensions is moved.

    >>> a, b = operands("add", Tensor(numpy.ones(2, "float32")), 2.5)
    >>> b
    tensor(2.5000)
    """
    a = a if isinstance(a, Tensor) else _wrap(operation, a, b, floating)
    b = b if isinstance(b, Tensor) else _wrap(operation, b, a, floating)
    x, y = a.array, b.array
    if type(x) is not type(y) and device_of(x) != device_of(y):
        if x.ndim and y.ndim:
            raise mixed_devices(operation, {"the left side": device_of(x), "the right side": device_of(y)}, place())
        a, b = (a, to(b, device=a.device)) if x.ndim else (to(a, device=b.device), b)
        x, y = a.array, b.array
    if x.dtype != y.dtype or (floating and x.dtype.kind != "f"):
        dtype = common_dtype(x, y)
        if floating and dtype.kind != "f":
            dtype = numpy.dtype("float32")
        a, b = to(a, dtype), to(b, dtype)
    if x.shape != y.shape and x.shape and y.shape:
        check_broadcast(operation, x.shape, y.shape)
    return a, b


def check_broadcast(operation: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the given ones broadcast to; an error if they do not."""
    try:
        return numpy.broadcast_shapes(*shapes)
    except ValueError:
        text = f"{', '.join(map(str, shapes[:-1]))} and {shapes[-1]}"
        raise ShapeError(operation, f"shapes {text} do not broadcast: counted from the last, two dimensions must be equal or one of them 1") from None


def common_dtype(x: Array, y: Array) -> numpy.dtype:
    """The dtype of the result of two arrays.

    >>> common_dtype(numpy.ones(2, "float32"), numpy.array(1.0)), common_dtype(numpy.ones(2, "int64"), numpy.ones((), "float32"))
    (dtype('float32'), dtype('float32'))
    """
    kind_x, kind_y = KINDS[x.dtype.kind], KINDS[y.dtype.kind]
    if kind_x != kind_y:
        return x.dtype if kind_x > kind_y else y.dtype
    if bool(x.ndim) != bool(y.ndim):
        return x.dtype if x.ndim else y.dtype
    return numpy.promote_types(x.dtype, y.dtype)


def _of_array(operation: str, array: Array) -> Tensor:
    """On its own memory, if its elements are of a kind that tensors hold, and their bytes in this machine's order."""
    return Tensor(array.astype(read_dtype(operation, array.dtype.newbyteorder("=")), copy=False))


def _wrap(operation: str, value: Any, other: Any, floating: bool) -> Tensor:
    """An array as a tensor; a number as a tensor without dimensions, in the dtype of the other side if it is of its kind.

    With ``floating``, a number beside integers is none of them: -2 divides uint8, too.
    """
    if is_array(value) and value.dtype.kind in KINDS:
        return _of_array(operation, value)
    if isinstance(value, numpy.generic):
        value = value.item()
    if not isinstance(value, (int, float)):
        raise DtypeError(operation, f"takes tensors, arrays and numbers, got {type(value).__name__}" + (f" of {value.dtype}" if is_array(value) else ""))
    like = other.array if isinstance(other, Tensor) else other if is_array(other) else numpy.asarray(other)
    dtype = like.dtype
    if (floating or isinstance(value, float)) and dtype.kind != "f":
        dtype = numpy.dtype("float32")
    elif dtype.kind == "b" and not isinstance(value, bool):
        dtype = numpy.dtype("int64")
    if abs(value) > LARGEST.get(dtype, math.inf):
        value = math.copysign(math.inf, value)  # what the cast gives, without NumPy's warning
    try:
        return Tensor(numpy.asarray(value, dtype=dtype) if isinstance(like, numpy.ndarray) else namespace(like).full((), value, dtype))
    except OverflowError:
        raise ArgumentError(operation, f"{value} does not fit into {dtype}") from None

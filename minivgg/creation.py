"""Tensors from data, constants and random numbers: tensor, from_numpy, zeros, ones, full, arange, rand, randn, ...

``device`` is "cpu" or "cuda" ("cuda:1"). Random numbers are drawn on the host and copied, so a seed gives the same bits on either.
"""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import HALF, Array, device_of, is_array, to_numpy
from minivgg.device import cupy_for, made_on, moved, read_device
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.cast import read_dtype
from minivgg.random import Generator, numpy_generator

FLOAT = numpy.dtype("float32")
DLPACK_CPU = 1
OF_PYTHON: dict[str, Any] = {"f": FLOAT, "i": numpy.dtype("int64"), "b": numpy.dtype("bool")}
"""What Python's numbers become, by their kind."""


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor holding a copy of ``data``: numbers, nested lists, arrays.

    Python floats become float32, integers int64, as in PyTorch; arrays and NumPy scalars keep their dtype.

    >>> tensor([[1, 2], [3, 4]]).dtype, tensor([1.0, 2.0]).dtype, tensor(numpy.zeros(2)).dtype
    (dtype('int64'), dtype('float32'), dtype('float64'))
    """
    if device is None and (isinstance(data, Tensor) or is_array(data)):
        device = device_of(data.array if isinstance(data, Tensor) else data)
    place = read_device("tensor", device)
    try:
        array = numpy.array(_plain(data))
    except ValueError as error:
        raise ArgumentError("tensor", f"the nested lists are not rectangular: {error}") from None
    if dtype is None and not isinstance(_first(data), Tensor | numpy.ndarray | numpy.generic):
        dtype = OF_PYTHON.get(array.dtype.kind) if array.size else FLOAT
    if array.dtype.kind not in "fiub" or (dtype is None and array.dtype.kind == "u" and isinstance(_first(data), int)):
        raise DtypeError("tensor", f"takes numbers and lists of numbers that fit into int64, got {type(data).__name__} of {array.dtype}")
    with numpy.errstate(over="ignore"):  # too large a number is infinite, as everywhere
        array = array.astype(read_dtype("tensor", array.dtype.newbyteorder("=") if dtype is None else dtype), copy=False)
    return Tensor(moved(array, place, "tensor"), requires_grad)


def _plain(data: Any) -> Any:
    """Lists of arrays and numbers, without tensors."""
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    if isinstance(data, Tensor):
        data = data.array
    return to_numpy(data) if is_array(data) else data


def _first(data: Any) -> Any:
    """The first number in nested lists; its type says where the dtype comes from."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return data


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares the memory of a NumPy (or CuPy) array.

    >>> a = numpy.zeros(2)
    >>> t = from_numpy(a)
    >>> a[0] = 1
    >>> t
    tensor([1., 0.], dtype=float64)
    """
    if not is_array(array):
        raise DtypeError("from_numpy", f"takes an array, got {type(array).__name__}")
    if not array.dtype.isnative:
        raise DtypeError("from_numpy", f"cannot share the memory of {array.dtype} elements; use minivgg.tensor(), which copies")
    read_dtype("from_numpy", array.dtype)
    return Tensor(array.view())


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor as it is, an array's memory shared, anything else copied; moved to ``device`` if one is named."""
    result = data if isinstance(data, Tensor) else from_numpy(data) if is_array(data) else tensor(data, dtype=dtype)
    return result.to(dtype=None if dtype is None else read_dtype("as_tensor", dtype), device=device)


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's tensor (PyTorch's, CuPy's, ...).

    >>> a = numpy.zeros(2)
    >>> from_dlpack(a).fill_(3.0)
    tensor([3., 3.], dtype=float64)
    >>> a
    array([3., 3.])
    """
    on_host = source.__dlpack_device__()[0] == DLPACK_CPU
    return from_numpy((numpy if on_host else cupy_for("from_dlpack")).from_dlpack(source))


def _shape(operation: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], list | tuple):
        size = tuple(size[0])
    if any(not hasattr(s, "__index__") or s.__index__() < 0 for s in size):
        raise ArgumentError(operation, f"sizes must be whole numbers of at least 0, got {size}")
    return tuple(s.__index__() for s in size)


def full(size: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number."""
    wanted = read_dtype("full", dtype) if dtype is not None else tensor(fill_value).dtype
    with made_on("full", device) as xp:
        return Tensor(xp.full(_shape("full", (size,)), fill_value, wanted), requires_grad)


def zeros(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    with made_on("zeros", device) as xp:
        return Tensor(xp.zeros(_shape("zeros", size), read_dtype("zeros", dtype)), requires_grad)


def ones(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    with made_on("ones", device) as xp:
        return Tensor(xp.ones(_shape("ones", size), read_dtype("ones", dtype)), requires_grad)


def empty(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever the memory held."""
    with made_on("empty", device) as xp:
        return Tensor(xp.empty(_shape("empty", size), read_dtype("empty", dtype)), requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in the shape, dtype and place of another tensor.

    >>> full_like(arange(3), 7)
    tensor([7, 7, 7])
    """
    wanted = input.dtype if dtype is None else read_dtype("full_like", dtype)
    with made_on("full_like", input.device) as xp:
        return Tensor(xp.full(input.shape, fill_value, wanted), requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, dtype and place of another tensor."""
    return full_like(input, 0, dtype=dtype, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, dtype and place of another tensor."""
    return full_like(input, 1, dtype=dtype, requires_grad=requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below end; ``arange(n)`` counts from 0.

    >>> arange(3), arange(0, 1, 0.5)
    (tensor([0, 1, 2]), tensor([0.0000, 0.5000]))
    """
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ArgumentError("arange", "step must not be 0")
    if (end - start) * step < 0:
        raise ArgumentError("arange", f"step {step} leads away from end {end}, starting at {start}")
    whole = all(isinstance(value, int) for value in (start, end, step))
    wanted = read_dtype("arange", dtype) if dtype is not None else numpy.dtype("int64") if whole else FLOAT
    with made_on("arange", device) as xp:
        return Tensor(xp.arange(start, end, step).astype(wanted), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """``steps`` numbers from start to end, both included."""
    with made_on("linspace", device) as xp:
        return Tensor(xp.linspace(start, end, steps, dtype=read_dtype("linspace", dtype)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix."""
    with made_on("eye", device) as xp:
        return Tensor(xp.eye(n, m, dtype=read_dtype("eye", dtype)), requires_grad)


def _drawn(numbers: Any, place: str, requires_grad: bool = False) -> Tensor:
    """Random numbers from the host (a NumPy scalar where they have no dimensions) where they are wanted."""
    return Tensor(moved(numpy.asarray(numbers), place, "random numbers"), requires_grad)


def rand(*size: Any, generator: Generator | None = None, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    place = read_device("rand", device)
    wanted = read_dtype("rand", dtype)
    numbers = numpy_generator(generator).random(_shape("rand", size), FLOAT if wanted == HALF else wanted)
    if wanted == HALF:  # rounded down: 0.9999 must not become 1
        numbers = (numpy.floor(numbers * 2048) / 2048).astype(HALF)
    return _drawn(numbers, place, requires_grad)


def randn(*size: Any, generator: Generator | None = None, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and variance 1.

    >>> import minivgg
    >>> _ = minivgg.manual_seed(0)
    >>> minivgg.randn(2, 3).shape
    (2, 3)
    """
    place = read_device("randn", device)
    wanted = read_dtype("randn", dtype)
    numbers = numpy_generator(generator).standard_normal(_shape("randn", size), FLOAT if wanted == HALF else wanted)
    return _drawn(numpy.asarray(numbers, wanted), place, requires_grad)


def randn_like(input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the shape, dtype and place of another tensor."""
    return randn(*input.shape, generator=generator, dtype=input.dtype, device=input.device, requires_grad=requires_grad)


def randint(low: int, high: Any, size: Any = None, *, generator: Generator | None = None, dtype: Any = "int64", device: Any = None) -> Tensor:
    """Uniform random integers in [low, high); ``randint(high, size)`` starts at 0.

    >>> randint(3, (2, 4)).shape, randint(5, 6, (3,))
    ((2, 4), tensor([5, 5, 5]))
    """
    place = read_device("randint", device)
    if size is None:
        low, high, size = 0, low, high
    if low >= high:
        raise ArgumentError("randint", f"low must be below high, got {low} and {high}")
    wanted = read_dtype("randint", dtype)
    return _drawn(numpy.asarray(numpy_generator(generator).integers(low, high, _shape("randint", (size,)))).astype(wanted), place)


def randperm(n: int, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """The integers below n in random order.

    >>> sorted(randperm(4).tolist())
    [0, 1, 2, 3]
    """
    place = read_device("randperm", device)
    return _drawn(numpy_generator(generator).permutation(n), place)

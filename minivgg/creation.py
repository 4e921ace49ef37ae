"""Tensors from data, constants and random numbers: tensor, from_numpy, zeros, ones, full, arange, rand, randn, ..."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import Array, is_array, to_numpy
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.cast import check_device, read_dtype
from minivgg.random import Generator, numpy_generator

FLOAT = numpy.dtype("float32")
DEFAULTS: dict[str, numpy.dtype[Any]] = {"f": FLOAT, "i": numpy.dtype("int64"), "u": numpy.dtype("int64"), "b": numpy.dtype("bool")}
"""What Python's numbers become, by their kind."""


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor holding a copy of ``data``: numbers, nested lists, arrays.

    Python floats become float32, integers int64, as in PyTorch; arrays keep their dtype.

    >>> tensor([[1, 2], [3, 4]]).dtype, tensor([1.0, 2.0]).dtype
    (dtype('int64'), dtype('float32'))
    """
    check_device("tensor", device)
    if isinstance(data, Tensor):
        data = data.array
    if is_array(data) or isinstance(data, numpy.generic):
        array = numpy.array(to_numpy(data) if is_array(data) else data, dtype=None if dtype is None else read_dtype("tensor", dtype))
    else:
        try:
            array = numpy.array(_unwrap(data))
        except ValueError as error:
            raise ArgumentError("tensor", f"the nested lists are not rectangular: {error}") from None
        given = dtype is not None
        wanted = read_dtype("tensor", dtype) if given else DEFAULTS.get(array.dtype.kind)
        if wanted is None:
            raise DtypeError("tensor", f"takes numbers and lists of numbers, got {type(data).__name__} of {array.dtype}")
        if array.size == 0 and not given:
            wanted = FLOAT
        array = array.astype(wanted)
    return Tensor(_native(array), requires_grad)


def _unwrap(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_unwrap(item) for item in data]
    return data.array if isinstance(data, Tensor) else data


def _native(array: numpy.ndarray) -> numpy.ndarray:
    """Byte-swapped elements are brought into the machine's order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


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
    if array.dtype.kind not in "fiub" or not array.dtype.isnative:
        raise DtypeError("from_numpy", f"cannot share the memory of {array.dtype} elements; use minivgg.tensor(), which copies")
    return Tensor(array.view())


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor as it is, an array's memory shared, anything else copied."""
    result = data if isinstance(data, Tensor) else from_numpy(data) if is_array(data) else tensor(data, dtype=dtype)
    return result if dtype is None else result.to(read_dtype("as_tensor", dtype))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's tensor (PyTorch's, CuPy's, ...)."""
    return Tensor(numpy.from_dlpack(source))


def _shape(operation: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], list | tuple):
        size = tuple(size[0])
    shape = tuple(int(s) for s in size)
    if any(s < 0 for s in shape):
        raise ArgumentError(operation, f"sizes must be at least 0, got {shape}")
    return shape


def full(size: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number."""
    check_device("full", device)
    wanted = read_dtype("full", dtype) if dtype is not None else tensor(fill_value).dtype
    return Tensor(numpy.full(_shape("full", (size,) if isinstance(size, int) else tuple(size)), fill_value, wanted), requires_grad)


def zeros(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    check_device("zeros", device)
    return Tensor(numpy.zeros(_shape("zeros", size), read_dtype("zeros", dtype)), requires_grad)


def ones(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    check_device("ones", device)
    return Tensor(numpy.ones(_shape("ones", size), read_dtype("ones", dtype)), requires_grad)


def empty(*size: Any, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever the memory held."""
    check_device("empty", device)
    return Tensor(numpy.empty(_shape("empty", size), read_dtype("empty", dtype)), requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape and dtype of another tensor."""
    return zeros(*input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape and dtype of another tensor."""
    return ones(*input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in the shape and dtype of another tensor."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below end; ``arange(n)`` counts from 0.

    >>> arange(3), arange(0, 1, 0.5)
    (tensor([0, 1, 2]), tensor([0.0000, 0.5000]))
    """
    check_device("arange", device)
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ArgumentError("arange", "step must not be 0")
    whole = all(isinstance(value, int) for value in (start, end, step))
    wanted = read_dtype("arange", dtype) if dtype is not None else numpy.dtype("int64") if whole else FLOAT
    return Tensor(numpy.arange(start, end, step).astype(wanted), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """``steps`` numbers from start to end, both included."""
    return Tensor(numpy.linspace(start, end, steps, dtype=read_dtype("linspace", dtype)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """The identity matrix."""
    return Tensor(numpy.eye(n, m, dtype=read_dtype("eye", dtype)), requires_grad)


def rand(*size: Any, generator: Generator | None = None, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    check_device("rand", device)
    return Tensor(numpy.asarray(numpy_generator(generator).random(_shape("rand", size), read_dtype("rand", dtype))), requires_grad)


def randn(*size: Any, generator: Generator | None = None, dtype: Any = FLOAT, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and variance 1.

    >>> import minivgg
    >>> _ = minivgg.manual_seed(0)
    >>> minivgg.randn(2, 3).shape
    (2, 3)
    """
    check_device("randn", device)
    return Tensor(numpy.asarray(numpy_generator(generator).standard_normal(_shape("randn", size), read_dtype("randn", dtype))), requires_grad)


def randn_like(input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the shape and dtype of another tensor."""
    return randn(*input.shape, generator=generator, dtype=input.dtype, requires_grad=requires_grad)


def randint(low: int, high: int, size: Any, *, generator: Generator | None = None, dtype: Any = "int64") -> Tensor:
    """Uniform random integers in [low, high)."""
    return Tensor(numpy_generator(generator).integers(low, high, _shape("randint", tuple(size))).astype(read_dtype("randint", dtype)))


def randperm(n: int, *, generator: Generator | None = None) -> Tensor:
    """The integers below n in random order."""
    return Tensor(numpy_generator(generator).permutation(n))

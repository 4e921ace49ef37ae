"""Tensors from data, constants and random numbers: tensor, from_numpy, zeros, ones, full, arange, rand, randn, ...

``device`` is "cpu" or "cuda" ("cuda:1"). Random numbers are drawn on the host and copied, so a seed gives the same bits on either.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import HALF, Array, device_of, is_array, to_numpy
from minivgg.device import cupy_for, made_on, moved, out_of_memory_named, read_device
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_fits, check_tensors, read_int, read_number
from minivgg.ops.cast import read_dtype
from minivgg.random import Generator, numpy_generator
from minivgg.spec import MOST_ELEMENTS, check_size

FLOAT = numpy.dtype("float32")
COUNTING = numpy.dtype("int64")
DLPACK_CPU = 1

MOST_DIMENSIONS = 64
"""NumPy's and CuPy's."""

EXACT = 2**53
"""Up to here every integer is a float64."""

OF_PYTHON: dict[str, Any] = {"f": FLOAT, "i": COUNTING, "b": numpy.dtype("bool")}
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
    of_python = not isinstance(_first(data), Tensor | numpy.ndarray | numpy.generic)
    plain = _plain(data)
    try:
        array = numpy.array(plain)
    except ValueError as error:
        raise ArgumentError("tensor", f"the nested lists are not rectangular: {error}") from None
    wanted = None if dtype is None else read_dtype("tensor", dtype)
    whole = wanted is None or wanted.kind in "iu"
    if of_python and not whole and array.dtype.kind == "O":
        array = _as_floats(array, plain)
    inferred = OF_PYTHON.get(array.dtype.kind) if of_python and array.size else FLOAT if of_python else None
    too_large = array.dtype.kind == "u" and isinstance(_first(data), int) if dtype is None else False
    if array.dtype.kind not in "fiub" or too_large or (of_python and whole and _is_rounded(array, data)):
        raise DtypeError("tensor", f"takes numbers and lists of numbers that fit into int64, got {type(data).__name__} of {array.dtype}")
    if wanted is None:
        wanted = read_dtype("tensor", inferred or array.dtype.newbyteorder("="))
    if array.size and array.dtype != wanted and wanted.kind in "iu":
        check_fits("tensor", wanted, array.min().item(), array.max().item())
        if array.dtype.kind == "f":  # which need not hold the integers beside the others in a list
            array = numpy.array(plain, wanted)
    with numpy.errstate(over="ignore"):  # too large a number is infinite, as everywhere
        return Tensor(moved(array.astype(wanted, copy=False), place, "tensor"), requires_grad)


def _plain(data: Any, depth: int = 0) -> Any:
    """Lists of arrays and numbers, without tensors."""
    if isinstance(data, list | tuple):
        if depth == MOST_DIMENSIONS:
            raise ArgumentError("tensor", f"the lists are nested more than {MOST_DIMENSIONS} deep")
        return [_plain(item, depth + 1) for item in data]
    if isinstance(data, Tensor):
        data = data.array
    return to_numpy(data) if is_array(data) else data


def _first(data: Any) -> Any:
    """The first number in nested lists; its type says where the dtype comes from."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return data


def _as_floats(array: numpy.ndarray, numbers: Any) -> numpy.ndarray:
    """Integers of any size as float64, where floats or booleans are asked for; what else is in the lists stays."""
    if all(isinstance(number, int | float) for number in _leaves(numbers)):
        with contextlib.suppress(OverflowError):
            return numpy.array(numbers, "float64")
    return array


def _is_rounded(array: numpy.ndarray, data: Any) -> bool:
    """Whether NumPy has made floats of integers beyond int64 and others."""
    return array.dtype.kind == "f" and bool((abs(array) >= 2.0**63).any()) and all(isinstance(number, int) for number in _leaves(data))


def _leaves(data: Any) -> Iterator[Any]:
    for item in data if isinstance(data, list | tuple) else ():
        yield from _leaves(item)
    if not isinstance(data, list | tuple):
        yield data


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
    return Tensor(array.view(numpy.ndarray) if isinstance(array, numpy.ndarray) else array.view())


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
    if not hasattr(source, "__dlpack_device__"):
        raise DtypeError("from_dlpack", f"takes what has __dlpack__, as other libraries' tensors do, got {type(source).__name__}")
    on_host = source.__dlpack_device__()[0] == DLPACK_CPU
    try:
        array = (numpy if on_host else cupy_for("from_dlpack")).from_dlpack(source)
    except BufferError as error:
        raise DtypeError("from_dlpack", f"{type(source).__name__} does not share its memory: {error}") from None
    return from_numpy(array)


def _shape(operation: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """The sizes of ``f(2, 3)`` or ``f((2, 3))``, of a shape that memory can hold."""
    if not size:
        raise ArgumentError(operation, f"needs sizes; {operation}(()) makes a single number")
    sizes = tuple(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else size
    try:
        shape = tuple([read_int(operation, "a size", s) for s in sizes])
    except ArgumentError:
        shape = (-1,)
    if any(s < 0 for s in shape):
        raise ArgumentError(operation, f"sizes must be whole numbers of at least 0, got {sizes}")
    if len(shape) > MOST_DIMENSIONS:
        raise ShapeError(operation, f"a tensor has at most {MOST_DIMENSIONS} dimensions, got {len(shape)}")
    check_size(operation, shape)
    return shape


def _shape_in_one(operation: str, size: Any) -> tuple[int, ...]:
    if not isinstance(size, list | tuple):
        raise ArgumentError(operation, f"size must be a tuple of whole numbers, got {size!r}")
    return _shape(operation, (size,))


def _dtype(operation: str, dtype: Any, default: numpy.dtype = FLOAT) -> numpy.dtype:
    return default if dtype is None else read_dtype(operation, dtype)


def _filled(operation: str, shape: tuple[int, ...], number: float, dtype: numpy.dtype, device: Any, requires_grad: bool) -> Tensor:
    """Too large a number is infinite in float32, as everywhere; integers hold those that fit, without what is behind the point."""
    check_fits(operation, dtype, number)
    with made_on(operation, device) as xp, numpy.errstate(over="ignore"):
        return Tensor(xp.full(shape, number, dtype), requires_grad)


def full(size: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number; its dtype is that of ``tensor(fill_value)`` for a Python number.

    >>> full((2,), 7), full((2,), 0.5)
    (tensor([7, 7]), tensor([0.5000, 0.5000]))
    """
    number = read_number("full", "fill_value", fill_value)
    return _filled("full", _shape_in_one("full", size), number, _dtype("full", dtype, OF_PYTHON[numpy.dtype(type(number)).kind]), device, requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    with made_on("zeros", device) as xp:
        return Tensor(xp.zeros(_shape("zeros", size), _dtype("zeros", dtype)), requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    with made_on("ones", device) as xp:
        return Tensor(xp.ones(_shape("ones", size), _dtype("ones", dtype)), requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever the memory held."""
    with made_on("empty", device) as xp:
        return Tensor(xp.empty(_shape("empty", size), _dtype("empty", dtype)), requires_grad)


def _like(operation: str, input: Tensor, fill_value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    check_tensors(operation, input=input)
    number = read_number(operation, "fill_value", fill_value)
    return _filled(operation, input.shape, number, _dtype(operation, dtype, input.dtype), input.device if device is None else device, requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in the shape of another tensor, and in its dtype and place if no others are named.

    >>> full_like(arange(3), 7)
    tensor([7, 7, 7])
    """
    return _like("full_like", input, fill_value, dtype, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, dtype and place of another tensor."""
    return _like("zeros_like", input, 0, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, dtype and place of another tensor."""
    return _like("ones_like", input, 1, dtype, device, requires_grad)


def _finite(operation: str, **ends: Any) -> list[float]:
    """Numbers with which a row of numbers can begin, end and go on."""
    numbers = [read_number(operation, name, value) for name, value in ends.items()]
    for name, number in zip(ends, numbers, strict=True):
        if not math.isfinite(number):
            raise ArgumentError(operation, f"{name} must be finite, got {number}")
    return numbers


def _of_numbers(operation: str, dtype: numpy.dtype) -> numpy.dtype:
    if dtype.kind == "b":
        raise DtypeError(operation, "makes numbers, not booleans")
    return dtype


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """start, start + step, ... below end; ``arange(n)`` counts from 0. For integers, what is behind a point is cut off from all three first.

    >>> arange(3), arange(0, 1, 0.5), arange(5, 0, -2)
    (tensor([0, 1, 2]), tensor([0.0000, 0.5000]), tensor([5, 3, 1]))
    """
    if end is None:
        start, end = 0, start
    first, last, by = _finite("arange", start=start, end=end, step=step)
    whole = all(isinstance(number, int) for number in (first, last, by))
    wanted = _of_numbers("arange", _dtype("arange", dtype, OF_PYTHON["i" if whole else "f"]))
    if (last - first) * math.copysign(1, by) < 0:
        raise ArgumentError("arange", f"step {step} leads away from end {end}, starting at {start}")
    if wanted.kind != "f":
        first, last, by = (int(number) for number in (first, last, by))
        check_fits("arange", COUNTING, first, last, by)
    if by == 0:
        raise ArgumentError("arange", "step must not be 0" + (f", as {step} is in {wanted}" if step else ""))
    if abs(last - first) / abs(by) > MOST_ELEMENTS:
        raise ShapeError("arange", f"from {start} to {end} in steps of {step} there are more numbers than any memory holds")
    count = -((first - last) // by) if wanted.kind != "f" else math.ceil((last - first) / by)
    check_fits("arange", wanted, first, first + max(count - 1, 0) * by)
    with made_on("arange", device) as xp, numpy.errstate(over="ignore"):
        numbers = first + xp.arange(count, dtype=COUNTING if wanted.kind != "f" else "float64") * by
        return Tensor(numbers.astype(wanted), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """``steps`` numbers from start to end, both included, computed in float64. For integers, what is behind a point is cut off from both, and then from each.

    >>> linspace(0, 1, 3), linspace(-1, 1, 4, dtype="int64")
    (tensor([0.0000, 0.5000, 1.0000]), tensor([-1,  0,  0,  1]))
    """
    first, last = _finite("linspace", start=start, end=end)
    wanted = _of_numbers("linspace", _dtype("linspace", dtype))
    shape = _shape("linspace", (_at_least_none("linspace", "steps", steps),))
    check_fits("linspace", wanted, first, last)
    if wanted.kind != "f":
        first, last = int(first), int(last)
    if wanted.kind != "f" and max(abs(first), abs(last)) > EXACT:
        raise ArgumentError("linspace", f"float64 does not hold every integer beyond 2**53, got {start} to {end}")
    if math.isinf(last - first):
        raise ArgumentError("linspace", f"from {start} to {end} it is farther than float64 holds")
    with made_on("linspace", device) as xp, numpy.errstate(over="ignore"):
        return Tensor(xp.linspace(first, last, shape[0]).astype(wanted), requires_grad)


def _at_least_none(operation: str, name: str, value: Any) -> int:
    number = read_int(operation, name, value)
    if number < 0:
        raise ArgumentError(operation, f"{name} must be at least 0, got {number}")
    return number


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix with n rows, and m columns if they are not as many."""
    shape = _shape("eye", (_at_least_none("eye", "n", n), _at_least_none("eye", "m", n if m is None else m)))
    with made_on("eye", device) as xp:
        return Tensor(xp.eye(*shape, dtype=_dtype("eye", dtype)), requires_grad)


# Random numbers -------------------------------------------------------------------------------------------------------


def _drawn(operation: str, draw: Callable[[], Any], device: Any, requires_grad: bool = False) -> Tensor:
    """What ``draw`` makes on the host (a NumPy scalar if it has no dimensions), where it is wanted."""
    place = read_device(operation, device)
    with out_of_memory_named(operation):
        return Tensor(moved(numpy.asarray(draw()), place, operation), requires_grad)


def _floating(operation: str, dtype: Any) -> numpy.dtype:
    wanted = _dtype(operation, dtype)
    if wanted.kind != "f":
        raise DtypeError(operation, f"draws float16, float32 or float64, not {wanted}")
    return wanted


def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    shape, wanted, stream = _shape("rand", size), _floating("rand", dtype), numpy_generator("rand", generator)

    def draw() -> Any:
        if wanted != HALF:
            return stream.random(shape, wanted)
        return (numpy.floor(stream.random(shape, FLOAT) * 2048) / 2048).astype(HALF)  # rounded down: 0.9999 must not become 1

    return _drawn("rand", draw, device, requires_grad)


def randn(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Random numbers from the normal distribution with mean 0 and variance 1.

    >>> import minivgg
    >>> _ = minivgg.manual_seed(0)
    >>> minivgg.randn(2, 3).shape
    (2, 3)
    """
    return _normal("randn", _shape("randn", size), _floating("randn", dtype), generator, device, requires_grad)


def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the shape, dtype and place of another tensor."""
    check_tensors("randn_like", input=input)
    wanted = _floating("randn_like", input.dtype if dtype is None else dtype)
    return _normal("randn_like", input.shape, wanted, generator, input.device if device is None else device, requires_grad)


def _normal(operation: str, shape: tuple[int, ...], dtype: numpy.dtype, generator: Generator | None, device: Any, requires_grad: bool) -> Tensor:
    stream = numpy_generator(operation, generator)
    return _drawn(operation, lambda: numpy.asarray(stream.standard_normal(shape, FLOAT if dtype == HALF else dtype), dtype), device, requires_grad)


def randint(low: Any = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Uniform random integers in [low, high); ``randint(high, size)`` starts at 0. A floating dtype must hold all of them.

    >>> randint(3, (2, 4)).shape, randint(5, 6, (3,))
    ((2, 4), tensor([5, 5, 5]))
    """
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    low, high = read_int("randint", "low", low), read_int("randint", "high", high)
    if low >= high:
        raise ArgumentError("randint", f"low must be below high, got {low} and {high}")
    shape, wanted, stream = _shape_in_one("randint", size), _dtype("randint", dtype, COUNTING), numpy_generator("randint", generator)
    check_fits("randint", COUNTING, low, high)
    least, most = _integers_of(wanted)
    if low < least or high - 1 > most:
        raise ArgumentError("randint", f"{wanted} does not hold every integer from {low} to {high - 1}")
    return _drawn("randint", lambda: numpy.asarray(stream.integers(low, high, shape)).astype(wanted), device)


def _integers_of(dtype: numpy.dtype) -> tuple[int, int]:
    """The range in which a dtype holds every integer."""
    if dtype.kind == "f":
        most = 2 ** (numpy.finfo(dtype).nmant + 1)
        return -most, most
    return (0, 1) if dtype.kind == "b" else (int(numpy.iinfo(dtype).min), int(numpy.iinfo(dtype).max))


def randperm(n: int, *, generator: Generator | None = None, device: Any = None) -> Tensor:
    """The integers below n in random order.

    >>> sorted(randperm(4).tolist())
    [0, 1, 2, 3]
    """
    shape, stream = _shape("randperm", (_at_least_none("randperm", "n", n),)), numpy_generator("randperm", generator)
    return _drawn("randperm", lambda: stream.permutation(shape[0]), device)

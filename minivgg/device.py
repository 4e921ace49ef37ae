"""Where arrays lie, ``"cpu"`` or ``"cuda:0"``, and the ways from one to the other.

CuPy is imported when a program first asks for "cuda" by name; ``import minivgg`` never does. Operations on a device run on
its current stream, in the order of the calls, and do not wait for one another; only what needs a number on the host waits.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy

from minivgg.backend import Array, device_of, is_channels_last, to_numpy
from minivgg.capture import current
from minivgg.errors import DeviceError, OutOfMemoryError, UnsupportedError

INSTALL = "pip install 'minivgg[cuda12]', or 'minivgg[cuda13]' for a driver of CUDA 13"


def cuda_problem() -> str | None:
    """Why nothing can be computed on "cuda" here, in one sentence; None if it can."""
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
    except ModuleNotFoundError as error:
        return f"CuPy is not installed: {INSTALL}" if error.name == "cupy" else f"CuPy cannot be imported ({error}): {INSTALL}"
    except ImportError as error:
        return f"CuPy cannot be imported ({error}): {INSTALL}"
    try:
        return None if runtime.getDeviceCount() else "CUDA found no device"
    except runtime.CUDARuntimeError as error:
        return f"CUDA found no device it can use ({error})"


def cupy_for(operation: str) -> Any:
    """The ``cupy`` module, imported because ``operation`` was asked for a device; UnsupportedError if nothing can be computed there."""
    problem = cuda_problem()
    if problem is not None:
        raise UnsupportedError(operation, f"device 'cuda' is not available, {problem}")
    return sys.modules["cupy"]


def read_device(operation: str, device: Any) -> str:
    """``"cpu"``, or ``"cuda:0"`` with the number of a device that is there; None is the CPU, ``"cuda"`` the current device.

    >>> read_device("zeros", None)
    'cpu'
    >>> read_device("zeros", "tpu")
    Traceback (most recent call last):
    ...
    minivgg.errors.UnsupportedError: zeros: there is no device 'tpu'; there are 'cpu', 'cuda' and 'cuda:0' with a number
    """
    name = "cpu" if device is None else f"cuda:{device}" if type(device) is int else str(device)
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return name
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise UnsupportedError(operation, f"there is no device {name!r}; there are 'cpu', 'cuda' and 'cuda:0' with a number")
    cuda = cupy_for(operation).cuda
    if not colon:
        return f"cuda:{cuda.Device().id}"
    if int(number) >= (count := cuda.runtime.getDeviceCount()):
        raise UnsupportedError(operation, f"there is no device {name!r}, CUDA found {count}: cuda:0" + (f" to cuda:{count - 1}" if count > 1 else ""))
    return f"cuda:{int(number)}"


@contextlib.contextmanager
def made_on(operation: str, device: Any) -> Iterator[Any]:
    """The array library of a device, whose functions make arrays there within the block."""
    place = read_device(operation, device)
    if place == "cpu":
        with out_of_memory_named(operation):
            yield numpy
    else:
        cupy = cupy_for(operation)
        with cupy.cuda.Device(int(place[5:])), out_of_memory_named(operation):
            yield cupy


@contextlib.contextmanager
def out_of_memory_named(operation: str) -> Iterator[None]:
    """An error of memory within the block names the operation."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(operation, error) from error


def moved(array: Array, device: str, operation: str = "to") -> Array:
    """The elements on ``device`` in the same order of memory; the array itself if they lie there.

    >>> x = numpy.ones(2)
    >>> moved(x, "cpu") is x
    True
    """
    if device_of(array) == device:
        return array
    if is_channels_last(array):  # CuPy's copies would lie row by row
        return moved(array.transpose(0, 2, 3, 1), device, operation).transpose(0, 3, 1, 2)
    if device == "cpu":
        return to_numpy(array)
    with made_on(operation, device) as cupy:
        return cupy.asarray(array, blocking=True) if isinstance(array, numpy.ndarray) else array.copy()


def may_look(array: Array) -> bool:
    """Whether the host may look at numbers now, to check them: not those of a device while its stream is captured (``minivgg.graph``)."""
    return current.capture is None or isinstance(array, (numpy.ndarray, numpy.generic))


def table(numbers: numpy.ndarray, like: Array) -> Array:
    """Numbers that the host knows (indices, divisors) where ``like`` lies; kept there, so that a second call copies nothing.

    >>> table(numpy.arange(3), numpy.zeros(1))
    array([0, 1, 2])
    """
    if isinstance(like, numpy.ndarray):
        return numbers
    kept = _on_device(sys.modules["cupy"], like.device.id, numbers.tobytes(), numbers.dtype, numbers.shape)
    if current.capture is not None:
        current.capture.held.append(kept)
    return kept


@functools.lru_cache(256)
def _on_device(cupy: Any, device: int, elements: bytes, dtype: numpy.dtype, shape: tuple[int, ...]) -> Array:
    return moved(numpy.frombuffer(elements, dtype).reshape(shape), f"cuda:{device}")


# Copies that the host does not wait for -------------------------------------------------------------------------------


def pinned(array: numpy.ndarray, operation: str = "pin_memory") -> numpy.ndarray:
    """A copy in page-locked memory, from where a device reads by itself; in the same order of memory."""
    if is_channels_last(array):
        return pinned(array.transpose(0, 2, 3, 1), operation).transpose(0, 3, 1, 2)
    memory = cupy_for(operation).cuda.alloc_pinned_memory(max(array.nbytes, 1))
    copy = numpy.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy


def is_pinned_array(array: Array) -> bool:
    """Whether ``pinned`` made it, or it is a view of what it made."""
    cupy = sys.modules.get("cupy")
    while isinstance(array, numpy.ndarray):
        array = array.base
    return cupy is not None and isinstance(getattr(array, "obj", array), cupy.cuda.PinnedMemoryPointer)


_in_flight: deque[tuple[Any, numpy.ndarray]] = deque()
"""Copies on their way: an event after each, and the pinned array, which must not be used for something else before."""


def copied_ahead(array: numpy.ndarray, device: str, stream: Any = None, operation: str = "to") -> Array:
    """The elements of a pinned array on ``device``; the copy runs on ``stream`` (or the current one), and the host does not wait.

    The memory belongs to the current stream, where it will be used. So on another stream the copy waits for what the current
    one was told before: until then the memory may still be read by work whose array is gone already.
    """
    if current.capture is not None:
        return moved(array, device, operation)  # which is refused: a recorded copy would read this memory in every replay
    while _in_flight and _in_flight[0][0].done:
        _in_flight.popleft()
    if is_channels_last(array):
        return copied_ahead(array.transpose(0, 2, 3, 1), device, stream, operation).transpose(0, 3, 1, 2)
    with made_on(operation, device) as cupy:
        here = cupy.cuda.get_current_stream()
        copy = cupy.empty(array.shape, array.dtype)
        if stream is not None:
            stream.wait_event(here.record())
        copy.set(array, stream=stream or here)
        _in_flight.append(((stream or here).record(), array))
    return copy


# Errors ---------------------------------------------------------------------------------------------------------------


def out_of_memory(operation: str, error: MemoryError, where: str = "") -> OutOfMemoryError:
    """What was asked for, what is free, and which operation asked; ``where`` is said at the end."""
    if isinstance(error, OutOfMemoryError):
        return error
    cupy = sys.modules.get("cupy")
    if cupy is None or not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return OutOfMemoryError(operation, f"the host's memory is exhausted: {error}{where}")
    device, pool = cupy.cuda.Device(), cupy.get_default_memory_pool()
    free, total = device.mem_info
    facts = f"{_mib(free)} of {_mib(total)} are free, minivgg's arrays hold {_mib(pool.used_bytes())}, its pool {_mib(pool.free_bytes())} more"
    return OutOfMemoryError(operation, f"the memory of cuda:{device.id} is exhausted: {error}; {facts}; a smaller batch needs less{where}")


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def mixed_devices(operation: str, places: dict[str, str], where: str = "") -> DeviceError:
    """The error for arguments, by name, that do not lie on one device."""
    lies = ", ".join(f"{name} on {place}" for name, place in places.items())
    target = next(place for place in places.values() if place != "cpu")
    wrong = ", ".join(name for name, place in places.items() if place != target)
    return DeviceError(operation, f"all tensors must lie on one device, but {lies}; move {wrong} with .to({target!r}){where}")

"""Memory order: the Numba kernels compute on (N, H, W, C) memory, where a vector is 16 channels and a border is whole vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy

from minivgg.backend import empty, is_channels_last
from minivgg.memory import LINE


def channels_last(x: numpy.ndarray) -> numpy.ndarray:
    """(N, C, H, W) in any memory order as a contiguous (N, H, W, C) array: the same memory if it lies so, else a copy.

    >>> x = numpy.zeros((2, 5, 6, 3)).transpose(0, 3, 1, 2)
    >>> numpy.shares_memory(channels_last(x), x)
    True
    """
    return writable(numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)))


def writable(x: numpy.ndarray) -> numpy.ndarray:
    """The same memory without the read-only flag, which would make Numba compile every kernel a second time."""
    if x.flags.writeable:
        return x
    interface = dict(x.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    view = numpy.asarray(SimpleNamespace(__array_interface__=interface, keep_alive=x))
    return view if view.size else numpy.empty_like(x)


def into_channels_last(out: numpy.ndarray, compute: Callable[[numpy.ndarray], None]) -> None:
    """Let ``compute`` fill a contiguous (N, H, W, C) array: ``out``'s own memory if it lies so, else a copy that is moved over."""
    inner = out.transpose(0, 2, 3, 1)
    if inner.flags.c_contiguous:
        compute(inner)
        return
    buffer = numpy.empty(inner.shape, out.dtype)
    compute(buffer)
    inner[...] = buffer


def apart(shape: tuple[int, ...], dtype: numpy.dtype) -> numpy.ndarray:
    """An array with undefined contents whose parts ``array[i]`` begin an odd number of cache lines apart, and do not touch.

    For what reads or writes one vector in each part, at the same place in all of them. Parts that lie a power of two apart share
    a few sets of a cache, and their vectors drive each other out of it; an odd number of lines apart, each finds a set of its own.

    >>> parts = apart((36, 8, 64), numpy.dtype("float32"))
    >>> parts.shape, parts.strides[0] / 64
    ((36, 8, 64), 33.0)
    """
    stride = apart_bytes(shape, dtype) // shape[0] // dtype.itemsize
    return empty((shape[0], stride), dtype)[:, : math.prod(shape[1:])].reshape(shape)


def apart_bytes(shape: tuple[int, ...], dtype: numpy.dtype) -> int:
    """The memory that ``apart`` takes.

    >>> apart_bytes((36, 8, 64), numpy.dtype("float32"))
    76032
    """
    lines = -(-math.prod(shape[1:]) * dtype.itemsize // LINE)
    return shape[0] * (lines + 1 + lines % 2) * LINE


def by_image(compute: Callable[..., None], outputs: list[numpy.ndarray], *inputs: numpy.ndarray) -> None:
    """``compute(*outputs, *inputs)`` on contiguous arrays (images, H, W, inner), all in the memory order of the first output.

    Channels last, these are (N, H, W, C); else every plane is an image, (N·C, H, W, 1). What lies otherwise is copied.

    >>> x, out = numpy.ones((2, 3, 4, 4)), numpy.empty((2, 4, 4, 3)).transpose(0, 3, 1, 2)
    >>> by_image(lambda out, x: print(out.shape, x.shape), [out], x)
    (2, 4, 4, 3) (2, 4, 4, 3)
    """
    last = is_channels_last(outputs[0]) or (is_channels_last(inputs[0]) and outputs[0].transpose(0, 2, 3, 1).flags.c_contiguous)  # 1x1 is both

    def ordered(x: numpy.ndarray) -> numpy.ndarray:
        if last:
            return channels_last(x)
        n, c, h, w = x.shape
        return writable(numpy.ascontiguousarray(x)).reshape(n * c, h, w, 1)

    arrays = [ordered(out) for out in outputs]
    compute(*arrays, *(ordered(x) for x in inputs))
    for out, array in zip(outputs, arrays, strict=True):
        if not numpy.may_share_memory(out, array):
            out[...] = array.transpose(0, 3, 1, 2) if last else array.reshape(out.shape)


def flat(compute: Callable[..., None], outputs: list[numpy.ndarray], *inputs: numpy.ndarray) -> None:
    """``compute(*outputs, *inputs)`` on one-dimensional arrays: all elements, in the order in which the first output lies in memory.

    So one compiled kernel serves every shape and both memory orders. What lies otherwise is copied.

    >>> x, out = numpy.ones((2, 3)), numpy.empty((2, 3))
    >>> flat(lambda out, x: numpy.negative(x, out=out), [out], x)
    >>> out[0]
    array([-1., -1., -1.])
    """
    if all(x.flags.c_contiguous for x in (*outputs, *inputs)):
        compute(*(x.reshape(-1) for x in outputs), *(writable(x).reshape(-1) for x in inputs))
        return
    if all(is_channels_last(x) for x in (*outputs, *inputs)):
        compute(*(writable(x).transpose(0, 2, 3, 1).reshape(-1) for x in (*outputs, *inputs)))
        return
    dense = not outputs[0].size or numpy.may_share_memory(outputs[0].ravel("K"), outputs[0])
    order = outputs[0] if dense else numpy.empty(outputs[0].shape)
    steps = _steps(order)

    def line(x: numpy.ndarray) -> numpy.ndarray:
        if (x.strides != order.strides or x.itemsize != order.itemsize) and _steps(x) != steps:
            copied = numpy.empty_like(order, dtype=x.dtype)
            copied[...] = x
            x = copied
        return writable(x).ravel("K")

    lines = [line(out) for out in outputs]
    compute(*lines, *map(line, inputs))
    for out, computed in zip(outputs, lines, strict=True):
        if not numpy.may_share_memory(out, computed):
            out[...] = computed.reshape(out.shape) if order.flags.c_contiguous else _ordered(computed, order)


def _ordered(line: numpy.ndarray, like: numpy.ndarray) -> numpy.ndarray:
    """The elements of a line in the shape and memory order of an array."""
    result = numpy.empty_like(like, dtype=line.dtype)
    result.ravel("K")[:] = line
    return result


def _steps(x: numpy.ndarray) -> list[int]:
    """The strides in elements, of the dimensions in which there is a step."""
    return [stride // x.itemsize for stride, size in zip(x.strides, x.shape, strict=True) if size > 1]


def copies(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes that one such copy may take."""
    size = itemsize
    for extent in shape:
        size *= extent
    return size

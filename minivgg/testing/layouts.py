"""The same numbers in other memory: strides with gaps, backwards, transposed, channels last, read-only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy


def poison(dtype: numpy.dtype) -> tuple:
    """Two values that no result should contain: what is left in memory that was not written, or read where it must not be."""
    if dtype.kind in "iu":
        return numpy.iinfo(dtype).max, numpy.iinfo(dtype).max - 1
    return (True, False) if dtype.kind == "b" else (numpy.nan, 1e30 if dtype.itemsize > 2 else 6e4)


def _everywhere(part: slice, array: numpy.ndarray) -> Any:
    """An index that takes ``part`` of every dimension, and stays an array if there are none."""
    return (..., *(part,) * array.ndim)


def strided(array: numpy.ndarray) -> numpy.ndarray:
    """Every second element of a larger array, in every dimension; poison lies between."""
    larger = numpy.full([2 * size for size in array.shape], poison(array.dtype)[0], array.dtype)
    view = larger[_everywhere(slice(None, None, 2), array)]
    view[...] = array
    return view


def reversed_memory(array: numpy.ndarray) -> numpy.ndarray:
    """Negative strides in every dimension.

    >>> reversed_memory(numpy.arange(3)), reversed_memory(numpy.arange(3)).strides
    (array([0, 1, 2]), (-8,))
    """
    backwards = _everywhere(slice(None, None, -1), array)
    return array[backwards].copy()[backwards]


def transposed(array: numpy.ndarray) -> numpy.ndarray:
    """The first dimension innermost (Fortran's order)."""
    return array.copy(order="F")


def channels_last(array: numpy.ndarray) -> numpy.ndarray:
    """The second dimension innermost: (N, C, H, W) in the memory order N H W C; in all else the rows stay as they are."""
    return array.copy() if array.ndim < 3 else numpy.moveaxis(numpy.ascontiguousarray(numpy.moveaxis(array, 1, -1)), -1, 1)


def read_only(array: numpy.ndarray) -> numpy.ndarray:
    """Memory that raises when it is written to."""
    result = array.copy()
    result.flags.writeable = False
    return result


LAYOUTS: dict[str, Callable[[numpy.ndarray], numpy.ndarray]] = {
    "strided": strided,
    "reversed": reversed_memory,
    "transposed": transposed,
    "channels_last": channels_last,
    "read_only": read_only,
}

"""Which array library an array belongs to.

Operations written as *array-namespace code* call ``xp = namespace(x)`` and then ``xp.exp(x)``: the same lines run on
NumPy and on CuPy. This file only looks at CuPy if it is imported already; ``device.py`` imports it when it is asked for.
"""

import math
import sys
from typing import Any

import numpy

from minivgg.memory import LARGE, PAGE, POOL, aligned

Array = Any
"""A ``numpy.ndarray`` or a ``cupy.ndarray``."""

FLOATING = (numpy.dtype("float32"), numpy.dtype("float64"))
"""The element types that can carry a gradient."""

HALF = numpy.dtype("float16")
"""For storing and for elementwise arithmetic; it carries no gradient, and layers do not compute in it."""


def cupy_if_imported() -> Any:
    """The ``cupy`` module if the program has imported it, else None."""
    return sys.modules.get("cupy")


def is_array(value: object) -> bool:
    """True for a NumPy or CuPy array (not for NumPy scalars).

    >>> is_array(numpy.zeros(3)), is_array(numpy.float32(0)), is_array([0.0])
    (True, False, False)
    """
    if isinstance(value, numpy.ndarray):
        return True
    cupy = cupy_if_imported()
    return cupy is not None and isinstance(value, cupy.ndarray)


def namespace(array: Array) -> Any:
    """The module whose functions take this array: ``numpy`` or ``cupy``.

    >>> namespace(numpy.zeros(3)).__name__
    'numpy'
    """
    if isinstance(array, (numpy.ndarray, numpy.generic)):
        return numpy
    cupy = cupy_if_imported()
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    raise TypeError(f"namespace: expected a NumPy or CuPy array, got {type(array).__name__}")


def device_of(array: Array) -> str:
    """``"cpu"`` or ``"cuda:0"``: where the elements lie."""
    return "cpu" if isinstance(array, (numpy.ndarray, numpy.generic)) else f"cuda:{array.device.id}"


def to_numpy(array: Array) -> numpy.ndarray:
    """The elements in host memory; NumPy arrays are returned as they are."""
    return numpy.asarray(array) if isinstance(array, (numpy.ndarray, numpy.generic)) else array.get()


def is_writeable(array: Array) -> bool:
    """Whether elements may be changed; CuPy's arrays know no others."""
    return bool(getattr(array.flags, "writeable", True))


def empty(shape: tuple[int, ...], dtype: Any, like: Array = None) -> Array:
    """An array in row-major order with undefined contents, in the memory of ``like``; on the host, from a page on, it begins on a cache line.

    >>> empty((30, 50), "float32").ctypes.data % 64
    0
    """
    if like is not None and not isinstance(like, numpy.ndarray):
        return namespace(like).empty(shape, dtype)
    dtype = numpy.dtype(dtype)
    size = dtype.itemsize * math.prod(shape)
    if size < PAGE:
        return numpy.empty(shape, dtype)
    return POOL.take(size).view(dtype).reshape(shape) if size >= LARGE else aligned(shape, dtype, size)


def is_channels_last(x: Array) -> bool:
    """Whether (N, C, H, W) lies in memory as (N, H, W, C), and not row by row.

    >>> is_channels_last(numpy.zeros((2, 5, 6, 3)).transpose(0, 3, 1, 2))
    True
    """
    return x.ndim == 4 and not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous


def empty_like(x: Array, shape: tuple[int, ...] | None = None, dtype: Any = None) -> Array:
    """``empty`` in the memory order of ``x``: channels last if (N, C, H, W) lies so, else row-major.

    >>> x = empty((2, 4, 5, 3), "float32").transpose(0, 3, 1, 2)
    >>> empty_like(x, (2, 3, 2, 2)).strides
    (48, 4, 24, 12)
    """
    shape, dtype = x.shape if shape is None else shape, x.dtype if dtype is None else dtype
    if len(shape) == 4 and is_channels_last(x):
        n, c, h, w = shape
        return empty((n, h, w, c), dtype, x).transpose(0, 3, 1, 2)
    return empty(shape, dtype, x)

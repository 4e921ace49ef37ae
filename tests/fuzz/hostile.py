"""What to do to a call before it is made: other memory, other element types, special numbers, arguments that mean nothing."""

from __future__ import annotations

from typing import Any

import numpy

from fuzz.drawing import Rng, chance, one_of
from minivgg.testing.layouts import LAYOUTS

HUGE = (2**31, 2**40, 2**62, 9 * 10**18, 2**63 - 1, -(2**31), -(2**62))
SCALARS = (0, -1, -2, 7, *HUGE, 1.5, float("nan"), float("inf"), 1e300, True, None, "same", "x", ())
SCALARS += ((1,), (2, 2), (1, 2, 3), (2**62, 1), (2**32, 2**32), (9 * 10**18, 4), (2**62, 4), [0, -1])
SPECIAL = (numpy.nan, numpy.inf, -numpy.inf, 0.0, -0.0, 1e-310, 1e-42, 1e300, -1e300, 3e38, 1e19, 88.0, 89.0, -104.0, -745.0, 710.0)
"""Denormal in either precision, largest, where exp overflows and underflows in either; 1e19 is the first whose square float32 has not."""

NUMBERS = ("int64", "int32", "int16", "int8", "uint8", "bool", "float16")
"""Element types other than float32 and float64, for every array of a call."""


def reversed_in_part(array: numpy.ndarray) -> numpy.ndarray:
    """A negative stride in the first dimension alone, on memory that goes on before and behind."""
    larger = numpy.zeros((array.shape[0] + 2, *array.shape[1:]), array.dtype) if array.ndim else array
    if not array.ndim:
        return array
    larger[1:-1] = array[::-1]
    return larger[1:-1][::-1]


def expanded(array: numpy.ndarray) -> numpy.ndarray:
    """Strides of 0 along the first dimension: all of it shows the same memory."""
    return numpy.broadcast_to(array[:1], array.shape) if array.ndim and array.shape[0] else array


def expanded_inside(array: numpy.ndarray) -> numpy.ndarray:
    """Strides of 0 along the last dimension."""
    return numpy.broadcast_to(array[..., :1], array.shape) if array.ndim and array.shape[-1] else array


def misaligned(array: numpy.ndarray) -> numpy.ndarray:
    """Elements that begin at odd addresses."""
    memory = numpy.zeros(array.nbytes + 1, numpy.uint8)[1:]
    view = memory.view(array.dtype) if array.nbytes else numpy.zeros(0, array.dtype)
    view = view.reshape(array.shape)
    view[...] = array
    return view


def field_of_records(array: numpy.ndarray) -> numpy.ndarray:
    """Every element in a record of its size and one byte: strides that are no multiple of it."""
    records = numpy.zeros(array.shape, [("byte", "u1"), ("number", array.dtype)])
    records["number"] = array
    return records["number"]


def odd_strides(array: numpy.ndarray) -> numpy.ndarray:
    """Axes of length 1 whose strides point anywhere, as NumPy allows."""
    strides = tuple((123 - 251 * (i % 2)) * array.itemsize if extent == 1 else s for i, (extent, s) in enumerate(zip(array.shape, array.strides, strict=True)))
    return numpy.lib.stride_tricks.as_strided(array, array.shape, strides) if array.size else array


def swapped_bytes(array: numpy.ndarray) -> numpy.ndarray:
    """The other order of bytes."""
    return array.astype(array.dtype.newbyteorder(">"))


MEMORY = {
    **LAYOUTS, "reversed in part": reversed_in_part, "expanded": expanded, "expanded inside": expanded_inside, "misaligned": misaligned,
    "field": field_of_records, "odd strides": odd_strides, "swapped bytes": swapped_bytes,
}  # fmt: skip


def in_other_memory(rng: Rng, array: numpy.ndarray) -> numpy.ndarray:
    return one_of(rng, *MEMORY.values())(array) if chance(rng, 0.5) else array


def with_special_numbers(rng: Rng, array: numpy.ndarray) -> numpy.ndarray:
    if array.dtype.kind != "f" or not array.size or not chance(rng, 0.06):
        return array
    array = numpy.array(array, order="C")
    for _ in range(int(rng.integers(1, 4))):
        array.reshape(-1)[int(rng.integers(array.size))] = one_of(rng, *SPECIAL)
    return array


def of_other_shape(rng: Rng, array: numpy.ndarray) -> numpy.ndarray:
    """One dimension more, one less, one of another length."""
    change = int(rng.integers(4))
    if change == 0:
        return array[None]
    if change == 1 and array.ndim and array.shape[0]:
        return numpy.asarray(array[0])
    if array.ndim:
        axis = int(rng.integers(array.ndim))
        return numpy.concatenate([array, array], axis) if change == 2 else numpy.take(array, range(0), axis)
    return array


def hostile(rng: Rng, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """The call with its arrays in one element type and any memory; one in six with something that does not fit. And whether it has."""
    dtype = one_of(rng, *NUMBERS) if chance(rng, 0.1) else one_of(rng, "float64", "float64", "float32")
    broken = chance(rng, 1 / 6)
    places = [("arg", i) for i in range(len(args))] + [("option", name) for name in options]
    target = places[int(rng.integers(len(places)))] if broken and places else None

    def change(value: Any, here: bool) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], numpy.ndarray):
            chosen = int(rng.integers(len(value))) if here else -1
            return [change(item, i == chosen) for i, item in enumerate(value)]
        if not isinstance(value, numpy.ndarray):
            return one_of(rng, *SCALARS) if here else value
        if value.dtype.kind == "f":
            value = value.astype(dtype)
        if here:
            value = of_other_shape(rng, value) if chance(rng, 0.7) else value.astype(one_of(rng, "float32", "float64", *NUMBERS))
        return in_other_memory(rng, with_special_numbers(rng, value))

    with numpy.errstate(all="ignore"):
        made = tuple(change(value, target == ("arg", i)) for i, value in enumerate(args))
        named = {name: change(value, target == ("option", name)) for name, value in options.items()}
    return made, named, target is not None

"""Arguments that mean nothing, refused in one form: the operation, what was expected, what came."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy

from minivgg.anomaly import place
from minivgg.autograd import Tensor
from minivgg.backend import FLOATING, HALF, device_of
from minivgg.device import mixed_devices
from minivgg.errors import ArgumentError, DtypeError


def check_tensors(operation: str, **arguments: Any) -> None:
    """Each is a tensor, or None where the caller lets None through, and all lie on one device."""
    elsewhere = False
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise DtypeError(operation, f"{name} must be a tensor, got {type(value).__name__}; minivgg.tensor(...) makes one")
        elsewhere = elsewhere or not isinstance(value.array, numpy.ndarray)
    if elsewhere:
        places = {name: device_of(value.array) for name, value in arguments.items()}
        if len(set(places.values())) > 1:
            raise mixed_devices(operation, places, place())


def check_floating(operation: str, input: Any) -> None:
    """A tensor of float32 or float64."""
    check_tensors(operation, input=input)
    if input.dtype not in FLOATING:
        raise DtypeError(operation, f"takes float32 or float64, got {input.dtype}{hint(input.dtype)}")


def hint(*dtypes: numpy.dtype) -> str:
    """What to do about elements that an operation does not compute in."""
    return "; x.float() converts" if HALF in dtypes else ""


def check_flags(operation: str, **flags: Any) -> None:
    """Each is True or False, and not a number or a string that counts as one."""
    for name, value in flags.items():
        if not isinstance(value, bool | numpy.bool_):
            raise ArgumentError(operation, f"{name} must be True or False, got {value!r}")


def is_number(value: Any) -> bool:
    """A real number of Python or NumPy; booleans are none."""
    return isinstance(value, int | float | numpy.integer | numpy.floating) and not isinstance(value, bool)


def check_numbers(operation: str, **numbers: Any) -> None:
    """Each is a finite Python or NumPy number."""
    for name, value in numbers.items():
        if not is_number(value) or not -math.inf < value < math.inf:
            raise ArgumentError(operation, f"{name} must be a finite number, got {value!r}")


def check_probability(operation: str, name: str, value: Any) -> None:
    """A number from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ArgumentError(operation, f"{name} must lie in [0, 1], got {value!r}")


def check_fits(operation: str, dtype: numpy.dtype, *numbers: float | None) -> None:
    """Refuse numbers that a dtype of integers does not hold: a cast would make others of them. What is behind the point is cut off.

    >>> check_fits("masked_fill", numpy.dtype("uint8"), 300)
    Traceback (most recent call last):
        ...
    minivgg.errors.ArgumentError: masked_fill: 300 does not fit into uint8
    """
    if dtype.kind not in "iu":
        return
    limits = numpy.iinfo(dtype)
    for number in numbers:
        if number is not None and not limits.min <= number <= limits.max:
            raise ArgumentError(operation, f"{number} does not fit into {dtype}")


def read_number(operation: str, name: str, value: Any) -> bool | int | float:
    """A Python number, from one of Python's, one of NumPy's, or a tensor without dimensions; integers fit into int64.

    >>> read_number("full", "fill_value", numpy.float32(1.5))
    1.5
    """
    number = value.item() if isinstance(value, numpy.generic) or (isinstance(value, Tensor) and not value.shape) else value
    if not isinstance(number, bool | int | float):
        raise ArgumentError(operation, f"{name} must be a number, got {value!r}")
    if isinstance(number, int):
        check_fits(operation, numpy.dtype("int64"), number)
    return number


def read_int(operation: str, name: str, value: Any) -> int:
    """A whole number; True, 1.0 and "1" are none.

    >>> read_int("flatten", "start_dim", numpy.int64(1))
    1
    """
    try:
        if not isinstance(value, bool | numpy.bool_):
            return int(operator.index(value))
    except (TypeError, ValueError):  # the latter of a tensor with several numbers
        pass
    raise ArgumentError(operation, f"{name} must be an int, got {value!r}")

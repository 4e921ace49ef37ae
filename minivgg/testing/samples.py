"""A sample as something to run: its arrays changed, its call made, its floating tensors as the arguments of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.registry import Operation, Sample


def map_arrays(value: Any, change: Callable[[numpy.ndarray], Any]) -> Any:
    """``value`` with every array in it replaced; lists, tuples and dictionaries are walked, the rest stays as it is.

    >>> map_arrays(([numpy.zeros(2), 3],), lambda array: array.shape)
    ([(2,), 3],)
    """
    if isinstance(value, numpy.ndarray):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(map_arrays(item, change) for item in value)
    if isinstance(value, dict):
        return {key: map_arrays(item, change) for key, item in value.items()}
    return value


def changed(sample: Sample, change: Callable[[numpy.ndarray], Any]) -> Sample:
    """The same call on other arrays."""
    return Sample(map_arrays(sample.args, change), map_arrays(sample.kwargs, change))


def arrays_of(sample: Sample) -> list[numpy.ndarray]:
    """Every array of a sample, positional ones first."""
    found: list[numpy.ndarray] = []
    changed(sample, found.append)
    return found


def is_floating(array: Any) -> bool:
    return array.dtype.kind == "f"


def as_function(function: Callable[..., Any], sample: Sample, tensor: Callable[[numpy.ndarray], Any] = Tensor) -> Callable[..., Any]:
    """``function`` called with the floating tensors given, in the sample's order; all else is the sample's (made with ``tensor``).

    >>> from minivgg.ops.relu import relu
    >>> call = as_function(relu, Sample((numpy.array([3.0]), False)))
    >>> call(Tensor(numpy.array([-1.0, 5.0])))
    tensor([0., 5.], dtype=float64)
    """

    def call(*tensors: Any) -> Any:
        given = iter(tensors)
        made = changed(sample, lambda array: next(given) if is_floating(array) else tensor(array))
        return function(*made.args, **made.kwargs)

    return call


def leaves_of(sample: Sample) -> list[Tensor]:
    """The sample's floating arrays as differentiable tensors, on the sample's own memory."""
    return [Tensor(array, requires_grad=True) for array in arrays_of(sample) if is_floating(array)]


def names_of(operation: Operation, sample: Sample) -> list[str]:
    """What the floating tensors are called: ``weight``, or ``tensors[1]`` within a list."""
    call = inspect.signature(operation.function).bind(*sample.args, **sample.kwargs)

    def walk(name: str, value: Any) -> Iterator[str]:
        if isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from walk(f"{name}[{i}]", item)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from walk(key, item)
        elif isinstance(value, numpy.ndarray) and is_floating(value):
            yield name

    return [found for name, value in call.arguments.items() for found in walk(name, value)]


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors that a call returned, one or several."""
    return [out for out in (result if isinstance(result, tuple | list) else [result]) if isinstance(out, Tensor)]

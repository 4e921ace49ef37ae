"""CUDA kernels for the checks that call kernels with NumPy arrays: copied to the device, computed there, and copied back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from minivgg.device import cupy_for
from minivgg.registry import Algorithm, algorithms, operations_with_algorithms


def cuda_records() -> list[Algorithm]:
    """Every algorithm that is written in CUDA C++."""
    return [each for operation in operations_with_algorithms("cuda") for each in algorithms(operation, "cuda").values() if each.backend == "cuda"]


def on_device(algorithm: Algorithm) -> Algorithm:
    """The record with a ``run`` that takes NumPy arrays, copies them in their memory order, and copies what has changed back."""

    def run(spec: Any, *arrays: Any, **options: Any) -> None:
        given = [*arrays, *options.values()]
        copies = [_copied(value) for value in given]
        algorithm.run(spec, *copies[: len(arrays)], **dict(zip(options, copies[len(arrays) :], strict=True)))
        for value, copy in zip(given, copies, strict=True):
            if isinstance(value, numpy.ndarray) and value.flags.writeable:
                value[...] = copy.get()

    return dataclasses.replace(algorithm, run=run)


def _copied(value: Any) -> Any:
    """On the device, with the same strides and the same distance to the next multiple of 16 bytes."""
    if not isinstance(value, numpy.ndarray):
        return value
    cupy = cupy_for("on_device")
    low, high = numpy.lib.array_utils.byte_bounds(value)
    aside = low % 16
    memory = cupy.zeros(aside + high - low, "uint8")
    first = aside + value.ctypes.data - low
    last = first + value.itemsize
    view = cupy.lib.stride_tricks.as_strided(memory[first:last].view(value.dtype), value.shape, value.strides)
    view[...] = cupy.asarray(value)
    return view

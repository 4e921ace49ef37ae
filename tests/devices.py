"""CUDA kernels for the checks that call kernels with NumPy arrays: on the emulator, and on a GPU where there is one."""

import contextlib
import dataclasses
import functools
import sys

import numpy
import strict_arrays

from minivgg.registry import algorithms, operations_with_algorithms


def records():
    """Every algorithm that is written in CUDA C++."""
    return [each for operation in operations_with_algorithms("cuda") for each in algorithms(operation, "cuda").values() if each.backend == "cuda"]


@functools.cache
def gpu():
    """CuPy, if it is installed and finds a device; else None."""
    try:
        import cupy

        return cupy if cupy.cuda.runtime.getDeviceCount() else None
    except Exception:  # no package, no driver, no device: CuPy has an exception for each
        return None


def missing():
    """What could not be run for want of a GPU, or None."""
    return "no GPU here (or no CuPy): the CUDA kernels were run on the processor alone" if gpu() is None else None


STAND_IN = strict_arrays.module()


@contextlib.contextmanager
def emulated():
    """The stand-in is what ``import cupy`` would find."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = STAND_IN
    try:
        yield
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before


def on_emulator(algorithm):
    """The record with a ``run`` that takes NumPy arrays; the emulator computes in their own memory."""

    def run(spec, *arrays, **options):
        with emulated():
            algorithm.run(spec, *map(_wrapped, arrays), **{name: _wrapped(value) for name, value in options.items()})

    return dataclasses.replace(algorithm, run=run)


def _wrapped(value):
    return strict_arrays.ndarray(value) if isinstance(value, numpy.ndarray) else value


def on_gpu(algorithm):
    """The record with a ``run`` that takes NumPy arrays, copies them in their memory order, and copies what has changed back."""

    def run(spec, *arrays, **options):
        given = [*arrays, *options.values()]
        copies = [_copied(value) for value in given]
        algorithm.run(spec, *copies[: len(arrays)], **dict(zip(options, copies[len(arrays) :], strict=True)))
        for value, copy in zip(given, copies, strict=True):
            if isinstance(value, numpy.ndarray) and value.flags.writeable:
                value[...] = copy.get()

    return dataclasses.replace(algorithm, run=run)


def _copied(value):
    """On the device, with the same strides and the same distance to the next multiple of 16 bytes."""
    if not isinstance(value, numpy.ndarray):
        return value
    low, high = numpy.lib.array_utils.byte_bounds(value)
    aside = low % 16
    memory = gpu().zeros(aside + high - low, "uint8")
    first = aside + value.ctypes.data - low
    last = first + value.itemsize
    view = gpu().lib.stride_tricks.as_strided(memory[first:last].view(value.dtype), value.shape, value.strides)
    view[...] = gpu().asarray(value)
    return view

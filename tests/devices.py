"""CUDA kernels for the checks that call kernels with NumPy arrays, on the emulator; and whether there is a GPU."""

import contextlib
import dataclasses
import functools
import sys

import numpy
import strict_arrays


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

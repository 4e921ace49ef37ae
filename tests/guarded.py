"""Run compiled kernels on memory that ends, and then on memory that begins, exactly at a page that cannot be touched.

    python tests/guarded.py [part of a title]

The kernels with explicit vectors compute on plain addresses, which Numba's bounds check does not see. Here a single byte
read or written beyond the end or before the begin of an input, an output or a kernel's own scratch array ends the process
(SIGSEGV), and the last line that it printed names the kernel. ``empty``, ``numpy.empty`` and the like return such memory
while a kernel runs. (Not so what a kernel allocates after it is compiled: a row of zeros here and there.)
"""

import ctypes
import itertools
import math
import mmap
import sys

import numba
import numpy
from numba.core import event

import minivgg
from minivgg.registry import algorithms, operations_with_algorithms
from minivgg.testing.kernel_checks import LAYOUTS, data, poisoned_outputs
from minivgg.testing.problems import problems

PAGE = mmap.PAGESIZE
SMALL = 60_000
_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(shape, dtype, at_end):
    """An array in row-major order between two pages without any access: its last byte, or its first, lies next to one."""
    dtype, shape = numpy.dtype(dtype), (shape,) if isinstance(shape, int | numpy.integer) else tuple(shape)
    size = dtype.itemsize * math.prod(shape)
    pages = max(1, -(-size // PAGE))
    room = mmap.mmap(-1, (pages + 2) * PAGE)
    memory = numpy.frombuffer(room, numpy.uint8)
    begin = memory.ctypes.data
    for guard in (begin, begin + (pages + 1) * PAGE):
        if _mprotect(guard, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = (pages + 1) * PAGE - size if at_end else PAGE
    return memory[first : first + size].view(dtype).reshape(shape)


def moved(array, at_end):
    """The same numbers in the same memory order, in guarded memory; strides with gaps or backwards keep their span."""
    if array is None:
        return None
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    plain = array.transpose(order)
    copy = guarded(plain.shape, plain.dtype, at_end)
    copy[...] = plain
    return copy.transpose([order.index(axis) for axis in range(array.ndim)])


class GuardedScratch(event.Listener):
    """What kernels allocate is guarded too: within the block, except while Numba compiles, which must find NumPy as it is."""

    def __init__(self, at_end):
        def full(shape, value, dtype=None):
            array = guarded(shape, numpy.asarray(value).dtype if dtype is None else dtype, at_end)
            array[...] = value
            return array

        def empty(shape, dtype=float, like=None):
            return guarded(shape, dtype, at_end)

        kernels = [module for name, module in sys.modules.items() if name.startswith("minivgg.kernels.") and hasattr(module, "empty")]
        self.kernels = [(module, "empty", module.empty, empty) for module in kernels]
        replaced = {"empty": empty, "full": full, "zeros": lambda shape, dtype=float: full(shape, 0, dtype)}
        self.numpy = [(numpy, name, getattr(numpy, name), function) for name, function in replaced.items()]
        self.compiling = 0

    def __enter__(self):
        for module, name, _, function in self.kernels + self.numpy:
            setattr(module, name, function)
        event.register("numba:compile", self)

    def __exit__(self, *error):
        event.unregister("numba:compile", self)
        for module, name, function, _ in self.kernels + self.numpy:
            setattr(module, name, function)

    def on_start(self, compilation):
        self.compiling += 1
        for module, name, function, _ in self.numpy:
            setattr(module, name, function)

    def on_end(self, compilation):
        self.compiling -= 1
        for module, name, _, function in self.numpy if not self.compiling else ():
            setattr(module, name, function)


def cases():
    """(title, run, spec, inputs, outputs, options) of every compiled algorithm on every problem, in every precision and order."""
    for operation in operations_with_algorithms():
        small = [problem for problem in problems(operation) if max(math.prod(shape) for shape in (*problem.inputs, *problem.outputs) if shape) <= SMALL]
        compiled = [algorithm for algorithm in algorithms(operation).values() if algorithm.backend == "numba"]
        for algorithm, problem, dtype, layout in itertools.product(compiled, small, map(numpy.dtype, ("float32", "float64")), ("row_major", "channels_last")):
            spec = problem.spec
            if algorithm.supports(spec, dtype) is not None:
                continue
            inputs = [None if array is None else LAYOUTS[layout](array) for array in data(problem, dtype, "normal")]
            title, run = f"{operation} by {algorithm.name}, {problem}, {dtype}, {layout}", algorithm.run
            yield title, run, spec, inputs, poisoned_outputs(problem, dtype, 0, layout), {}
            if "relu" in algorithm.fuses:
                yield f"{title}, with relu", run, spec, inputs, poisoned_outputs(problem, dtype, 0, layout), {"relu": True}
            if "pool" in algorithm.fuses and min(spec.p, spec.q) > 1:
                shape = (spec.n, spec.k, spec.p // 2, spec.q // 2)
                out, cells = (LAYOUTS[layout](numpy.zeros(shape, kind)) for kind in (dtype, "uint8"))
                yield f"{title}, pooled", run, spec, inputs, [out], {"relu": True, "pool": True, "cells": cells}
            if operation.startswith("batch_norm") and layout == "channels_last":
                yield from with_relu(title, run, problem, inputs, poisoned_outputs(problem, dtype, 0, layout))


def with_relu(title, run, problem, inputs, outputs):
    """Batch normalisation with ReLU, and with pooling, which wants windows that tile the image, of as many channels as make a vector."""
    n, c, h, w = problem.spec.shape
    gradient = problem.operation == "batch_norm_grad"
    yield f"{title}, with relu", run, problem.spec, inputs, outputs, {"y": inputs[1]} if gradient else {"relu": True}
    if c < 16 or h % 2 or w % 2:
        return
    small, cells = (LAYOUTS["channels_last"](numpy.zeros((n, c, h // 2, w // 2), kind)) for kind in (outputs[0].dtype, "uint8"))
    if gradient:
        yield f"{title}, pooled", run, problem.spec, [small, *inputs[1:]], outputs, {"y": small, "cells": cells}
    else:
        yield f"{title}, pooled", run, problem.spec, inputs, [small, *outputs[1:]], {"relu": True, "cells": cells}


def main():
    minivgg.set_num_threads(2)
    numba.njit(lambda: 0)()  # now Numba knows NumPy's functions
    wanted, count = sys.argv[1] if len(sys.argv) > 1 else "", 0
    for title, run, spec, inputs, outputs, options in cases():
        for at_end in (True, False):
            if wanted in title:
                print(f"{title}: memory {'ends' if at_end else 'begins'} at the page", flush=True)
                there = [moved(array, at_end) for array in (*inputs, *outputs)]
                given = {name: moved(value, at_end) if isinstance(value, numpy.ndarray) else value for name, value in options.items()}
                with GuardedScratch(at_end):
                    run(spec, *there, **given)
                count += 1
    print(f"{count} runs stayed in their memory", flush=True)


if __name__ == "__main__":
    main()

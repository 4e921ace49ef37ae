"""CUDA C++ beside the launch code: a ``.cu`` file, the constants it is compiled with, and its kernels to be called.

NVRTC compiles a program when it is first launched, for the GPU at hand, and CuPy keeps the machine code on disk. What a
launch cannot change is a constant of the program, declared before its first line: a number as ``constexpr int TILE = 8;``,
an element type as ``using T = float;``. What changes from call to call is an argument. Headers of this folder (``*.cuh``) are
pasted in, so that the text alone says what the machine code is made of.

The same text compiles as C++ for the processor, where the tests run it (``MINIVGG_ON_HOST`` is defined there).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import cupy_if_imported

HEADERS = Path(__file__).parent

OPTIONS = ("-std=c++17",)
"""No ``--use_fast_math``: division, square root and denormal numbers are those of IEEE 754."""

SHARED_BYTES = 48 << 10
"""Shared memory that a block may have without asking for more."""

PROGRAMS: list[Program] = []
"""Every program of every kernel; the tests compile each of their variants for each architecture."""

TYPES = {numpy.dtype("float32"): "float", numpy.dtype("float64"): "double"}
"""The C++ name of an element type, for ``Program(...).kernel(..., T=TYPES[x.dtype])``."""

Constants = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Program:
    """A ``.cu`` file with the variants it may be compiled in; creating the record registers it.

    ``path``          the file; a launch file writes ``Path(__file__).with_name("fused.cu")``
    ``variants``      dictionaries of constants, all that the launch code can ask for
    ``architecture``  the compute capability that its instructions need at least, 80 for 8.0

    >>> program = Program(Path(__file__).with_name("missing.cu"), ({"T": "float", "TILE": 8},))
    >>> program.kernel("f", T="float", TILE=4)
    Traceback (most recent call last):
        ...
    ValueError: missing.cu: no variant has T=float, TILE=4; there are T=float, TILE=8
    >>> _ = PROGRAMS.remove(program)
    """

    path: Path
    variants: tuple[Constants, ...] = ({},)
    architecture: int = 75

    def __post_init__(self) -> None:
        PROGRAMS.append(self)

    @property
    def name(self) -> str:
        """As in "relu/fused.cu"."""
        return f"{self.path.parent.name}/{self.path.name}"

    def kernel(self, name: str, **constants: Any) -> Kernel:
        """The ``extern "C" __global__`` function of that name, in the variant with these constants."""
        return self._kernel(name, tuple(sorted(constants.items())))

    @functools.cache  # noqa: B019 programs live as long as the process
    def _kernel(self, name: str, constants: tuple[tuple[str, Any], ...]) -> Kernel:
        if dict(constants) not in self.variants:
            there = "; ".join(map(written, self.variants))
            raise ValueError(f"{self.path.name}: no variant has {written(dict(constants))}; there are {there}")
        return Kernel(self, name, dict(constants))

    def module(self, constants: Constants) -> Any:
        """CuPy's module of that variant: machine code once one of its functions is asked for, or ``compile()`` is called."""
        return cupy_if_imported().RawModule(code=self.text(constants), options=OPTIONS)

    def text(self, constants: Constants) -> str:
        """What is compiled: the constants, and the file with its headers pasted in."""
        declared = [f"using {name} = {value};" if isinstance(value, str) else f"constexpr int {name} = {int(value)};" for name, value in constants.items()]
        return "\n".join([*declared, _pasted(self.path, set())])


class Kernel:
    """A function of a program: call it with the number of blocks, the threads of each, and its arguments.

    Arguments are CuPy arrays (passed as pointers to their first elements), None (a null pointer), Python ints (an ``int``),
    NumPy scalars (as they are: ``x.dtype.type(0.5)``) and a ``struct``. It runs on the device of the arrays, in its current stream.
    """

    def __init__(self, program: Program, name: str, constants: Constants) -> None:
        self.program, self.name, self.constants = program, name, constants

    def __call__(self, blocks: int | tuple[int, ...], threads: int | tuple[int, ...], *arguments: Any, shared: int = 0) -> None:
        """Launch; ``shared`` is the size in bytes of the dynamic shared memory of each block."""
        blocks, threads = _extents(blocks), _extents(threads)
        if 0 in blocks:
            return
        device = next(argument.device for argument in arguments if hasattr(argument, "device"))
        if device.id == cupy_if_imported().cuda.Device().id:
            self._launch(device, blocks, threads, arguments, shared)
        else:
            with device:
                self._launch(device, blocks, threads, arguments, shared)

    def _launch(self, device: Any, blocks: tuple[int, ...], threads: tuple[int, ...], arguments: tuple[Any, ...], shared: int) -> None:
        self._function(device.id, shared)(blocks, threads, tuple(map(_argument, arguments)), shared_mem=shared)

    @functools.cache  # noqa: B019 kernels live as long as the process
    def _function(self, device: int, shared: int) -> Any:
        """Of the current device, with leave to have so much shared memory."""
        here = capability() or 0
        if here < self.program.architecture:
            raise RuntimeError(f"{self.program.name} needs compute capability {self.program.architecture / 10}, this GPU has {here / 10}")
        function = self.program.module(self.constants).get_function(self.name)
        if shared > SHARED_BYTES:
            function.max_dynamic_shared_size_bytes = shared
        return function


def capability() -> int | None:
    """The compute capability of the current device, 90 for 9.0; None as long as nobody has asked for a device."""
    cupy = cupy_if_imported()
    return None if cupy is None else int(cupy.cuda.Device().compute_capability)


def _extents(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _argument(value: Any) -> Any:
    if value is None:
        return numpy.uintp(0)
    if type(value) is int:
        return numpy.int32(value)  # OverflowError beyond 32 bits
    if type(value) is float:
        raise TypeError("a Python float has no element type here; pass x.dtype.type(value)")
    return value


def written(constants: Constants) -> str:
    """As in "T=float, TILE=8"."""
    return ", ".join(f"{name}={value}" for name, value in constants.items()) or "no constants"


def _pasted(path: Path, already: set[str]) -> str:
    """A file whose ``#include "x.cuh"`` are replaced by those files, each once; errors keep their file and line."""
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        header = re.fullmatch(r'#include "(\w+\.cuh)"', line)
        if header is None:
            lines.append(line)
        elif header[1] not in already:
            already.add(header[1])
            beside = path.with_name(header[1])
            lines += [_pasted(beside if beside.is_file() else HEADERS / header[1], already), f'#line {number + 1} "{path.name}"']
    return "\n".join(lines)


def struct(**fields: int | numpy.int64) -> numpy.ndarray:
    """A C++ ``struct`` of ``int``\\ s, or of ``long long``\\ s, in this order, to be passed by value.

    >>> struct(height=3, width=4).itemsize, struct(height=3, pitch=numpy.int64(4)).itemsize
    (8, 16)
    """
    wide = tuple(isinstance(value, numpy.int64) for value in fields.values())
    return numpy.array([tuple(fields.values())], _struct_type(tuple(fields), wide))


@functools.cache
def _struct_type(names: tuple[str, ...], wide: tuple[bool, ...]) -> numpy.dtype:
    return numpy.dtype([(name, "int64" if is_wide else "int32") for name, is_wide in zip(names, wide, strict=True)], align=True)


def ceil_div(a: int, b: int) -> int:
    """⌈a / b⌉: blocks of size ``b`` that cover ``a``.

    >>> ceil_div(9, 4)
    3
    """
    return -(-a // b)

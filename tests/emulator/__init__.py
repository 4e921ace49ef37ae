"""CUDA C++ without a GPU: a stand-in for ``cupy.RawModule`` that compiles a program with g++ and runs it on the processor.

The program is the text that NVRTC would get, after cuda.h, which supplies blocks, threads, shared memory, barriers and
shuffles. Arrays are those of strict_arrays.py, whose memory is NumPy's. Arguments are held to the kernel's signature.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy

HEADER = Path(__file__).with_name("cuda.h")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fsanitize-sections=shared_memory", "-g")
KERNEL = re.compile(r"\b__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")

LARGEST_BLOCK = 1024
LARGEST_GRID = (2**31 - 1, 65535, 65535)
LARGEST_SHARED = 227 << 10
"""Threads, blocks and bytes of shared memory that an H100 takes."""


def missing():
    """Why nothing can be emulated here, or None."""
    return None if shutil.which("g++") else "g++ is not installed here, so no CUDA kernel was run on the processor"


class RawModule:
    """As ``cupy.RawModule(code=..., options=...)``."""

    def __init__(self, *, code, options=()):
        self.names = tuple(KERNEL.findall(code))
        sanitized = os.environ.get("MINIVGG_EMULATOR") == "sanitized"
        self.library = _library(code, self.names, sanitized)

    def get_function(self, name):
        assert name in self.names, f"the program has no kernel {name}; it has {', '.join(self.names)}"
        return Function(self.library, name)


class Function:
    """As the function of a ``cupy.RawModule``: ``function(grid, block, arguments, shared_mem=bytes)``."""

    launches = 0
    """Of all functions; every other one runs its threads in descending order."""

    def __init__(self, library, name):
        self.name, self.max_dynamic_shared_size_bytes = name, 48 << 10
        self._run = getattr(library, f"emulate_{name}")
        self._run.restype = ctypes.c_char_p
        signature = getattr(library, f"signature_{name}")
        signature.restype = ctypes.c_char_p
        self.signature = signature().decode().split()

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        grid, block = (tuple(map(int, sizes)) + (1,) * (3 - len(sizes)) for sizes in (grid, block))
        assert all(0 < size <= most for size, most in zip(grid, LARGEST_GRID, strict=True)), f"{self.name}: no GPU takes a grid of {grid} blocks"
        assert 0 < numpy.prod(block) <= LARGEST_BLOCK, f"{self.name}: no GPU takes a block of {block} threads"
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= LARGEST_SHARED, f"{self.name}: {shared_mem} bytes of shared memory were not asked for"
        assert len(arguments) == len(self.signature), f"{self.name} takes {len(self.signature)} arguments, got {len(arguments)}"
        cells = [_cell(self.name, i, *pair) for i, pair in enumerate(zip(arguments, self.signature, strict=True))]
        addresses = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        Function.launches += 1
        failure = self._run((ctypes.c_uint * 6)(*grid, *block), shared_mem, Function.launches % 2, addresses)
        if failure is not None:
            raise RuntimeError(f"{self.name}: {failure.decode()}")


def _cell(name, place, value, kind):
    """The argument's memory: a scalar as it is, an array as its address. A GPU would take any type and read it wrongly."""
    if kind.startswith("*"):
        if isinstance(value, numpy.uintp) and value == 0:
            return numpy.array(value)
        came = f"{value.dtype.kind}{value.dtype.itemsize}" if hasattr(value, "data") and not isinstance(value, numpy.generic) else type(value).__name__
        assert kind[1:] in (came, "V1"), f"{name}: argument {place} is a pointer to {kind[1:]}, got {came}"
        return numpy.array(value.data.ptr, numpy.uintp)
    by_value = isinstance(value, numpy.generic) or (isinstance(value, numpy.ndarray) and value.size == 1)
    came = f"{value.dtype.kind}{value.dtype.itemsize}" if by_value else type(value).__name__
    assert came == kind, f"{name}: argument {place} is {kind}, got {came}"
    return numpy.array(value)


@functools.cache
def _compiler():
    """g++ and what it compiles for: the libraries of another machine are not ours."""
    facts = subprocess.run(["g++", "-march=native", "-Q", "--help=target", "--version"], capture_output=True, text=True, check=True)
    return facts.stdout


@functools.cache
def _library(code, names, sanitized):
    """Compiled once for all processes: a file of the temporary folder, named by what it is made of."""
    launchers = "".join(
        f'extern "C" const char* emulate_{name}(const unsigned* e, unsigned s, int d, void** a) {{ return emulator::launch({name}, e, s, d, a); }}\n'
        f'extern "C" const char* signature_{name}() {{ return emulator::signature({name}); }}\n'
        for name in names
    )
    text = f'{HEADER.read_text()}\n{code}\n#line 1 "launchers"\n{launchers}'
    flags = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-DMINIVGG_ON_HOST", "-Wall", "-Wno-unknown-pragmas"]
    flags += ["-Wno-unused-function", "-Wno-unused-variable", "-Wno-attributes", "-fno-strict-aliasing", *(SANITIZERS if sanitized else ())]
    folder = Path(tempfile.gettempdir()) / f"minivgg-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / (hashlib.sha256("\0".join([text, *flags, _compiler()]).encode()).hexdigest()[:32] + ".so")
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        command = ["g++", *flags, "-x", "c++", "-", "-o", str(beside)]
        run = subprocess.run(command, input=text, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"g++ refuses the program:\n{run.stderr}")
        beside.replace(path)
    return ctypes.CDLL(str(path))


def sanitized_environment():
    """The variables of a process in which programs are compiled with the sanitizers."""
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    options = "detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0"
    return {**os.environ, "MINIVGG_EMULATOR": "sanitized", "LD_PRELOAD": runtime, "ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=0"}

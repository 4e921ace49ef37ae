"""How many threads compute: one setting for the compiled kernels and for NumPy's matrix products.

All of them share out their work in ``parallel.py``. OpenBLAS, which computes the products, has threads of its own; it is given one
while it works for minivgg (``products.py``), because it cuts sums up by their number. The program's own products have as many as the kernels.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import threading
from pathlib import Path
from typing import Any

import numpy

from minivgg.errors import ArgumentError

VARIABLE = "MINIVGG_NUM_THREADS"


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _from_environment() -> int:
    text = os.environ[VARIABLE].strip()
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise ArgumentError(VARIABLE, f"must be a whole number of at least 1, or empty for as many as there are processors, got {text!r}")
    return int(text)


@functools.cache
def openblas(name: str) -> Any:
    """A function of the OpenBLAS that NumPy carries with it, or None. Its symbols bear a prefix and a suffix in wheels."""
    package = Path(numpy.__file__).parent
    for file in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        library = ctypes.CDLL(str(file))
        for symbol in (f"scipy_openblas_{name}64_", f"scipy_openblas_{name}", f"openblas_{name}64_", f"openblas_{name}"):
            if hasattr(library, symbol):
                return getattr(library, symbol)
    return None


class _Here(threading.local):
    alone = False  # each Python thread has its own


_here = _Here()

LITTLE = 1 << 26
"""Multiply-adds that one thread is through with before two have met: waking one takes some 30 µs, and its cache does not hold the data."""


class alone:
    """Inside the block and in this Python thread, if the condition holds, ``get_num_threads`` is 1: there is too little to share out.

    >>> with alone(True):
    ...     get_num_threads()
    1
    """

    def __init__(self, condition: bool) -> None:
        self.condition = condition

    def __enter__(self) -> None:
        self.before = _here.alone
        _here.alone = self.before or self.condition

    def __exit__(self, *exception: object) -> None:
        _here.alone = self.before


class one_blas_thread:
    """Inside the block OpenBLAS computes in the thread that calls it, for the whole process; afterwards it has its threads again.

    >>> with one_blas_thread():
    ...     numpy.ones((2, 3)) @ numpy.ones(3)
    array([3., 3.])
    """

    inside = before = 0
    lock = threading.Lock()

    def __enter__(self) -> None:
        kind = type(self)
        with kind.lock:
            if not kind.inside:
                kind.before = _blas_threads()
                _set_blas_threads(1)
            kind.inside += 1

    def __exit__(self, *exception: object) -> None:
        kind = type(self)
        with kind.lock:
            kind.inside -= 1
            if not kind.inside:
                _set_blas_threads(kind.before)

    @classmethod
    def afterwards(cls, number: int) -> None:
        """How many threads OpenBLAS has outside of all blocks."""
        with cls.lock:
            if cls.inside:
                cls.before = number
            else:
                _set_blas_threads(number)

    @classmethod
    def begin_anew(cls) -> None:
        """In a forked process: whoever was inside in other threads is not there."""
        cls.lock = threading.Lock()
        if cls.inside:
            cls.inside = 0
            _set_blas_threads(cls.before)


def _blas_threads() -> int:
    count = openblas("get_num_threads")
    return 1 if count is None else count()


def _set_blas_threads(number: int) -> None:
    change = openblas("set_num_threads")
    if change is not None and _blas_threads() != number:
        change(number)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.begin_anew)


def get_num_threads() -> int:
    """How many threads compute, the caller's own among them.

    >>> import minivgg
    >>> before = minivgg.get_num_threads()
    >>> minivgg.set_num_threads(3)
    >>> minivgg.get_num_threads()
    3
    >>> minivgg.set_num_threads(before)
    """
    return 1 if _here.alone else _threads


def set_num_threads(threads: int) -> None:
    """Let compiled kernels and NumPy's OpenBLAS use so many threads from now on, in the whole process, the caller's own among them.

    Without it, the number is ``MINIVGG_NUM_THREADS``; without that, kernels use the processors which the process may use, and
    OpenBLAS what it chose. The results of minivgg are the same to the bit for any number. Where several processes
    compute side by side, give each its share. Raises ArgumentError.

    >>> import minivgg
    >>> minivgg.set_num_threads(0)
    Traceback (most recent call last):
    minivgg.errors.ArgumentError: set_num_threads: expects a whole number of at least 1, got 0
    """
    try:
        number = operator.index(threads)
    except TypeError:
        number = 0
    if number < 1 or isinstance(threads, bool):
        raise ArgumentError("set_num_threads", f"expects a whole number of at least 1, got {threads!r}")
    _set(number)


def _set(number: int) -> None:
    global _threads
    _threads = number
    one_blas_thread.afterwards(number)


_threads = cores()
if os.environ.get(VARIABLE, "").strip():
    _set(_from_environment())

"""How a kernel is compiled: no Python inside, no interpreter lock, kept on disk where that is possible, and the user is told."""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from minivgg.files import digest

FASTMATH = {"contract", "nsz"}
"""Allowed: fused multiply-add, and -0 for 0. Not allowed: anything that breaks nan, inf, or the order of a sum."""

KERNELS: list[Any] = []
"""Every compiled function, with or without machine code so far."""

HINT = "every process compiles them again (seconds); set NUMBA_CACHE_DIR to a writable folder"


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first call for the given element types; ``nogil``, so that threads run side by side.

    A folder that cannot be written makes Numba refuse to cache at all; then the kernel is compiled anew in every process,
    and a warning says how to change that.
    """
    options = {"nogil": True, "fastmath": FASTMATH, "error_model": "numpy"}
    try:
        kernel = numba.njit(cache=True, **options)(function)
        kernel._cache._cache_file._source_stamp = _stamp()
        kernel._cache._guard_against_spurious_io_errors = _without_the_disk
    except RuntimeError as error:
        if "cache" not in str(error):
            raise
        _warn_once(f"minivgg cannot write its cache of compiled kernels, so {HINT}")
        kernel = numba.njit(**options)(function)
    KERNELS.append(kernel)
    return kernel


def kept() -> bool:
    """Whether compiled kernels are kept for later processes."""
    return all(kernel._cache.cache_path is not None for kernel in KERNELS)


@functools.cache
def _stamp() -> str:
    """Numba forgets a kernel when its own file changes; ours are also made of the files beside it."""
    return digest([Path(__file__).parents[1]])


@contextlib.contextmanager
def _without_the_disk() -> Iterator[None]:
    """A disk that is full, or a file that is broken, costs the time to compile, and no more."""
    try:
        yield
    except (OSError, EOFError, pickle.PickleError) as error:
        _warn_once(f"minivgg cannot use its cache of compiled kernels ({type(error).__name__}: {error}), so {HINT}")


@functools.cache
def _warn_once(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


class _Teller(event.Listener):  # type: ignore[misc]
    """Says once a process, on standard error, that it takes a while because kernels are compiled."""

    told = False

    def on_start(self, event: Any) -> None:
        if not self.told and event.data["dispatcher"].__module__.startswith("minivgg.kernels."):
            self.told = True
            later = "once for this machine" if kept() else "for this process"
            print(f"minivgg: compiling kernels {later}, which takes a few seconds (minivgg warmup does it ahead)", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


TELLER = _Teller()
event.register("numba:compile", TELLER)

"""How a kernel is compiled: no Python inside, no interpreter lock, kept on disk where that is possible."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

FASTMATH = {"contract", "nsz"}
"""Allowed: fused multiply-add, and -0 for 0. Not allowed: anything that breaks nan, inf, or the order of a sum."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first call for the given element types; ``nogil``, so that threads run side by side.

    A folder that cannot be written makes Numba refuse to cache at all; then the kernel is compiled anew in every process,
    and a warning says how to change that.
    """
    try:
        kernel = numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy", cache=True)(function)
        kernel._cache._cache_file._source_stamp = _stamp()
        return kernel
    except RuntimeError as error:
        if "cache" not in str(error):
            raise
        _warn_once()
        return numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)


@functools.cache
def _stamp() -> tuple[Any, ...]:
    """Numba forgets a kernel when its own file changes; ours are also made of the files beside it."""
    folder = Path(__file__).parents[1]
    files = sorted(folder.glob("*/*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@functools.cache
def _warn_once() -> None:
    text = "minivgg cannot write its cache of compiled kernels, so every process compiles them again (seconds); set NUMBA_CACHE_DIR to a writable folder"
    warnings.warn(text, RuntimeWarning, stacklevel=4)

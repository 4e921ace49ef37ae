"""minivgg.cuda: the device and its memory, under PyTorch's names.

>>> import minivgg
>>> device = "cuda" if minivgg.cuda.is_available() else "cpu"
"""

from __future__ import annotations

import sys
from typing import Any

from minivgg.device import cuda_problem, cupy_for, read_device
from minivgg.errors import ArgumentError


def is_available() -> bool:
    """Whether tensors can be made with ``device="cuda"``; if not, making one says why."""
    return cuda_problem() is None


def device_count() -> int:
    """Devices that CUDA found; 0 where nothing can be computed on one."""
    return int(sys.modules["cupy"].cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """The number of the device that "cuda" stands for."""
    return int(cupy_for("current_device").cuda.Device().id)


def get_device_name(device: Any = "cuda") -> str:
    """What the maker calls the device."""
    number = int(read_device("get_device_name", device).removeprefix("cuda:"))
    return cupy_for("get_device_name").cuda.runtime.getDeviceProperties(number)["name"].decode()


def synchronize() -> None:
    """Wait until the device has done all that it was told."""
    cupy_for("synchronize").cuda.Device().synchronize()


# Memory, in bytes -----------------------------------------------------------------------------------------------------
#
# CuPy takes memory from the driver and keeps what arrays give back in its pool. The pool counts what is in use, but not the
# most that ever was: that is noted here at each allocation, from the first question for it on.


class _Peak:
    """The pool's allocator with a note of the most that was in use."""

    def __init__(self, cupy: Any) -> None:
        self.pool = cupy.get_default_memory_pool()
        self.bytes = self.pool.used_bytes()
        cupy.cuda.set_allocator(self.malloc)

    def malloc(self, size: int) -> Any:
        memory = self.pool.malloc(size)
        self.bytes = max(self.bytes, self.pool.used_bytes())
        return memory


_peaks: dict[int, _Peak] = {}
"""By the identity of CuPy's pool: there is one."""


def _peak(operation: str) -> _Peak:
    cupy = cupy_for(operation)
    pool = id(cupy.get_default_memory_pool())
    if pool not in _peaks:
        _peaks[pool] = _Peak(cupy)
    return _peaks[pool]


def memory_allocated() -> int:
    """Bytes that living arrays hold."""
    return int(cupy_for("memory_allocated").get_default_memory_pool().used_bytes())


def memory_reserved() -> int:
    """Bytes taken from the driver: those of living arrays, and those kept for the next ones."""
    return int(cupy_for("memory_reserved").get_default_memory_pool().total_bytes())


def reset_peak_memory_stats() -> None:
    """Let ``max_memory_allocated`` begin again at what is in use now."""
    peak = _peak("reset_peak_memory_stats")
    peak.bytes = peak.pool.used_bytes()


def max_memory_allocated() -> int:
    """The most bytes that living arrays held at once, since ``reset_peak_memory_stats`` (or since the first call of this)."""
    return int(_peak("max_memory_allocated").bytes)


def empty_cache() -> None:
    """Give what the pools keep, but no array holds, back to the driver and to the system."""
    cupy = cupy_for("empty_cache")
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


def set_per_process_memory_fraction(fraction: float) -> None:
    """Let arrays take at most this share of the device's memory; then they run out of it, whatever is free. 1 lifts the limit."""
    if not 0 < fraction <= 1:
        raise ArgumentError("set_per_process_memory_fraction", f"fraction must lie in (0, 1], got {fraction}")
    pool = cupy_for("set_per_process_memory_fraction").get_default_memory_pool()
    pool.set_limit(fraction=fraction) if fraction < 1 else pool.set_limit(size=0)


def mem_get_info() -> tuple[int, int]:
    """(free, total) bytes of the device, whoever holds the rest."""
    free, total = cupy_for("mem_get_info").cuda.Device().mem_info
    return int(free), int(total)

"""What must be known while a stream is captured, when work is recorded for later and none is done (``minivgg.graph``).

A number of the host that goes into a recorded kernel stays as it is. Where that would be wrong, the parts of the library ask
here: a dropout mask gets a place on the device for its seed, an optimiser has its options watched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Capture:
    """What one recording asked for."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self.seeds: list[tuple[Any, Any]] = []
        """A generator, and the array that each replay finds its next seed in."""
        self.watched: list[tuple[Callable[[], Any], Any]] = []
        """Something to be read again before each replay, and what it was: if it changed, the recording is not true any more."""
        self.executable: Any = None
        """What was recorded, once it is."""
        self.held: list[Any] = []
        """Arrays that recorded kernels read, which nobody else may hold for as long."""

    def seed_place(self, generator: Any) -> Any:
        """A 64-bit integer on the device. Out of the usual pool, because the graph's gives the same memory to one array after the other."""
        with self.cupy.cuda.using_allocator(self.cupy.get_default_memory_pool().malloc):
            place = self.cupy.empty(1, "uint64")
        self.seeds.append((generator, place))
        return place

    def watch(self, read: Callable[[], Any]) -> None:
        self.watched.append((read, read()))


class _Current(threading.local):
    capture: Capture | None = None  # each thread has its own


current = _Current()

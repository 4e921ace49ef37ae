"""Memory for large arrays, used again instead of given back.

A large array that is freed goes back to the operating system, and the next one begins with a page fault for every page it
touches, in which the kernel fills the page with zeros: for an activation of 100 MB that takes longer than computing it. So
its memory is kept here for the next array of about its size.

What is kept and what is in use are never more together than was in use at once before: keeping does not raise the peak.
"""

from __future__ import annotations

import os
import threading
from collections import deque

import numpy

LINE = 64
"""Bytes of a cache line and of the widest vector: a vector that lies across two lines costs two accesses."""

LARGE = 1 << 20
"""Bytes from which memory is kept; below, the C library does so itself."""


class _Block:
    """The owner of an array's memory: when the array and all its views are gone, the memory returns to the pool."""

    __slots__ = ("__array_interface__", "pool", "room")

    def __init__(self, room: numpy.ndarray, pool: Pool) -> None:
        self.room, self.pool = room, pool
        self.__array_interface__ = room.__array_interface__

    def __del__(self) -> None:
        self.pool.returned.append(self.room)  # a deque takes it without a lock: this may run anywhere, inside take() too


class Pool:
    """Free pieces of memory, the one that was freed last at the end.

    >>> pool = Pool()
    >>> first = pool.take(LARGE)
    >>> where = first.ctypes.data
    >>> del first
    >>> pool.take(LARGE).ctypes.data == where
    True
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[numpy.ndarray] = deque()
        self.free: list[numpy.ndarray] = []
        self.kept = self.used = self.peak = 0

    def take(self, size: int) -> numpy.ndarray:
        """So many bytes, beginning on a cache line."""
        with self.lock:
            self._collect()
            fitting = [room for room in self.free if size <= room.size <= size + size // 4]
            if fitting:
                room = min(fitting, key=lambda room: room.size)
                self._remove(room)
            else:
                self._make_way(size)
                room = aligned(size)
            self.used += room.size
            self.peak = max(self.peak, self.used)
        return numpy.asarray(_Block(room, self))[:size]

    def _collect(self) -> None:
        while self.returned:
            room = self.returned.popleft()
            self.used -= room.size
            self.kept += room.size
            self.free.append(room)

    def _remove(self, room: numpy.ndarray) -> None:
        self.free = [other for other in self.free if other is not room]
        self.kept -= room.size

    def _make_way(self, size: int) -> None:
        """Give back what was freed longest ago, until the new piece fits under the peak."""
        while self.free and self.used + self.kept + size > self.peak:
            self._remove(self.free[0])

    def clear(self) -> None:
        """Give all free memory back to the operating system, and forget the peak."""
        with self.lock:
            self._collect()
            self.free, self.kept, self.peak = [], 0, self.used


def aligned(size: int) -> numpy.ndarray:
    """So many bytes of new memory, beginning on a cache line."""
    room = numpy.empty(size + LINE, numpy.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size]


POOL = Pool()

if hasattr(os, "register_at_fork"):  # another thread may hold the lock at that moment; it does not live on in the child
    os.register_at_fork(after_in_child=lambda: setattr(POOL, "lock", threading.Lock()))


def empty_cache() -> None:
    """Give the memory that minivgg keeps for its next large arrays back to the operating system.

    >>> import minivgg
    >>> minivgg.empty_cache()
    """
    POOL.clear()

"""Memory for large arrays, used again instead of given back.

A large array that is freed goes back to the operating system, and the next one begins with a page fault for every page that
it touches, in which the kernel fills the page with zeros: for an activation of 100 MB that can take longer than computing
it. So memory is taken from the system in large segments; a piece of one is cut off for an array, and joined with its free
neighbours when the array and all its views are gone.

Segments that are free as a whole are given back when a new one is needed and they are more than a quarter of what was ever
in use at once.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy

LINE = 64
"""Bytes of a cache line and of the widest vector: a vector that lies across two lines costs two accesses."""

PAGE = 4096

LARGE = 1 << 20
"""Bytes from which memory is kept; below, the C library does so itself."""

SEGMENT = 64 << 20
"""Bytes of a segment, if the array is not larger. Pages of it that were never touched cost nothing."""

_NUMPY_DOMAIN = 389047
"""Where NumPy reports its arrays to ``tracemalloc``; pieces are reported there too, so that they are seen like any array."""


@dataclass(slots=True)
class _Piece:
    start: int
    size: int
    free: bool


@dataclass(slots=True, eq=False)
class _Segment:
    """Memory from the system, and its pieces from the first to the last; no two neighbours are free."""

    memory: numpy.ndarray
    pieces: list[_Piece] = field(default_factory=list)

    def cut(self, number: int, size: int) -> _Piece:
        """Take the first bytes of a free piece."""
        piece = self.pieces[number]
        if piece.size > size:
            self.pieces.insert(number + 1, _Piece(piece.start + size, piece.size - size, True))
        piece.size, piece.free = size, False
        return piece

    def give_back(self, piece: _Piece) -> None:
        """Join it with its free neighbours."""
        piece.free = True
        number = next(i for i, other in enumerate(self.pieces) if other is piece)
        for left in (number, number - 1):
            if left >= 0 and left + 1 < len(self.pieces) and self.pieces[left].free and self.pieces[left + 1].free:
                self.pieces[left].size += self.pieces.pop(left + 1).size


class _Owner:
    """What an array's memory belongs to: when the array and all its views are gone, the piece returns to the pool."""

    __slots__ = ("__array_interface__", "address", "piece", "pool", "segment")

    def __init__(self, pool: Pool, segment: _Segment, piece: _Piece) -> None:
        self.pool, self.segment, self.piece = pool, segment, piece
        self.__array_interface__ = segment.memory[piece.start : piece.start + piece.size].__array_interface__
        self.address = self.__array_interface__["data"][0]
        ctypes.pythonapi.PyTraceMalloc_Track(_NUMPY_DOMAIN, ctypes.c_size_t(self.address), ctypes.c_size_t(piece.size))

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # modules are being taken apart, this one too
            return
        ctypes.pythonapi.PyTraceMalloc_Untrack(_NUMPY_DOMAIN, ctypes.c_size_t(self.address))
        self.pool.returned.append((self.segment, self.piece))  # a deque takes it without a lock: this may run inside take() too


class Pool:
    """Segments, in the order in which they were taken from the system.

    >>> pool = Pool()
    >>> first = pool.take(LARGE)
    >>> where = first.ctypes.data
    >>> del first
    >>> pool.take(LARGE // 2).ctypes.data == where
    True
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[tuple[_Segment, _Piece]] = deque()
        self.segments: list[_Segment] = []
        self.used = self.peak = 0

    @property
    def held(self) -> int:
        """Bytes of all segments."""
        return sum(segment.memory.size for segment in self.segments)

    def take(self, size: int) -> numpy.ndarray:
        """So many bytes, beginning on a page."""
        whole = -(-size // PAGE) * PAGE
        with self.lock:
            self._collect()
            self.used += whole
            self.peak = max(self.peak, self.used)
            fitting = [
                (piece.size, place, number)
                for place, segment in enumerate(self.segments)
                for number, piece in enumerate(segment.pieces)
                if piece.free and piece.size >= whole
            ]
            if fitting:
                _, place, number = min(fitting)
                segment = self.segments[place]
            else:
                segment, number = self._new_segment(max(whole, SEGMENT)), 0
            piece = segment.cut(number, whole)
        return numpy.asarray(_Owner(self, segment, piece))[:size]

    def _collect(self) -> None:
        while self.returned:
            segment, piece = self.returned.popleft()
            self.used -= piece.size
            segment.give_back(piece)

    def _new_segment(self, size: int) -> _Segment:
        for segment in list(self.segments):
            if self.held + size > self.peak * 5 // 4 and segment.pieces[0].size == segment.memory.size and segment.pieces[0].free:
                self.segments.remove(segment)
        segment = _Segment(_from_system(size), [_Piece(0, size, True)])
        self.segments.append(segment)
        return segment

    def clear(self) -> None:
        """Give all segments without an array back to the system."""
        with self.lock:
            self._collect()
            self.segments = [segment for segment in self.segments if len(segment.pieces) > 1 or not segment.pieces[0].free]
            self.peak = self.used


def _from_system(size: int) -> numpy.ndarray:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return numpy.frombuffer(mmap.mmap(-1, size), numpy.uint8)
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # private: a forked process must have its own
    except OSError as error:
        raise MemoryError(f"unable to allocate {size / 2**20:,.0f} MiB ({error})") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return numpy.frombuffer(memory, numpy.uint8)


class _Room(numpy.ndarray):
    """Memory that is a little larger than the array in it. A view's ``base`` is never traced back past a change of type, so the
    views of that array know no larger array than itself."""


def aligned(shape: tuple[int, ...], dtype: numpy.dtype, size: int) -> numpy.ndarray:
    """An array of ``size`` bytes in memory of the C library, beginning on a cache line."""
    room = _Room((size + LINE,), numpy.uint8)
    return numpy.ndarray(shape, dtype, room, -ctypes.addressof(ctypes.c_char.from_buffer(room)) % LINE)  # type: ignore[arg-type]


numpy.empty(16 * LARGE, numpy.uint8)
"""Freed at once. Until a program frees a piece so large, glibc returns every piece from 128 KiB on to the system at once; from
then on it keeps twice as much (mallopt(3): the dynamic mmap threshold). A step of a small network had 1700 page faults otherwise."""

POOL = Pool()

if hasattr(os, "register_at_fork"):  # another thread may hold the lock at that moment; it does not live on in the child
    os.register_at_fork(after_in_child=lambda: setattr(POOL, "lock", threading.Lock()))


def empty_cache() -> None:
    """Give the memory that minivgg keeps for its next large arrays back to the operating system.

    >>> import minivgg
    >>> minivgg.empty_cache()
    """
    POOL.clear()

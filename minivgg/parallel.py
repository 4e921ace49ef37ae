"""The parallel loop: the same work items whatever the number of threads, so the same bits whatever the number of threads.

A kernel is compiled without the interpreter lock and called from a few Python threads. Numba's own ``parallel=True`` would
cost seconds of compilation, and its thread layers die when two Python threads enter them or after a fork.

Helpers sleep in a queue until a loop is put there. None of them is ever needed: the caller takes items as well, and waits at
the end only for helpers that have begun. So a loop that is over before a helper has woken up costs no more than the call that
wakes it, callers in several Python threads share the helpers, and where no thread can be started the caller computes alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from minivgg.threads import get_num_threads

_processor = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
"""The number of the processor that the calling thread runs on; None where the system has no such function."""


class _Loop:
    """One call of ``parallel``: which item is the next, and who is at work."""

    __slots__ = ("caller", "done", "error", "helping", "items", "lock", "next", "over", "work")

    def __init__(self, work: Callable[[int], None], items: int) -> None:
        self.work, self.items, self.next = work, items, 0
        self.lock, self.done = threading.Lock(), threading.Lock()
        self.helping, self.over = 0, False
        self.caller = _processor() if _processor else None
        self.error: BaseException | None = None

    def take(self) -> None:
        """Work on one item after the other until none is left; an error leaves none."""
        try:
            while True:
                with self.lock:
                    item, self.next = self.next, self.next + 1
                if item >= self.items:
                    return
                self.work(item)
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """The first error is the one that the caller gets."""
        with self.lock:
            self.next = self.items
            self.error = self.error or error

    def help(self) -> None:
        """A helper's part: nothing, if it comes too late."""
        with self.lock:
            if self.over or self.next >= self.items:
                return
            self.helping += 1
        self.take()
        with self.lock:
            self.helping -= 1
            if self.over and not self.helping:
                self.done.release()

    def finish(self) -> None:
        """Wait for the helpers that have begun, also if the user interrupts: they still write to the caller's arrays.

        Then let go of the work and the arrays that it knows: a helper that has not woken up yet still holds this loop.
        """
        self.done.acquire()
        with self.lock:
            self.over = True
            waiting = self.helping > 0
        while waiting:
            try:
                self.done.acquire()
                waiting = False
            except BaseException as error:
                self.fail(error)
        del self.work


_inside = threading.local()
_queue: SimpleQueue[_Loop] = SimpleQueue()
_started = 0
_starting = threading.Lock()


def _help(queue: SimpleQueue[_Loop]) -> None:
    _inside.yes = True
    allowed = os.sched_getaffinity(0) if _processor else set()
    while True:
        loop = queue.get()
        if _processor and _processor() == loop.caller:
            _move(allowed - {loop.caller})
        loop.help()
        del loop  # this thread now sleeps, perhaps for long, and an error in the loop knows the caller's arrays


def _move(processors: set[int]) -> None:
    """Let this thread run on these processors only, if there are any."""
    if processors:
        with contextlib.suppress(OSError):  # the process has lost them meanwhile
            os.sched_setaffinity(0, processors)


def _wake(count: int, loop: _Loop) -> None:
    """Let ``count`` helpers know of a loop; those that do not exist yet are started."""
    global _started
    if _started < count:
        with _starting:
            while _started < count:
                try:
                    threading.Thread(target=_help, args=(_queue,), name=f"minivgg-{_started + 1}", daemon=True).start()
                except RuntimeError:  # the interpreter is about to end, or the system has no thread left
                    break
                _started += 1
    for _ in range(min(count, _started)):
        _queue.put(loop)


def _begin_anew() -> None:
    """Threads do not live on in a forked child."""
    global _queue, _started, _starting
    _queue, _started, _starting = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Loop(NamedTuple):
    """``work(0)``, ..., ``work(items - 1)``, which somebody else runs."""

    work: Callable[[int], None]
    items: int


def parallel(work: Callable[[int], None], items: int, beside: Loop | None = None) -> None:
    """Call ``work(0)``, ..., ``work(items - 1)``, shared out among the threads; the caller's thread takes part.

    ``beside`` is a loop of its own whose items are taken when these are given out, by whichever thread has nothing left to do.

    Items are taken in order by whichever thread is free. What an item computes must not depend on the others. An error ends
    the loop and reaches the caller, when no thread is at work any more. A loop within an item runs in the item's own thread.

    >>> seen = []
    >>> parallel(seen.append, 3)
    >>> sorted(seen)
    [0, 1, 2]
    """
    if beside is not None:
        first, other = work, beside.work
        work, items, own = (lambda item: first(item) if item < own else other(item - own)), items + beside.items, items
    helpers = min(get_num_threads(), items) - 1
    if helpers < 1 or getattr(_inside, "yes", False):
        for item in range(items):
            work(item)
        return
    loop = _Loop(work, items)
    _wake(helpers, loop)
    try:
        _inside.yes = True
        loop.take()
    finally:
        _inside.yes = False
        loop.finish()
    error, loop.error = loop.error, None  # an error that holds the loop that holds the error would keep the arrays alive
    if error is not None:
        try:
            raise error
        finally:
            del error


BLOCK = 1 << 17
"""Elements of a work item of an elementwise kernel: much longer than it takes to begin, and several a thread."""


def parallel_blocks(work: Callable[[int, int], None], size: int, block: int = BLOCK) -> None:
    """``work(first, last)`` for slices of ``size`` elements, shared out among the threads; the same slices however many there are."""
    parallel(lambda item: work(item * block, min((item + 1) * block, size)), -(-size // block))

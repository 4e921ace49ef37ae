"""The parallel loop: the same work items whatever the number of threads, so the same bits whatever the number of threads.

A kernel is compiled without the interpreter lock and called from a pool of Python threads. Numba's own ``parallel=True``
would cost seconds of compilation, and its thread layers die when two Python threads enter them or after a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_inside = threading.local()


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = int(os.environ.get("MINIVGG_NUM_THREADS") or _available())


def get_num_threads() -> int:
    """How many threads a kernel uses."""
    return _threads


def set_num_threads(threads: int) -> None:
    """Use so many threads from now on; ``MINIVGG_NUM_THREADS`` sets it for a process."""
    global _threads, _pool
    if threads < 1:
        raise ValueError(f"set_num_threads: expected at least 1, got {threads}")
    with _lock:
        _threads, _pool = int(threads), None


def _forget_pool() -> None:
    """The threads of a pool do not live on in a forked child."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(_threads - 1, 1), thread_name_prefix="minivgg")
        return _pool


def parallel(work: Callable[[int], None], items: int) -> None:
    """Call ``work(0)``, ..., ``work(items - 1)``, shared out among the threads; the caller's thread takes part.

    Items are taken one after the other by whichever thread is free. What an item computes must not depend on the others.

    >>> seen = []
    >>> parallel(seen.append, 3)
    >>> sorted(seen)
    [0, 1, 2]
    """
    helpers = min(_threads, items) - 1
    if helpers < 1 or getattr(_inside, "yes", False):
        for item in range(items):
            work(item)
        return
    remaining = iter(range(items))
    failed = threading.Event()

    def take() -> None:
        _inside.yes = True
        try:
            for item in remaining:  # next() on a range iterator is atomic under the interpreter lock
                if failed.is_set():
                    return
                work(item)
        except BaseException:
            failed.set()
            raise
        finally:
            _inside.yes = False

    tasks = [_executor().submit(take) for _ in range(helpers)]
    try:
        take()
    finally:
        errors = [task.exception() for task in tasks]
    for error in errors:
        if error is not None:
            raise error


BLOCK = 1 << 17
"""Elements of a work item of an elementwise kernel: much longer than it takes to begin, and several a thread."""


def parallel_blocks(work: Callable[[int, int], None], size: int, block: int = BLOCK) -> None:
    """``work(first, last)`` for slices of ``size`` elements, shared out among the threads; the same slices however many there are."""
    parallel(lambda item: work(item * block, min((item + 1) * block, size)), -(-size // block))

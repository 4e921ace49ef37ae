"""Ctrl-C as a wish: what is being done is finished first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ctrl_c_as_a_wish() -> Iterator[Callable[[], bool]]:
    """Inside the block, the first Ctrl-C makes the given function return True; a second one interrupts at once.

    Signals belong to the main thread: in any other the function returns False for ever.
    """
    wished = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wished.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        wished.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield wished.is_set
    finally:
        signal.signal(signal.SIGINT, before)

"""Whether operations are recorded: no_grad, enable_grad, set_grad_enabled."""

from __future__ import annotations

import contextlib
import threading
from typing import Any


class GradMode(threading.local):
    enabled = True  # each thread has its own switch


grad_mode = GradMode()


class _Mode(contextlib.ContextDecorator):
    def __init__(self, mode: bool) -> None:
        self.mode, self.before = bool(mode), [grad_mode.enabled]

    def __enter__(self) -> None:
        self.before.append(grad_mode.enabled)
        grad_mode.enabled = self.mode

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self.before.pop()

    def _recreate_cm(self) -> _Mode:
        return _Mode(self.mode)  # a decorated function may call itself, or run in several threads


class set_grad_enabled(_Mode):
    """Record or not, by value: as a statement until further notice, for a ``with`` block, or for a decorated function."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        grad_mode.enabled = self.mode

    def __enter__(self) -> None:
        pass  # switched already

    def __call__(self, function: Any) -> Any:
        self.__exit__()
        return super().__call__(function)


def no_grad() -> _Mode:
    """Record nothing: ``with no_grad():``, or ``@no_grad()`` before a function."""
    return _Mode(False)


def enable_grad() -> _Mode:
    """Record again inside ``no_grad``."""
    return _Mode(True)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return grad_mode.enabled

"""Whether operations are recorded: no_grad, enable_grad, set_grad_enabled."""

from __future__ import annotations

import contextlib
import threading
from typing import Any


class GradMode(threading.local):
    """The switch; each thread has its own."""

    enabled = True


grad_mode = GradMode()


class _Switch(contextlib.ContextDecorator):
    mode: bool

    def __new__(cls, function: Any = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)  # @no_grad without parentheses

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _recreate_cm(self) -> _Switch:
        return type(self)()  # a decorated function may call itself, or run in several threads

    def __enter__(self) -> None:
        self._before.append(grad_mode.enabled)
        grad_mode.enabled = self.mode

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._before.pop()


class no_grad(_Switch):
    """Record nothing: ``with no_grad(): ...`` or ``@no_grad()``."""

    mode = False


class enable_grad(_Switch):
    """Record again inside ``no_grad``."""

    mode = True


class set_grad_enabled:
    """Record or not, by value: as a statement until further notice, for a ``with`` block, or for a decorated function.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before, grad_mode.enabled = grad_mode.enabled, self.mode

    def __call__(self, function: Any) -> Any:
        grad_mode.enabled = self._before
        return (enable_grad if self.mode else no_grad)()(function)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._before


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return grad_mode.enabled

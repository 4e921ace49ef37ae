"""Anomaly detection: which operation was the first to produce nan, in which layer, and where it was called.

While it is on, every operation notes where it was called, and its results are looked at; the core (``autograd/``) hands each
call of ``forward`` and ``backward`` over to the watch that is on. While it is off, that costs one look at a variable.
"""

from __future__ import annotations

import contextlib
import linecache
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy

from minivgg.backend import FLOATING, is_array, namespace
from minivgg.errors import OperationError

INSIDE = (str(Path(__file__).parent), str(Path(__file__).parents[1] / "kernels"), str(Path(numpy.__file__).parent))
"""Where the library's own code lies: the call that a user looks for is the last one from elsewhere."""


class AnomalyError(OperationError, RuntimeError):
    """An operation whose result, or whose gradient, is nan."""


class _Current(threading.local):
    watch: Watch | None = None  # each thread has its own


current = _Current()


class Watch:
    """What looks at results: for nan in gradients; with ``check_finite`` for inf and nan in everything."""

    def __init__(self, check_nan: bool, check_finite: bool) -> None:
        self.check_nan, self.check_finite, self.in_backward = check_nan, check_finite, False

    def forward(self, node: Any, arrays: Sequence[Any]) -> Any:
        """``node.forward(*arrays)``, and a note on the node where that was."""
        node.called = place()
        look = self.check_finite and not self.in_backward
        clean = look and all(map(self._is_clean, arrays))
        result = type(node).forward(node, *arrays)
        for i, array in enumerate(result if type(result) is tuple else (result,)) if clean else ():
            if not self._is_clean(array):
                came = " and ".join(str(a.shape) for a in arrays if is_array(a))
                raise AnomalyError(node.name, f"forward gave {self._found(array)} in result {i}, from finite arguments of shape {came}{node.called}")
        return result

    def backward(self, node: Any, gradients: Sequence[Any]) -> Any:
        """``node.backward(*gradients)``."""
        before, self.in_backward = self.in_backward, True
        try:
            results = type(node).backward(node, *gradients)
        finally:
            self.in_backward = before
        for i, result in enumerate(results if type(results) is tuple else (results,)) if self.check_nan or self.check_finite else ():
            if result is not None and not self._is_clean(result.array):
                clean = all(self._is_clean(gradient.array) for gradient in gradients)
                came = " and ".join(str(gradient.shape) for gradient in gradients)
                origin = f"from a gradient without, of shape {came}" if clean else f"as the gradient that arrived, of shape {came}, has already"
                where = getattr(node, "called", "; its forward was not called inside detect_anomaly, which would say where")
                raise AnomalyError(node.name, f"backward gave {self._found(result.array)} for argument {i}, {origin}{where}")
        return results

    def _is_clean(self, value: Any) -> bool:
        if not is_array(value) or value.dtype not in FLOATING:
            return True
        xp = namespace(value)
        return bool(xp.isfinite(value).all() if self.check_finite else not xp.isnan(value).any())

    def _found(self, array: Any) -> str:
        """ "nan (2 of 6 elements of shape (2, 3), first at (0, 1))"."""
        xp = namespace(array)
        wrong = ~xp.isfinite(array) if self.check_finite else xp.isnan(array)
        first = tuple(int(i) for i in xp.argwhere(wrong)[0])
        return f"{array[first]} ({int(wrong.sum())} of {array.size} elements of shape {array.shape}, the first at {first})"


class set_detect_anomaly:
    """Switch anomaly detection on or off: as a statement until further notice, or for a ``with`` block. See ``detect_anomaly``."""

    def __init__(self, mode: bool, check_nan: bool = True, *, check_finite: bool = False) -> None:
        self.before, current.watch = current.watch, Watch(check_nan, check_finite) if mode else None

    def __enter__(self) -> None:
        pass  # switched already

    def __exit__(self, *exception: object) -> None:
        current.watch = self.before


class detect_anomaly(contextlib.ContextDecorator):
    """Inside the block, ``backward`` raises AnomalyError at the first operation whose gradient is nan.

    The error names the operation, the path of the module that called it, the shapes, how many elements are nan, and the line
    where forward was called. ``check_nan=False`` only notes the calls. With ``check_finite`` (not in PyTorch) inf counts too,
    and forward is looked at as well: it stops at the first operation that makes inf or nan of finite numbers.

    Costs a look at the call stack for each operation, and one at every number. Holds for the thread that entered the block.

    >>> import minivgg
    >>> x = minivgg.tensor([0.0, 1.0], requires_grad=True)
    >>> with detect_anomaly():
    ...     (minivgg.sqrt(x) * 0).sum().backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    minivgg.anomaly.AnomalyError: Sqrt: backward gave nan (1 of 2 elements of shape (2,), the first at (0,)) for argument 0, from a gradient without, ...
    """

    def __init__(self, check_nan: bool = True, *, check_finite: bool = False) -> None:
        self.check_nan, self.check_finite = check_nan, check_finite
        self.before: list[Watch | None] = []

    def __enter__(self) -> None:
        self.before.append(current.watch)
        current.watch = Watch(self.check_nan, self.check_finite)

    def __exit__(self, *exception: object) -> None:
        current.watch = self.before.pop()

    def _recreate_cm(self) -> detect_anomaly:
        return detect_anomaly(self.check_nan, check_finite=self.check_finite)  # a decorated function may run in several threads


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on in this thread."""
    return current.watch is not None


def place(frame: FrameType | None = None) -> str:
    """ "; in module features.3 (ReLU), called at train.py, line 12, in step: y = model(x)"."""
    user: FrameType | None = None
    modules: list[Any] = []  # whose forward is running, from the innermost outwards
    frame = frame or sys._getframe(1)
    while frame is not None:
        if user is None and not frame.f_code.co_filename.startswith(INSIDE):
            user = frame
        if frame.f_code.co_name == "forward" and hasattr(module := frame.f_locals.get("self"), "named_modules"):
            modules.append(module)
        frame = frame.f_back
    parts = []
    if modules:
        path = next((name for name, module in modules[-1].named_modules() if module is modules[0]), "")
        parts.append(f"in module {path} ({type(modules[0]).__name__})" if path else f"in {type(modules[0]).__name__}")
    if user is not None:
        line = linecache.getline(user.f_code.co_filename, user.f_lineno).strip()
        parts.append(f"called at {user.f_code.co_filename}, line {user.f_lineno}, in {user.f_code.co_name}" + (f": {line}" if line else ""))
    return "; " + ", ".join(parts) if parts else ""

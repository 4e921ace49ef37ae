"""repr: tensors printed as PyTorch prints them.

Floating numbers get 4 decimals; none if all of them are whole; scientific notation if their sizes are too far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import Tensor, method
from minivgg.backend import to_numpy

DECIMALS, EDGE, LIMIT, WIDTH = 4, 3, 1000, 80
"""Digits behind the point; entries shown at each end of a long dimension; elements from which it counts as long; line width."""


@method("__repr__")
def repr_tensor(self: Tensor) -> str:
    """``tensor(values, dtype, grad_fn)``, without what goes without saying.

    >>> Tensor(numpy.array([[1.0, 0.5], [-20.25, numpy.inf]], "float32"))
    tensor([[  1.0000,   0.5000],
            [-20.2500,      inf]])
    """
    array = to_numpy(self.array)
    if array.size or array.ndim == 1:
        layout: Any = {"separator": ", ", "prefix": "tensor(", "threshold": LIMIT, "edgeitems": EDGE, "max_line_width": WIDTH}
        layout["formatter"] = {"all": _formatter(array)}
        text = numpy.array2string(array, **layout)
        facts = [text.replace(", ..., ", ",  ..., ")]
    else:
        facts = [f"[], size={array.shape}"]
    if self.dtype.name not in ("float32", "int64", "bool") or (not array.size and self.dtype != "float32"):
        facts.append(f"dtype={self.dtype}")
    if self.device != "cpu":
        facts.append(f"device='{self.device}'")
    if self.grad_fn is not None:
        facts.append(f"grad_fn={self.grad_fn!r}")
    elif self._requires_grad:
        facts.append("requires_grad=True")
    return f"tensor({', '.join(facts)})"


def _formatter(array: numpy.ndarray) -> Callable[[numpy.generic], str]:
    """A function from an element to its text; all texts have one length."""
    shown = _ends(array).ravel()
    write = _float_writer(shown) if array.dtype.kind == "f" else str
    width = max((len(write(element)) for element in shown), default=0) if array.ndim else 0
    return lambda element: write(element).rjust(width)


def _ends(array: numpy.ndarray) -> numpy.ndarray:
    """The elements that will be printed."""
    if array.size > LIMIT:
        for axis, size in enumerate(array.shape):
            if size > 2 * EDGE:
                array = numpy.take(array, [*range(EDGE), *range(-EDGE, 0)], axis)
    return array


def _float_writer(shown: numpy.ndarray) -> Callable[[numpy.generic], str]:
    finite = numpy.abs(shown[numpy.isfinite(shown) & (shown != 0)]).astype("float64")
    if not finite.size:
        return lambda element: f"{element:.0f}." if numpy.isfinite(element) else f"{element}"
    low, high = finite.min(), finite.max()
    whole = bool((finite == numpy.ceil(finite)).all())
    if high / low > 1000 or high > 1e8 or (low < 1e-4 and not whole):
        return lambda element: f"{element:.{DECIMALS}e}"
    if whole:
        return lambda element: f"{element:.0f}." if numpy.isfinite(element) else f"{element}"
    return lambda element: f"{element:.{DECIMALS}f}"

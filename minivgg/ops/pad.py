"""Padding: more rows and columns around a tensor, or, where an amount is negative, fewer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_fits, check_tensors, read_int
from minivgg.ops.join import cat
from minivgg.registry import ErrorSample, Operation, Sample
from minivgg.spec import check_size


class Pad(Function):
    """``amounts`` has (before, after) for every dimension. The transpose of padding is cropping: the same with the signs turned."""

    def forward(self, x, amounts, value):
        self.amounts = amounts
        out = namespace(x).full_like(x, value, shape=[before + size + after for size, (before, after) in zip(x.shape, amounts, strict=True)])
        inner = tuple([slice(max(before, 0), size - max(after, 0)) for size, (before, after) in zip(out.shape, amounts, strict=True)])
        kept = tuple([slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(x.shape, amounts, strict=True)])
        out[inner] = x[kept]
        return out

    def backward(self, grad):
        return Pad.apply(grad, tuple([(-before, -after) for before, after in self.amounts]), 0), None, None


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Extend the last dimensions: ``pad`` is (left, right, top, bottom, ...), beginning with the last dimension.

    ``mode``   ``"constant"``: ``value`` (0 if left out), and negative amounts crop; ``"reflect"``: mirrored at the outermost
               element; ``"replicate"``: the outermost element repeated; ``"circular"``: from the opposite side

    >>> import minivgg
    >>> x = minivgg.tensor([1.0, 2.0, 3.0])
    >>> minivgg.nn.functional.pad(x, (2, -1))
    tensor([0., 0., 1., 2.])
    >>> [minivgg.nn.functional.pad(x, (2, 1), mode).tolist() for mode in ("reflect", "replicate", "circular")]
    [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0], [1.0, 1.0, 1.0, 2.0, 3.0, 3.0], [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]]
    """
    check_tensors("pad", input=input)
    if not isinstance(pad, list | tuple) or len(pad) % 2:
        raise ArgumentError("pad", f"pad must be pairs of ints, (left, right, top, bottom, ...), got {pad!r}")
    if len(pad) > 2 * input.ndim:
        raise ArgumentError("pad", f"{len(pad)} amounts are too many for {input.ndim} dimensions", input=input.shape)
    if mode not in ("constant", *_BORDERS):
        raise ArgumentError("pad", f"mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    amounts_given = [read_int("pad", "an amount", amount) for amount in pad]
    pairs = list(zip(amounts_given[::2], amounts_given[1::2], strict=True))
    amounts = ((0, 0),) * (input.ndim - len(pairs)) + tuple(pairs[::-1])
    if mode == "constant":
        for axis, (size, (before, after)) in enumerate(zip(input.shape, amounts, strict=True)):
            if size + min(before, 0) + min(after, 0) < 0:
                raise ShapeError("pad", f"cannot crop {-min(before, 0)} and {-min(after, 0)} elements from dimension {axis} of size {size}", input=input.shape)
        if value is not None and not isinstance(value, int | float | numpy.number):
            raise DtypeError("pad", f"value must be a number, got {value!r}")
        check_fits("pad", input.dtype, value)
        check_size("pad", tuple(size + before + after for size, (before, after) in zip(input.shape, amounts, strict=True)), input=input.shape)
        return Pad.apply(input, amounts, 0 if value is None else value)
    if value is not None:
        raise ArgumentError("pad", f"mode {mode!r} takes no value, got {value}")
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            input = _extend(input, axis, before, after, mode)
    return input.clone() if not any(map(any, amounts)) else input


_BORDERS = {
    "reflect": lambda size, before, after: (slice(before, 0, -1), slice(-2, -2 - after, -1)),
    "replicate": lambda size, before, after: (slice(0, 1), slice(size - 1, size)),
    "circular": lambda size, before, after: (slice(size - before, size), slice(0, after)),
}
"""Where the elements before and after a dimension are copied from."""


def _extend(input: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    size = input.shape[axis]
    most = {"reflect": size - 1, "replicate": math.inf if size else 0, "circular": size}[mode]
    if min(before, after) < 0 or max(before, after) > most:
        problem = f"mode {mode!r} takes amounts from 0 to {most} for dimension {axis} of size {size}, got {(before, after)}"
        raise ArgumentError("pad", problem, input=input.shape)

    def border(amount: int, place: slice) -> list[Tensor]:
        piece = input[(slice(None),) * axis + (place,)]
        return [piece.expand(*piece.shape[:axis], amount, *piece.shape[axis + 1 :])] if amount else []

    first, last = _BORDERS[mode](size, before, after)
    return cat([*border(before, first), input, *border(after, last)], axis)


_NUMPY_MODES: dict[str, Any] = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _oracle(x: numpy.ndarray, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> numpy.ndarray:
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    grown = [(max(before, 0), max(after, 0)) for before, after in widths]
    options: dict[str, Any] = {"constant_values": value or 0} if mode == "constant" else {}
    out = numpy.pad(x, grown, _NUMPY_MODES[mode], **options)
    return out[tuple([slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(out.shape, widths, strict=True)])]


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    x = rng.standard_normal((2, 3, 4, 5))
    yield Sample((x, (1, 2)))
    yield Sample((x, (1, -2, -1, 3)), {"value": 1.5})
    yield Sample((x, (0, 0, 0, 0, 1, 2, 0, 1)))
    yield Sample((x, (-5, 2)))
    for mode in ("reflect", "replicate", "circular"):
        yield Sample((x, (3, 1, 0, 2)), {"mode": mode})
    yield Sample((numpy.zeros((0, 2)), (1, 1)))


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((1, 2, 3))

    def error(kind: type[Exception], problem: str, *args: Any) -> ErrorSample:
        return ErrorSample((x, *args), {}, kind, f"pad: {problem}")

    yield error(ArgumentError, "pad must be pairs of ints, (left, right, top, bottom, ...), got (1,)", (1,))
    yield error(ArgumentError, "pad must be pairs of ints, (left, right, top, bottom, ...), got 1", 1)
    yield error(ArgumentError, "8 amounts are too many for 3 dimensions (input (1, 2, 3))", (1,) * 8)
    yield error(ArgumentError, "mode must be 'constant', 'reflect', 'replicate' or 'circular', got 'wrap'", (1, 1), "wrap")
    yield error(ShapeError, "cannot crop 2 and 2 elements from dimension 2 of size 3 (input (1, 2, 3))", (-2, -2))
    yield ErrorSample((x.astype("uint8"), (1, 1), "constant", 300), {}, ArgumentError, "pad: 300 does not fit into uint8")
    yield error(ArgumentError, "mode 'reflect' takes no value, got 1.0", (1, 1), "reflect", 1.0)
    yield error(
        ArgumentError, "mode 'reflect' takes amounts from 0 to 2 for dimension 2 of size 3, got (0, 3) (input (1, 2, 3))", (0, 3), "reflect"
    )  # fmt: skip


OPERATION = Operation(pad, shapes="* -> _", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.pad")

"""Reading and writing by index: x[...] and x[...] = v.

Reading is linear, and its transpose adds each gradient up at the place that was read: ``Get`` and ``Put`` are each
other's derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import Array, device_of, is_array, namespace
from minivgg.device import may_look, moved
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.cast import to
from minivgg.ops.inplace import in_place
from minivgg.ops.promotion import as_tensor
from minivgg.ops.reduce import sum_to
from minivgg.ops.scatter import scatter_add
from minivgg.ops.where import keep
from minivgg.registry import ErrorSample, Operation, Sample

Index = tuple[Any, ...]


class Get(Function):
    """x[basic][advanced]: first what a view can show, then what must be copied."""

    def forward(self, x, basic, advanced):
        self.shape, self.basic, self.advanced = x.shape, basic, advanced
        return x[basic] if advanced is None else x[basic][advanced]

    def backward(self, grad):
        return Put.apply(grad, self.shape, self.basic, self.advanced), None, None


class Put(Function):
    """Zeros of ``shape`` with ``x`` added up at an index."""

    def forward(self, x, shape, basic, advanced):
        self.basic, self.advanced = basic, advanced
        xp = namespace(x)
        out = xp.zeros(shape, x.dtype)
        if advanced is None:
            out[basic] = x
        else:
            scatter_add(out[basic], advanced, x)  # a place that is read twice gets two gradients
        return out

    def backward(self, grad):
        return Get.apply(grad, self.basic, self.advanced), None, None, None


class Set(Function):
    """x[basic][advanced] = value, in place. Of several values for one place the last one stays, and gets the gradient."""

    def forward(self, x, value, basic, advanced):
        self.basic, self.advanced, self.shape = basic, advanced, value.shape
        x[basic][... if advanced is None else advanced] = value
        return x

    def backward(self, grad):
        need_x, need_value, *_ = self.needs_input_grad
        xp = namespace(grad.array)
        writer = xp.full(grad.shape, -1)  # for each place, which of the values was written there
        view, places = writer[self.basic], ... if self.advanced is None else self.advanced
        values = xp.arange(view[places].size).reshape(view[places].shape)
        view[places] = values
        grad_value = None
        if need_value:
            read = keep(Get.apply(grad, self.basic, self.advanced), Tensor(view[places] == values))
            grad_value = sum_to(read, self.shape[max(len(self.shape) - read.ndim, 0) :]).reshape(self.shape)
        return keep(grad, Tensor(writer < 0)) if need_x else None, grad_value, None, None


def read_index(operation: str, index: Any, device: str) -> tuple[Index, Index | None]:
    """Split an index into a basic part (numbers, slices, None, ...) and an advanced one (arrays), applied one after the other.

    This order is PyTorch's, and it differs from NumPy's where a number and an array are parted by a slice:
    ``x[0, :, [0, 1]]`` is ``x[0][:, [0, 1]]``, so the dimension that the array makes stays where the array stands.
    Arrays are copied, to ``device`` if they lie elsewhere: changing them afterwards does not change what was read.

    >>> read_index("getitem", (0, slice(None), [0, 1]), "cpu")
    ((0, slice(None, None, None), slice(None, None, None), Ellipsis), (slice(None, None, None), array([0, 1])))
    """
    basic: list[Any] = []
    advanced: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, Tensor):
            part = part.array
        elif isinstance(part, list | bool | numpy.bool_):
            part = numpy.asarray(part, dtype=None if part != [] else "int64")
        if is_array(part) and not part.ndim and part.dtype.kind in "iu":
            part = int(part)
        if is_array(part):
            if part.dtype.kind not in "iub":
                raise DtypeError(operation, f"an index must be an integer or boolean tensor, got {part.dtype}")
            basic.extend([slice(None)] * (part.ndim if part.dtype.kind == "b" else 1))
            advanced.append(part.copy() if device_of(part) == device else moved(part, device, operation))
        elif part is None or part is Ellipsis or isinstance(part, slice):
            basic.append(part)
            advanced.append(... if part is Ellipsis else slice(None))
        elif hasattr(part, "__index__"):
            basic.append(part.__index__())
        else:
            raise DtypeError(operation, f"an index is made of numbers, slices, None, ... and tensors, got {type(part).__name__}")
    if Ellipsis not in basic:
        basic.append(Ellipsis)  # then NumPy returns a view even of a single element
    return tuple(basic), tuple(advanced) if any(map(is_array, advanced)) else None


def _check_range(input: Tensor, basic: Index, advanced: Index | None) -> None:
    """What the libraries take: NumPy, masks of any shape that have no elements; CuPy, indices beyond the end, which count on from the beginning."""
    host = isinstance(input.array, numpy.ndarray)
    if advanced is None or not (any(_is_mask(part) and not part.size for part in advanced) if host else may_look(input.array)):
        return
    sizes = input.array[basic].shape
    spans = [0 if part is Ellipsis else part.ndim if _is_mask(part) else 1 for part in advanced]
    axis = 0
    for part, span in zip(advanced, spans, strict=True):
        if _is_mask(part) and part.shape != sizes[axis : axis + span]:
            raise IndexError(f"a mask of shape {part.shape} does not fit dimension {axis} of shape {sizes}")
        if is_array(part) and not _is_mask(part) and part.size and not host:
            low, high, size = int(part.min()), int(part.max()), sizes[axis]
            if low < -size or high >= size:
                raise IndexError(f"index {high if high >= size else low} is out of bounds for axis {axis} with size {size}")
        axis += span if part is not Ellipsis else len(sizes) - sum(spans)


def _is_mask(part: Any) -> bool:
    return is_array(part) and part.dtype.kind == "b"


class OutOfRangeError(ArgumentError, IndexError):
    """An index beyond the end; iteration over a tensor and a user's ``except IndexError`` rely on the second base."""


@method("__getitem__")
def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``: numbers, slices, ``None``, ``...`` (a view), boolean and integer tensors (a copy).

    >>> import minivgg
    >>> x = minivgg.arange(6).reshape(2, 3)
    >>> x[0, 1:], x[x > 3]
    (tensor([1, 2]), tensor([4, 5]))
    """
    basic, advanced = read_index("getitem", index, input.device)
    try:
        _check_range(input, basic, advanced)
        return Get.apply(input, basic, advanced)
    except IndexError as error:
        raise OutOfRangeError("getitem", str(error), input=input.shape) from None


@method("__setitem__")
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``, in place; the gradient of what is overwritten becomes 0.

    >>> import minivgg
    >>> x = minivgg.zeros(3)
    >>> x[1:] = minivgg.tensor([1.0, 2.0])
    >>> x
    tensor([0., 1., 2.])
    """
    basic, advanced = read_index("setitem", index, input.device)
    value = to(as_tensor(value, input, "setitem"), dtype=input.dtype, device=input.device)
    try:
        _check_range(input, basic, advanced)
        in_place(Set, input, value, basic, advanced)
    except IndexError as error:
        raise OutOfRangeError("setitem", str(error), input=input.shape) from None
    except (ValueError, TypeError) as error:  # NumPy has both for a value that does not fit
        raise ShapeError("setitem", f"a value of shape {value.shape} does not fit: {error}", input=input.shape) from None


@method("__iter__")
def iterate(input: Tensor) -> Iterator[Tensor]:
    """``for row in tensor``: the entries along the first dimension.

    >>> import minivgg
    >>> [row.sum().item() for row in minivgg.tensor([[1, 2], [3, 4]])]
    [3, 7]
    """
    if not input.ndim:
        raise ShapeError("iter", "a tensor without dimensions has no rows")
    return (getitem(input, i) for i in range(input.shape[0]))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    x = rng.standard_normal((3, 4, 2))
    rows, columns = numpy.array([2, 0, 2]), numpy.array([[1], [-1]])
    mask = numpy.array([[True, False, False, True], [False] * 4, [False, True, False, False]])
    for index in (
        1, -1, slice(1, None), slice(None, None, 2), None, ..., (0, 3, 1), (..., 0), (slice(None), None, 1), (slice(2, 0),),
        rows, (rows, rows), (slice(None), rows), (rows, slice(None), numpy.array([0, 1, 0])), (rows, columns), (..., None, columns),
        mask, (mask, 0), (0, mask[0]), (slice(None), numpy.zeros(4, bool)), numpy.array(True), numpy.zeros(0, "int64"),
    ):  # fmt: skip
        yield Sample((x, index))
    yield Sample((rng.standard_normal(()), ...))
    yield Sample((numpy.zeros((0, 2)), (slice(None), 1)))
    yield Sample((numpy.zeros((2, 0, 3)), (..., numpy.zeros((0, 3), bool))))


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((2, 3))
    yield ErrorSample((x, 2), {}, OutOfRangeError, "getitem: index 2 is out of bounds for axis 0 with size 2 (input (2, 3))")
    yield ErrorSample((x, (0, 0, 0)), {}, OutOfRangeError, "getitem: too many indices for array: array is 2-dimensional, but 3 were indexed (input (2, 3))")
    yield ErrorSample((x, numpy.zeros(2)), {}, DtypeError, "getitem: an index must be an integer or boolean tensor, got float64")
    text = "getitem: a mask of shape (0,) does not fit dimension 1 of shape (2, 3) (input (2, 3))"
    yield ErrorSample((x, (..., numpy.zeros(0, bool))), {}, OutOfRangeError, text)
    yield ErrorSample((x, "0"), {}, DtypeError, "getitem: an index is made of numbers, slices, None, ... and tensors, got str")


def _oracle(x: numpy.ndarray, index: Any) -> Array:
    return x[index]


Operation(getitem, shapes="*, _? -> _", samples=_samples, oracle=_oracle, errors=_errors, torch="Tensor.__getitem__")

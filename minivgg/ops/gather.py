"""gather: one element read for every element of an index; its transpose adds each gradient up at the place that was read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.device import may_look
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_tensors, read_int
from minivgg.ops.cast import to
from minivgg.ops.reduce import dims_of
from minivgg.ops.scatter import scatter_add
from minivgg.registry import ErrorSample, Operation, Sample


class Gather(Function):
    def forward(self, x, axis, index):
        self.shape, self.axis = x.shape, axis
        self.save_for_backward(index)
        return namespace(x).take_along_axis(x, index, axis)

    def backward(self, grad):
        (index,) = self.saved_tensors
        return ScatterAdd.apply(grad, self.shape, self.axis, index), None, None


class ScatterAdd(Function):
    """Zeros of ``shape`` with ``x`` added up at the places that ``Gather`` would read."""

    def forward(self, x, shape, axis, index):
        self.axis = axis
        self.save_for_backward(index)
        xp = namespace(x)
        out = xp.zeros(shape, x.dtype)
        places = list(xp.ogrid[tuple(slice(size) for size in index.shape)])
        places[axis] = index
        scatter_add(out, tuple(places), x)
        return out

    def backward(self, grad):
        (index,) = self.saved_tensors
        return Gather.apply(grad, self.axis, index), None, None, None


@method()
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, out[i][j] = input[i][index[i][j]] for dim 1, and so on.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0], [3.0, 4.0]]).gather(1, minivgg.tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    check_tensors("gather", input=input, index=index)
    if index.dtype not in ("int64", "int32"):
        raise DtypeError("gather", f"index must be int64 or int32, got {index.dtype}")
    index = to(index, numpy.int64)
    if index.ndim != input.ndim:
        raise ShapeError("gather", f"index has {index.ndim} dimensions, input {input.ndim}", input=input.shape, index=index.shape)
    if not input.ndim:
        return gather(input.reshape(1), 0, index.reshape(1)).reshape(())
    (axis,) = dims_of("gather", input.ndim, read_int("gather", "dim", dim))
    if index.array.size and may_look(index.array) and not 0 <= int(index.array.min()) <= int(index.array.max()) < input.shape[axis]:
        raise ArgumentError("gather", f"indices must lie in [0, {input.shape[axis] - 1}], got {int(index.array.min())} to {int(index.array.max())}")
    for i, (have, wanted) in enumerate(zip(input.shape, index.shape, strict=True)):
        if i != axis and wanted > have:
            raise ShapeError("gather", f"index is larger than input in dimension {i}", input=input.shape, index=index.shape)
        if i != axis and wanted < have:
            input = input[(slice(None),) * i + (slice(0, wanted),)]
    return Gather.apply(input, axis, index)


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, dim, places in (((3, 4), 0, (2, 4)), ((3, 4), 1, (3, 6)), ((3, 4), -1, (2, 2)), ((3,), 0, (5,)), ((3, 4), 1, (0, 2)), ((), 0, ())):
        yield Sample((rng.standard_normal(shape), dim, numpy.asarray(rng.integers(0, (shape or (1,))[dim], places))))


def _errors() -> Iterable[ErrorSample]:
    x, index = numpy.zeros((2, 3)), numpy.zeros((2, 3), "int64")
    yield ErrorSample((x, 0, index.astype("int16")), {}, DtypeError, "gather: index must be int64 or int32, got int16")
    yield ErrorSample((x, 0, index[0]), {}, ShapeError, "gather: index has 1 dimensions, input 2 (input (2, 3), index (3,))")
    yield ErrorSample((x, 0, index + 2), {}, ArgumentError, "gather: indices must lie in [0, 1], got 2 to 2")
    text = "gather: index is larger than input in dimension 1 (input (2, 3), index (2, 4))"
    yield ErrorSample((x, 0, numpy.zeros((2, 4), "int64")), {}, ShapeError, text)


def _oracle(x: numpy.ndarray, dim: int, index: numpy.ndarray) -> numpy.ndarray:
    """The definition, one element at a time."""
    out = numpy.zeros(index.shape)
    for place in numpy.ndindex(index.shape):
        source = list(place)
        if source:
            source[dim] = index[place]
        out[place] = x[tuple(source)]
    return out


Operation(gather, shapes="_, * -> *", samples=_samples, oracle=_oracle, errors=_errors, torch="gather")

"""Putting tensors together and cutting them apart: cat, stack, split, chunk, unbind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import namespace
from minivgg.errors import ArgumentError, ShapeError
from minivgg.ops.arguments import check_tensors, read_int
from minivgg.ops.cast import to
from minivgg.ops.promotion import common_dtype
from minivgg.ops.reduce import dims_of
from minivgg.ops.shape import unsqueeze
from minivgg.registry import ErrorSample, Operation, Sample


class Cat(Function):
    def forward(self, axis, *arrays):
        self.axis, self.sizes = axis, [array.shape[axis] for array in arrays]
        return namespace(arrays[0]).concatenate(arrays, axis=axis)

    def backward(self, grad):
        return (None, *split(grad, self.sizes, self.axis))


def _check_list(operation: str, tensors: Any) -> None:
    if not isinstance(tensors, list | tuple) or not tensors:
        raise ArgumentError(operation, f"takes a list of at least one tensor, got {type(tensors).__name__ if tensors else tensors!r}")
    check_tensors(operation, **{f"tensor {i}": tensor for i, tensor in enumerate(tensors)})


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension; all other sizes are equal. Among matrices and larger ones, tensors of shape (0,) are passed over.

    >>> import minivgg
    >>> minivgg.cat([minivgg.zeros(2, 3), minivgg.ones(1, 3)]).shape
    (3, 3)
    """
    _check_list("cat", tensors)
    if any(tensor.ndim > 1 for tensor in tensors):
        tensors = [tensor for tensor in tensors if tensor.shape != (0,)]
    first = tensors[0]
    if not first.ndim:
        raise ShapeError("cat", "tensors without dimensions cannot be joined; use stack()")
    (axis,) = dims_of("cat", first.ndim, read_int("cat", "dim", dim))
    for i, tensor in enumerate(tensors):
        if tensor.ndim != first.ndim or any(a != b for j, (a, b) in enumerate(zip(tensor.shape, first.shape, strict=True)) if j != axis):
            raise ShapeError("cat", f"tensor {i} has shape {tensor.shape}, tensor 0 {first.shape}: only dimension {axis} may differ")
    dtype = first.dtype
    for tensor in tensors:
        dtype = common_dtype(numpy.empty(1, dtype), numpy.empty(1, tensor.dtype))
    return Cat.apply(axis, *(to(tensor, dtype) for tensor in tensors))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    >>> import minivgg
    >>> minivgg.stack([minivgg.zeros(3), minivgg.ones(3)], dim=1).shape
    (3, 2)
    """
    _check_list("stack", tensors)
    for i, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ShapeError("stack", f"tensor {i} has shape {tensor.shape}, tensor 0 {tensors[0].shape}")
    return cat([unsqueeze(tensor, dim) for tensor in tensors], dim)


@method()
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along a dimension into pieces of one size (the last may be smaller), or of the given sizes.

    >>> import minivgg
    >>> [piece.shape for piece in minivgg.arange(5).split(2)]
    [(2,), (2,), (1,)]
    """
    check_tensors("split", input=tensor)
    if not tensor.ndim:
        raise ShapeError("split", "a tensor without dimensions cannot be cut")
    (axis,) = dims_of("split", tensor.ndim, read_int("split", "dim", dim))
    total = tensor.shape[axis]
    if not isinstance(split_size_or_sections, list | tuple):
        size = read_int("split", "split_size_or_sections, if no list,", split_size_or_sections)
        if size < 1 and (size or total):
            raise ArgumentError("split", f"the size must be at least 1, got {size}")
        sizes = [min(size, total - start) for start in range(0, total, size or 1)] or [0]
    else:
        sizes = [read_int("split", "a size", size) for size in split_size_or_sections]
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise ShapeError("split", f"sizes {sizes} do not add up to {total}, the size of dimension {axis}")
    stops = numpy.cumsum(sizes, dtype=int).tolist()
    return tuple([tensor[(slice(None),) * axis + (slice(stop - size, stop),)] for size, stop in zip(sizes, stops, strict=True)])


@method()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut into at most ``chunks`` pieces of equal size (the last may be smaller).

    >>> import minivgg
    >>> [piece.shape for piece in minivgg.arange(5).chunk(2)]
    [(3,), (2,)]
    """
    check_tensors("chunk", input=input)
    chunks, dim = read_int("chunk", "chunks", chunks), read_int("chunk", "dim", dim)
    if chunks < 1:
        raise ArgumentError("chunk", f"the number of pieces must be at least 1, got {chunks}")
    total = input.size(dim)
    return split(input, -(-total // chunks) if total else [0] * chunks, dim)


@method()
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The entries along a dimension, which they no longer have.

    >>> import minivgg
    >>> minivgg.tensor([[1, 2], [3, 4]]).unbind(1)
    (tensor([1, 3]), tensor([2, 4]))
    """
    check_tensors("unbind", input=input)
    if not input.ndim:
        raise ShapeError("unbind", "a tensor without dimensions has no entries")
    (axis,) = dims_of("unbind", input.ndim, read_int("unbind", "dim", dim))
    return tuple([input[(slice(None),) * axis + (i,)] for i in range(input.shape[axis])])


def _cat_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for dim, shapes in ((0, ((2, 3), (1, 3))), (-1, ((2, 3), (2, 1), (2, 0))), (0, ((2,),)), (1, ((0, 2), (0, 1)))):
        yield Sample(([rng.standard_normal(shape) for shape in shapes], dim))
    x = rng.standard_normal((2, 2))
    yield Sample(([x, x],))


def _cat_errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((2, 3))
    yield ErrorSample(([],), {}, ArgumentError, "cat: takes a list of at least one tensor, got []")
    yield ErrorSample(([x, numpy.zeros((2, 2))],), {}, ShapeError, "cat: tensor 1 has shape (2, 2), tensor 0 (2, 3): only dimension 0 may differ")
    yield ErrorSample(([x, numpy.zeros(3)],), {}, ShapeError, "cat: tensor 1 has shape (3,), tensor 0 (2, 3): only dimension 0 may differ")
    yield ErrorSample(([numpy.zeros(())],), {}, ShapeError, "cat: tensors without dimensions cannot be joined; use stack()")


def _stack_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for dim, shape, count in ((0, (2, 3), 2), (-1, (2, 3), 3), (1, (2,), 1), (0, (), 2), (0, (0, 2), 2)):
        yield Sample(([rng.standard_normal(shape) for _ in range(count)], dim))


def _stack_errors() -> Iterable[ErrorSample]:
    yield ErrorSample(([],), {}, ArgumentError, "stack: takes a list of at least one tensor, got []")
    yield ErrorSample(([numpy.zeros(2), numpy.zeros(3)],), {}, ShapeError, "stack: tensor 1 has shape (3,), tensor 0 (2,)")


def _split_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, sizes, dim in (((5, 2), 2, 0), ((2, 4), 4, -1), ((2, 4), [1, 0, 3], 1), ((0,), 2, 0)):
        yield Sample((rng.standard_normal(shape), sizes, dim))


def _split_errors() -> Iterable[ErrorSample]:
    yield ErrorSample((numpy.zeros((4, 2)), 0), {}, ArgumentError, "split: the size must be at least 1, got 0")
    yield ErrorSample((numpy.zeros((4, 2)), [1, 2]), {}, ShapeError, "split: sizes [1, 2] do not add up to 4, the size of dimension 0")


def _chunk_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, chunks, dim in (((5, 2), 2, 0), ((2, 4), 3, -1), ((2,), 5, 0), ((0, 2), 2, 0)):
        yield Sample((rng.standard_normal(shape), chunks, dim))


def _unbind_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, dim in (((3, 2), 0), ((3, 2), -1), ((2,), 0), ((2, 0), 0)):
        yield Sample((rng.standard_normal(shape), dim))


def _oracle_split(x: numpy.ndarray, sizes: int | list[int], dim: int = 0) -> tuple[numpy.ndarray, ...]:
    stops = range(sizes, x.shape[dim], sizes) if isinstance(sizes, int) else numpy.cumsum(sizes)[:-1]
    return tuple(numpy.split(x, stops, dim))


def _oracle_chunk(x: numpy.ndarray, chunks: int, dim: int = 0) -> tuple[numpy.ndarray, ...]:
    return _oracle_split(x, -(-x.shape[dim] // chunks) if x.shape[dim] else [0] * chunks, dim)


Operation(cat, shapes="[_] -> _", samples=_cat_samples, oracle=numpy.concatenate, errors=_cat_errors, torch="cat")
Operation(stack, shapes="[*] -> _", samples=_stack_samples, oracle=numpy.stack, errors=_stack_errors, torch="stack")
Operation(split, shapes="* -> [_]", samples=_split_samples, oracle=_oracle_split, errors=_split_errors, torch="split")
Operation(
    chunk,
    shapes="* -> [_]",
    samples=_chunk_samples,
    oracle=_oracle_chunk,
    errors=lambda: [ErrorSample((numpy.zeros(2), 0), {}, ArgumentError, "chunk: the number of pieces must be at least 1, got 0")],
    torch="chunk",
)
Operation(
    unbind,
    shapes="* -> [_]",
    samples=_unbind_samples,
    oracle=lambda x, dim=0: tuple(numpy.moveaxis(x, dim, 0)),
    errors=lambda: [ErrorSample((numpy.zeros(()),), {}, ShapeError, "unbind: a tensor without dimensions has no entries")],
    torch="unbind",
)

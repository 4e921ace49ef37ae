"""NumPy's matrix products, with the same bits for every number of threads.

OpenBLAS cuts long sums up by the number of its threads, so it is given one, and the result is cut up instead: into blocks that
its shape alone decides. Each block's sums are whole, and whichever thread is free computes the next.
"""

from __future__ import annotations

import numpy

from minivgg.backend import Array, empty, namespace
from minivgg.parallel import parallel
from minivgg.threads import LITTLE, one_blas_thread

BLOCKS = 8
"""Of a result, at most: several for each thread, and each wide enough for OpenBLAS."""

NARROW = 32
"""Rows or columns that are not cut up further."""


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """``a @ b`` for arrays of one dtype and at least two dimensions, [..., M, K] · [..., K, N]; into ``out`` if it is given.

    >>> product(numpy.array([[1.0, 2.0]]), numpy.array([[3.0], [4.0]]))
    array([[11.]])
    """
    if not isinstance(a, numpy.ndarray):
        return namespace(a).matmul(a, b, out=out)
    if out is None:
        out = empty((*numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    a, b = _as_blas_takes_it(a), _as_blas_takes_it(b)
    with one_blas_thread():
        if out.size * a.shape[-1] < LITTLE:
            numpy.matmul(a, b, out=out)
        else:
            _in_blocks(a, b, out)
    return out


def _as_blas_takes_it(x: numpy.ndarray) -> numpy.ndarray:
    """Matrices whose rows or columns lie side by side, else copied: NumPy before 2.3 multiplies them by itself, slowly and rounding otherwise."""
    return x if min(x.strides[-2:]) == x.itemsize else numpy.ascontiguousarray(x)


def _in_blocks(a: numpy.ndarray, b: numpy.ndarray, out: numpy.ndarray) -> None:
    """The first dimension of the batch is cut up, or of a single matrix the longer of its two."""
    a, b = (numpy.broadcast_to(x, (*out.shape[:-2], *x.shape[-2:])) for x in (a, b))
    while out.ndim > 2 and out.shape[0] == 1:
        a, b, out = a[0], b[0], out[0]
    *batch, rows, columns = out.shape
    length = batch[0] if batch else max(rows, columns)
    blocks = min(BLOCKS, length if batch else max(length // NARROW, 1))

    def work(block: int) -> None:
        here = slice(length * block // blocks, length * (block + 1) // blocks)
        if batch or rows >= columns:
            numpy.matmul(a[here], b[here] if batch else b, out=out[here])
        else:
            numpy.matmul(a, b[:, here], out=out[:, here])

    parallel(work, blocks)

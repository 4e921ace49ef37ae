"""The fully connected layer for few rows: each weight is read, or each gradient written, once, and that is all the time it takes.

All rows n are worked on together for a block of the weights that fits the cache. Sums run over blocks of columns, in one
order, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import writable
from minivgg.kernels.common.simd import ROWS, address, gemm_rows, lanes, past_the_cache, round_up, tile_columns
from minivgg.kernels.linear._thin import DOT_ROWS, WEIGHTS, dot, dots, dots_of_one_row, outer, outer_past_the_cache
from minivgg.parallel import parallel_blocks
from minivgg.registry import algorithm
from minivgg.spec import LinearSpec

FEW = 16
"""Rows up to which this is faster than a library's matrix product."""

CELLS = 16384
"""Elements of all rows of the input together that are worked with at a time, so that they stay in a core's cache."""

DEPTH = 16
"""Rows of the weight that the input gradient reads side by side."""

BLOCK = 64
"""Rows of the weight of a work item."""


@compiled
def outputs(x, w, b, y, first, last, chunk, lanes):  # pragma: no cover compiled
    """y[:, first:last] = x · w[first:last]ᵀ + b[first:last]."""
    rows, columns = x.shape
    zero, size = x.dtype.type(0), x.itemsize
    features = y.shape[1]
    for n in range(rows):
        y[n, first:last] = b[first:last]
    for c in range(0, columns, chunk):
        count = min(chunk, columns - c) // lanes * lanes
        for k in range(first, last, WEIGHTS):
            weights = address(w) + size * (k * columns + c)
            n = 0  # rows done
            if k + WEIGHTS <= last:
                while n + DOT_ROWS <= rows:
                    dots(zero, address(x) + size * (n * columns + c), weights, address(y) + size * (n * features + k), count, columns, columns, features)
                    n += DOT_ROWS
                while n < rows:
                    dots_of_one_row(zero, address(x) + size * (n * columns + c), weights, address(y) + size * (n * features + k), count, columns)
                    n += 1
            while n < rows:  # the last few rows of the weight
                for rest in range(k, last):
                    weights = address(w) + size * (rest * columns + c)
                    dot(zero, address(x) + size * (n * columns + c), weights, address(y) + size * (n * features + rest), count)
                n += 1
    for c in range(columns // lanes * lanes, columns):
        for n in range(rows):
            for k in range(first, last):
                y[n, k] += x[n, c] * w[k, c]


@compiled
def input_gradients(dy, w, dx, sums, first, last, rows, columns):  # pragma: no cover compiled
    """dx[:, first:last] = dy · w[:, first:last], DEPTH rows of w after the other, in register tiles of so many rows and columns.

    ``dy`` has rows of zeros behind its own, so that it fills the tiles; ``sums`` (rows of dy, last - first) stays in the cache.
    """
    zero, size = w.dtype.type(0), w.itemsize
    features, row, width = w.shape[0], w.shape[1], sums.shape[1]
    whole = first + (last - first) // columns * columns
    sums[...] = 0
    for k in range(0, features, DEPTH):
        depth = min(DEPTH, features - k)
        for c in range(first, whole, columns):
            for n in range(0, dy.shape[0], rows):
                tile, b = address(sums) + size * (n * width + c - first), address(w) + size * (k * row + c)
                gemm_rows(
                    zero, rows, address(dy) + size * (n * features + k), b, tile, tile, depth, features, 1, row, width, width, b + size * depth * row, row,
                )  # fmt: skip
        for j in range(k, k + depth):
            for n in range(dx.shape[0]):
                for c in range(whole, last):
                    sums[n, c - first] += dy[n, j] * w[j, c]
    dx[:, first:last] = sums[: dx.shape[0], : last - first]


@compiled
def weight_gradients(dy, x, dw, first, last, chunk, lanes, stream):  # pragma: no cover compiled
    """dw[first:last] = dy[:, first:last]ᵀ · x."""
    rows, columns = x.shape
    features = dy.shape[1]
    zero, size = x.dtype.type(0), x.itemsize
    pairs = first + (last - first) // 2 * 2
    whole = columns // (2 * lanes) * 2 * lanes  # a chunk is a multiple of two vectors
    for c in range(0, whole, chunk):
        count = min(chunk, whole - c)
        for k in range(first, pairs, 2):
            d, cells, out = address(dy) + size * k, address(x) + size * c, address(dw) + size * (k * columns + c)
            if stream:
                outer_past_the_cache(zero, d, cells, out, rows, count, features, columns, columns)
            else:
                outer(zero, d, cells, out, rows, count, features, columns, columns)
    for k in range(first, last):
        for c in range(whole if k < pairs else 0, columns):
            total = zero
            for n in range(rows):
                total += dy[n, k] * x[n, c]
            dw[k, c] = total


# The records ----------------------------------------------------------------------------------------------------------


def _chunk(rows: int) -> int:
    """Columns of the weight that are taken at a time: CELLS over the rows of the input, in whole cache lines."""
    return max(CELLS // max(rows, 1) // 64 * 64, 64)


def _few_rows(spec: LinearSpec, dtype: numpy.dtype) -> str | None:
    return None if spec.n <= FEW else f"with more than {FEW} rows a library's matrix product is faster, here are {spec.n}"


def _copies(spec: LinearSpec, dtype: numpy.dtype) -> int:
    """Copies of what does not lie row by row, and what fills the tiles."""
    return dtype.itemsize * (2 * round_up(spec.n, ROWS) * (spec.c + spec.k) + spec.c * spec.k + spec.k)


def _rows(x: numpy.ndarray) -> numpy.ndarray:
    return writable(numpy.ascontiguousarray(x))


def _into_rows(out: numpy.ndarray, compute: Callable[[numpy.ndarray], None]) -> None:
    """Let ``compute`` fill a row-major array: ``out`` if it lies so, else one that is moved over."""
    rows = out if out.flags.c_contiguous else numpy.empty(out.shape, out.dtype)
    compute(rows)
    if rows is not out:
        out[...] = rows


@algorithm("linear", backend="numba", workspace=_copies, supports=_few_rows)
def linear(spec, x, w, b, y):
    x, w = _rows(x), _rows(w)
    b = numpy.zeros(spec.k, w.dtype) if b is None else _rows(b)
    _into_rows(y, lambda y: parallel_blocks(lambda first, last: outputs(x, w, b, y, first, last, _chunk(spec.n), lanes(w.dtype)), spec.k, BLOCK))


@algorithm("linear_grad_input", backend="numba", workspace=_copies, supports=_few_rows)
def linear_grad_input(spec, dy, w, dx):
    w, tiles = _rows(w), max(-(-spec.n // ROWS), 1)
    rows = max(-(-spec.n // tiles), ROWS // 2)
    padded = numpy.zeros((tiles * rows, spec.k), w.dtype)
    padded[: spec.n] = dy

    def compute(dx):
        def work(first, last):
            sums = empty((tiles * rows, round_up(last - first, tile_columns(w.dtype))), w.dtype)
            input_gradients(padded, w, dx, sums, first, last, rows, tile_columns(w.dtype))

        parallel_blocks(work, spec.c, _chunk(len(padded)))

    _into_rows(dx, compute)


@algorithm("linear_grad_weight", backend="numba", workspace=_copies, supports=_few_rows)
def linear_grad_weight(spec, dy, x, dw):
    dy, x = _rows(dy), _rows(x)

    def compute(dw):
        stream = past_the_cache(dw)
        parallel_blocks(lambda first, last: weight_gradients(dy, x, dw, first, last, _chunk(spec.n), lanes(dw.dtype), stream), spec.k, BLOCK)

    _into_rows(dw, compute)

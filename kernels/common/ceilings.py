"""What no kernel can exceed on this machine: the register tile on data in the innermost cache, and memory read or copied in vectors."""

from __future__ import annotations

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import ROWS, Vectors, address, emitter, gemm_tile, integer, lanes, tile_columns
from minivgg.parallel import parallel

DEPTH = 128
"""Length of the tile's products: A (ROWS x DEPTH) and B (DEPTH x columns) take a few KiB each."""

STREAMS = 8
"""Vectors read in one round, each added to a sum of its own: additions that wait for each other would be slower than memory."""


@emitter
def add_vectors(v: Vectors, source: object, sums: object) -> None:
    """sums[i] += source[i] for STREAMS vectors."""
    for i in range(STREAMS):
        place = integer(i * v.count)
        total = v.at(sums, place)
        v.store(v.builder.fadd(v.load(total), v.load(v.at(source, place))), total)


@compiled
def repeat_tile(a, b, c, repeats):  # pragma: no cover compiled
    """C += A · B, so many times: 2 · ROWS · columns · DEPTH operations each."""
    zero, columns = a.dtype.type(0), c.shape[1]
    for _ in range(repeats):
        gemm_tile(zero, address(a), address(b), address(c), address(c), a.shape[1], a.shape[1], 1, columns, columns, columns)


@compiled
def read(source, first, last, sums):  # pragma: no cover compiled
    """The sums of the elements first to last, a whole number of rounds."""
    zero, size = source.dtype.type(0), source.itemsize
    for i in range(first, last, sums.size):
        add_vectors(zero, address(source) + size * i, address(sums))


def multiply(items: int, repeats: int) -> int:
    """Run the tile in float32 on ``items`` work items; the operations done."""
    columns = tile_columns("float32")

    def work(item: int) -> None:
        a, b, c = (numpy.full(shape, 1e-3, numpy.float32) for shape in ((ROWS, DEPTH), (DEPTH, columns), (ROWS, columns)))
        repeat_tile(a, b, c, repeats)

    parallel(work, items)
    return 2 * items * repeats * ROWS * columns * DEPTH


def read_all(source: numpy.ndarray, items: int) -> int:
    """Read an array of float32, shared out among ``items`` work items; the bytes read."""
    chunk = STREAMS * lanes("float32")
    part = source.size // (items * chunk) * chunk

    def work(item: int) -> None:
        read(source, item * part, (item + 1) * part, numpy.zeros(chunk, numpy.float32))

    parallel(work, items)
    return items * part * source.itemsize


def copy_all(source: numpy.ndarray, target: numpy.ndarray, items: int) -> int:
    """Copy an array, shared out; the bytes read and written."""
    part = source.size // items

    def work(item: int) -> None:
        numpy.copyto(target[item * part : (item + 1) * part], source[item * part : (item + 1) * part])

    parallel(work, items)
    return 2 * items * part * source.itemsize

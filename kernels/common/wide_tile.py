"""A register tile with half the rows of ``gemm_tile`` and twice its vectors: the same multiplications with fewer instructions.

A step of ROWS x VECTORS = 14 x 2 loads 16 operands for its 28 fused multiply-adds, one of 7 x 4 loads 11; and four steps are
written out one after the other. Both shapes reach the peak of a core of one's own. Where somebody else computes on the
core's other half, which takes every second turn to issue instructions, fewer of them are an advantage of a twentieth.

A line of 14 places is two tiles of 7, but no whole number of tiles of 6: so a tile may have fewer rows, down to half of them.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

from minivgg.kernels.common.loops import Cell
from minivgg.kernels.common.simd import ROWS, VECTOR_BYTES, VECTORS, Vectors, emitter, integer, lanes, not_unrolled

WIDE_ROWS, WIDE_VECTORS = (7, 4) if VECTOR_BYTES == 64 else (ROWS, VECTORS)
"""With sixteen registers there is no room for another shape."""

FEWEST_ROWS = (WIDE_ROWS + 1) // 2
"""Of a tile: any number of places from here on is made up of tiles that have so many rows, or more."""

STEPS = 4
"""Written out in one round of the loop."""


def wide_columns(dtype: Any) -> int:
    """Columns of the wide tile."""
    return WIDE_VECTORS * lanes(dtype)


@emitter
def gemm_wide_floor(v: Vectors, rows: Any, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, c_row: Any, d_row: Any, floor: Any, stream: Any) -> None:
    """C[rows, columns] = max(D + A[rows, depth] · B[depth, columns], the vector at ``floor``), from FEWEST_ROWS to WIDE_ROWS rows.

    For fewer it computes FEWEST_ROWS: there must be room. ``stream``: C is written past the cache.

    The numbers of a row of A lie side by side, and so do the rows of B. All products are added up before they go to D, so
    the depth should not be much above CHUNK. Nothing is fetched ahead, unlike in ``gemm_tile``: a B that serves many tiles is there in time.
    """
    builder = v.builder
    after, fewest = builder.append_basic_block("done"), builder.append_basic_block("rows")
    choice = builder.switch(rows, fewest)
    for count in range(FEWEST_ROWS, WIDE_ROWS + 1):
        block = fewest if count == FEWEST_ROWS else builder.append_basic_block("rows")
        if count > FEWEST_ROWS:
            choice.add_case(integer(count), block)
        builder.position_at_end(block)
        _add_products(v, count, *(v.at(p) for p in (a, b, c, d)), depth, a_row, c_row, d_row, floor, stream)
        builder.branch(after)
    builder.position_at_end(after)


def _add_products(v: Vectors, rows: int, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, c_row: Any, d_row: Any, floor: Any, stream: Any) -> None:
    """Write the tile of so many rows."""
    builder, columns = v.builder, integer(WIDE_VECTORS * v.count)
    a_rows = [v.at(a, builder.mul(a_row, integer(i))) for i in range(rows)]
    sums = {(i, j): Cell(builder, v.constant(0)) for i in range(rows) for j in range(WIDE_VECTORS)}

    def add_products(step: Any) -> None:
        row = v.at(b, builder.mul(step, columns))
        row_of_b = [v.load(v.at(row, integer(j * v.count))) for j in range(WIDE_VECTORS)]
        for i in range(rows):
            scalar = v.broadcast(builder.load(v.at(a_rows[i], step)))
            for j in range(WIDE_VECTORS):
                sums[i, j].set(v.fma(scalar, row_of_b[j], sums[i, j].get()))

    rounds = builder.sdiv(depth, integer(STEPS))
    with cgutils.for_range(builder, rounds) as loop:
        for step in range(STEPS):
            add_products(builder.add(builder.mul(loop.index, integer(STEPS)), integer(step)))
        latch = builder.block
    not_unrolled(latch.terminator)
    with cgutils.for_range(builder, depth, start=builder.mul(rounds, integer(STEPS))) as loop:
        add_products(loop.index)
        latch = builder.block
    not_unrolled(latch.terminator)
    least = v.load(v.at(floor))

    def write(store: Any) -> None:
        for (i, j), total in sums.items():
            source, target = (v.at(base, builder.mul(row, integer(i)), integer(j * v.count)) for base, row in ((d, d_row), (c, c_row)))
            store(v.maximum(builder.fadd(v.load(source), total.get()), least), target)

    v.store_by(stream, write)

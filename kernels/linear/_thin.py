"""The inner loops of a matrix product with few rows, in explicit vectors. Addresses are in bytes, steps in elements."""

from llvmlite import ir
from numba.core import cgutils

from minivgg.kernels.common.loops import Cell
from minivgg.kernels.common.simd import VECTOR_BYTES, emitter, integer

WEIGHTS, DOT_ROWS = (4, 4) if VECTOR_BYTES == 64 else (2, 4)
"""A tile of dot products: so many rows of the weight times so many rows of the input, each sum in a register."""


AHEAD = 16
"""Vectors between a weight and the one that is fetched meanwhile: the next row of the weight begins before the processor has guessed so."""


def lane_sum(v, x):
    """The sum of a vector's lanes, halves first."""
    width, lane = v.count, ir.IntType(32)
    while width > 1:
        width //= 2
        halves = [v.builder.shuffle_vector(x, x, ir.Constant(ir.VectorType(lane, width), list(range(i, i + width)))) for i in (0, width)]
        x = v.builder.fadd(*halves)
    return v.builder.extract_element(x, ir.Constant(lane, 0))


def _dots(v, weights, rows, x, w, y, count, x_row, w_row, y_row):
    builder = v.builder
    sums = {(n, k): Cell(builder, v.constant(0)) for n in range(rows) for k in range(weights)}
    with cgutils.for_range(builder, builder.sdiv(count, integer(v.count))) as step:
        c = builder.mul(step.index, integer(v.count))
        cells = [v.load(v.at(w, builder.mul(w_row, integer(k)), c)) for k in range(weights)]
        for k in range(weights):
            v.prefetch(v.at(w, builder.mul(w_row, integer(k)), c, integer(AHEAD * v.count)))
        for n in range(rows):
            row = v.load(v.at(x, builder.mul(x_row, integer(n)), c))
            for k in range(weights):
                sums[n, k].set(v.fma(row, cells[k], sums[n, k].get()))
    for (n, k), total in sums.items():
        place = v.at(y, builder.mul(y_row, integer(n)), integer(k))
        builder.store(builder.fadd(builder.load(place), lane_sum(v, total.get())), place)


@emitter
def dots(v, x, w, y, count, x_row, w_row, y_row):
    """y[n, k] += Σ_c x[n, c] · w[k, c] for DOT_ROWS rows n and WEIGHTS rows k; ``count`` is a multiple of the lanes."""
    _dots(v, WEIGHTS, DOT_ROWS, x, w, y, count, x_row, w_row, y_row)


@emitter
def dots_of_one_row(v, x, w, y, count, w_row):
    """The same for a single row n."""
    _dots(v, WEIGHTS, 1, x, w, y, count, integer(0), w_row, integer(0))


@emitter
def dot(v, x, w, y, count):
    """The same for a single row n and a single row k."""
    _dots(v, 1, 1, x, w, y, count, integer(0), integer(0), integer(0))


def _outer(v, nontemporal, dy, x, dw, rows, count, dy_row, x_row, dw_row):
    builder, pair = v.builder, (0, 1)
    with cgutils.for_range(builder, builder.sdiv(count, integer(2 * v.count))) as step:
        c = builder.mul(step.index, integer(2 * v.count))
        sums = {(k, j): Cell(builder, v.constant(0)) for k in pair for j in pair}
        with cgutils.for_range(builder, rows) as row:
            n = row.index
            cells = [v.load(v.at(x, builder.mul(x_row, n), c, integer(j * v.count))) for j in pair]
            for k in pair:
                factor = v.broadcast(builder.load(v.at(dy, builder.mul(dy_row, n), integer(k))))
                for j in pair:
                    sums[k, j].set(v.fma(factor, cells[j], sums[k, j].get()))
        for (k, j), total in sums.items():
            place = v.at(dw, builder.mul(dw_row, integer(k)), c, integer(j * v.count))
            if nontemporal:
                v.store_past_the_cache(total.get(), place)
            else:
                v.store(total.get(), place)


@emitter
def outer(v, dy, x, dw, rows, count, dy_row, x_row, dw_row):
    """dw[k, c] = Σ_n dy[n, k] · x[n, c] for two rows k; ``count`` columns c, a multiple of two vectors."""
    _outer(v, False, dy, x, dw, rows, count, dy_row, x_row, dw_row)


@emitter
def outer_past_the_cache(v, dy, x, dw, rows, count, dy_row, x_row, dw_row):
    """The same into aligned memory that is not read first and stays out of the cache: it is larger than that."""
    _outer(v, True, dy, x, dw, rows, count, dy_row, x_row, dw_row)

"""The inner loops of pooling in explicit vectors: one window, or one cell and the windows over it, for ``count`` channels side by side.

All addresses are in bytes, steps in elements. ``rows`` x ``columns`` cells (or windows) are visited row by row, and their
numbers go up by ``next_row`` and ``next_column``; there must be at least as many channels as a vector has lanes.
"""

from llvmlite import ir
from numba.core import cgutils

from minivgg.kernels.common.loops import Cell, each_vector
from minivgg.kernels.common.simd import emitter, integer

BYTE, WORD = ir.IntType(8), ir.IntType(32)


def splat(v, number, kind):
    """An integer in every lane."""
    lane = ir.IntType(32)
    undefined = ir.Constant(ir.VectorType(kind, v.count), ir.Undefined)
    single = v.builder.insert_element(undefined, v.builder.trunc(number, kind), ir.Constant(lane, 0))
    return v.builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(lane, v.count), [0] * v.count))


def bytes_at(v, address, *offsets):
    """A vector's worth of bytes behind an address, as a pointer to a vector."""
    pointer = v.builder.inttoptr(address, BYTE.as_pointer())
    for offset in offsets:
        pointer = v.builder.gep(pointer, [offset])
    return v.builder.bitcast(pointer, ir.VectorType(BYTE, v.count).as_pointer())


def load_bytes(v, address, *offsets):
    value = v.builder.load(bytes_at(v, address, *offsets))
    value.align = 1
    return value


def cells(v, rows, columns, row_step, column_step, body):
    """``body(row, column, offset)`` for each of them."""
    with cgutils.for_range(v.builder, rows) as row, cgutils.for_range(v.builder, columns) as column:
        offset = v.builder.add(v.builder.mul(row.index, row_step), v.builder.mul(column.index, column_step))
        body(row.index, column.index, offset)


@emitter
def largest_cell(v, x, out, numbers, count, rows, columns, row_step, column_step, number, next_row):
    """The largest of a window's cells, and its number; of equal ones the first, the last nan if there is one."""
    builder = v.builder
    with each_vector(v, count) as start:
        best = Cell(builder, v.constant(float("-inf")))
        where = Cell(builder, splat(v, number, WORD))

        def compare(row, column, offset):
            value = v.load(v.at(x, offset, start))
            wins = builder.or_(builder.fcmp_ordered(">", value, best.get()), builder.fcmp_unordered("uno", value, value))
            tap = builder.add(number, builder.add(builder.mul(row, next_row), column))
            best.set(builder.select(wins, value, best.get()))
            where.set(builder.select(wins, splat(v, tap, WORD), where.get()))

        cells(v, rows, columns, row_step, column_step, compare)
        v.store(best.get(), v.at(out, start))
        builder.store(builder.trunc(where.get(), ir.VectorType(BYTE, v.count)), bytes_at(v, numbers, start)).align = 1


@emitter
def gradient_of_cell(v, grad, numbers, out, count, rows, columns, row_step, column_step, number, next_row, next_column):
    """The sum of the gradients of those windows over a cell whose largest cell it is: in the first one it has ``number``."""
    builder = v.builder
    with each_vector(v, count) as start:
        total = Cell(builder, v.constant(0))

        def add(row, column, offset):
            tap = builder.add(number, builder.add(builder.mul(row, next_row), builder.mul(column, next_column)))
            chosen = builder.icmp_signed("==", load_bytes(v, numbers, offset, start), splat(v, tap, BYTE))
            part = builder.select(chosen, v.load(v.at(grad, offset, start)), v.constant(0))
            total.set(builder.fadd(total.get(), part))

        cells(v, rows, columns, row_step, column_step, add)
        v.store(total.get(), v.at(out, start))


@emitter
def scatter_to_cells(v, grad, numbers, out, count, row_step, column_step):
    """The gradient of a 2x2 window, written to the cell that has its number, and 0 to the other three."""
    builder = v.builder
    with each_vector(v, count) as start:
        gradient, won = v.load(v.at(grad, start)), load_bytes(v, numbers, start)
        for number in range(4):
            chosen = builder.icmp_signed("==", won, ir.Constant(won.type, [number] * v.count))
            place = builder.add(row_step if number // 2 else integer(0), column_step if number % 2 else integer(0))
            v.store(builder.select(chosen, gradient, v.constant(0)), v.at(out, place, start))

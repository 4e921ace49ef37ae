"""Explicit vectors in Numba: the host's vector width, and the register tile that every fast kernel is built on.

Numba compiles loops well, but it does not keep a tile of accumulators in vector registers: plain loops reach a fifth of
the machine's peak, this tile nearly all of it. An ``@intrinsic`` writes the vector instructions as LLVM code: portable,
because LLVM maps a vector of 16 floats to whatever the processor has.

Kernels pass addresses and strides as plain integers; addresses in bytes, strides in elements.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

INTEGER, INDEX = ir.IntType(64), ir.IntType(32)


def _vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") and features.get("fma") else 16


VECTOR_BYTES = _vector_bytes()
"""Bytes of the widest vector register: 64 with AVX-512, 32 with AVX2, else 16 (SSE, NEON)."""

ROWS, VECTORS = {64: (14, 2), 32: (6, 2), 16: (6, 2)}[VECTOR_BYTES]
"""The register tile: ROWS x VECTORS accumulators that, with VECTORS operands and one broadcast, fill the register file."""


def lanes(dtype: Any) -> int:
    """Elements of one vector.

    >>> lanes("float32") == 2 * lanes("float64")
    True
    """
    return VECTOR_BYTES // numpy.dtype(dtype).itemsize


def tile_columns(dtype: Any) -> int:
    """Columns of the register tile."""
    return VECTORS * lanes(dtype)


PANEL_ROWS = 8 if VECTOR_BYTES == 64 else 4
"""Rows of the register tile where the rows come in panels of vectors too, and so must divide one."""


def panel_rows(dtype: Any) -> int:
    """Rows of such a panel: whole vectors, whole tiles."""
    return max(lanes(dtype), PANEL_ROWS)


def round_up(value: int, multiple: int) -> int:
    """The next multiple.

    >>> round_up(17, 16)
    32
    """
    return -(-value // multiple) * multiple


STREAM_BYTES = 12 << 20
"""A result from this size on is written past the caches: when it is read, little of it would be left there, and writing through a cache
reads the memory first. ``benchmarks/table.py forward8`` with other values, and an outer cache of 32 MiB: 3 to 12 MiB were equally good, 32 MiB slower."""


def past_the_cache(out: numpy.ndarray) -> bool:
    """Whether vectors of an array's last dimension shall be stored so. That takes aligned vectors."""
    row = out.shape[-1] * out.itemsize if out.ndim else 0
    return out.nbytes >= STREAM_BYTES and out.ctypes.data % VECTOR_BYTES == 0 and row % VECTOR_BYTES == 0


class Vectors:
    """Writes vector instructions of one element type into a function under construction."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type) -> None:
        self.builder, self.element = builder, element
        self.size = 4 if isinstance(element, ir.FloatType) else 8
        self.count = VECTOR_BYTES // self.size
        self.type = ir.VectorType(element, self.count)

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [float(value)] * self.count)

    def at(self, address: ir.Value, *offsets: ir.Value) -> ir.Value:
        """The pointer ``offsets`` elements behind an address."""
        pointer = self.builder.inttoptr(address, self.element.as_pointer()) if address.type == INTEGER else address
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def load(self, pointer: ir.Value) -> ir.Value:
        value = self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()))
        value.align = self.size  # the elements' alignment is all that is promised
        return value

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, self.type.as_pointer())).align = self.size

    def store_past_the_cache(self, value: ir.Value, pointer: ir.Value) -> None:
        """Store to a whole cache line, which is not read first and does not stay in the cache: for a result larger than that."""
        store = self.builder.store(value, self.builder.bitcast(pointer, self.type.as_pointer()))
        store.align = VECTOR_BYTES
        store.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(INDEX, 1)]))

    def store_by(self, stream: ir.Value, write: Callable[[Callable[[ir.Value, ir.Value], None]], None]) -> None:
        """``write(store)`` with a function that stores past the cache where ``stream`` is not 0, and with the usual one where it is."""
        with self.builder.if_else(self.builder.icmp_signed("!=", stream, integer(0))) as (then, otherwise):
            with then:
                write(self.store_past_the_cache)
            with otherwise:
                write(self.store)

    def prefetch(self, pointer: ir.Value, write: bool = False) -> None:
        """Bring a line into the second cache; an address that does not exist does no harm."""
        i8, i32, module = ir.IntType(8).as_pointer(), ir.IntType(32), self.builder.module
        name = "llvm.prefetch.p0i8"
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32]), name)
        self.builder.call(function, [self.builder.bitcast(pointer, i8), *(ir.Constant(i32, value) for value in (int(write), 2, 1))])

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(self.type, ir.Undefined)
        single = self.builder.insert_element(undefined, scalar, ir.Constant(INDEX, 0))
        return self.builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(INDEX, self.count), [0] * self.count))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a · b + c, rounded once."""
        name = f"llvm.fma.v{self.count}f{8 * self.size}"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(self.type, [self.type] * 3), name)
        return self.builder.call(function, [a, b, c])

    def window_maximum(self, values: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        """The largest of some vectors, and its number as bytes: one wins if it is greater than all before it, or nan."""
        builder, kind = self.builder, ir.VectorType(ir.IntType(8), self.count)
        best, cell = values[0], ir.Constant(kind, [0] * self.count)
        for number, value in enumerate(values[1:], 1):
            wins = builder.or_(builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value))
            best = builder.select(wins, value, best)
            cell = builder.select(wins, ir.Constant(kind, [number] * self.count), cell)
        return best, cell

    def store_bytes(self, cells: ir.Value, pointer: ir.Value) -> None:
        """Store a vector of bytes."""
        self.builder.store(cells, self.builder.bitcast(pointer, cells.type.as_pointer())).align = 1

    def maximum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger one; a where it is nan."""
        return self.builder.select(self.builder.fcmp_ordered(">", b, a), b, a)


def not_unrolled(branch: ir.Instruction) -> None:
    """Have LLVM leave the loop that ends in this branch as it is. Two steps of a tile of sums written out as one ran short of registers."""
    module = branch.module
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([ir.Constant(INTEGER, len(module.metadata))])
    loop.operands = loop, option  # LLVM knows a loop by a node that begins with itself
    branch.set_metadata("llvm.loop", loop)


def integer(value: int) -> ir.Constant:
    return ir.Constant(INTEGER, value)


def element_type(numba_type: Any) -> ir.Type:
    """LLVM's element type of a Numba scalar."""
    return ir.FloatType() if numba_type == types.float32 else ir.DoubleType()


def emitter(write: Callable[..., None]) -> Any:
    """Make an intrinsic ``f(zero, *integers)`` of a function ``write(vectors, *integers)``.

    The first argument is any scalar of the element type; it only says which type that is.
    """

    def declare(typingctx: Any, zero: Any, *integers: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            write(Vectors(builder, element_type(signature.args[0])), *args[1:])
            return context.get_dummy_value()

        return types.void(zero, *[types.intp] * len(integers)), codegen

    names = ["typingctx", "zero", *list(inspect.signature(write).parameters)[1:]]
    declare.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])  # type: ignore[attr-defined]
    declare.__name__ = write.__name__
    return intrinsic(declare)


@intrinsic
def address(typingctx: Any, array: Any) -> Any:
    """The address of an array's first element. Unlike ``array.ctypes.data`` it leaves the caller cacheable."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, INTEGER)

    return types.intp(array), codegen


@emitter
def copy_vector(v: Vectors, source: Any, target: Any) -> None:
    """Copy one vector from address to address."""
    v.store(v.load(v.at(source)), v.at(target))


@emitter
def transpose_block(v: Vectors, source: Any, row: Any, target: Any) -> None:
    """target[j, i] = source[i, j], lanes x lanes numbers; the rows of the source lie ``row`` elements apart, those of the target side by side.

    Eklundh, "A Fast Computer Method for Matrix Transposing", 1972: quarters change places, then the quarters of each quarter, and so on.
    """
    rows = [v.load(v.at(source, v.builder.mul(row, integer(i)))) for i in range(v.count)]
    half = v.count // 2
    while half:
        upper = [lane if not lane & half else v.count + lane - half for lane in range(v.count)]
        lower = [lane + half if not lane & half else v.count + lane for lane in range(v.count)]
        for i in range(v.count):
            if not i & half:
                pair = rows[i], rows[i + half]
                rows[i], rows[i + half] = (v.builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(INDEX, v.count), mask)) for mask in (upper, lower))
        half //= 2
    for j, column in enumerate(rows):
        v.store(column, v.at(target, integer(j * v.count)))


Tile = dict[tuple[int, int], ir.Value]


def _rows_of(v: Vectors, rows: int, base: ir.Value, row: Any) -> Tile:
    """The pointers to the vectors of a tile whose rows lie ``row`` elements apart."""
    return {(i, j): v.at(base, v.builder.mul(row, integer(i)), integer(j * v.count)) for i in range(rows) for j in range(VECTORS)}


def _sum_products(v: Vectors, rows: int, start: Tile, a: Any, b: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, fetch: Any, pace: Any) -> Tile:
    """Write the loop start + Σ a[:, step] · b[step, :] over ``depth`` >= 1 steps; all its sums stay in registers.

    Meanwhile as many vectors as a row of b has are fetched into the second cache in each step, from ``fetch`` on, which goes ahead by
    ``pace`` elements a step.
    """
    builder = v.builder
    a_rows = [v.at(a, builder.mul(a_row, integer(i))) for i in range(rows)]
    before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("summed")
    builder.branch(loop)

    builder.position_at_end(loop)
    step, a_offset, b_pointer, fetched = builder.phi(INTEGER), builder.phi(INTEGER), builder.phi(b.type), builder.phi(b.type)
    sums = {place: builder.phi(v.type) for place in start}
    row_of_b = [v.load(v.at(b_pointer, integer(j * v.count))) for j in range(VECTORS)]
    for j in range(VECTORS):
        v.prefetch(v.at(fetched, integer(j * v.count)))
    new = {}
    for i in range(rows):
        scalar = v.broadcast(builder.load(v.at(a_rows[i], a_offset)))
        for j in range(VECTORS):
            new[i, j] = v.fma(scalar, row_of_b[j], sums[i, j])
    next_step = builder.add(step, integer(1))
    following = (next_step, builder.add(a_offset, a_column), v.at(b_pointer, b_row), v.at(fetched, pace))
    for phi, first, then in zip((step, a_offset, b_pointer, fetched), (integer(0), integer(0), b, fetch), following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    for place, total in sums.items():
        total.add_incoming(start[place], before)
        total.add_incoming(new[place], loop)
    not_unrolled(builder.cbranch(builder.icmp_signed("<", next_step, depth), loop, after))
    builder.position_at_end(after)
    return new


CHUNK = 256
"""Products that are summed up by themselves, before they are added to the others: rounding errors grow with √CHUNK, not √depth."""


def _add_products(
    v: Vectors, rows: int, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, c_row: Any, d_row: Any,
    floor: Any = None, fetch: Any = None, pace: Any = None,
) -> None:  # fmt: skip
    """Write C = D + A · B in a tile of so many rows, chunk by chunk; at last nothing below ``floor``.

    What lies at ``fetch`` is fetched meanwhile, ``pace`` elements a step; if nothing is said, the panel behind B, a row a step.
    """
    builder = v.builder
    a, b, c, d = (v.at(p) for p in (a, b, c, d))
    fetch, pace = (v.at(b, builder.mul(depth, b_row)), b_row) if fetch is None else (v.at(fetch), pace)
    before, loop, after = builder.block, builder.append_basic_block("chunk"), builder.append_basic_block("added")
    builder.branch(loop)

    builder.position_at_end(loop)
    done, so_far, so_far_row = builder.phi(INTEGER), builder.phi(d.type), builder.phi(INTEGER)
    left = builder.sub(depth, done)
    last = builder.icmp_signed("<=", left, integer(CHUNK))
    here = builder.select(last, left, integer(CHUNK))
    zeros = {(i, j): v.constant(0) for i in range(rows) for j in range(VECTORS)}
    a_here, b_here = v.at(a, builder.mul(done, a_column)), v.at(b, builder.mul(done, b_row))
    products = _sum_products(v, rows, zeros, a_here, b_here, here, a_row, a_column, b_row, v.at(fetch, builder.mul(done, pace)), pace)
    sources, targets = _rows_of(v, rows, so_far, so_far_row), _rows_of(v, rows, c, c_row)
    least = None if floor is None else builder.select(last, v.load(v.at(floor)), v.constant(-math.inf))
    for place, product in products.items():
        value = builder.fadd(v.load(sources[place]), product)
        v.store(value if least is None else v.maximum(value, least), targets[place])
    next_done = builder.add(done, here)
    for phi, first, then in zip((done, so_far, so_far_row), (integer(0), d, d_row), (next_done, c, c_row), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, builder.block)
    builder.cbranch(last, after, loop)
    builder.position_at_end(after)


@emitter
def gemm_tile(v: Vectors, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, c_row: Any, d_row: Any) -> None:
    """C[ROWS, columns] = D[ROWS, columns] + A[ROWS, depth] · B[depth, columns], columns = VECTORS · lanes; depth >= 1.

    D may be C (accumulate), one row of zeros or biases (d_row 0), or anything else. A may be stored either way round.
    """
    _add_products(v, ROWS, a, b, c, d, depth, a_row, a_column, b_row, c_row, d_row)


@emitter
def gemm_tile_floor(
    v: Vectors, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, c_row: Any, d_row: Any, floor: Any
) -> None:  # fmt: skip
    """``gemm_tile`` with nothing below the vector at ``floor``: 0 for ReLU, -inf for none; nan stays nan."""
    _add_products(v, ROWS, a, b, c, d, depth, a_row, a_column, b_row, c_row, d_row, floor)


@emitter
def gemm_rows(
    v: Vectors, rows: Any, a: Any, b: Any, c: Any, d: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, c_row: Any, d_row: Any,
    fetch: Any, pace: Any,
) -> None:  # fmt: skip
    """``gemm_tile`` with so many rows, from ROWS // 2 (also taken for fewer: there must be room) to ROWS.

    ``fetch``: the address of what is wanted next, of which ``pace`` elements are fetched in each of the ``depth`` steps. Where several
    tiles of A are multiplied by B, each can fetch its part: memory that is asked for everything at once lets the processor wait.
    """
    builder = v.builder
    after, fewest = builder.append_basic_block("done"), builder.append_basic_block("rows")
    choice = builder.switch(rows, fewest)
    for count in range(ROWS // 2, ROWS + 1):
        block = fewest if count == ROWS // 2 else builder.append_basic_block("rows")
        if count > ROWS // 2:
            choice.add_case(integer(count), block)
        builder.position_at_end(block)
        _add_products(v, count, a, b, c, d, depth, a_row, a_column, b_row, c_row, d_row, fetch=fetch, pace=pace)
        builder.branch(after)
    builder.position_at_end(after)


@emitter
def gemm_panel_onto(v: Vectors, a: Any, b: Any, c: Any, depth: Any, a_row: Any, a_column: Any, b_row: Any, c_row: Any) -> None:
    """C[PANEL_ROWS, columns] += A · B."""
    _add_products(v, PANEL_ROWS, a, b, c, c, depth, a_row, a_column, b_row, c_row, c_row)

"""Matrix products on the tensor cores of a GPU, in float32: many at once, and recordable in a CUDA graph, which CuPy's by cuBLAS are not.

A factor may lie either way round, as in X · Wᵀ: what counts is whether the numbers of one sum lie side by side in both factors
(``along``) or in neither; where they do in one alone, the smaller factor is copied. Products with too few tiles to fill a GPU, and
long sums, are split; the parts are added up in their order. The kernels are in product.cu.
"""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.backend import Array, namespace
from minivgg.kernels.common.cuda import Program, ceil_div, struct
from minivgg.kernels.common.tensor_tiles import (
    ARCHITECTURE,
    DEEP,
    LONGEST,
    LOW,
    LOW_SIDE,
    NARROW_ROUNDED,
    SHORT,
    SMALL,
    SMALL_SIDE,
    TILE,
    WIDE_BF16,
    WIDE_TF32,
    Tile,
    split,
    vectors,
)  # fmt: skip
from minivgg.precision import BF16, FLOAT32, TF32

ROUNDED = {TF32: WIDE_TF32, BF16: WIDE_BF16}


def _tiles(precision: int, along: int, vector: int) -> tuple[Tile, Tile, Tile]:
    """For large products, small ones, and low ones."""
    if precision != FLOAT32:
        return ROUNDED[precision], NARROW_ROUNDED, LOW
    return TILE if along or vector == 1 else DEEP, SMALL, LOW


WAYS = [(precision, along, vector) for precision in (FLOAT32, TF32, BF16) for along in (1, 0) for vector in ((4, 1) if precision == FLOAT32 else (4,))]

PROGRAM = Program(
    Path(__file__).with_name("product.cu"),
    tuple(tile.constants(PRECISION=way[0], ALONG=way[1], VECTOR=way[2]) for way in WAYS for tile in _tiles(*way)),
    ARCHITECTURE,
)

MOST_PITCH = 1 << 23
"""From one row to the next: what the kernels count to. Rows farther apart are the array library's."""

FINISH = 256
"""Threads of a block that adds up parts."""


def multiply(left: Array, right: Array, out: Array, bias: Array | None = None, precision: int = FLOAT32) -> None:
    """out[b] = left[b] · right[b] + bias: (B, M, L) · (B, L, N) in float32, in any memory order; factors in so many significant bits."""
    products, rows, length = left.shape
    columns = right.shape[2]
    xp = namespace(out)
    if out.size == 0:
        return
    if out.strides[2] != 4 and columns > 1:
        target = xp.empty(out.shape, "float32")
        multiply(left, right, target, bias, precision)
        out[...] = target
        return
    left, right, along = _same_way(left, right)
    pitches = _pitch(left, 1 if along else 2), _pitch(right, 2 if along else 1)
    nexts = tuple(_pitch(array, 0) for array in (left, right))
    if max(pitches) >= MOST_PITCH:
        xp.matmul(left, right, out=out)
        if bias is not None:
            out += bias
        return
    vector = vectors((left, right), pitches + nexts)
    precision = precision if vector == 4 else FLOAT32
    tile = tile_of(precision, int(along), vector, rows, length, columns)
    tiles = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns)
    splits, slices = split(products * tiles, max(1, ceil_div(length, tile.depth)), LONGEST // tile.depth)
    at_once = splits == 1
    parts = out if at_once else xp.empty((splits * products, rows, columns), "float32")

    def shape(result: Array) -> numpy.ndarray:
        distances = dict(zip(("left_pitch", "right_pitch", "out_pitch", "left_next", "right_next", "out_next"),
                             map(numpy.int64, (*pitches, _pitch(result, 1), *nexts, _pitch(result, 0))), strict=True))  # fmt: skip
        return struct(products=products, rows=rows, columns=columns, length=length, splits=splits, slices=slices, **distances)

    constants = tile.constants(PRECISION=precision, ALONG=int(along), VECTOR=vector)
    kernel = PROGRAM.kernel("multiply_matrices", **constants)
    kernel(tiles * products * splits, tile.threads, left, right, bias if at_once else None, parts, shape(parts), shared=tile.shared_bytes(along))
    if not at_once:
        PROGRAM.kernel("add_up", **constants)(ceil_div(out.size, FINISH), FINISH, parts, bias, out, shape(out))


def tile_of(precision: int, along: int, vector: int, rows: int, length: int, columns: int) -> Tile:
    large, small, low = _tiles(precision, along, vector)
    if rows <= LOW_SIDE:
        return low
    if precision != FLOAT32:
        return small if columns <= SMALL_SIDE else large
    return small if max(rows, columns) <= SMALL_SIDE or (along and length <= SHORT) else large


def multiply_bytes(products: int, rows: int, length: int, columns: int) -> int:
    """Of scratch memory, at the most, if no factor has to be copied."""
    found = []
    for tile in {tile_of(*way, rows, length, columns) for way in WAYS}:
        tiles = products * ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns)
        found.append(split(tiles, max(1, ceil_div(length, tile.depth)), LONGEST // tile.depth)[0])
    return 4 * products * rows * columns * (max(found) if max(found) > 1 else 0)


def _pitch(array: Array, axis: int) -> int:
    """Numbers from one element of the axis to the next; 0 if it has but one."""
    return array.strides[axis] // 4 if array.shape[axis] > 1 else 0


def _same_way(left: Array, right: Array) -> tuple[Array, Array, bool]:
    """The factors, one of them copied if need be, and whether the numbers of a sum lie side by side in both, rather than in neither."""
    side_by_side = [_pitch(left, 2) in (0, 1), _pitch(right, 1) in (0, 1)]
    apart = [_pitch(left, 1) in (0, 1), _pitch(right, 2) in (0, 1)]
    copied = [sum(array.size for array, fits in zip((left, right), fitting, strict=True) if not fits) for fitting in (side_by_side, apart)]
    along = copied[0] <= copied[1]
    if along:
        left = left if side_by_side[0] else left.copy()
        right = right if side_by_side[1] else right.transpose(0, 2, 1).copy().transpose(0, 2, 1)
    else:
        left = left if apart[0] else left.transpose(0, 2, 1).copy().transpose(0, 2, 1)
        right = right if apart[1] else right.copy()
    return left, right, along

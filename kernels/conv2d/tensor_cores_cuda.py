"""Implicit GEMM on the tensor cores of a GPU: any stride, padding, dilation and groups. The kernels are in tensor_cores.cu.

Tensor cores multiply numbers of 11 or 8 significant bits. Float32 has 24, so each number is cut into a large and a small part
of 11, and three products of parts make one of float32 (Ootomo and Yokota 2022); where the user allows TF32 or BF16, one
product of rounded numbers has to do (``minivgg.allow_tf32``).

As in implicit_gemm_cuda.py, the number of parts of the sums depends on the problem alone.
"""

from __future__ import annotations

import math
from pathlib import Path

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last
from minivgg.kernels.common.product_cuda import multiply, multiply_bytes
from minivgg.kernels.common.tensor_tiles import ARCHITECTURE, LONGEST, NARROW_ROUNDED, SMALL_SIDE, TILE, WIDE_BF16, WIDE_TF32, Tile, missing, split, vectors
from minivgg.kernels.conv2d import _gather
from minivgg.precision import BF16, FLOAT32, TF32, significant_bits
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

SCATTERED, FEW_TAPS = Tile(128, 64, 2, 4, 16, 4, 1), Tile(32, 64, 1, 4, 16, 4, 4)
"""For channels that are copied one by one; and for the weights of a first layer: 3x3 taps of 3 channels are 27 rows."""

TILES = {FLOAT32: (TILE,), TF32: (WIDE_TF32, NARROW_ROUNDED), BF16: (WIDE_BF16, NARROW_ROUNDED)}
"""For four channels at a time; the last one for few columns."""

PROGRAM = Program(
    Path(__file__).with_name("tensor_cores.cu"),
    (
        *(tile.constants(PRECISION=precision, ALONG=along, VECTOR=4) for precision, tiles in TILES.items() for along in (1, 0) for tile in tiles),
        *(SCATTERED.constants(PRECISION=FLOAT32, ALONG=along, VECTOR=1) for along in (1, 0)),
        *(FEW_TAPS.constants(PRECISION=FLOAT32, ALONG=0, VECTOR=vector) for vector in (4, 1)),
    ),
    ARCHITECTURE,
)

MOST_GROUPS, MOST_ELEMENTS = 1 << 9, (1 << 31) - (1 << 20)
"""What the kernels count to: a grid has 65535 rows, and an element's number 32 bits."""

FINISH = 256
"""Threads of a block that adds up parts."""

PAPER = "Ootomo & Yokota 2022, arXiv:2203.03341"


def supports(spec: Conv2dSpec, dtype) -> str | None:
    if dtype != "float32":
        return f"it computes in float32, the arrays are {dtype}"
    if spec.groups > MOST_GROUPS:
        return f"it takes at most {MOST_GROUPS} groups, there are {spec.groups}"
    if max(math.prod(shape) for shape in (spec.input_shape, spec.output_shape, spec.weight_shape)) > MOST_ELEMENTS:
        return f"it takes arrays of at most {MOST_ELEMENTS} elements: their numbers have 32 bits"
    return missing()


def tile_of(precision: int, rows: int, columns: int, vector: int = 4) -> Tile:
    if precision == FLOAT32 and rows <= FEW_TAPS.rows:
        return FEW_TAPS
    return SCATTERED if vector == 1 else TILES[precision][-1 if columns <= SMALL_SIDE else 0]


def parts(spec: Conv2dSpec, tile: Tile, rows: int, length: int, columns: int) -> tuple[int, int]:
    """(parts, slices of each) of the sums of a product [rows x length] · [length x columns] of each group."""
    tiles = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns) * spec.groups
    return split(tiles, max(1, ceil_div(length, tile.depth)), max(LONGEST // tile.depth, ceil_div(ceil_div(length, tile.depth), 65535 // spec.groups)))


def output_bytes(spec: Conv2dSpec, dtype) -> int:
    return _gather_bytes(spec, spec.n * spec.p * spec.q, spec.c, spec.k)


def input_gradient_bytes(spec: Conv2dSpec, dtype) -> int:
    if _few_channels(spec):
        places, taps = spec.n * spec.p * spec.q, spec.c * spec.r * spec.s
        return 4 * (places + 2 * spec.k) * taps + multiply_bytes(1, taps, spec.k, places)
    return _gather_bytes(spec, spec.n * spec.h * spec.w, spec.k, spec.c)


def _gather_bytes(spec, rows, depth, columns):
    """The filters, the parts if there is more than one or their places lie apart, and the bias."""
    length, wide = spec.r * spec.s * depth // spec.groups, columns // spec.groups
    most = max(parts(spec, tile, rows, length, wide)[0] for tile in {SCATTERED, *(tile_of(precision, MANY, wide) for precision in TILES)})
    apart = most > 1 or spec.stride != (1, 1)
    return 4 * (spec.groups * length * wide + apart * most * rows * columns + columns)


def weight_gradient_bytes(spec: Conv2dSpec, dtype) -> int:
    length, columns = spec.r * spec.s * spec.c // spec.groups, spec.k // spec.groups
    most = max(
        parts(spec, tile, length, spec.n * spec.p * spec.q, columns)[0] for tile in {SCATTERED, *(tile_of(precision, length, columns) for precision in TILES)}
    )
    return 4 * most * math.prod(spec.weight_shape)


MANY = 1 << 30

RECORD = {"backend": "cuda", "supports": supports, "paper": PAPER, "channels_last": True}


@algorithm("conv2d", workspace=output_bytes, fuses=("relu",), **RECORD)
def output(spec, x, w, b, out, relu=False):
    """Y [places x K] = X [places x R·S·C] · W [R·S·C x K]."""
    into_channels_last(out, lambda y: gather(spec, _gather.of_output(spec, w), channels_last(x), None if b is None else dense(b), y, relu))


@algorithm("conv2d_grad_input", workspace=input_gradient_bytes, **RECORD)
def input_gradient(spec, dy, w, out):
    """X̄ [places x C] = Ȳ [places x taps·K] · Wᵀ [taps·K x C], for the places of one phase of the stride and the taps that meet them.

    C columns of a product are too few if an image has three channels. Then Wᵀ [C·R·S x K] · Ȳᵀ [K x places] reads Ȳ once instead of once a
    tap, and a second pass adds up what meets at each place.
    """
    source = channels_last(dy)

    def compute(dx):
        if _few_channels(spec):
            fold(spec, source, w, dx)
            return
        for phase in _gather.of_input_gradient(spec, w):
            gather(spec, phase, source, None, dx, False)

    into_channels_last(out, compute)


def _few_channels(spec):
    return spec.groups == 1 and spec.c * spec.r * spec.s <= SMALL_SIDE


def fold(spec, source, w, dx):
    places, taps = spec.n * spec.p * spec.q, spec.c * spec.r * spec.s
    products = namespace(dx).empty((1, taps, places), "float32")
    multiply(dense(w).reshape(1, spec.k, taps).transpose(0, 2, 1), source.reshape(1, places, spec.k).transpose(0, 2, 1), products, None, significant_bits())
    windows = struct(
        images=spec.n, height=spec.h, width=spec.w, channels=spec.c, places_y=spec.p, places_x=spec.q, taps_y=spec.r, taps_x=spec.s,
        stride_y=spec.stride[0], stride_x=spec.stride[1], top=spec.padding[0], left=spec.padding[2], dilation_y=spec.dilation[0], dilation_x=spec.dilation[1],
    )  # fmt: skip
    constants = SCATTERED.constants(PRECISION=FLOAT32, ALONG=1, VECTOR=1)
    if dx.size:
        PROGRAM.kernel("fold", **constants)(ceil_div(dx.size // spec.c, FINISH), FINISH, products, dx, windows)


def gather(spec, item, source, bias, out, relu):
    """One product; where its sums are split, or its places lie apart, a second pass puts them where they belong."""
    depth, columns = item.filters.shape[3:]
    rows, length = spec.n * math.prod(item.places), math.prod(item.filters.shape[1:4])
    xp, filters = namespace(source), dense(item.filters.transpose(0, 4, 1, 2, 3))
    vector = vectors((source, filters), (depth, source.shape[3], length))
    precision = significant_bits() if vector == 4 else FLOAT32
    tile = tile_of(precision, MANY, columns, vector)
    splits, slices = parts(spec, tile, rows, length, columns)
    at_once = splits == 1 and item.to_step == (1, 1)
    result = out if at_once else xp.empty((splits, rows, spec.groups * columns), "float32")
    grid = item.grid(source, splits)
    constants = tile.constants(PRECISION=precision, ALONG=1, VECTOR=vector)
    blocks = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns), spec.groups * splits
    last = (bias, int(relu))
    first = last if at_once else (None, 0)
    kernel = PROGRAM.kernel("gather", **constants)
    kernel(blocks, tile.threads, source, filters, first[0], result, grid, slices, first[1], shared=tile.shared_bytes(True))
    if not at_once:
        elements = rows * spec.groups * columns
        PROGRAM.kernel("finish", **constants)(ceil_div(elements, FINISH), FINISH, result, last[0], out, grid, item.target(out), last[1])


@algorithm("conv2d_grad_weight", workspace=weight_gradient_bytes, **RECORD)
def weight_gradient(spec, dy, x, out):
    """W̄ [R·S·C x K] = Xᵀ [R·S·C x places] · Ȳ [places x K]."""
    source, gradient = channels_last(x), channels_last(dy)
    depth, columns = spec.c // spec.groups, spec.k // spec.groups
    rows = spec.r * spec.s * depth
    vector = vectors((source, gradient), (depth, source.shape[3], columns, gradient.shape[3]))
    precision = significant_bits() if vector == 4 else FLOAT32
    tile = tile_of(precision, rows, columns, vector)
    splits, slices = parts(spec, tile, rows, spec.n * spec.p * spec.q, columns)
    grid = _gather.of_output(spec, out).grid(source, splits)
    constants = tile.constants(PRECISION=precision, ALONG=0, VECTOR=vector)
    partial = namespace(x).empty((splits, spec.groups, rows, columns), "float32")
    blocks = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns), spec.groups * splits
    kernel = PROGRAM.kernel("weights", **constants)
    kernel(blocks, tile.threads, source, gradient, partial, grid, slices, shared=tile.shared_bytes(False))
    into(out, lambda out: PROGRAM.kernel("finish_weights", **constants)(ceil_div(out.size, FINISH), FINISH, partial, out, grid))

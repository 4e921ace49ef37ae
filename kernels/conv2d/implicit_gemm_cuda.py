"""Implicit GEMM on the GPU, in float32 on the CUDA cores: any stride, padding, dilation and groups. The kernels are in implicit_gemm.cu.

Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, section 3: the column matrix of im2col is never stored;
each block of the product reads its share of it out of the image. Arrays are channels last, because then a column's
neighbours are neighbours in memory whatever the filter, the stride and the border.

In the products below, [M x N] = [M x L] · [L x N], rows and columns are places of an image, a filter's taps and channels, or
the channels of the other array. Where the blocks of a product are fewer than a GPU runs at once, its sums are split, and the
parts are added up in their order: the number of parts depends on the problem alone, so the bits are the same on every GPU.
"""

from __future__ import annotations

import math
from pathlib import Path

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import Program, ceil_div
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last, vector
from minivgg.kernels.conv2d import _gather
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

ROWS, DEPTH = 128, 8
"""As in implicit_gemm.cu."""

PROGRAM = Program(Path(__file__).with_name("implicit_gemm.cu"), tuple({"COLUMNS": columns, "VECTOR": width} for columns in (64, 128) for width in (4, 1)))

BLOCKS, SLICES = 528, 4
"""Blocks that keep a GPU of 132 multiprocessors busy, and slices of L that a part has at least."""

MOST_GROUPS, MOST_ELEMENTS = 1 << 11, (1 << 31) - (1 << 20)
"""What the kernels count to: a grid has 65535 rows, and the elements of padded filters are a few more."""

FINISH = 256
"""Threads of a block that adds up parts."""

PAPER = "Chetlur et al. 2014, arXiv:1410.0759"


def tile_columns(columns: int) -> int:
    return 64 if columns <= 64 else 128


def parts(spec: Conv2dSpec, rows: int, length: int, columns: int) -> int:
    """Into how many parts the sums of a product [rows x length] · [length x columns] of each group are split: fewer than 32 times the groups' share."""
    tiles = ceil_div(rows, ROWS) * ceil_div(columns, tile_columns(columns)) * spec.groups
    return max(1, min(BLOCKS // max(tiles, 1), ceil_div(length, DEPTH) // SLICES, 65535 // spec.groups))


def supports(spec: Conv2dSpec, dtype) -> str | None:
    if dtype != "float32":
        return f"it computes in float32, the arrays are {dtype}"
    if spec.groups > MOST_GROUPS:
        return f"it takes at most {MOST_GROUPS} groups, there are {spec.groups}"
    if max(math.prod(shape) for shape in (spec.input_shape, spec.output_shape, spec.weight_shape)) > MOST_ELEMENTS:
        return f"it takes arrays of at most {MOST_ELEMENTS} elements: their numbers have 32 bits"
    return None


def output_bytes(spec: Conv2dSpec, dtype) -> int:
    return _gather_bytes(spec, spec.n * spec.p * spec.q, spec.c, spec.k)


def input_gradient_bytes(spec: Conv2dSpec, dtype) -> int:
    return _gather_bytes(spec, spec.n * spec.h * spec.w, spec.k, spec.c)


def _gather_bytes(spec, rows, depth, columns):
    """The filters, the parts if there is more than one or their places lie apart, and the bias."""
    length, wide = spec.r * spec.s * depth // spec.groups, columns // spec.groups
    filters = spec.groups * length * ceil_div(wide, tile_columns(wide)) * tile_columns(wide)
    count = parts(spec, rows, length, wide)
    return 4 * (filters + (count > 1 or spec.stride != (1, 1)) * count * rows * columns + columns)


def weight_gradient_bytes(spec: Conv2dSpec, dtype) -> int:
    length, columns = spec.r * spec.s * spec.c // spec.groups, spec.k // spec.groups
    return 4 * parts(spec, length, spec.n * spec.p * spec.q, columns) * math.prod(spec.weight_shape)


@algorithm("conv2d", backend="cuda", workspace=output_bytes, supports=supports, paper=PAPER, channels_last=True, fuses=("relu",))
def output(spec, x, w, b, out, relu=False):
    """Y [places x K] = X [places x R·S·C] · W [R·S·C x K]."""
    into_channels_last(out, lambda y: gather(spec, _gather.of_output(spec, w), channels_last(x), None if b is None else dense(b), y, relu))


@algorithm("conv2d_grad_input", backend="cuda", workspace=input_gradient_bytes, supports=supports, paper=PAPER, channels_last=True)
def input_gradient(spec, dy, w, out):
    """X̄ [places x C] = Ȳ [places x taps·K] · Wᵀ [taps·K x C], for the places of one phase of the stride and the taps that meet them."""
    source = channels_last(dy)

    def compute(dx):
        for phase in _gather.of_input_gradient(spec, w):
            gather(spec, phase, source, None, dx, False)

    into_channels_last(out, compute)


def gather(spec, item, source, bias, out, relu):
    """One product; where its sums are split, or its places lie apart, a second pass puts them where they belong."""
    depth, columns = item.filters.shape[3:]
    rows, length = spec.n * math.prod(item.places), math.prod(item.filters.shape[1:4])
    tile, splits = tile_columns(columns), parts(spec, rows, length, columns)
    xp, tiles = namespace(source), ceil_div(columns, tile)
    padded = (xp.empty if columns % tile == 0 else xp.zeros)((*item.filters.shape[:4], tiles * tile), "float32")
    padded[..., :columns] = item.filters
    at_once = splits == 1 and item.to_step == (1, 1)
    result = out if at_once else xp.empty((splits, rows, spec.groups * columns), "float32")
    grid = item.grid(source, splits, wide=columns % 4 == 0 and vector(result) == 4)
    constants = {"COLUMNS": tile, "VECTOR": vector(source) if depth % 4 == 0 else 1}
    blocks = ceil_div(rows, ROWS) * tiles, spec.groups * splits
    last = (bias, int(relu))
    first = last if at_once else (None, 0)
    PROGRAM.kernel("gather", **constants)(blocks, ROWS * tile // 64, source, padded, first[0], result, grid, first[1])
    if not at_once:
        elements = rows * spec.groups * columns
        PROGRAM.kernel("finish", **constants)(ceil_div(elements, FINISH), FINISH, result, last[0], out, grid, item.target(out), last[1])


@algorithm("conv2d_grad_weight", backend="cuda", workspace=weight_gradient_bytes, supports=supports, paper=PAPER, channels_last=True)
def weight_gradient(spec, dy, x, out):
    """W̄ [R·S·C x K] = Xᵀ [R·S·C x places] · Ȳ [places x K]."""
    source, gradient = channels_last(x), channels_last(dy)
    depth, columns = spec.c // spec.groups, spec.k // spec.groups
    rows = spec.r * spec.s * depth
    tile, splits = tile_columns(columns), parts(spec, rows, spec.n * spec.p * spec.q, columns)
    grid = _gather.of_output(spec, out).grid(source, splits)
    constants = {"COLUMNS": tile, "VECTOR": vector(source, gradient) if depth % 4 == 0 and columns % 4 == 0 else 1}
    partial = namespace(x).empty((splits, spec.groups, rows, columns), "float32")
    blocks = ceil_div(rows, ROWS) * ceil_div(columns, tile), spec.groups * splits
    PROGRAM.kernel("weights", **constants)(blocks, ROWS * tile // 64, source, gradient, partial, grid)
    into(out, lambda out: PROGRAM.kernel("finish_weights", **constants)(ceil_div(out.size, FINISH), FINISH, partial, out, grid))

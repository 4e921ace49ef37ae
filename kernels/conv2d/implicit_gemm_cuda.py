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
from minivgg.kernels.common.cuda import Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last, vector
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
    """The filters, the parts, and the bias."""
    length, wide = spec.r * spec.s * depth // spec.groups, columns // spec.groups
    filters = spec.groups * length * ceil_div(wide, tile_columns(wide)) * tile_columns(wide)
    return 4 * (filters + parts(spec, rows, length, wide) * rows * columns + columns)


def weight_gradient_bytes(spec: Conv2dSpec, dtype) -> int:
    length, columns = spec.r * spec.s * spec.c // spec.groups, spec.k // spec.groups
    return 4 * parts(spec, length, spec.n * spec.p * spec.q, columns) * math.prod(spec.weight_shape)


@algorithm("conv2d", backend="cuda", workspace=output_bytes, supports=supports, paper=PAPER, channels_last=True, fuses=("relu",))
def output(spec, x, w, b, out, relu=False):
    """Y [places x K] = X [places x R·S·C] · W [R·S·C x K]."""
    top, _, left, _ = spec.padding
    filters = by_group(spec, w).transpose(0, 3, 4, 2, 1)
    bias = None if b is None else dense(b)
    places = {"places_y": spec.p, "places_x": spec.q, "step_y": spec.stride[0], "step_x": spec.stride[1], "first_y": -top, "first_x": -left}
    taps = {"taps_y": spec.r, "taps_x": spec.s, "tap_y": spec.dilation[0], "tap_x": spec.dilation[1]}
    into_channels_last(out, lambda out: gather(spec, channels_last(x), filters, bias, out, places, taps, None, relu))


@algorithm("conv2d_grad_input", backend="cuda", workspace=input_gradient_bytes, supports=supports, paper=PAPER, channels_last=True)
def input_gradient(spec, dy, w, out):
    """X̄ [places x C] = Ȳ [places x taps·K] · Wᵀ [taps·K x C], for the places of one phase of the stride and the taps that meet them."""
    source = channels_last(dy)

    def compute(out):
        for phase_y in range(min(spec.stride[0], spec.h)):
            rows, first_y, tap_y = meeting(phase_y, spec.r, spec.stride[0], spec.padding[0], spec.dilation[0])
            for phase_x in range(min(spec.stride[1], spec.w)):
                columns, first_x, tap_x = meeting(phase_x, spec.s, spec.stride[1], spec.padding[2], spec.dilation[1])
                filters = by_group(spec, w)[:, :, :, rows, columns].transpose(0, 3, 4, 1, 2)
                counts = ceil_div(spec.h - phase_y, spec.stride[0]), ceil_div(spec.w - phase_x, spec.stride[1])
                places = {"places_y": counts[0], "places_x": counts[1], "step_y": 1, "step_x": 1, "first_y": first_y, "first_x": first_x}
                taps = {"taps_y": filters.shape[1], "taps_x": filters.shape[2], "tap_y": tap_y, "tap_x": tap_x}
                phase = {"step_y": spec.stride[0], "step_x": spec.stride[1], "first_y": phase_y, "first_x": phase_x}
                gather(spec, source, filters, None, out, places, taps, None if spec.stride == (1, 1) else phase, False)

    into_channels_last(out, compute)


def meeting(phase: int, taps: int, stride: int, padding: int, dilation: int) -> tuple[slice, int, int]:
    """The taps r that meet rows h = phase + stride·i of the input, the row p of the first one for i = 0, and how far on the next one's is.

    h = p·stride + r·dilation - padding, so every (stride / gcd)-th tap does, if any.

    >>> meeting(1, taps=3, stride=2, padding=1, dilation=1)  # rows 1, 3, 5, ...: taps 0 and 2
    (slice(0, 3, 2), 1, -1)
    """
    step = stride // math.gcd(stride, dilation)
    first = next((r for r in range(min(step, taps)) if (phase + padding - r * dilation) % stride == 0), None)
    if first is None:
        return slice(0, 0), 0, 0
    return slice(first, taps, step), (phase + padding - first * dilation) // stride, -step * dilation // stride


def gather(spec, source, filters, bias, out, places, taps, phase, relu):
    """``out`` from a source (N, H, W, channels) and filters [G, taps_y, taps_x, depth, columns]: all its places, or those of a phase."""
    depth, columns = filters.shape[3:]
    rows, length = spec.n * places["places_y"] * places["places_x"], filters.shape[1] * filters.shape[2] * depth
    tile, splits = tile_columns(columns), parts(spec, rows, length, columns)
    n, height, width, channels = source.shape
    xp, tiles = namespace(source), ceil_div(columns, tile)
    padded = (xp.empty if columns % tile == 0 else xp.zeros)((*filters.shape[:4], tiles * tile), "float32")
    padded[..., :columns] = filters
    whole = splits == 1 and phase is None
    result = out if whole else xp.empty((splits, rows, spec.groups * columns), "float32")
    grid = struct(
        images=n, height=height, width=width, channels=channels, **places, **taps,
        depth=depth, columns=columns, groups=spec.groups, splits=splits, wide=columns % 4 == 0 and vector(result) == 4,
    )  # fmt: skip
    constants = {"COLUMNS": tile, "VECTOR": vector(source) if depth % 4 == 0 else 1}
    afterwards = (bias, int(relu))
    now, later = (afterwards, None) if whole else ((None, 0), afterwards)
    blocks = ceil_div(rows, ROWS) * tiles, spec.groups * splits
    PROGRAM.kernel("gather", **constants)(blocks, ROWS * tile // 64, source, padded, now[0], result, grid, now[1])
    if later is not None:
        target = struct(height=out.shape[1], width=out.shape[2], **(phase or {"step_y": 1, "step_x": 1, "first_y": 0, "first_x": 0}))
        PROGRAM.kernel("finish", **constants)(ceil_div(rows * spec.groups * columns, FINISH), FINISH, result, later[0], out, grid, target, later[1])


@algorithm("conv2d_grad_weight", backend="cuda", workspace=weight_gradient_bytes, supports=supports, paper=PAPER, channels_last=True)
def weight_gradient(spec, dy, x, out):
    """W̄ [R·S·C x K] = Xᵀ [R·S·C x places] · Ȳ [places x K]."""
    source, gradient = channels_last(x), channels_last(dy)
    depth, columns = spec.c // spec.groups, spec.k // spec.groups
    rows = spec.r * spec.s * depth
    tile, splits = tile_columns(columns), parts(spec, rows, spec.n * spec.p * spec.q, columns)
    grid = struct(
        images=spec.n, height=spec.h, width=spec.w, channels=spec.c, places_y=spec.p, places_x=spec.q,
        step_y=spec.stride[0], step_x=spec.stride[1], first_y=-spec.padding[0], first_x=-spec.padding[2],
        taps_y=spec.r, taps_x=spec.s, tap_y=spec.dilation[0], tap_x=spec.dilation[1],
        depth=depth, columns=columns, groups=spec.groups, splits=splits, wide=False,
    )  # fmt: skip
    constants = {"COLUMNS": tile, "VECTOR": vector(source, gradient) if depth % 4 == 0 and columns % 4 == 0 else 1}
    partial = namespace(x).empty((splits, spec.groups, rows, columns), "float32")
    blocks = ceil_div(rows, ROWS) * ceil_div(columns, tile), spec.groups * splits
    PROGRAM.kernel("weights", **constants)(blocks, ROWS * tile // 64, source, gradient, partial, grid)
    into(out, lambda out: PROGRAM.kernel("finish_weights", **constants)(ceil_div(out.size, FINISH), FINISH, partial, out, grid))


def by_group(spec, w):
    """[G, K/G, C/G, R, S], a view where the filters lie in C order."""
    return w.reshape(spec.groups, spec.k // spec.groups, spec.c // spec.groups, spec.r, spec.s)

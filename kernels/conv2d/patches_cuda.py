"""3x3 convolution on the tensor cores of a GPU, out of patches of the image that stay in shared memory. The kernels are in patches.cu.

The same products as in tensor_cores_cuda.py, for stride 1 alone: nine taps of a patch overlap, so it is copied once, and cut once into
what tensor cores take, where implicit GEMM does both nine times.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import VECTOR_BYTES, channels_last, dense, into_channels_last
from minivgg.kernels.common.simd import round_up
from minivgg.kernels.common.tensor_tiles import ARCHITECTURE, SMALL_SIDE, Tile, missing
from minivgg.kernels.conv2d._winograd_problem import unlike_3x3
from minivgg.precision import BF16, FLOAT32, TF32, significant_bits
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec, Pair

TILES = {
    FLOAT32: (Tile(64, 128, 4, 4, 16, 2, 2),),
    TF32: (Tile(128, 128, 4, 8, 16, 2, 2), Tile(64, 128, 4, 4, 16, 3, 2)),
    BF16: (Tile(128, 128, 4, 8, 16, 3, 2), Tile(64, 128, 4, 4, 16, 3, 3)),
}
"""Filters and places of a block; the last one for few filters."""

PROGRAM = Program(
    Path(__file__).with_name("patches.cu"),
    tuple(tile.constants(PRECISION=precision, ALONG=1, VECTOR=4) for precision, tiles in TILES.items() for tile in tiles),
    ARCHITECTURE,
)

STEP, THREADS = 16, 128
"""Channels of a slice, and threads of a block that cuts filters."""

LINE = {FLOAT32: 2 * STEP, TF32: STEP, BF16: STEP // 2}
"""32-bit words of a slice of one place or one filter: two parts of each number, one, or half of one."""

MOST_ELEMENTS = 1 << 31
"""Of an image, and of the filters: what the kernels count to."""

PAPER = "Ootomo & Yokota 2022, arXiv:2203.03341"


def supports(spec: Conv2dSpec, dtype) -> str | None:
    if dtype != "float32":
        return f"it computes in float32, the arrays are {dtype}"
    other = unlike_3x3(spec)
    if other is not None:
        return other
    if spec.c % 4 or spec.k % 4:
        return f"it copies four channels at a time, there are {spec.c} and {spec.k}"
    if max(spec.c * spec.h * spec.w, spec.k * spec.p * spec.q, 16 * spec.c * spec.k) >= MOST_ELEMENTS:
        return f"it takes images and filters of fewer than {MOST_ELEMENTS} elements: their numbers have 32 bits"
    return missing()


def tile_of(precision: int, columns: int) -> Tile:
    return TILES[precision][-1 if columns <= SMALL_SIDE else 0]


@functools.lru_cache(maxsize=1024)
def block_of(most: int, height: int, width: int, pool: bool = False) -> Pair:
    """(down, across): places of a block of at most ``most``, such that few blocks cover the result and their patches are small.

    For pooling both are even.

    >>> block_of(128, 224, 224), block_of(128, 28, 28), block_of(128, 14, 14), block_of(128, 14, 14, pool=True)
    ((16, 8), (28, 4), (14, 7), (14, 8))
    """
    step, seen = (2 if pool else 1), most * 3 // 2

    def down_of(across: int) -> int:
        """As many as fit, then no more than as many blocks need."""
        fitting = min(most // across, seen // (across + 2) - 2) // step * step
        return 0 if fitting <= 0 else min(fitting, round_up(ceil_div(height, ceil_div(height, fitting)), step))

    def cost(across: int) -> tuple[int, int]:
        down = down_of(across)
        return ceil_div(height, down) * ceil_div(width, across), (down + 2) * (across + 2)

    across = min((each for each in range(step, min(most, round_up(width, step)) + 1, step) if down_of(each)), key=cost)
    return down_of(across), across


def words_of(tile: Tile, precision: int, channels: int, columns: int) -> int:
    """32-bit words of the filters as they are multiplied."""
    return round_up(columns, tile.rows) * ceil_div(channels, STEP) * 9 * LINE[precision]


def shared_bytes(tile: Tile, precision: int) -> int:
    """Of two patches, some stages of filters, what of the next patch is not yet cut, and a table of places; or of the results that are pooled."""
    line, places = LINE[precision], tile.columns * 3 // 2
    return 4 * max(2 * places * line + tile.stages * 3 * tile.rows * line + places * (STEP + 4), tile.columns * (tile.rows + 4))


def _bytes(spec: Conv2dSpec, channels: int, columns: int) -> int:
    """The filters, in C order and as words, and the bias."""
    most = max(words_of(tile_of(precision, columns), precision, channels, columns) for precision in TILES)
    return 4 * (most + math.prod(spec.weight_shape) + spec.k)


RECORD = {"backend": "cuda", "supports": supports, "paper": PAPER, "channels_last": True}


@algorithm("conv2d", workspace=lambda spec, dtype: _bytes(spec, spec.c, spec.k), fuses=("relu", "pool"), **RECORD)
def output(spec, x, w, b, out, relu=False, pool=False, cells=None):
    """y = conv(x, w) + b, then ReLU and the largest of each 2x2 window if asked."""
    bias, corner, places = None if b is None else dense(b), (spec.padding[0], spec.padding[2]), (spec.p, spec.q)

    def compute(y, numbers=None):
        convolve(channels_last(x), w, bias, y, corner, places, False, relu, pool, numbers)

    into_channels_last(out, compute if cells is None else lambda y: into_channels_last(cells, lambda numbers: compute(y, numbers)))


@algorithm("conv2d_grad_input", workspace=lambda spec, dtype: _bytes(spec, spec.k, spec.c), **RECORD)
def input_gradient(spec, dy, w, out):
    """x̄ = conv(ȳ, w turned by 180°), with what is missing to a padding of 2."""
    corner = 2 - spec.padding[0], 2 - spec.padding[2]
    into_channels_last(out, lambda dx: convolve(channels_last(dy), w, None, dx, corner, (spec.h, spec.w), True))


def convolve(x, w, bias, out, corner, places, turned, relu=False, pool=False, cells=None):
    (n, height, width, channels), columns = x.shape, out.shape[3]
    precision, slices = significant_bits(), ceil_div(channels, STEP)
    x = x if x.data.ptr % VECTOR_BYTES == 0 else x.copy()  # a view may begin anywhere
    tile = tile_of(precision, columns)
    words = namespace(x).empty(words_of(tile, precision, channels, columns), "uint32")
    constants = tile.constants(PRECISION=precision, ALONG=1, VECTOR=4)
    lanes = round_up(columns, tile.rows) // 16 * slices * 9 * 32
    PROGRAM.kernel("pack_filters", **constants)(ceil_div(lanes, THREADS), THREADS, dense(w), words, columns, channels, slices, int(turned))
    down, across = block_of(tile.columns, *places, pool)
    layer = struct(
        height=height, width=width, channels=channels, places_y=places[0], places_x=places[1], filters=columns,
        top=corner[0], left=corner[1], down=down, across=across, slices=slices,
    )  # fmt: skip
    blocks = n * ceil_div(places[0], down) * ceil_div(places[1], across) * ceil_div(columns, tile.rows)
    shared = shared_bytes(tile, precision)
    PROGRAM.kernel("patches", **constants)(blocks, tile.threads, x, words, bias, out, cells, layer, int(relu), int(pool), shared=shared)

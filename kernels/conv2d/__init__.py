"""Convolution, three directions, one algorithm a file; this file says which one "auto" takes.

Measured on VGG's layers, on filters up to 31x31, on strides, dilations and groups. All three directions of a problem rank the
algorithms alike, but for two that copy: direct convolution or implicit GEMM is a matter of shapes.
"""

from minivgg.kernels.common.simd import round_up, tile_columns
from minivgg.kernels.common.tensor_tiles import BLOCKS
from minivgg.kernels.conv2d._windows import is_short
from minivgg.kernels.conv2d._winograd_problem import THIN
from minivgg.precision import FLOAT32, significant_bits
from minivgg.registry import policy

LONG_COLUMN, MANY_PLACES = 8192, 256
"""With columns of so many elements, a tile that fits the cache holds fewer places than a matrix product needs to be efficient."""

FEW = 16
"""Channels below which Winograd's transforms cost more than the multiplications that they save."""

MANY_FILTERS, FILTER_TILES = 128 * 128, 32
"""From so many filters on (pairs of channels) F(4x4)'s, with 36 numbers each, outgrow the cache; and transforming one takes as long
as so many of its tiles. So with few tiles F(2x2), with 16 numbers a filter, is the faster one, though it multiplies more: by 1.2 to
1.7 in training. Inference keeps transformed filters: there the two are within a tenth of each other, or F(2x2) is ahead."""

MANY_TILES = 128
"""Tiles of 4x4 from which each of Winograd's 36 products has rows enough to fill a block of a GPU's matrix product."""

BLOCK_PLACES, BLOCK_FILTERS = 128, 128
"""What a block of a GPU computes out of a patch. Its sums are never split, so there have to be blocks enough."""

FFT_POINT = 1000
"""Transforming one point of a plane to its frequencies and back takes as long as so many multiply-adds of the direct convolution."""

WIDE = 64
"""Channels of a group from which packing blocks of columns costs implicit GEMM little beside the product."""

DIRECT = ("direct", "compiled: the input is read where it lies, and the tile of sums stays in registers")

DIRECT_FIRST = [DIRECT, ("implicit_gemm", "compiled: a matrix product that packs its blocks out of the image")]


def _implicit_first(why: str) -> list[tuple[str, str]]:
    return [("implicit_gemm", f"compiled: {why}"), DIRECT]


@policy("conv2d", "cpu")
def choose(spec, dtype):
    """The algorithms in order of preference, each with the reason. Sums over one or three channels cost Winograd's tiles next to nothing."""
    return _ranked(spec, DIRECT_FIRST, thin=spec.c in THIN)


@policy("conv2d_grad_input", "cpu")
def choose_for_input(spec, dtype):
    """A stride leaves gaps in dy: direct convolution multiplies their zeros, implicit GEMM computes each phase by itself."""
    if spec.stride != (1, 1):
        return _ranked(spec, _implicit_first("each phase of the stride by itself, so no zeros of its gaps are multiplied"))
    return _ranked(spec, DIRECT_FIRST)


@policy("conv2d_grad_weight", "cpu")
def choose_for_weight(spec, dtype):
    """Direct convolution takes one product a tap, with the channels as columns; implicit GEMM has all taps' channels as columns."""
    depth, taps, columns = spec.c // spec.groups, spec.r * spec.s, tile_columns(dtype)
    wasted = taps * round_up(depth, columns) >= 2 * round_up(taps * depth, columns)
    implicit = (spec.k // spec.groups >= WIDE or wasted) and not is_short(spec.c, (spec.r, spec.s), spec.dilation, spec.groups)
    return _ranked(spec, _implicit_first("one product for all taps, whose sums stay in the cache") if implicit else DIRECT_FIRST)


@policy("conv2d", "cuda")
def choose_output_on_gpu(spec, dtype):
    """Channels that do not come in fours are copied into shared memory one by one, for which tensor cores wait longer."""
    ranked = choose_on_gpu(spec, dtype)
    return sorted(ranked, key=lambda each: each[0] != "implicit_gemm") if spec.c // spec.groups % 4 and ranked[0][0] == "tensor_cores" else ranked


@policy("conv2d_grad_input", "cuda")
@policy("conv2d_grad_weight", "cuda")
def choose_on_gpu(spec, dtype):
    """CUDA C++ where there is some, and array code."""
    fast = [
        ("tensor_cores", "CUDA: a matrix product that reads its blocks out of the image, on tensor cores"),
        ("implicit_gemm", "CUDA: a matrix product that reads its blocks out of the image, on CUDA cores"),
    ]
    blocks = spec.n * -(-spec.h * spec.w // BLOCK_PLACES) * -(-min(spec.c, spec.k) // BLOCK_FILTERS)
    if significant_bits() < FLOAT32 and blocks >= BLOCKS and not (spec.c % 4 or spec.k % 4):
        fast.insert(0, ("patches", "CUDA: on tensor cores, all nine taps out of patches of the image that stay in shared memory"))
    if significant_bits() == FLOAT32 and min(spec.c, spec.k) >= FEW and spec.n * -(-spec.p // 4) * -(-spec.q // 4) >= MANY_TILES:
        fast.insert(0, ("winograd_f4", "CUDA: a quarter of the multiplications, at the price of two bits"))
    thin = spec.groups > 1 and min(spec.c, spec.k) // spec.groups < FEW
    fast.insert(0 if thin else len(fast), ("direct", "CUDA: tiles in shared memory, whatever the groups; no product to be filled"))
    return _with_array_code(spec, fast)


def _ranked(spec, compiled, thin=False):
    """The whole list of the CPU, from the two that are always possible; ``thin``: however few input channels there are."""
    fast = list(compiled)
    p, q = spec.p, spec.q
    if (thin or spec.c >= FEW) and spec.k >= FEW and min(p, q) >= 3:
        small, large = spec.n * -(-p // 2) * -(-q // 2), spec.n * -(-p // 4) * -(-q // 4)  # tiles
        if spec.c * spec.k >= MANY_FILTERS and 16 * (small + FILTER_TILES) < 36 * (large + FILTER_TILES):
            fast.insert(0, ("winograd_f2", f"compiled: less than half of the multiplications; {large} tiles of 4x4 are too few for larger filters"))
        else:
            fast.insert(0, ("winograd_f4", "compiled: a quarter of the multiplications, at the price of two bits"))
    return _with_array_code(spec, fast)


def _with_array_code(spec, fast):
    """The list, with array code behind it; and with the FFT before it, where that is the fastest."""
    top, bottom, left, right = spec.padding
    planes = spec.n * (spec.c + spec.k) + spec.k * spec.c // spec.groups
    points = planes * (spec.h + top + bottom) * (spec.w + left + right)
    order = [
        ("im2col", "one large matrix product a tile, in scratch memory that fits the cache"),
        ("kn2row", "one matrix product a filter tap, which needs no columns"),
    ]
    if spec.c * spec.r * spec.s > LONG_COLUMN and spec.n * spec.p * spec.q > MANY_PLACES:
        order.reverse()
    if spec.macs > FFT_POINT * points and spec.r * spec.s > 9:  # frequencies take products too: nine taps are never worth it
        fast = [("fft", f"{spec.macs // points:,} multiply-adds for each point to transform; from {FFT_POINT:,} on it is the fastest"), *fast]
    return fast + order

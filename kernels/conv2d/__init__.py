"""Convolution, three directions, one algorithm a file; this file says which one "auto" takes.

Measured on VGG's layers and on filters up to 31x31: all three directions of a problem rank the algorithms alike.
"""

from minivgg.registry import policy

LONG_COLUMN, MANY_PLACES = 8192, 256
"""With columns of so many elements, a tile that fits the cache holds fewer places than a matrix product needs to be efficient."""

FEW = 16
"""Channels below which Winograd's transforms cost more than the multiplications that they save."""

MANY_FILTERS, FILTER_TILES = 128 * 128, 32
"""From so many filters on (pairs of channels) F(4x4)'s, with 36 numbers each, outgrow the cache; and transforming one takes as long
as so many of its tiles. So with few tiles F(2x2), with 16 numbers a filter, is the faster one, though it multiplies more: by 1.2 to
1.7 in training. Inference keeps transformed filters: there the two are within a tenth of each other, or F(2x2) is ahead."""

FFT_POINT = 1000
"""Transforming one point of a plane to its frequencies and back takes as long as so many multiply-adds of the direct convolution."""


@policy("conv2d")
@policy("conv2d_grad_input")
@policy("conv2d_grad_weight")
def choose(spec, dtype):
    """The algorithms in order of preference, each with the reason."""
    top, bottom, left, right = spec.padding
    planes = spec.n * (spec.c + spec.k) + spec.k * spec.c // spec.groups
    points = planes * (spec.h + top + bottom) * (spec.w + left + right)
    column = spec.c * spec.r * spec.s

    fast = [("direct", "compiled: the input is read where it lies, and the tile of sums stays in registers")]
    p, q = spec.p, spec.q
    if min(spec.c, spec.k) >= FEW and min(p, q) >= 3:
        small, large = spec.n * -(-p // 2) * -(-q // 2), spec.n * -(-p // 4) * -(-q // 4)  # tiles
        if spec.c * spec.k >= MANY_FILTERS and 16 * (small + FILTER_TILES) < 36 * (large + FILTER_TILES):
            fast.insert(0, ("winograd_f2", f"compiled: less than half of the multiplications; {large} tiles of 4x4 are too few for larger filters"))
        else:
            fast.insert(0, ("winograd_f4", "compiled: a quarter of the multiplications, at the price of two bits"))
    order = [
        ("im2col", "one large matrix product a tile, in scratch memory that fits the cache"),
        ("kn2row", "one matrix product a filter tap, which needs no columns"),
    ]
    if column > LONG_COLUMN and spec.n * p * q > MANY_PLACES:
        order.reverse()
    if spec.macs > FFT_POINT * points and spec.r * spec.s > 9:  # frequencies take products too: nine taps are never worth it
        fast.insert(0, ("fft", f"{spec.macs // points:,} multiply-adds for each point to transform; from {FFT_POINT:,} on it is the fastest"))
    return fast + order

"""kn2row: one small matrix product for each tap of the filter, added up where the tap looks; no column matrix.

Vasudevan, Anderson and Gregg, "Parallel Multi Channel Convolution using General Matrix Multiplication", 2017,
arXiv:1704.04428. A filter of R x S taps is R·S filters of one tap, each a product [K x C] · [C x places] with the input seen
through that tap. Scratch memory holds what one tap sees: R·S times less than im2col's columns, for R·S times as many
additions into the output.
"""

from minivgg.backend import namespace
from minivgg.kernels.conv2d._places import ITERATION, by_group, largest, taps, tiles
from minivgg.products import product
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

TILE_BYTES = 8 << 20
"""What one tap sees from a tile, the tile's outputs, and one tap's share of them."""

PAPER = "Vasudevan, Anderson and Gregg 2017, arXiv:1704.04428"


def height(spec: Conv2dSpec) -> int:
    """Elements of scratch memory for one output place."""
    return 2 * (spec.c + spec.k)


def places_at_a_time(spec: Conv2dSpec, dtype) -> int:
    return largest(spec, TILE_BYTES // (height(spec) * dtype.itemsize))


def workspace(spec: Conv2dSpec, dtype) -> int:
    """Bytes: the largest tile, the filters sorted by tap, and one tap of them."""
    one_tap = spec.k * spec.c // spec.groups
    return dtype.itemsize * (places_at_a_time(spec, dtype) * height(spec) + (spec.r * spec.s + 1) * one_tap + ITERATION)


def by_tap(spec, w):
    """[R, S, G, K/G, C/G], copied so that each tap is a matrix."""
    return by_group(spec, namespace(w).ascontiguousarray(w.transpose(2, 3, 0, 1)), 2)


def scratch_tiles(spec, like):
    """Each tile with unset arrays for what a tap sees [C, n, p, q] and for outputs [K, n, p, q]."""
    places = places_at_a_time(spec, like.dtype)
    seen = namespace(like).empty(spec.c * places, like.dtype)
    outputs = namespace(like).empty(spec.k * places, like.dtype)
    for tile in tiles(spec, places):
        yield tile, seen[: spec.c * tile.size].reshape(spec.c, *tile.shape), outputs[: spec.k * tile.size].reshape(spec.k, *tile.shape)


def matrix(spec, array):
    """[G, channels of a group, places] of what a tap sees, or of outputs: a view."""
    return array.reshape(spec.groups, array.shape[0] // spec.groups, -1)


@algorithm("conv2d", workspace=workspace, paper=PAPER)
def output(spec, x, w, b, out):
    """Y [K x places] = Σ_rs W_rs [K x C] · seen_rs [C x places]."""
    filters = by_tap(spec, w)
    for tile, seen, y in scratch_tiles(spec, x):
        y[...] = 0 if b is None else b[:, None, None, None]
        for tap in taps(spec, tile):
            tap.gather(x, tile, seen)
            y += product(filters[tap.r, tap.s], matrix(spec, seen)).reshape(y.shape)
        out[tile.n, :, tile.p, tile.q] = y.transpose(1, 0, 2, 3)


@algorithm("conv2d_grad_input", workspace=workspace, paper=PAPER)
def input_gradient(spec, dy, w, out):
    """seen_rs [C x places] = W_rsᵀ [C x K] · dY [K x places], added to the elements that the tap sees."""
    filters = by_tap(spec, w)
    out[...] = 0
    for tile, seen, y in scratch_tiles(spec, dy):
        y[...] = dy[tile.n, :, tile.p, tile.q].transpose(1, 0, 2, 3)
        for tap in taps(spec, tile):
            product(filters[tap.r, tap.s].transpose(0, 2, 1), matrix(spec, y), matrix(spec, seen))
            tap.scatter(seen, tile, out)


@algorithm("conv2d_grad_weight", workspace=workspace, paper=PAPER)
def weight_gradient(spec, dy, x, out):
    """dW_rs [K x C] = dY [K x places] · seen_rsᵀ [places x C], added up over the tiles."""
    total = namespace(dy).zeros((spec.r, spec.s, spec.groups, spec.k // spec.groups, spec.c // spec.groups), dy.dtype)
    for tile, seen, y in scratch_tiles(spec, dy):
        y[...] = dy[tile.n, :, tile.p, tile.q].transpose(1, 0, 2, 3)
        for tap in taps(spec, tile):
            tap.gather(x, tile, seen)
            total[tap.r, tap.s] += product(matrix(spec, y), matrix(spec, seen).transpose(0, 2, 1))
    out[...] = total.reshape(spec.r, spec.s, spec.k, -1).transpose(2, 3, 0, 1)

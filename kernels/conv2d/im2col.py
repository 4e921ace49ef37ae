"""im2col: copy what each output place looks at into a column, then multiply matrices.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006. The column
matrix [C·R·S x places] holds every input element up to R·S times (110 MiB for one image at VGG's second layer), so only
one tile of output places exists at a time: large enough for an efficient product, small enough to stay in the cache.

In the products below, [M x N] = [M x L] · [L x N], rows and columns are filters (K), a filter's channels and taps (C·R·S), or
the places of one tile. Groups are a batch of such products.
"""

from minivgg.backend import namespace
from minivgg.kernels.conv2d._places import ITERATION, by_group, largest, parts, taps, tiles
from minivgg.products import product
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

TILE_BYTES = 8 << 20
"""Columns and outputs of one tile; more only where a single column is longer."""

FILTER_BYTES = 20 << 20
"""Filters at a time: copied where they do not lie in C order, or what one tile adds to the weight gradient."""

COLUMN_BYTES = 20 << 20
"""The longest single column. Then a tile, one filter and its share of the outputs still stay below 64 MiB."""

PAPER = "Chellapilla, Puri and Simard 2006"


def column(spec: Conv2dSpec) -> int:
    """Elements that one output place looks at, over all groups: C·R·S."""
    return spec.c * spec.r * spec.s


def filters_at_a_time(spec: Conv2dSpec, dtype) -> int:
    """Filters of each group in one block."""
    blocks = parts(spec.k // spec.groups, FILTER_BYTES // (column(spec) * dtype.itemsize))
    return blocks[0].stop


def places_at_a_time(spec: Conv2dSpec, dtype) -> int:
    """Output places in the largest tile."""
    height = column(spec) + spec.groups * filters_at_a_time(spec, dtype)
    return largest(spec, TILE_BYTES // (height * dtype.itemsize))


def workspace(spec: Conv2dSpec, dtype) -> int:
    """Bytes: the columns and outputs of the largest tile, and one block of filters."""
    filters, places = filters_at_a_time(spec, dtype), places_at_a_time(spec, dtype)
    return dtype.itemsize * (places * (column(spec) + spec.groups * filters) + filters * column(spec) + ITERATION)


def supports(spec: Conv2dSpec, dtype) -> str | None:
    needed = column(spec) * dtype.itemsize
    return None if needed <= COLUMN_BYTES else f"a single column takes {needed >> 20} MiB, more than {COLUMN_BYTES >> 20} MiB"


class Scratch:
    """The memory of one tile, taken once and dealt out again for each."""

    def __init__(self, spec, like):
        self.spec = spec
        self.filters, self.places = filters_at_a_time(spec, like.dtype), places_at_a_time(spec, like.dtype)
        self.columns = namespace(like).empty(self.places * column(spec), like.dtype)
        self.outputs = namespace(like).empty(self.places * spec.groups * self.filters, like.dtype)

    def blocks(self):
        """The filters of each group, as slices."""
        return parts(self.spec.k // self.spec.groups, self.filters)

    def tiles(self, k):
        """Each tile with its columns [C, R, S, n, p, q] and the outputs of the filters ``k`` [G, K/G, n, p, q], unset."""
        spec = self.spec
        rows = spec.groups * (k.stop - k.start)
        for tile in tiles(spec, self.places):
            columns = self.columns[: column(spec) * tile.size].reshape(spec.c, spec.r, spec.s, *tile.shape)
            yield tile, columns, self.outputs[: rows * tile.size].reshape(spec.groups, -1, *tile.shape)


def filter_matrix(spec, w, k):
    """[G, K/G, C·R·S] of the filters ``k``: a view if they lie in C order, else a copy."""
    return namespace(w).ascontiguousarray(by_group(spec, w, 0)[:, k]).reshape(spec.groups, k.stop - k.start, -1)


def place_matrix(spec, array):
    """[G, rows, places] of a tile's columns or outputs, a view."""
    return array.reshape(spec.groups, -1, array.shape[-3] * array.shape[-2] * array.shape[-1])


@algorithm("conv2d", workspace=workspace, supports=supports, paper=PAPER)
def output(spec, x, w, b, out):
    """Y [K x places] = W [K x C·R·S] · columns [C·R·S x places]."""
    scratch, out = Scratch(spec, x), by_group(spec, out, 1)
    for k in scratch.blocks():
        filters = filter_matrix(spec, w, k)
        for tile, columns, y in scratch.tiles(k):
            for tap in taps(spec, tile):
                tap.gather(x, tile, columns[:, tap.r, tap.s])
            product(filters, place_matrix(spec, columns), place_matrix(spec, y))
            if b is not None:
                y += by_group(spec, b, 0)[:, k, None, None, None]
            out[tile.n, :, k, tile.p, tile.q] = y.transpose(2, 0, 1, 3, 4)


@algorithm("conv2d_grad_input", workspace=workspace, supports=supports, paper=PAPER)
def input_gradient(spec, dy, w, out):
    """columns [C·R·S x places] = Wᵀ [C·R·S x K] · dY [K x places]; then each column is added where it was copied from."""
    scratch, dy = Scratch(spec, dy), by_group(spec, dy, 1)
    out[...] = 0
    for k in scratch.blocks():
        filters = filter_matrix(spec, w, k)
        for tile, columns, y in scratch.tiles(k):
            y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4)
            product(filters.transpose(0, 2, 1), place_matrix(spec, y), place_matrix(spec, columns))
            for tap in taps(spec, tile):
                tap.scatter(columns[:, tap.r, tap.s], tile, out)


@algorithm("conv2d_grad_weight", workspace=workspace, supports=supports, paper=PAPER)
def weight_gradient(spec, dy, x, out):
    """dW [K x C·R·S] = dY [K x places] · columnsᵀ [places x C·R·S], added up over the tiles."""
    scratch, dy, out = Scratch(spec, dy), by_group(spec, dy, 1), by_group(spec, out, 0)
    out[...] = 0
    for k in scratch.blocks():
        target = out[:, k]
        here = namespace(dy).empty((spec.groups, k.stop - k.start, column(spec) // spec.groups), dy.dtype)
        for tile, columns, y in scratch.tiles(k):
            for tap in taps(spec, tile):
                tap.gather(x, tile, columns[:, tap.r, tap.s])
            y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4)
            product(place_matrix(spec, y), place_matrix(spec, columns).transpose(0, 2, 1), here)
            target += here.reshape(target.shape)

"""im2col: copy what each output place looks at into a column, then multiply matrices.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006. The column
matrix [C·R·S, places] holds every input element up to R·S times (110 MiB for one image at VGG's second layer), so only
one tile of output places exists at a time: small enough to stay in the cache between the copy and the multiplication.

In every GEMM below, [M x N] = [M x L] · [L x N], one of a filter's channels and taps (C·R·S), the filters (K) and the places
of the tile is what is added up. Groups are the leading dimension of a batch of GEMMs.
"""

from minivgg.backend import namespace
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

from ._places import inside, largest, tiles

TILE_BYTES = 8 << 20
"""Columns and outputs of one tile; more only where a single column is longer."""

FILTER_BYTES = 20 << 20
"""Filters at a time: copied where they do not lie in C order, or the products of one tile for the weight gradient."""

COLUMN_BYTES = 30 << 20
"""The longest single column. With its outputs, and with the filters, it stays below 64 MiB."""

PAPER = "Chellapilla, Puri and Simard 2006"


def column(spec: Conv2dSpec) -> int:
    """Elements that one output place looks at, over all groups: C·R·S."""
    return spec.c * spec.r * spec.s


def filters_at_a_time(spec: Conv2dSpec, dtype) -> int:
    """Filters of each group in one block."""
    return max(1, min(spec.k // spec.groups, FILTER_BYTES // (column(spec) * dtype.itemsize)))


def places_at_a_time(spec: Conv2dSpec, dtype) -> int:
    """Output places in the largest tile."""
    height = column(spec) + spec.groups * filters_at_a_time(spec, dtype)
    return largest(spec, max(1, TILE_BYTES // (height * dtype.itemsize)))


def workspace(spec: Conv2dSpec, dtype) -> int:
    """Bytes: the columns and outputs of the largest tile, and one block of filters."""
    filters = filters_at_a_time(spec, dtype)
    return dtype.itemsize * (places_at_a_time(spec, dtype) * (column(spec) + spec.groups * filters) + filters * column(spec))


def supports(spec: Conv2dSpec, dtype) -> str | None:
    needed = column(spec) * dtype.itemsize
    return None if needed <= COLUMN_BYTES else f"a single column takes {needed >> 20} MiB, more than {COLUMN_BYTES >> 20} MiB"


def _scratch(spec, like):
    """A function from a tile and a number of filters to its columns [C, R, S, n, p, q] and outputs [G, K/G, n, p, q].

    The memory is taken once and serves every tile.
    """
    places, most = places_at_a_time(spec, like.dtype), filters_at_a_time(spec, like.dtype)
    columns = namespace(like).empty(places * column(spec), like.dtype)
    outputs = namespace(like).empty(places * spec.groups * most, like.dtype)

    def views(tile, filters):
        return (
            columns[: tile.size * column(spec)].reshape(spec.c, spec.r, spec.s, *tile.shape),
            outputs[: tile.size * spec.groups * filters].reshape(spec.groups, filters, *tile.shape),
        )

    return views


def _blocks(spec, dtype):
    """The filters of each group, as slices of so many at a time."""
    step, total = filters_at_a_time(spec, dtype), spec.k // spec.groups
    return [slice(first, min(first + step, total)) for first in range(0, total, step)]


def _by_group(spec, array, axis):
    """The same memory with the channels on ``axis`` split into (G, channels of one group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], spec.groups, shape[axis] // spec.groups, *shape[axis + 1 :])


def _matrix(spec, columns):
    """Columns [C, R, S, n, p, q] as [G, C/G·R·S, places]."""
    return columns.reshape(spec.groups, column(spec) // spec.groups, -1)


def _taps(spec, tile):
    """Each tap (r, s) with the places of the tile where it lies inside the input, and the inputs that it sees there."""
    for r in range(spec.r):
        p, h = inside(tile.p, spec.stride[0], r * spec.dilation[0] - spec.padding[0], spec.h)
        for s in range(spec.s):
            q, w = inside(tile.q, spec.stride[1], s * spec.dilation[1] - spec.padding[2], spec.w)
            yield r, s, p, q, h, w


def _fill(columns, spec, x, tile):
    """columns[c, r, s, n, p, q] = x[n, c, h, w], and 0 where the tap lies in the padding."""
    images = x[tile.n].transpose(1, 0, 2, 3)
    for r, s, p, q, h, w in _taps(spec, tile):
        tap = columns[:, r, s]
        tap[:, :, p, q] = images[:, :, h, w]
        for border in (tap[:, :, : p.start], tap[:, :, p.stop :], tap[..., : q.start], tap[..., q.stop :]):
            border[...] = 0


@algorithm("conv2d", workspace=workspace, supports=supports, paper=PAPER)
def output(spec, x, w, b, out):
    """Y [K x places] = W [K x C·R·S] · columns [C·R·S x places]."""
    xp, views = namespace(x), _scratch(spec, x)
    w, out = _by_group(spec, w, 0), _by_group(spec, out, 1)
    for k in _blocks(spec, x.dtype):
        filters = xp.ascontiguousarray(w[:, k]).reshape(spec.groups, k.stop - k.start, -1)
        for tile in tiles(spec, places_at_a_time(spec, x.dtype)):
            columns, y = views(tile, k.stop - k.start)
            _fill(columns, spec, x, tile)
            xp.matmul(filters, _matrix(spec, columns), out=y.reshape(spec.groups, -1, tile.size))
            if b is not None:
                y += _by_group(spec, b, 0)[:, k, None, None, None]
            out[tile.n, :, k, tile.p, tile.q] = y.transpose(2, 0, 1, 3, 4)


@algorithm("conv2d_grad_input", workspace=workspace, supports=supports, paper=PAPER)
def input_gradient(spec, dy, w, out):
    """dcolumns [C·R·S x places] = Wᵀ [C·R·S x K] · dY [K x places]; then each column is added up where it was copied from."""
    xp, views = namespace(dy), _scratch(spec, dy)
    w, dy = _by_group(spec, w, 0), _by_group(spec, dy, 1)
    out[...] = 0
    for k in _blocks(spec, dy.dtype):
        filters = xp.ascontiguousarray(w[:, k]).reshape(spec.groups, k.stop - k.start, -1)
        for tile in tiles(spec, places_at_a_time(spec, dy.dtype)):
            columns, y = views(tile, k.stop - k.start)
            y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4)
            xp.matmul(filters.transpose(0, 2, 1), y.reshape(spec.groups, -1, tile.size), out=_matrix(spec, columns))
            images = out[tile.n].transpose(1, 0, 2, 3)
            for r, s, p, q, h, w_ in _taps(spec, tile):
                images[:, :, h, w_] += columns[:, r, s, :, p, q]


@algorithm("conv2d_grad_weight", workspace=workspace, supports=supports, paper=PAPER)
def weight_gradient(spec, dy, x, out):
    """dW [K x C·R·S] = dY [K x places] · columnsᵀ [places x C·R·S], added up over the tiles."""
    xp, views = namespace(dy), _scratch(spec, dy)
    dy, out = _by_group(spec, dy, 1), _by_group(spec, out, 0)
    out[...] = 0
    for k in _blocks(spec, dy.dtype):
        for tile in tiles(spec, places_at_a_time(spec, dy.dtype)):
            columns, y = views(tile, k.stop - k.start)
            _fill(columns, spec, x, tile)
            y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4)
            part = xp.matmul(y.reshape(spec.groups, -1, tile.size), _matrix(spec, columns).transpose(0, 2, 1))
            out[:, k] += part.reshape(out[:, k].shape)

"""Where a filter looks: output places cut into tiles, and what each tap of the filter sees from a tile."""

from collections.abc import Iterator
from typing import NamedTuple

from minivgg.backend import Array
from minivgg.spec import Conv2dSpec

ITERATION = 3 * 8192
"""Elements that NumPy holds in buffers of its own while it adds arrays whose memory is in different orders."""


class Tile(NamedTuple):
    """A block of output places: images, rows and columns of the output, as slices."""

    n: slice
    p: slice
    q: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.n.stop - self.n.start, self.p.stop - self.p.start, self.q.stop - self.q.start

    @property
    def size(self) -> int:
        images, rows, columns = self.shape
        return images * rows * columns


def parts(total: int, most: int) -> list[slice]:
    """``range(total)`` in nearly equal slices of at most ``most`` (but at least 1).

    >>> parts(10, most=8)
    [slice(0, 5, None), slice(5, 10, None)]
    """
    count = -(-total // max(1, min(total, most))) if total else 0
    step = -(-total // count) if count else 1
    return [slice(first, min(first + step, total)) for first in range(0, total, step)]


def tiles(spec: Conv2dSpec, most: int) -> Iterator[Tile]:
    """All output places in tiles of at most ``most`` (but at least 1): whole images, else whole rows, else parts of a row.

    >>> [tile.shape for tile in tiles(Conv2dSpec.parse("n1 c3 h10 w8 k4 r1"), most=40)]
    [(1, 5, 8), (1, 5, 8)]
    """
    for n in parts(spec.n, most // (spec.p * spec.q)):
        for p in parts(spec.p, most // spec.q):
            for q in parts(spec.q, most):
                yield Tile(n, p, q)


def largest(spec: Conv2dSpec, most: int) -> int:
    """The places of the largest tile, which is the first."""
    return next((tile.size for tile in tiles(spec, most)), 0)


def inside(outputs: slice, stride: int, offset: int, size: int) -> tuple[slice, slice]:
    """Of the outputs i in ``outputs``, those whose input i·stride + offset lies in [0, size).

    Returns where they stand within ``outputs``, and the inputs that they look at.

    >>> inside(slice(0, 4), stride=2, offset=-1, size=6)  # inputs -1, 1, 3, 5
    (slice(1, 4, None), slice(1, 6, 2))
    """
    first = max(outputs.start, -(offset // stride))
    last = min(outputs.stop - 1, (size - 1 - offset) // stride)
    if first > last:
        return slice(0, 0), slice(0, 0)
    return slice(first - outputs.start, last + 1 - outputs.start), slice(first * stride + offset, last * stride + offset + 1, stride)


class Tap(NamedTuple):
    """Filter tap (r, s) over a tile: the places (p, q) from which it sees the input, and the elements (h, w) that it sees."""

    r: int
    s: int
    p: slice
    q: slice
    h: slice
    w: slice

    def gather(self, x: Array, tile: Tile, seen: Array) -> None:
        """seen[c, n, p, q] = x[n, c, h, w], and 0 where the tap lies in the padding."""
        seen[:, :, self.p, self.q] = x[tile.n, :, self.h, self.w].transpose(1, 0, 2, 3)
        seen[:, :, : self.p.start] = 0
        seen[:, :, self.p.stop :] = 0
        seen[..., : self.q.start] = 0
        seen[..., self.q.stop :] = 0

    def scatter(self, seen: Array, tile: Tile, x: Array) -> None:
        """x[n, c, h, w] += seen[c, n, p, q]: the transpose of ``gather``. No element is hit twice by one tap."""
        target = x[tile.n, :, self.h, self.w]
        target += seen[:, :, self.p, self.q].transpose(1, 0, 2, 3)


def taps(spec: Conv2dSpec, tile: Tile) -> Iterator[Tap]:
    """Every tap of the filter over a tile."""
    for r in range(spec.r):
        p, h = inside(tile.p, spec.stride[0], r * spec.dilation[0] - spec.padding[0], spec.h)
        for s in range(spec.s):
            q, w = inside(tile.q, spec.stride[1], s * spec.dilation[1] - spec.padding[2], spec.w)
            yield Tap(r, s, p, q, h, w)


def by_group(spec: Conv2dSpec, array: Array, axis: int) -> Array:
    """The same memory with the channels on ``axis`` split into (G, channels of one group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], spec.groups, shape[axis] // spec.groups, *shape[axis + 1 :])

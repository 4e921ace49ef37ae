"""Where a filter tap looks: output places cut into tiles, and the part of a tile whose tap lies inside the input."""

from collections.abc import Iterator
from typing import NamedTuple

from minivgg.spec import Conv2dSpec


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


def tiles(spec: Conv2dSpec, most: int) -> Iterator[Tile]:
    """All output places in tiles of at most ``most`` places (but at least 1): whole images, else rows, else parts of a row.

    >>> [tile.shape for tile in tiles(Conv2dSpec.parse("n1 c3 h10 w8 k4 r1"), most=40)]
    [(1, 5, 8), (1, 5, 8)]
    """
    columns = _even(spec.q, most)
    rows = _even(spec.p, most // spec.q)
    images = _even(spec.n, most // (spec.q * spec.p))
    for n in range(0, spec.n, images):
        for p in range(0, spec.p, rows):
            for q in range(0, spec.q, columns):
                yield Tile(slice(n, min(n + images, spec.n)), slice(p, min(p + rows, spec.p)), slice(q, min(q + columns, spec.q)))


def largest(spec: Conv2dSpec, most: int) -> int:
    """The size of the largest tile, which is the first."""
    return next((tile.size for tile in tiles(spec, most)), 0)


def _even(total: int, most: int) -> int:
    """A size for parts of ``total``, at most ``most``, that makes them nearly equal: 10 in parts of at most 8 are 5 and 5."""
    most = max(1, min(total, most))
    return -(-total // -(-total // most)) if total else 1


def inside(outputs: slice, stride: int, offset: int, size: int) -> tuple[slice, slice]:
    """Of the outputs i in ``outputs``, those whose input i·stride + offset lies in [0, size).

    Returns where they stand in the tile, and the inputs they look at. ``offset`` is tap · dilation - padding.

    >>> inside(slice(0, 4), stride=2, offset=-1, size=6)  # inputs -1, 1, 3, 5
    (slice(1, 4, None), slice(1, 6, 2))
    """
    first = max(outputs.start, -(offset // stride))
    last = min(outputs.stop - 1, (size - 1 - offset) // stride)
    if first > last:
        return slice(0, 0), slice(0, 0)
    return slice(first - outputs.start, last + 1 - outputs.start), slice(first * stride + offset, last * stride + offset + 1, stride)

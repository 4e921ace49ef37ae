"""The tiles of product.cuh: what a block of threads, and each of its warps, computes of a matrix product on tensor cores."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from minivgg.kernels.common.cuda import Constants, capability, ceil_div

ARCHITECTURE = 80
"""The compute capability that has the instructions."""

BLOCKS = 264
"""Two for each of 132 multiprocessors: with fewer, sums are split. The number is the same on every GPU, and so are the bits."""

PART = 8
"""Slices whose time each part of a split sum takes beside its own."""

LONGEST = 1 << 13
"""Numbers of one sum that are added up one after the other; more are split, and their rounding errors with them."""


class Tile(NamedTuple):
    """``rows`` x ``columns`` of a product, of which a warp has 16·``down`` x 8·``across``, ``depth`` numbers of each sum at a time.

    ``stages``  slices of that depth that are in shared memory at once
    ``blocks``  that a multiprocessor should have room for
    """

    rows: int
    columns: int
    down: int
    across: int
    depth: int
    stages: int
    blocks: int

    @property
    def threads(self) -> int:
        return 32 * (self.rows // (16 * self.down)) * (self.columns // (8 * self.across))

    def shared_bytes(self, along: bool) -> int:
        """Of the slices, as product.cuh lays them out."""
        steps = self.depth // 16
        return 4 * self.stages * sum(steps * (extent * 16 + 16) if along else self.depth * (extent + 8) for extent in (self.rows, self.columns))

    def constants(self, **more: int) -> Constants:
        """What a program that includes product.cuh is compiled with."""
        names = ("ROWS", "COLUMNS", "DOWN", "ACROSS", "DEPTH", "STAGES", "BLOCKS")
        return {**more, **dict(zip(names, self, strict=True))}


TILE, DEEP = Tile(128, 64, 4, 4, 16, 4, 2), Tile(128, 64, 4, 4, 32, 2, 2)
"""For three products of each pair of numbers, two parts of which take registers; DEEP where numbers of different sums lie side by side."""

SMALL, LOW = Tile(64, 64, 4, 4, 16, 4, 4), Tile(32, 128, 2, 4, 16, 4, 2)
"""For products that fill no larger one, and SMALL for short sums: a tile of them is hardly begun when it ends, so more of them have to run at once."""

WIDE_TF32, WIDE_BF16, NARROW_ROUNDED = Tile(128, 128, 4, 8, 16, 4, 2), Tile(128, 128, 4, 8, 32, 3, 2), Tile(128, 64, 4, 4, 16, 4, 3)
"""For one product: large tiles of warps, because reading shared memory is what takes the time."""

SMALL_SIDE, LOW_SIDE, SHORT = 64, 32, 128
"""Rows and columns up to which a product is small, rows up to which it is low, and numbers up to which a sum is short."""


@functools.lru_cache(maxsize=1024)
def split(tiles: int, slices: int, longest: int) -> tuple[int, int]:
    """(parts, slices of each) of sums of so many slices, none longer than ``longest`` of them: as many parts as end soonest.

    ``BLOCKS`` tiles are computed at a time, and while the last ones are, the GPU may be half idle. A part costs about as much as
    ``PART`` slices more, for its first copies and for being added up.

    >>> split(tiles=66, slices=100, longest=256), split(tiles=288, slices=456, longest=512), split(tiles=10000, slices=600, longest=256)
    ((4, 25), (8, 57), (3, 200))
    """

    def cost(parts: int) -> int:
        return ceil_div(tiles * parts, BLOCKS) * (ceil_div(slices, parts) + PART)

    least = max(ceil_div(slices, longest), 1)
    most = max(least, min(slices // 8, max(BLOCKS // max(tiles, 1), 16)))
    each = ceil_div(slices, min(range(least, most + 1), key=cost))
    return ceil_div(slices, each), each


def vectors(arrays: Iterable[Any], distances: Sequence[int]) -> int:
    """4 if four float32 can be copied at once from wherever these arrays have rows, else 1."""
    return 4 if all(distance % 4 == 0 for distance in distances) and all(array.data.ptr % 16 == 0 for array in arrays) else 1


def missing() -> str | None:
    """None, or why the current device cannot compute with them."""
    here = capability()
    return None if here is None or here >= ARCHITECTURE else f"it needs tensor cores of compute capability {ARCHITECTURE / 10}, this GPU has {here / 10}"

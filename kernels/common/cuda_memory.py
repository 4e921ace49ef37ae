"""Memory order on the GPU: kernels take arrays without gaps; what lies otherwise is copied by CuPy first."""

from __future__ import annotations

from collections.abc import Callable

from minivgg.backend import Array, is_channels_last
from minivgg.kernels.common.cuda import ceil_div

VECTOR_BYTES = 16
"""What a thread loads at once, if the address is a multiple of it."""


def dense(x: Array) -> Array:
    """The elements without gaps in row-major order: the same memory if they lie so, else a copy."""
    return x if x.flags.c_contiguous else x.copy()


def channels_last(x: Array) -> Array:
    """(N, C, H, W) in any memory order as a dense (N, H, W, C) array: the same memory if it lies so, else a copy."""
    return dense(x.transpose(0, 2, 3, 1))


def into(out: Array, compute: Callable[[Array], None]) -> None:
    """Let ``compute`` fill a dense array: ``out`` itself if it lies so, else a copy that is moved over."""
    target = dense(out)
    compute(target)
    if target is not out:
        out[...] = target


def into_channels_last(out: Array, compute: Callable[[Array], None]) -> None:
    """``into`` for a dense (N, H, W, C) array that fills an ``out`` of shape (N, C, H, W)."""
    into(out.transpose(0, 2, 3, 1), compute)


def flat(compute: Callable[..., None], outputs: list[Array], *inputs: Array) -> None:
    """``compute(*outputs, *inputs)`` on one-dimensional arrays: all elements, in the memory order of the first output."""
    order = (0, 2, 3, 1) if is_channels_last(outputs[0]) else tuple(range(outputs[0].ndim))
    ordered = [out.transpose(order) for out in outputs]
    lines = [dense(out) for out in ordered]
    compute(*(line.reshape(-1) for line in lines), *(dense(x.transpose(order)).reshape(-1) for x in inputs))
    for out, line in zip(ordered, lines, strict=True):
        if line is not out:
            out[...] = line


def by_image(compute: Callable[..., None], outputs: list[Array | None], *inputs: Array) -> None:
    """``compute(*outputs, *inputs)`` on dense arrays (images, H, W, inner), all in the memory order of the first output.

    Channels last, these are (N, H, W, C); else every plane is an image, (N·C, H, W, 1). An output that is None stays None.
    """
    first, given = outputs[0], inputs[0]
    assert first is not None
    last = is_channels_last(first) or (is_channels_last(given) and first.transpose(0, 2, 3, 1).flags.c_contiguous)  # 1x1 is both

    def ordered(x: Array) -> Array:
        n, c, h, w = x.shape
        return channels_last(x) if last else dense(x).reshape(n * c, h, w, 1)

    arrays = [None if out is None else ordered(out) for out in outputs]
    compute(*arrays, *map(ordered, inputs))
    for out, array in zip(outputs, arrays, strict=True):
        if out is not None and array.data.ptr != out.data.ptr:
            out[...] = array.transpose(0, 3, 1, 2) if last else array.reshape(*out.shape)


def vector(*arrays: Array) -> int:
    """How many elements a thread can load at once where all of these begin: 16 bytes of them, or one.

    A view may begin anywhere; ``x[1:]`` does not begin at a multiple of 16 bytes.
    """
    width = VECTOR_BYTES // arrays[0].itemsize
    return width if all(array.data.ptr % VECTOR_BYTES == 0 for array in arrays) else 1


WARP, BLOCK = 32, 256
LONG_ROW = 256
"""Elements from which on a row has a block of its own; a shorter one has a warp."""


def row_blocks(rows: int, length: int) -> tuple[int, tuple[int, int]]:
    """Blocks, and the threads of each as ``row.cuh`` takes them: (of a row, rows).

    >>> row_blocks(100, 10), row_blocks(100, 5000)
    ((13, (32, 8)), (100, (256, 1)))
    """
    threads = (BLOCK, 1) if length >= LONG_ROW else (WARP, BLOCK // WARP)
    return ceil_div(rows, threads[1]), threads

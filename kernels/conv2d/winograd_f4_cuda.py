"""Winograd F(4x4, 3x3) on the GPU: 36 multiplications for 16 outputs instead of 144, at the cost of about two bits.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. The transforms are written by hand in
winograd_f4.cu; between them lies a matrix product at each of 36 points, all in one launch:

    output and input gradient    M[ξ] [tiles x K] = V[ξ] [tiles x C] · U[ξ] [C x K]
    weight gradient              M[ξ] [K x C] = W[ξ]ᵀ [K x tiles] · V[ξ] [tiles x C], added up over blocks of tiles

V and M hold 36 numbers for 16 elements, so a large batch is worked through in blocks of tiles. The products are float32's
whatever the user allows: the transforms would multiply the errors of rounded numbers. Tensor cores compute them; in float64,
and on GPUs that have none for it, cuBLAS.
"""

from __future__ import annotations

from pathlib import Path

from minivgg.backend import namespace
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last
from minivgg.kernels.common.product_cuda import multiply, multiply_bytes
from minivgg.kernels.common.tensor_tiles import missing
from minivgg.kernels.conv2d._winograd_problem import PAPER, supports
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("winograd_f4.cu"), ({"T": "float"}, {"T": "double"}))
POINTS, THREADS = 36, 128

BLOCK_BYTES = 512 << 20
"""Room for both matrices of a block of tiles: enough that a GPU is seldom idle at the end of one. A quarter costs up to a seventh of the time."""


def tiles_of(n: int, height: int, width: int) -> tuple[int, int, int]:
    """(all tiles, tiles down, tiles across) of results of that size."""
    down, across = ceil_div(height, 4), ceil_div(width, 4)
    return n * down * across, down, across


def tiles_at_a_time(spec, dtype, tiles: int) -> int:
    return max(1, min(tiles, BLOCK_BYTES // (POINTS * (spec.c + spec.k) * dtype.itemsize)))


def _bytes(spec, dtype, tiles):
    """The filters, in C order and at 36 points, with V and M of a block."""
    block = tiles_at_a_time(spec, dtype, tiles) * (spec.c + spec.k)
    return dtype.itemsize * (POINTS * (spec.c * spec.k + block) + 9 * spec.c * spec.k + spec.k)


def output_bytes(spec, dtype) -> int:
    tiles = tiles_of(spec.n, spec.p, spec.q)[0]
    return _bytes(spec, dtype, tiles) + multiply_bytes(POINTS, tiles_at_a_time(spec, dtype, tiles), spec.c, spec.k)


def input_gradient_bytes(spec, dtype) -> int:
    tiles = tiles_of(spec.n, spec.h, spec.w)[0]
    return _bytes(spec, dtype, tiles) + multiply_bytes(POINTS, tiles_at_a_time(spec, dtype, tiles), spec.k, spec.c)


def weight_gradient_bytes(spec, dtype) -> int:
    """V and W of a block, the sums, and what a block adds to them, which may be computed in parts."""
    tiles = tiles_of(spec.n, spec.p, spec.q)[0]
    parts = multiply_bytes(POINTS, spec.k, tiles_at_a_time(spec, dtype, tiles), spec.c)
    return _bytes(spec, dtype, tiles) + parts + dtype.itemsize * POINTS * spec.c * spec.k


RECORD = {"backend": "cuda", "exact": False, "supports": supports, "paper": PAPER, "channels_last": True}


@algorithm("conv2d", workspace=output_bytes, fuses=("relu", "pool"), **RECORD)
def output(spec, x, w, b, out, relu=False, pool=False, cells=None):
    """y = conv(x, w) + b, then ReLU and the largest of each 2x2 window if asked."""
    bias, corner, size = None if b is None else dense(b), (spec.padding[0], spec.padding[2]), (spec.p, spec.q)

    def write(m, tiles, y, numbers=None):
        if pool:
            launch("transform_and_pool", m[0].size, y.dtype, m, bias, y, numbers, tiles, int(relu))
        else:
            launch("transform_outputs", m[0].size, y.dtype, m, bias, y, tiles, int(relu))

    def compute(y, numbers=None):
        convolve(spec, channels_last(x), filters(spec, w, False), corner, size, lambda m, tiles: write(m, tiles, y, numbers))

    into_channels_last(out, compute if cells is None else lambda y: into_channels_last(cells, lambda numbers: compute(y, numbers)))


@algorithm("conv2d_grad_input", workspace=input_gradient_bytes, **RECORD)
def input_gradient(spec, dy, w, out):
    """x̄ = conv(ȳ, w turned by 180°), with what is missing to a padding of 2."""
    corner, size = (2 - spec.padding[0], 2 - spec.padding[2]), (spec.h, spec.w)

    def compute(dx):
        write = lambda m, tiles: launch("transform_outputs", m[0].size, dx.dtype, m, None, dx, tiles, 0)  # noqa: E731
        convolve(spec, channels_last(dy), filters(spec, w, True), corner, size, write)

    into_channels_last(out, compute)


@algorithm("conv2d_grad_weight", workspace=weight_gradient_bytes, **RECORD)
def weight_gradient(spec, dy, x, out):
    """w̄ = A'ᵀ M A' once, of M[ξ] = Σ_tiles W[ξ]ᵀ V[ξ], block after block."""
    x, dy, xp = channels_last(x), channels_last(dy), namespace(x)
    tiles, down, across = tiles_of(spec.n, spec.p, spec.q)
    total = (xp.empty if tiles else xp.zeros)((POINTS, spec.k, spec.c), x.dtype)
    for first, count in blocks(spec, x.dtype, tiles):  # the first one's product is where the others are added
        v, w = (xp.empty((POINTS, count, channels), x.dtype) for channels in (spec.c, spec.k))
        common = {"across": across, "down": down, "first": first, "count": count}
        launch("transform_inputs", v[0].size, x.dtype, x, v, tiles_struct(x, top=spec.padding[0], left=spec.padding[2], **common))
        launch("transform_gradients", w[0].size, x.dtype, dy, w, tiles_struct(dy, top=0, left=0, **common))
        added = xp.empty_like(total) if first else total
        multiply_points(w.transpose(0, 2, 1), v, added)
        if first:
            total += added
    into(out, lambda out: launch("transform_weights", total[0].size, x.dtype, total, out, total[0].size))


def convolve(spec, x, u, corner, size, write):
    """``write(M, tiles)`` for each block of tiles of the result of that size, M [36, tiles, K] = V · U."""
    xp = namespace(x)
    tiles, down, across = tiles_of(spec.n, *size)
    for first, count in blocks(spec, x.dtype, tiles):
        common = {"across": across, "down": down, "first": first, "count": count}
        v, m = (xp.empty((POINTS, count, channels), x.dtype) for channels in u.shape[:0:-1])
        launch("transform_inputs", v[0].size, x.dtype, x, v, tiles_struct(x, top=corner[0], left=corner[1], **common))
        multiply_points(v, u.transpose(0, 2, 1), m)
        write(m, struct(height=size[0], width=size[1], channels=u.shape[1], **common, top=0, left=0))


def filters(spec, w, turned):
    """Uᵀ [36, K, C], or [36, C, K] of the filters turned by 180°: the numbers of a sum side by side, as in V."""
    u = namespace(w).empty((POINTS, spec.c, spec.k) if turned else (POINTS, spec.k, spec.c), w.dtype)
    launch("transform_filters", spec.k * spec.c, w.dtype, dense(w), u, spec.k, spec.c, int(turned))
    return u


def multiply_points(left, right, out):
    """out[ξ] = left[ξ] · right[ξ] at each point."""
    if out.dtype == "float32" and missing() is None:
        multiply(left, right, out)
    else:
        namespace(out).matmul(left, right, out=out)


def tiles_struct(x, *, across, down, first, count, top, left):
    _, height, width, channels = x.shape
    return struct(height=height, width=width, channels=channels, across=across, down=down, first=first, count=count, top=top, left=left)


def blocks(spec, dtype, tiles):
    """(first tile, number of tiles) of each block."""
    step = tiles_at_a_time(spec, dtype, tiles)
    return [(first, min(step, tiles - first)) for first in range(0, tiles, step)]


def launch(name, size, dtype, *arguments):
    """A thread for each of ``size`` places."""
    PROGRAM.kernel(name, T=TYPES[dtype])(ceil_div(size, THREADS), THREADS, *arguments)

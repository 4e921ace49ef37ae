"""The ladder on a GPU, in Python: a 3x3 convolution with a border of zeros, as Numba compiles it for CUDA.

    python benchmarks/ladder_cuda.py                              # conv3_2 of VGG-16, one image, on a GPU
    NUMBA_ENABLE_CUDASIM=1 python benchmarks/ladder_cuda.py --check    # no GPU: every thread in turn, on small problems

These kernels are for reading. A rung differs from the one before it in one idea, and every rung is held to the definition in
float64 before it is timed. What trains networks is written in CUDA C++, where the same ideas go further (docs/gpu.md).

Throughout, x is (N, C, H, W), w (K, C, 3, 3), b (K,), y (N, K, H, W), all float32.
"""

from __future__ import annotations

import statistics
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter

import numpy
from numba import cuda, float32

TILE = 8
"""Rows and columns of outputs that a block of 8 · 8 threads computes."""

PATCH = TILE + 2
"""Rows and columns of inputs that they see: a border of one on each side."""

CHANNELS = 8
"""Output channels that one thread of the last rung computes."""


@cuda.jit
def naive(x, w, b, y):
    q, p, nk = cuda.grid(3)
    n, k = nk // w.shape[0], nk % w.shape[0]
    if n >= y.shape[0] or p >= y.shape[2] or q >= y.shape[3]:
        return
    total = b[k]
    for c in range(x.shape[1]):
        for r in range(3):
            for s in range(3):
                i, j = p + r - 1, q + s - 1
                if 0 <= i < x.shape[2] and 0 <= j < x.shape[3]:
                    total += x[n, c, i, j] * w[k, c, r, s]
    y[n, k, p, q] = total


@cuda.jit(device=True)
def load_patch(x, n, c, patch):
    """The block's threads copy what they will see of channel c into shared memory, zeros beyond the border."""
    top, left = cuda.blockIdx.y * TILE - 1, cuda.blockIdx.x * TILE - 1
    for i in range(cuda.threadIdx.y, PATCH, TILE):
        for j in range(cuda.threadIdx.x, PATCH, TILE):  # neighbouring threads read neighbouring columns
            h, v = top + i, left + j
            if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]:
                patch[i, j] = x[n, c, h, v]
            else:
                patch[i, j] = float32(0)


@cuda.jit
def tiled(x, w, b, y):
    patch = cuda.shared.array((PATCH, PATCH), float32)
    q, p, nk = cuda.grid(3)
    n, k = nk // w.shape[0], nk % w.shape[0]
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    total = b[k]
    for c in range(x.shape[1]):
        load_patch(x, n, c, patch)
        cuda.syncthreads()  # nobody reads before all have written
        for r in range(3):
            for s in range(3):
                total += patch[i + r, j + s] * w[k, c, r, s]
        cuda.syncthreads()  # nobody writes the next channel before all have read
    if p < y.shape[2] and q < y.shape[3]:  # only now: a thread that left earlier would be missing at the barriers
        y[n, k, p, q] = total


@cuda.jit
def registers(x, w, b, y):
    patch = cuda.shared.array((PATCH, PATCH), float32)
    totals = cuda.local.array(CHANNELS, float32)
    q, p, z = cuda.grid(3)
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    groups = (w.shape[0] + CHANNELS - 1) // CHANNELS
    n, first = z // groups, z % groups * CHANNELS
    for m in range(CHANNELS):
        totals[m] = b[min(first + m, w.shape[0] - 1)]
    for c in range(x.shape[1]):
        load_patch(x, n, c, patch)
        cuda.syncthreads()
        for r in range(3):
            for s in range(3):
                value = patch[i + r, j + s]
                for m in range(CHANNELS):
                    totals[m] += value * w[min(first + m, w.shape[0] - 1), c, r, s]
        cuda.syncthreads()
    if p < y.shape[2] and q < y.shape[3]:
        for m in range(CHANNELS):
            if first + m < w.shape[0]:
                y[n, first + m, p, q] = totals[m]


RUNGS = {
    naive: "one thread an output: both factors of every product come from memory, and nine neighbours fetch the same input again",
    tiled: "a block of threads copies its patch of the input into shared memory once, and takes all nine products from there",
    registers: "one thread sums eight output channels in registers: each value from shared memory feeds eight products instead of one",
}
"""Each rung with what it does, or does better than the one before it."""


def launch(rung, x, w, b, y) -> None:
    """A block for each tile of outputs, and for each image and output channel (or group of them)."""
    n, k, rows, columns = y.shape
    depth = -(-k // CHANNELS) if rung is registers else k
    rung[(-(-columns // TILE), -(-rows // TILE), n * depth), (TILE, TILE, 1)](x, w, b, y)


def definition(x, w, b):
    """y[n,k,p,q] = b[k] + Σ_crs x[n,c,p+r-1,q+s-1] · w[k,c,r,s], in float64."""
    padded = numpy.pad(x.astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = numpy.zeros((x.shape[0], w.shape[0], *x.shape[2:])) + b.astype("float64")[:, None, None]
    for r in range(3):
        for s in range(3):
            y += numpy.einsum("kc,nchw->nkhw", w[:, :, r, s].astype("float64"), padded[:, :, r : r + x.shape[2], s : s + x.shape[3]])
    return y


def problem(n, c, h, w, k):
    rng = numpy.random.default_rng(0)
    return (rng.standard_normal(shape).astype("float32") for shape in ((n, c, h, w), (k, c, 3, 3), (k,)))


def error(rung, x, w, b) -> float:
    """|y - definition| / |definition|, over all elements; what the kernel does not write is nan."""
    y = cuda.to_device(numpy.full((x.shape[0], w.shape[0], *x.shape[2:]), numpy.nan, "float32"))
    launch(rung, cuda.to_device(x), cuda.to_device(w), cuda.to_device(b), y)
    exact = definition(x, w, b)
    return float(numpy.linalg.norm(y.copy_to_host() - exact) / numpy.linalg.norm(exact))


SMALL = [(1, 1, 1, 1, 1), (2, 3, 2, 5, 1), (1, 2, 8, 8, 2), (1, 2, 9, 18, 1), (1, 1, 7, 1, 9)]
"""n, c, h, w, k: no pixel with all its neighbours; a whole tile; a row and two columns beyond tiles; an output channel beyond a group."""

LARGEST_ERROR = 1e-6
"""In float32, of sums of at most 9 · 256 products."""


def check() -> None:
    """Every rung on every small problem; SystemExit names the first that is wrong."""
    for rung in RUNGS:
        errors = [error(rung, *problem(*sizes)) for sizes in SMALL]
        for sizes, found in zip(SMALL, errors, strict=True):
            if not found <= LARGEST_ERROR:
                sys.exit(f"{rung.py_func.__name__}: error {found:.1e} on n, c, h, w, k = {sizes}")
        print(f"{rung.py_func.__name__}: {len(SMALL)} problems, largest error {max(errors):.1e}")


def milliseconds(rung, x, w, b, replicates: int = 21) -> float:
    """The median time of a launch, after two to warm up."""
    y = cuda.device_array((x.shape[0], w.shape[0], *x.shape[2:]), "float32")
    arrays = [cuda.to_device(array) for array in (x, w, b)]
    times = []
    for _ in range(replicates + 2):
        begin, end = cuda.event(), cuda.event()
        begin.record()
        launch(rung, *arrays, y)
        end.record()
        end.synchronize()
        times.append(cuda.event_elapsed_time(begin, end))
    return statistics.median(times[2:])


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only hold every rung to the definition, on small problems")
    arguments = parser.parse_args()
    if not cuda.is_available():
        sys.exit("Numba finds no GPU here; with NUMBA_ENABLE_CUDASIM=1 and --check it runs the kernels without one")
    check()
    if arguments.check:
        return
    n, c, h, w, k = 1, 256, 56, 56, 256
    print("\n| rung | why it is faster than the one above | ms | GFLOP/s | error |\n|---|---|---|---|---|")
    for rung, why in RUNGS.items():
        arrays = list(problem(n, c, h, w, k))
        found, ms = error(rung, *arrays), milliseconds(rung, *arrays)
        print(f"| {rung.py_func.__name__} | {why} | {ms:,.4g} | {2 * 9 * n * c * h * w * k / ms / 1e6:,.3g} | {found:.1e} |")
    print(f"\nconv3_2 of VGG-16, float32, {cuda.get_current_device().name.decode()}")


if __name__ == "__main__":
    main()

"""FFT: a convolution is a product of spectra, so its cost does not grow with the filter.

Mathieu, Henaff and LeCun, "Fast Training of Convolutional Networks through FFTs", 2013, arXiv:1312.5851. Input, filter and
output are laid on grids of one size, at least that of the padded input, so that nothing wraps around:

    the input begins at (padding top, padding left);
    the taps of the filter lie ``dilation`` apart;
    the outputs lie ``stride`` apart, because a stride computes every output and keeps some.

On the grids all three directions are sums of products, one for each frequency, and a bar is the complex conjugate:
Y = Σ_c X·W̄ (a correlation), X = Σ_k Y·W, W = Σ_n Ȳ·X.

Every output has a share in the rounding of its whole plane; so a nan or an infinity anywhere spreads over all of it.
"""

import itertools
import math

from minivgg.backend import namespace
from minivgg.kernels.conv2d._places import by_group, parts
from minivgg.products import product
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec

BLOCK_BYTES = 16 << 20
"""Spectra of one block of images and channels, unless a single one is larger."""

PAPER = "Mathieu, Henaff and LeCun 2013, arXiv:1312.5851"


def fast_length(least: int) -> int:
    """The first length from ``least`` on without a prime factor above 11, for which the transform has special code.

    >>> fast_length(226)
    231
    """
    length = least
    while length // math.gcd(length, (2 * 3 * 5 * 7 * 11) ** 20) != 1:
        length += 1
    return length


def grid(spec: Conv2dSpec) -> tuple[int, int]:
    """Rows and columns of the grids."""
    top, bottom, left, right = spec.padding
    return fast_length(spec.h + top + bottom), fast_length(spec.w + left + right)


def blocks(spec: Conv2dSpec, dtype) -> tuple[list[slice], list[slice], list[slice]]:
    """Images, input channels and output channels of a group, in blocks whose spectra fit in ``BLOCK_BYTES`` pair by pair."""
    rows, columns = grid(spec)
    side = math.isqrt(BLOCK_BYTES // (rows * (columns // 2 + 1) * 2 * dtype.itemsize))
    return parts(spec.n, side), parts(spec.c // spec.groups, side), parts(spec.k // spec.groups, side)


def workspace(spec: Conv2dSpec, dtype) -> int:
    """Bytes: the spectra of one block of inputs, filters and outputs, and the largest of them twice more while it is made."""
    rows, columns = grid(spec)
    n, c, k = (part[0].stop if part else 0 for part in blocks(spec, dtype))
    pairs = n * c, k * c, n * k
    return (sum(pairs) + 2 * max(pairs)) * rows * (columns // 2 + 1) * 2 * dtype.itemsize


class Layout:
    """Where the elements [A, B, i, j] of one array lie on the grid: at start + step · (i, j)."""

    def __init__(self, spec, start, step, sizes):
        self.grid = grid(spec)
        self.places = tuple(slice(a, a + d * (size - 1) + 1, d) for a, d, size in zip(start, step, sizes, strict=True))

    def spectrum(self, array):
        """[rows, columns / 2 + 1, A, B]: the frequencies come first, so that each one's channels are a matrix.

        Divided by √(rows · columns): NumPy computes scaled transforms of float32 in float32, unscaled ones in float64.
        """
        xp = namespace(array)
        canvas = xp.zeros((*self.grid, *array.shape[:2]), array.dtype)
        canvas[self.places] = array.transpose(2, 3, 0, 1)
        return xp.fft.rfft2(canvas, axes=(0, 1), norm="ortho")

    def read(self, spectrum):
        """[A, B, i, j] of a sum of products of two spectra, each divided by √(rows · columns)."""
        canvas = namespace(spectrum).fft.irfft2(spectrum, self.grid, axes=(0, 1), norm="ortho")
        canvas *= math.sqrt(math.prod(self.grid))
        return canvas[self.places].transpose(2, 3, 0, 1)


def layouts(spec):
    """The layouts of input, filter and output."""
    return (
        Layout(spec, (spec.padding[0], spec.padding[2]), (1, 1), (spec.h, spec.w)),
        Layout(spec, (0, 0), spec.dilation, (spec.r, spec.s)),
        Layout(spec, (0, 0), spec.stride, (spec.p, spec.q)),
    )


@algorithm("conv2d", exact=False, max_error=2e-6, workspace=workspace, paper=PAPER)
def output(spec, x, w, b, out):
    """Y [N x K] = Σ_c X [N x C] · W̄ᵀ [C x K] for each frequency."""
    on_x, on_w, on_y = layouts(spec)
    images, channels, filters = blocks(spec, x.dtype)
    x, w, out = by_group(spec, x, 1), by_group(spec, w, 0), by_group(spec, out, 1)
    for g, n, k in itertools.product(range(spec.groups), images, filters):
        total = 0
        for c in channels:
            total = product(on_x.spectrum(x[n, g, c]), on_w.spectrum(w[g, k, c]).conj().swapaxes(2, 3)) + total
        out[n, g, k] = on_y.read(total)
    if b is not None:
        out += by_group(spec, b, 0)[..., None, None]


@algorithm("conv2d_grad_input", exact=False, max_error=2e-6, workspace=workspace, paper=PAPER)
def input_gradient(spec, dy, w, out):
    """X [N x C] = Σ_k Y [N x K] · W [K x C] for each frequency."""
    on_x, on_w, on_y = layouts(spec)
    images, channels, filters = blocks(spec, dy.dtype)
    dy, w, out = by_group(spec, dy, 1), by_group(spec, w, 0), by_group(spec, out, 1)
    for g, n, c in itertools.product(range(spec.groups), images, channels):
        total = 0
        for k in filters:
            total = product(on_y.spectrum(dy[n, g, k]), on_w.spectrum(w[g, k, c])) + total
        out[n, g, c] = on_x.read(total)


@algorithm("conv2d_grad_weight", exact=False, max_error=2e-6, workspace=workspace, paper=PAPER)
def weight_gradient(spec, dy, x, out):
    """W [K x C] = Σ_n Ȳᵀ [K x N] · X [N x C] for each frequency."""
    on_x, on_w, on_y = layouts(spec)
    images, channels, filters = blocks(spec, dy.dtype)
    dy, x, out = by_group(spec, dy, 1), by_group(spec, x, 1), by_group(spec, out, 0)
    out[...] = 0
    for g, k, c in itertools.product(range(spec.groups), filters, channels):
        total = 0
        for n in images:
            total = product(on_y.spectrum(dy[n, g, k]).conj().swapaxes(2, 3), on_x.spectrum(x[n, g, c])) + total
        if images:
            out[g, k, c] = on_w.read(total)

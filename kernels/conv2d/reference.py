"""The definition, in float64: for every place where the filter lies on the input, every tap adds its product.

Nothing here is clever, so that it can be compared with the formula by eye; it judges all other algorithms.
"""

from collections.abc import Iterator

from minivgg.backend import namespace
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec


def float64_copies(spec: Conv2dSpec, dtype) -> int:
    """Bytes: input, weight and output, each once in float64 (and two rows of products)."""
    elements = spec.n * (spec.c * spec.h * spec.w + spec.k * spec.p * spec.q) + spec.k * spec.c // spec.groups * spec.r * spec.s
    return 8 * (elements + spec.k + 2 * max(spec.n * max(spec.c, spec.k), spec.c * spec.k))


def products(spec: Conv2dSpec) -> Iterator[tuple]:
    """Every (p, q, r, s, h, w, c, k): output place (p, q) sees input place (h, w) through filter tap (r, s).

    ``c`` and ``k`` are the channels of one group, as slices. Taps that fall into the padding see 0 and are left out.
    """
    top, _, left, _ = spec.padding
    for g in range(spec.groups):
        c = slice(g * spec.c // spec.groups, (g + 1) * spec.c // spec.groups)
        k = slice(g * spec.k // spec.groups, (g + 1) * spec.k // spec.groups)
        for p in range(spec.p):
            for q in range(spec.q):
                for r in range(spec.r):
                    for s in range(spec.s):
                        h = p * spec.stride[0] + r * spec.dilation[0] - top
                        w = q * spec.stride[1] + s * spec.dilation[1] - left
                        if 0 <= h < spec.h and 0 <= w < spec.w:
                            yield p, q, r, s, h, w, c, k


def by_place(array):
    """[N, C, H, W] as [H, W, N, C] in float64: what is multiplied lies side by side, and every NumPy multiplies it alike."""
    return array.transpose(2, 3, 0, 1).astype("float64", order="C")


@algorithm("conv2d", workspace=float64_copies, automatic=False)
def output(spec, x, w, b, out):
    """y[n,k,p,q] = b[k] + Σ_crs x[n,c,h,w] · w[k,c,r,s]."""
    x, weight, y = by_place(x), by_place(w), namespace(x).zeros(out.shape)
    for p, q, r, s, h, w, c, k in products(spec):
        y[:, k, p, q] += x[h, w, :, c] @ weight[r, s, k].T
    if b is not None:
        y += b.astype("float64")[:, None, None]
    out[...] = y


@algorithm("conv2d_grad_input", workspace=float64_copies, automatic=False)
def input_gradient(spec, dy, w, out):
    """dx[n,c,h,w] = Σ dy[n,k,p,q] · w[k,c,r,s] over the products that x[n,c,h,w] takes part in."""
    dy, weight, dx = by_place(dy), by_place(w), namespace(dy).zeros(out.shape)
    for p, q, r, s, h, w, c, k in products(spec):
        dx[:, c, h, w] += dy[p, q, :, k] @ weight[r, s, k]
    out[...] = dx


@algorithm("conv2d_grad_weight", workspace=float64_copies, automatic=False)
def weight_gradient(spec, dy, x, out):
    """dw[k,c,r,s] = Σ_npq dy[n,k,p,q] · x[n,c,h,w]."""
    dy, x, dw = by_place(dy), by_place(x), namespace(dy).zeros(out.shape)
    for p, q, r, s, h, w, c, k in products(spec):
        dw[k, :, r, s] += dy[p, q, :, k].T @ x[h, w, :, c]
    out[...] = dw

"""The definition as plain loops, compiled: the first rung, against which every faster kernel is measured.

One thing is arranged: the innermost loop runs along a row of the output, so that neighbouring steps touch neighbouring
memory and the compiler can use vectors. The loops work on arrays in C order; others are copied into it first.
"""

import numpy

from minivgg.kernels.common.jit import compiled
from minivgg.registry import algorithm
from minivgg.spec import Conv2dSpec


def copies(spec: Conv2dSpec, dtype) -> int:
    """Bytes, if none of the three arrays lies in C order: each once (and a bias of zeros)."""
    elements = spec.n * (spec.c * spec.h * spec.w + spec.k * spec.p * spec.q) + spec.k * spec.c // spec.groups * spec.r * spec.s
    return dtype.itemsize * (elements + spec.k)


def in_c_order(kernel, spec, out, *inputs):
    """Run ``kernel`` on copies in C order of those arrays that do not lie so."""
    result = out if out.flags.c_contiguous else numpy.empty(out.shape, out.dtype)
    top, _, left, _ = spec.padding
    kernel(*map(numpy.ascontiguousarray, inputs), result, *spec.stride, top, left, *spec.dilation)
    if result is not out:
        out[...] = result


@compiled
def inside(outputs, stride, offset, size):
    """The outputs [first, end) whose input, output · stride + offset, lies in [0, size)."""
    return max(0, -(offset // stride)), min(outputs, (size - 1 - offset) // stride + 1)


@compiled
def correlate(x, w, b, y, step_p, step_q, top, left, step_r, step_s):
    """y[n,k,p,q] = b[k] + Σ_crs x[n,c,h,w] · w[k,c,r,s]."""
    filters, channels, taps_r, taps_s = w.shape
    filters_of_group = filters * channels // x.shape[1]
    for n in range(y.shape[0]):
        for k in range(filters):
            y[n, k] = b[k]
            for c in range(channels):
                image = x[n, k // filters_of_group * channels + c]
                for r in range(taps_r):
                    first_p, end_p = inside(y.shape[2], step_p, r * step_r - top, x.shape[2])
                    for s in range(taps_s):
                        shift = s * step_s - left
                        first_q, end_q = inside(y.shape[3], step_q, shift, x.shape[3])
                        for p in range(first_p, end_p):
                            row = image[p * step_p + r * step_r - top]
                            for q in range(first_q, end_q):
                                y[n, k, p, q] += w[k, c, r, s] * row[q * step_q + shift]


@compiled
def spread(dy, w, dx, step_p, step_q, top, left, step_r, step_s):
    """dx[n,c,h,w] = Σ dy[n,k,p,q] · w[k,c,r,s] over the products that x[n,c,h,w] takes part in."""
    filters, channels, taps_r, taps_s = w.shape
    filters_of_group = filters * channels // dx.shape[1]
    dx[...] = 0
    for n in range(dy.shape[0]):
        for k in range(filters):
            for c in range(channels):
                image = dx[n, k // filters_of_group * channels + c]
                for r in range(taps_r):
                    first_p, end_p = inside(dy.shape[2], step_p, r * step_r - top, dx.shape[2])
                    for s in range(taps_s):
                        shift = s * step_s - left
                        first_q, end_q = inside(dy.shape[3], step_q, shift, dx.shape[3])
                        for p in range(first_p, end_p):
                            row = image[p * step_p + r * step_r - top]
                            for q in range(first_q, end_q):
                                row[q * step_q + shift] += w[k, c, r, s] * dy[n, k, p, q]


@compiled
def collect(dy, x, dw, step_p, step_q, top, left, step_r, step_s):
    """dw[k,c,r,s] = Σ_npq dy[n,k,p,q] · x[n,c,h,w]; a row at a time in the arrays' dtype, the rows in float64."""
    filters, channels, taps_r, taps_s = dw.shape
    filters_of_group = filters * channels // x.shape[1]
    for k in range(filters):
        for c in range(channels):
            for r in range(taps_r):
                first_p, end_p = inside(dy.shape[2], step_p, r * step_r - top, x.shape[2])
                for s in range(taps_s):
                    shift = s * step_s - left
                    first_q, end_q = inside(dy.shape[3], step_q, shift, x.shape[3])
                    total = 0.0
                    for n in range(dy.shape[0]):
                        for p in range(first_p, end_p):
                            row = x[n, k // filters_of_group * channels + c, p * step_p + r * step_r - top]
                            of_row = dy[n, k, p]
                            part = dw.dtype.type(0)
                            for q in range(first_q, end_q):
                                part += of_row[q] * row[q * step_q + shift]
                            total += part
                    dw[k, c, r, s] = total


@algorithm("conv2d", backend="numba", max_error=1e-5, workspace=copies)
def output(spec, x, w, b, out):
    in_c_order(correlate, spec, out, x, w, numpy.zeros(spec.k, x.dtype) if b is None else b)


@algorithm("conv2d_grad_input", backend="numba", max_error=1e-5, workspace=copies)
def input_gradient(spec, dy, w, out):
    in_c_order(spread, spec, out, dy, w)


@algorithm("conv2d_grad_weight", backend="numba", max_error=1e-5, workspace=copies)
def weight_gradient(spec, dy, x, out):
    in_c_order(collect, spec, out, dy, x)

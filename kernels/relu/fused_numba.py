"""ReLU in one pass: bound by the memory alone."""

from __future__ import annotations

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, flat
from minivgg.parallel import parallel_blocks
from minivgg.registry import algorithm


@compiled
def pass_positive(out, x, y, first, last):  # pragma: no cover compiled
    """out = x where y > 0 or y is nan, else 0."""
    zero = x.dtype.type(0)
    x, y, out = x[first:last], y[first:last], out[first:last]
    for i in range(x.size):
        out[i] = zero if y[i] <= zero else x[i]


@compiled
def clear_negative(x, first, last):  # pragma: no cover compiled
    """x = 0 where x <= 0: in place there is one array alone, or the compiler would have to fear that they overlap, and use no vectors."""
    x, zero = x[first:last], x.dtype.type(0)
    for i in range(x.size):
        x[i] = zero if x[i] <= zero else x[i]


@algorithm("relu", backend="numba", workspace=lambda shape, dtype: copies(shape, dtype.itemsize))
def relu(shape, x, out):
    if out is x:
        flat(lambda x: parallel_blocks(lambda first, last: clear_negative(x, first, last), x.size), [x])
        return
    flat(lambda out, x: parallel_blocks(lambda first, last: pass_positive(out, x, x, first, last), x.size), [out], x)


@algorithm("relu_grad", backend="numba", workspace=lambda shape, dtype: 2 * copies(shape, dtype.itemsize))
def relu_grad(shape, grad, y, out):
    flat(lambda out, grad, y: parallel_blocks(lambda first, last: pass_positive(out, grad, y, first, last), grad.size), [out], grad, y)

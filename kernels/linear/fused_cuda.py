"""The fully connected layer on a GPU: one matrix product on tensor cores for each direction, the bias added where its sums end."""

from __future__ import annotations

from minivgg.backend import Array
from minivgg.kernels.common.product_cuda import multiply, multiply_bytes
from minivgg.kernels.common.tensor_tiles import missing
from minivgg.precision import significant_bits
from minivgg.registry import algorithm
from minivgg.spec import LinearSpec


def supports(spec: LinearSpec, dtype) -> str | None:
    return f"it computes in float32, the arrays are {dtype}" if dtype != "float32" else missing()


def output_bytes(spec: LinearSpec, dtype) -> int:
    return multiply_bytes(1, spec.n, spec.c, spec.k)


def input_gradient_bytes(spec: LinearSpec, dtype) -> int:
    """The gradient of the output is copied: its rows lie along the sums, those of the weight across them."""
    return multiply_bytes(1, spec.n, spec.k, spec.c) + 4 * spec.n * spec.k


def weight_gradient_bytes(spec: LinearSpec, dtype) -> int:
    return multiply_bytes(1, spec.k, spec.n, spec.c)


def one(left: Array, right: Array, out: Array, bias: Array | None = None) -> None:
    multiply(left[None], right[None], out[None], bias, significant_bits())


@algorithm("linear", backend="cuda", workspace=output_bytes, supports=supports)
def linear(spec, x, w, b, y):
    one(x, w.T, y, b if b is None or b.flags.c_contiguous else b.copy())


@algorithm("linear_grad_input", backend="cuda", workspace=input_gradient_bytes, supports=supports)
def linear_grad_input(spec, dy, w, dx):
    one(dy, w, dx)


@algorithm("linear_grad_weight", backend="cuda", workspace=weight_gradient_bytes, supports=supports)
def linear_grad_weight(spec, dy, x, dw):
    one(dy.T, x, dw)

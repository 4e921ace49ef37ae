"""The fully connected layer by its definition, one element at a time in float64."""

from minivgg.backend import Array
from minivgg.kernels.common.sums import exact_sum
from minivgg.registry import algorithm
from minivgg.spec import LinearSpec


@algorithm("linear", automatic=False)
def linear(spec: LinearSpec, x: Array, w: Array, b: Array | None, y: Array) -> None:
    for n in range(spec.n):
        for k in range(spec.k):
            y[n, k] = exact_sum(float(x[n, c]) * float(w[k, c]) for c in range(spec.c)) + (0 if b is None else float(b[k]))


@algorithm("linear_grad_input", automatic=False)
def linear_grad_input(spec: LinearSpec, dy: Array, w: Array, dx: Array) -> None:
    for n in range(spec.n):
        for c in range(spec.c):
            dx[n, c] = exact_sum(float(dy[n, k]) * float(w[k, c]) for k in range(spec.k))


@algorithm("linear_grad_weight", automatic=False)
def linear_grad_weight(spec: LinearSpec, dy: Array, x: Array, dw: Array) -> None:
    for k in range(spec.k):
        for c in range(spec.c):
            dw[k, c] = exact_sum(float(dy[n, k]) * float(x[n, c]) for n in range(spec.n))

"""Matrix products: [... M, K] · [... K, N] -> [... M, N], with broadcasting over the leading dimensions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.promotion import Operand, as_tensor, check_broadcast
from minivgg.ops.reduce import sum_to
from minivgg.products import product
from minivgg.registry import ErrorSample, Operation, Sample


class MatMul(Function):
    """d/da = grad · bᵀ, d/db = aᵀ · grad."""

    def forward(self, a, b):
        need_a, need_b = self.needs_input_grad
        self.shapes = a.shape, b.shape
        self.save_for_backward(a if need_b else None, b if need_a else None)
        return product(a, b)

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        grad_a = sum_to(MatMul.apply(grad, b.mT), self.shapes[0]) if need_a else None
        grad_b = sum_to(MatMul.apply(a.mT, grad), self.shapes[1]) if need_b else None
        return grad_a, grad_b


@method("matmul", "__matmul__")
def matmul(input: Operand, other: Operand) -> Tensor:
    """Σ_k input[..., m, k] · other[..., k, n]; a vector counts as a row on the left, as a column on the right.

    Costs M·K·N multiply-adds for each matrix of the batch.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0]]) @ minivgg.tensor([[3.0], [4.0]])
    tensor([[11.]])
    """
    a, b = as_tensor(input), as_tensor(other)
    shapes = {"input": a.shape, "other": b.shape}
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul", "both sides need at least one dimension; use * with numbers", **shapes)
    if a.dtype != b.dtype:
        raise DtypeError("matmul", f"both sides must have one dtype, got {a.dtype} and {b.dtype}")
    if a.dtype.kind == "b":
        raise DtypeError("matmul", "takes numbers, got booleans")
    row, column = a.ndim == 1, b.ndim == 1
    a, b = a.unsqueeze(0) if row else a, b.unsqueeze(1) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError("matmul", f"the left side has {a.shape[-1]} columns, the right side {b.shape[-2]} rows", **shapes)
    check_broadcast("matmul", a.shape[:-2], b.shape[:-2])
    out = MatMul.apply(a, b)
    out = out.squeeze(-2) if row else out
    return out.squeeze(-1) if column else out


method("__rmatmul__")(lambda self, other: matmul(other, self))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for left, right in (
        ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 1)), ((4, 1, 2, 3), (5, 3, 2)),
        ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 2)),
    ):  # fmt: skip
        yield Sample((rng.standard_normal(left), rng.standard_normal(right)))


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((2, 3))
    text = "matmul: the left side has 3 columns, the right side 2 rows (input (2, 3), other (2, 3))"
    yield ErrorSample((x, x), {}, ShapeError, text)
    text = "matmul: both sides need at least one dimension; use * with numbers (input (2, 3), other ())"
    yield ErrorSample((x, numpy.zeros(())), {}, ShapeError, text)
    yield ErrorSample((x, numpy.zeros((3, 2), "float32")), {}, DtypeError, "matmul: both sides must have one dtype, got float64 and float32")
    text = "matmul: shapes (2,) and (3,) do not broadcast: counted from the last, two dimensions must be equal or one of them 1"
    yield ErrorSample((numpy.zeros((2, 1, 1)), numpy.zeros((3, 1, 1))), {}, ShapeError, text)


Operation(
    matmul,
    shapes="... M K, ... K N -> ... M N | K, ... K N -> ... N | ... M K, K -> ... M | K, K -> ()",
    samples=_samples,
    oracle=numpy.matmul,
    errors=_errors,
    torch="matmul",
)

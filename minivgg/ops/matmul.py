"""Matrix products: [... M, K] · [... K, N] -> [... M, N], with broadcasting over the leading dimensions."""

from __future__ import annotations

from minivgg.autograd import Function, Tensor, as_tensor, method
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.reduce import sum_to


class MatMul(Function):
    """d/da = grad · bᵀ, d/db = aᵀ · grad."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a @ b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        grad_a = sum_to(MatMul.apply(grad, b.transpose(-1, -2)), a.shape) if need_a else None
        grad_b = sum_to(MatMul.apply(a.transpose(-1, -2), grad), b.shape) if need_b else None
        return grad_a, grad_b


@method("matmul", "__matmul__")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Σ_k input[..., m, k] · other[..., k, n]; a vector counts as a row on the left, as a column on the right.

    >>> import minivgg
    >>> minivgg.tensor([[1.0, 2.0]]) @ minivgg.tensor([[3.0], [4.0]])
    tensor([[11.]])
    """
    a, b = as_tensor(input), as_tensor(other)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul", "both sides need at least one dimension", input=a.shape, other=b.shape)
    if a.dtype != b.dtype:
        raise DtypeError("matmul", f"both sides must have one dtype, got {a.dtype} and {b.dtype}")
    row, column = a.ndim == 1, b.ndim == 1
    a, b = a.unsqueeze(0) if row else a, b.unsqueeze(1) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError("matmul", f"the left side has {a.shape[-1]} columns, the right side {b.shape[-2]} rows", input=input.shape, other=other.shape)
    out = MatMul.apply(a, b)
    out = out.squeeze(-2) if row else out
    return out.squeeze(-1) if column else out


method("__rmatmul__")(lambda self, other: matmul(other, self))

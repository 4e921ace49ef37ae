"""Mistakes in functions of one element, in arithmetic with broadcasting, and in products of matrices."""

from __future__ import annotations

import numpy

from minivgg.nn import functional as F
from minivgg.ops import arithmetic, pointwise
from minivgg.ops.matmul import matmul
from minivgg.ops.power import pow
from minivgg.testing.mutants.mechanism import Mutant, call, mutant, normal, positive

OPS = "minivgg.ops."

MUTANTS: list[Mutant] = [
    mutant(
        "the mask is forgotten", "relu", OPS + "relu:_relu_grad",
        "namespace(grad).where(y <= 0, 0, grad)", "grad",
        lambda: call(F.relu, normal(3, 4)), "missing factor",
    ),
    mutant(
        "the comparison is turned round", "relu", OPS + "relu:_relu_grad",
        "y <= 0", "y > 0",
        lambda: call(F.relu, normal(3, 4)), "inverted mask",
    ),
    mutant(
        "the upstream gradient is masked by its own sign", "relu", OPS + "relu:_relu_grad",
        "y <= 0", "grad <= 0",
        lambda: call(F.relu, normal(3, 4)), "not linear in the upstream gradient",
    ),
    mutant(
        "the input is saved in place of the output", "exp", OPS + "pointwise:Exp.forward",
        "save_for_backward(out)", "save_for_backward(x)",
        lambda: call(pointwise.exp, normal(2, 3)), "missing factor",
    ),
    mutant(
        "the derivative is not multiplied in", "exp", OPS + "pointwise:Exp.backward",
        "grad * out", "grad",
        lambda: call(pointwise.exp, normal(2, 3)), "missing factor",
    ),
    mutant(
        "times x, not divided by x", "log", OPS + "pointwise:Log.backward",
        "grad / x", "grad * x",
        lambda: call(pointwise.log, positive(2, 3)), "missing factor",
    ),
    mutant(
        "the 2 of 1 / (2 √x) is forgotten", "sqrt", OPS + "pointwise:Sqrt.backward",
        "(2 * out)", "out",
        lambda: call(pointwise.sqrt, positive(2, 3)), "missing scale",
    ),
    mutant(
        "the sign is taken as x / |x|: nan at 0", "abs", OPS + "pointwise:Abs.forward",
        "(x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)", "x / namespace(x).abs(x)",
        lambda: call(pointwise.abs, numpy.array([-1.5, 0.0, 2.0])), "not finite",
    ),
    mutant(
        "the sign is forgotten", "abs", OPS + "pointwise:Abs.backward",
        "grad * sign", "grad",
        lambda: call(pointwise.abs, normal(2, 4)), "missing factor",
    ),
    mutant(
        "at the kink the derivative is 2, outside of both sides", "abs", OPS + "pointwise:Abs.forward",
        "(x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)", "2.0 * (x >= 0) - (x < 0) - (x > 0)",
        lambda: call(pointwise.abs, numpy.array([-1.5, 0.0, 2.0])), "kink",
    ),
    mutant(
        "the upper bound is forgotten", "clamp", OPS + "pointwise:Clamp.forward",
        " & (x <= (numpy.inf if high is None else high))", "",
        lambda: call(pointwise.clamp, numpy.linspace(-2, 2, 8), -1.0, 1.0), "missing factor",
    ),
    mutant(
        "the minus sign is forgotten", "neg", OPS + "arithmetic:Neg.backward",
        "-grad", "grad",
        lambda: call(arithmetic.neg, normal(2, 3)), "wrong sign",
    ),
    mutant(
        "the right side gets the sign of the left", "sub", OPS + "arithmetic:Sub.backward",
        "sum_to(-grad, ", "sum_to(grad, ",
        lambda: call(arithmetic.sub, normal(2, 3), normal(3)), "wrong sign",
    ),
    mutant(
        "each side gets its own derivative's partner", "mul", OPS + "arithmetic:Mul.backward",
        "a, b = self.saved_tensors", "b, a = self.saved_tensors",
        lambda: call(arithmetic.mul, normal(2, 3), normal(2, 3, seed=1)), "gradients swapped",
    ),
    mutant(
        "the sum over the broadcast axis is forgotten", "mul", OPS + "arithmetic:Mul.backward",
        "sum_to(grad * a, self.shapes[1])", "grad * a",
        lambda: call(arithmetic.mul, normal(4, 3), normal(3)), "missing sum over broadcast",
    ),
    mutant(
        "of the broadcast rows only the first is taken", "add", OPS + "arithmetic:Add.backward",
        "sum_to(grad, self.shapes[1])", "grad[0]",
        lambda: call(arithmetic.add, normal(4, 3), normal(3)), "missing sum over broadcast",
    ),
    mutant(
        "the mean over the broadcast rows, not the sum", "add", OPS + "arithmetic:Add.backward",
        "sum_to(grad, self.shapes[1])", "grad.mean(0)",
        lambda: call(arithmetic.add, normal(4, 3), normal(3)), "missing scale",
    ),
    mutant(
        "the minus sign of -a / b² is forgotten", "div", OPS + "arithmetic:Div.backward",
        "-grad * (a / b)", "grad * (a / b)",
        lambda: call(arithmetic.div, normal(2, 3), positive(2, 3)), "wrong sign",
    ),
    mutant(
        "-a / b, the square of b is forgotten", "div", OPS + "arithmetic:Div.backward",
        "-grad * (a / b) / b", "-grad * (a / b)",
        lambda: call(arithmetic.div, normal(2, 3), positive(2, 3)), "missing factor",
    ),
    mutant(
        "the exponent is not lowered", "pow", OPS + "power:Power.backward",
        "x ** (self.exponent - 1)", "x ** self.exponent",
        lambda: call(pow, positive(2, 3), 3), "missing factor",
    ),
    mutant(
        "the exponent does not come down as a factor", "pow", OPS + "power:Power.backward",
        "(self.exponent * x **", "(x **",
        lambda: call(pow, positive(2, 3), 3), "missing scale",
    ),
    mutant(
        "the logarithm of the base is forgotten", "pow", OPS + "power:Pow.backward",
        "(a**b * a.log())", "a**b",
        lambda: call(pow, positive(2, 3), positive(2, 3, seed=1)), "missing factor",
    ),
    mutant(
        "the matrix is not transposed", "matmul", OPS + "matmul:MatMul.backward",
        "MatMul.apply(grad, b.mT)", "MatMul.apply(grad, b)",
        lambda: call(matmul, normal(2, 3), normal(3, 3)), "transposed",
    ),
    mutant(
        "the factors stand in the other order", "matmul", OPS + "matmul:MatMul.backward",
        "MatMul.apply(a.mT, grad)", "MatMul.apply(grad, a.mT)",
        lambda: call(matmul, normal(3, 3), normal(3, 3, seed=1)), "transposed",
    ),
    mutant(
        "the sum over the batch that shares a matrix is forgotten", "matmul", OPS + "matmul:MatMul.backward",
        "sum_to(MatMul.apply(a.mT, grad), self.shapes[1])", "MatMul.apply(a.mT, grad)",
        lambda: call(matmul, normal(4, 2, 3), normal(3, 2)), "missing sum over broadcast",
    ),
    mutant(
        "the weight is used transposed", "linear", OPS + "linear:_linear_grad_input",
        "product(dy, w, dx)", "product(dy, w.T, dx)",
        lambda: call(F.linear, normal(2, 4), normal(4, 4), normal(4)), "transposed",
    ),
    mutant(
        "the weight gradient is averaged over the batch", "linear", OPS + "linear:_linear_grad_weight",
        "product(dy.T, x, dw)", "product(dy.T / spec.n, x, dw)",
        lambda: call(F.linear, normal(3, 4), normal(2, 4), normal(2)), "missing scale",
    ),
    mutant(
        "the bias gets the gradient of the first image alone", "linear", OPS + "linear:Linear.backward",
        "grad.sum(0)", "grad[0]",
        lambda: call(F.linear, normal(3, 4), normal(2, 4), normal(2)), "missing sum over broadcast",
    ),
    mutant(
        "the bias gets the mean, not the sum", "linear", OPS + "linear:Linear.backward",
        "grad.sum(0)", "grad.mean(0)",
        lambda: call(F.linear, normal(3, 4), normal(2, 4), normal(2)), "missing scale",
    ),
]  # fmt: skip

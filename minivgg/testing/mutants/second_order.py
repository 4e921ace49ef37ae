"""Mistakes that only a second derivative shows: backward computed outside the graph, a term forgotten, the wrong array saved."""

from __future__ import annotations

import numpy

from minivgg.nn import functional as F
from minivgg.ops import arithmetic, pointwise, reduce
from minivgg.ops.matmul import matmul
from minivgg.ops.power import pow
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Call, Mutant, call, mutant, normal, positive

OPS = "minivgg.ops."
CONV = OPS + "conv2d:"


def _conv() -> Call:
    return call(F.conv2d, normal(2, 2, 4, 4), normal(3, 2, 3, 3), padding=1, algorithm="im2col")


def _linear() -> Call:
    return call(F.linear, normal(2, 3), normal(4, 3))


MUTANTS: list[Mutant] = [
    mutant(
        "backward computes on an array", "exp", OPS + "pointwise:Exp.backward",
        "grad * out", "grad * Tensor(out.array)",
        lambda: call(pointwise.exp, normal(2, 3)), "no gradient", order=2,
    ),
    mutant(
        "backward computes on a detached tensor", "log", OPS + "pointwise:Log.backward",
        "grad / x", "grad / x.detach()",
        lambda: call(pointwise.log, positive(2, 3)), "no gradient", order=2,
    ),
    mutant(
        "a copy is saved, which has no place in the graph", "sqrt", OPS + "pointwise:Sqrt.forward",
        "save_for_backward(out)", "save_for_backward(out.copy())",
        lambda: call(pointwise.sqrt, positive(2, 3)), "no gradient", order=2,
    ),
    mutant(
        "the power is taken of a detached tensor", "pow", OPS + "power:Power.backward",
        "x ** (self.exponent - 1)", "x.detach() ** (self.exponent - 1)",
        lambda: call(pow, positive(2, 3), 3), "no gradient", order=2,
    ),
    mutant(
        "the input is saved where the output is meant, and the derivative patched to fit", "exp", OPS + "pointwise:Exp.backward",
        "return grad * out", "return grad * (out + 0.5 * (out - out.detach()))",
        lambda: call(pointwise.exp, normal(2, 3)), "missing scale", order=2,
    ),
    mutant(
        "the numerator is detached", "div", OPS + "arithmetic:Div.backward",
        "-grad * (a / b)", "-grad * (a.detach() / b)",
        lambda: call(arithmetic.div, normal(2, 3), positive(2, 3)), "no gradient", order=2,
    ),
    mutant(
        "one side is saved detached", "mul", OPS + "arithmetic:Mul.backward",
        "grad * b, ", "grad * b.detach(), ",
        lambda: call(arithmetic.mul, normal(2, 3), normal(2, 3, seed=1)), "no gradient", order=2,
    ),
    mutant(
        "the matrix is detached", "matmul", OPS + "matmul:MatMul.backward",
        "MatMul.apply(grad, b.mT)", "MatMul.apply(grad, b.detach().mT)",
        lambda: call(matmul, normal(2, 3), normal(3, 2)), "no gradient", order=2,
    ),
    mutant(
        "the upstream gradient is detached on the way to the input", "linear", OPS + "linear:Linear.backward",
        "LinearGradInput.apply(grad, w)", "LinearGradInput.apply(grad.detach(), w)",
        _linear, "missing term", order=2,
    ),
    mutant(
        "the weight gradient hands nothing back to the upstream gradient", "linear", OPS + "linear:LinearGradWeight.backward",
        "Linear.apply(x, grad) if need_dy else None", "None",
        _linear, "missing term", order=2,
    ),
    mutant(
        "the input gradient hands nothing back to the weight", "conv2d", CONV + "Conv2dGradInput.backward",
        "if need_w else None\n    return", "if False else None\n    return",
        _conv, "no gradient", order=2,
    ),
    mutant(
        "the weight gradient hands back twice", "conv2d", CONV + "Conv2dGradWeight.backward",
        "Conv2d.apply(x, grad, None, self.spec, self.algorithm)", "2 * Conv2d.apply(x, grad, None, self.spec, self.algorithm)",
        _conv, "missing scale", order=2,
    ),
    mutant(
        "the input is detached in the weight gradient", "conv2d", CONV + "Conv2d.backward",
        "Conv2dGradWeight.apply(grad, x,", "Conv2dGradWeight.apply(grad, x.detach(),",
        _conv, "no gradient", order=2,
    ),
    mutant(
        "backward of backward averages again", "avg_pool2d", OPS + "avg_pool2d:AvgPool2dGradInput.backward",
        "AvgPool2d.apply(grad, self.spec, self.algorithm)", "AvgPool2d.apply(grad, self.spec, self.algorithm) / 4",
        lambda: call(F.avg_pool2d, normal(1, 2, 4, 4), 2), "missing scale", order=2,
    ),
    mutant(
        "the mask is forgotten in the second derivative", "relu", OPS + "relu:ReLUGrad.backward",
        "ReLUGrad.apply(grad, y.array)", "grad",
        lambda: call(F.relu, normal(3, 4)), "missing factor", order=2,
    ),
    mutant(
        "the cells are picked one too far to the left", "max_pool2d", OPS + "max_pool2d:PickCells.forward",
        "cells, 2)", "cells - 1, 2)",
        lambda: call(F.max_pool2d, normal(1, 2, 4, 4), 2), "other elements", order=2,
    ),
    mutant(
        "the output is detached", "softmax", OPS + "softmax:Softmax.backward",
        "product = grad * out", "product = grad * out.detach()",
        lambda: call(F.softmax, normal(3, 4), 1), "missing term", order=2,
        known="a part of a product rule is missing, which has no form of its own",
    ),
    mutant(
        "probabilities as constants", "log_softmax", OPS + "softmax:LogSoftmax.backward",
        "out.exp()", "out.exp().detach()",
        lambda: call(F.log_softmax, normal(3, 4), 1), "no gradient", order=2,
    ),
    mutant(
        "the probabilities are computed from a detached input", "cross_entropy", OPS + "cross_entropy:CrossEntropy.backward",
        "softmax(x, 1)", "softmax(x.detach(), 1)",
        lambda: call(F.cross_entropy, normal(4, 3), numpy.array([0, 2, 1, 2])), "no gradient", order=2,
    ),
    mutant(
        "what flows back through 1 / σ is forgotten", "batch_norm", OPS + "batch_norm:Standardize.backward",
        " + r * grad_r / count", "",
        lambda: call(F.batch_norm, normal(6, 3), None, None, positive(3), normal(3), training=True), "missing term", order=2,
    ),
    mutant(
        "one factor of the squares is a constant: right for the first derivative", "var", OPS + "reduce:_variance",
        "Sum.apply(centred * centred, axes", "Sum.apply(2 * centred * centred.detach() - centred.detach() * centred.detach(), axes",
        lambda: call(reduce.var, normal(3, 4), 1), "no gradient", order=2,
    ),
    mutant(
        "the sum of squares is a constant", "local_response_norm", OPS + "local_response_norm:LocalResponseNorm.backward",
        "direct = ", "total = total.detach(); direct = ",
        lambda: call(F.local_response_norm, normal(1, 4, 2, 2), 3, alpha=0.5, beta=0.75, k=2.0), "missing term", order=2,
        known="a part of a product rule is missing, which has no form of its own",
    ),
    mutant(
        "the sigmoid is computed on an array", "swish", "minivgg.testing.mutants.homework:Swish.backward",
        "1 / (1 + (-x).exp())", "Tensor(1 / (1 + numpy.exp(-x.array)))",
        lambda: call(homework.Swish, normal(2, 4)), "missing factor", order=2,
    ),
    mutant(
        "the weight is saved detached", "scale layer", "minivgg.testing.mutants.homework:Scale.backward",
        "x, w = self.saved_tensors", "x, w = self.saved_tensors; w = w.detach()",
        lambda: call(homework.Layer(3), normal(2, 3, 2, 2)), "no gradient", order=2,
    ),
]  # fmt: skip

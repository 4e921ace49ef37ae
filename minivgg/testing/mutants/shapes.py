"""Mistakes in sums, extrema, choices, indices, padding and changes of shape: gradients that arrive at the wrong place."""

from __future__ import annotations

import numpy

from minivgg.autograd import Tensor
from minivgg.nn import functional as F
from minivgg.ops import extrema, indexing, join, reduce, shape
from minivgg.ops.gather import gather
from minivgg.ops.where import where
from minivgg.testing.mutants.mechanism import Mutant, call, mutant, normal

OPS = "minivgg.ops."

MUTANTS: list[Mutant] = [
    mutant(
        "the summed axis is not put back before the gradient is spread", "sum", OPS + "reduce:Sum.backward",
        "if not self.keepdim and self.axes:", "if False:",
        lambda: call(reduce.sum, normal(3, 3), 1), "transposed",
    ),
    mutant(
        "the gradient of the sum is divided as that of a mean", "sum", OPS + "reduce:Sum.backward",
        "return grad.expand(self.shape)", "return grad.expand(self.shape) / self.shape[self.axes[0]]",
        lambda: call(reduce.sum, normal(3, 4), 0), "missing scale",
    ),
    mutant(
        "the 2 of 1 / (2 √v) is forgotten", "std", OPS + "reduce:Root.backward",
        "(2 * out)", "out",
        lambda: call(reduce.std, normal(3, 4), 1), "missing scale",
    ),
    mutant(
        "equal numbers: a division by 0", "std", OPS + "reduce:Root.backward",
        "(2 * out).masked_fill(out == 0, math.inf)", "(2 * out)",
        lambda: call(reduce.std, numpy.ones((2, 3)) * [[1.0], [2.0]], 1), "not finite",
    ),
    mutant(
        "the input is detached on one side of the square", "var", OPS + "reduce:_variance",
        "centred * centred", "centred * centred.detach()",
        lambda: call(reduce.var, normal(3, 4), 1), "missing scale",
    ),
    mutant(
        "each of several equal maxima gets the whole gradient", "max", OPS + "extrema:Extremum.backward",
        "(grad / ties.sum())", "grad",
        lambda: call(extrema.max, numpy.array([1.0, 3.0, 3.0, 2.0])), "tie in a maximum",
    ),
    mutant(
        "both sides get the whole gradient where they are equal", "maximum", OPS + "extrema:Extreme.backward",
        "grad = grad / (1 + equal.to(grad.dtype))", "pass",
        lambda: call(extrema.maximum, numpy.array([1.0, 2.0, 3.0]), numpy.array([2.0, 2.0, 1.0])), "tie in a maximum",
    ),
    mutant(
        "neither side gets a gradient where they are equal", "minimum", OPS + "extrema:Extreme.forward",
        "(~a_loses, ~b_loses, a == b)", "(~a_loses & (a != b), ~b_loses & (a != b), a == b)",
        lambda: call(extrema.minimum, numpy.array([1.0, 2.0, 3.0]), numpy.array([2.0, 2.0, 1.0])), "tie in a maximum",
    ),
    mutant(
        "the loser gets the gradient", "maximum", OPS + "extrema:Extreme.forward",
        "(a < b, a > b)", "(a > b, a < b)",
        lambda: call(extrema.maximum, normal(2, 3), normal(2, 3, seed=1)), "gradients swapped",
    ),
    mutant(
        "the condition is not turned round for the other side", "where", OPS + "where:Where.backward",
        "Where.apply(condition, zero, grad)", "Where.apply(condition, grad, zero)",
        lambda: call(where, normal(2, 4) > 0, normal(2, 4, seed=1), normal(2, 4, seed=2)), "inverted mask",
    ),
    mutant(
        "the mask is forgotten for the other side", "where", OPS + "where:Where.backward",
        "Where.apply(condition, zero, grad)", "grad",
        lambda: call(where, normal(2, 4) > 0, normal(2, 4, seed=1), normal(2, 4, seed=2)), "missing factor",
    ),
    mutant(
        "an element that is read twice gets one gradient", "getitem", OPS + "indexing:Put.forward",
        "scatter_add(out[basic], advanced, x)", "out[basic][advanced] = x",
        lambda: call(indexing.getitem, normal(4, 2), numpy.array([2, 0, 2])), "overwritten instead of added",
    ),
    mutant(
        "an element that is read twice gets one gradient", "gather", OPS + "gather:ScatterAdd.forward",
        "scatter_add(out, tuple(places), x)", "out[tuple(places)] = x",
        lambda: call(gather, normal(3, 4), 1, Tensor(numpy.array([[0, 0, 1], [3, 3, 3], [1, 2, 1]]))), "overwritten instead of added",
    ),
    mutant(
        "one index for all rows", "gather", OPS + "gather:ScatterAdd.forward",
        "places[axis] = index", "places[axis] = index[:1] + 0 * index",
        lambda: call(gather, normal(3, 4), 1, Tensor(numpy.array([[0, 1], [3, 2], [1, 3]]))), "other elements",
    ),
    mutant(
        "what is cropped before and behind is exchanged", "pad", OPS + "pad:Pad.backward",
        "(-before, -after)", "(-after, -before)",
        lambda: call(F.pad, normal(2, 6), (1, 2)), "shifted",
    ),
    mutant(
        "the pieces come back in the other order", "cat", OPS + "join:Cat.backward",
        "*split(grad, self.sizes, self.axis)", "*split(grad, self.sizes, self.axis)[::-1]",
        lambda: call(lambda a, b: join.cat([a, b], 1), normal(2, 3), normal(2, 3, seed=1)), "gradients swapped",
    ),
    mutant(
        "the axes are permuted again, not back", "permute", OPS + "shape:Permute.backward",
        "tuple(self.axes.index(i) for i in range(len(self.axes)))", "self.axes",
        lambda: call(shape.permute, normal(3, 3, 3), 1, 2, 0), "transposed",
    ),
    mutant(
        "the elements go back in the order of columns", "reshape", OPS + "shape:Reshape.backward",
        "Reshape.apply(grad, self.shape)", "Reshape.apply(grad, self.shape[::-1]).t()",
        lambda: call(shape.reshape, normal(2, 3), 6), "permuted",
    ),
    mutant(
        "the copies are averaged, not summed", "expand", OPS + "shape:Expand.backward",
        "sum_to(grad, self.shape)", "sum_to(grad, self.shape) / grad.shape[0]",
        lambda: call(shape.expand, normal(1, 3), 4, 3), "missing scale",
    ),
]  # fmt: skip

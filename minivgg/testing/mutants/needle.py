"""A needle: one wrong element of a large gradient. Does a check by random directions see it?

PyTorch's fast mode compares one random projection with a relative tolerance of 1e-3, so what is one of a million elements
passes. Ours measures how accurate its differences are, and allows no more than that.
"""

from __future__ import annotations

import math

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.testing.gradients.check import gradcheck
from minivgg.testing.mutants import torch_judge
from minivgg.testing.mutants.mechanism import Call

SHAPE = (64, 64, 64)
"""262,144 elements, as many as a small layer's activation has."""


def elements() -> int:
    """How many there are."""
    return math.prod(SHAPE)


class Needle(Function):
    """sin x, whose gradient is 0 at one element."""

    def forward(self, x, place):
        self.place = place
        self.save_for_backward(x)
        return numpy.sin(x)

    def backward(self, grad):
        (x,) = self.saved_tensors
        right = numpy.cos(x.array)
        right[self.place] = 0
        return grad * Tensor(right), None


def misses(count: int, shape: tuple[int, ...] = SHAPE) -> tuple[int, int, int | None]:
    """Of so many needles: how many there are, how many our ``projected`` mode misses, how many PyTorch's fast mode (None without it)."""
    rng = numpy.random.default_rng(0)
    ours, theirs = 0, 0
    for _ in range(count):
        x = rng.standard_normal(shape)
        place = tuple(int(rng.integers(size)) for size in shape)
        call = Call(Needle, (x, place))
        ours += bool(gradcheck(call.function, call.inputs, mode="projected", raise_exception=False))
        theirs += torch_judge.available() and not torch_judge.catches(call, 1, fast=True)
    return count, ours, theirs if torch_judge.available() else None

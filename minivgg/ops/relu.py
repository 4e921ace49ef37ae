"""ReLU: max(x, 0), and nothing flows back where x <= 0."""

from __future__ import annotations

from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import HALF, empty_like, namespace
from minivgg.errors import DtypeError
from minivgg.ops.arguments import check_flags, check_floating, check_tensors
from minivgg.ops.inplace import in_place
from minivgg.ops.pointwise import clamp, clamp_
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel


@formula("relu")
def _relu(shape, x, out):
    namespace(x).maximum(x, 0, out=out)


@formula("relu_grad")
def _relu_grad(shape, grad, y, out):
    out[...] = namespace(grad).where(y <= 0, 0, grad)


class ReLU(Function):
    """Saves its output, not its input: out > 0 says where the gradient passes, and the input may be overwritten."""

    def forward(self, x, inplace):
        out = x if inplace else empty_like(x)
        kernel("relu", x.shape, x)(x.shape, x, out)
        self.save_for_backward(out)
        return out

    def backward(self, grad):
        (out,) = self.saved_tensors
        return ReLUGrad.apply(grad, out.array), None


class ReLUGrad(Function):
    """The gradient where ReLU's output y is positive, or nan, else 0: linear, and its own transpose."""

    def forward(self, grad, y):
        out = empty_like(y)
        kernel("relu_grad", y.shape, y)(y.shape, grad, y, out)
        self.save_for_backward(y)
        return out

    def backward(self, grad):
        (y,) = self.saved_tensors
        return ReLUGrad.apply(grad, y.array), None


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise; the derivative at 0 is 0, nan stays nan, and the gradient passes it.

    ``inplace`` overwrites ``input`` and saves the memory of a second activation.

    >>> import minivgg
    >>> minivgg.nn.functional.relu(minivgg.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    check_tensors("relu", input=input)
    check_flags("relu", inplace=inplace)
    if input.dtype.kind in "iu" or input.dtype == HALF:
        return clamp_(input, min=0) if inplace else clamp(input, min=0)
    check_floating("relu", input)
    return in_place(ReLU, input, True) if inplace else ReLU.apply(input, False)


method("relu")(lambda self: relu(self))
method("relu_")(lambda self: relu(self, inplace=True))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((2, 3, 4, 4), (3,), (), (0, 2)):
        yield Sample((numpy.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 2.0, shape)),))


def _errors() -> Iterable[ErrorSample]:
    yield ErrorSample((numpy.zeros(3, bool),), {}, DtypeError, "relu: takes float32 or float64, got bool")
    yield ErrorSample((3.0,), {}, DtypeError, "relu: input must be a tensor, got float; minivgg.tensor(...) makes one")


OPERATION = Operation(relu, shapes="* -> *", samples=_samples, oracle=lambda x: numpy.where(x > 0, x, 0.0), errors=_errors, torch="nn.functional.relu")

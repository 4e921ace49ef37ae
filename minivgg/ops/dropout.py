"""dropout: in training, set elements to 0 at random and scale up the others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import empty_like, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_flags, check_floating, check_probability
from minivgg.ops.inplace import in_place
from minivgg.random import default_generator
from minivgg.registry import ErrorSample, Operation, Sample, algorithms, formula, kernel


@dataclass(frozen=True)
class Problem:
    """What the kernels are told: p lies in (0, 1], the seed in [0, 2⁶⁴), or in an array of the device that will hold it.

    The choice of a kernel is kept for the next equal problem, whatever its seed.
    """

    shape: tuple[int, ...]
    p: float
    seed: Any = field(compare=False)

    @property
    def scale(self) -> float:
        """What kept elements are multiplied by."""
        return 1 / (1 - self.p) if self.p < 1 else 0.0


def dropout_mask(seed: int, shape: tuple[int, ...], p: float) -> numpy.ndarray:
    """True where an element is kept: where its 32-bit random word is at least p · 2³².

    Element i, in row-major order, reads word i of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
    1, 2, 3") with the seed as key and the counters 1, 2, ...; each of the four 64-bit numbers of a counter is two words, the
    lower half first. So a mask is a function of its seed alone, whatever else was drawn before.

    >>> dropout_mask(7, (2, 4), 0.5)
    array([[False,  True,  True, False],
           [False, False,  True, False]])
    """
    count = math.prod(shape)
    words = numpy.random.Philox(key=seed).random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    return (words >= math.ceil(p * 2**32)).reshape(shape)


@formula("dropout")
def _dropout(spec, x, out, keep):
    keep[...] = namespace(x).asarray(dropout_mask(spec.seed, spec.shape, spec.p))
    _dropout_grad(spec, x, keep, out)


@formula("dropout_grad")
def _dropout_grad(spec, grad, keep, out):
    factor = keep.astype(grad.dtype)
    factor *= spec.scale
    namespace(grad).multiply(grad, factor, out=out)  # inf · 0 is nan, as in PyTorch


class Dropout(Function):
    """out = scale · x where the mask holds, else 0 · x. Saves the mask, one byte an element: 1 or 0."""

    def forward(self, x, spec, inplace):
        self.spec = spec
        out, keep = x if inplace else empty_like(x), empty_like(x, dtype="uint8")
        kernel("dropout", spec, x)(spec, x, out, keep)
        self.save_for_backward(keep)
        return out

    def backward(self, grad):
        (keep,) = self.saved_tensors
        return DropoutGrad.apply(grad, keep.array, self.spec), None, None


class DropoutGrad(Function):
    """The same with the mask that is there already: linear, and its own transpose."""

    def forward(self, grad, keep, spec):
        self.spec, out = spec, empty_like(grad)
        kernel("dropout_grad", spec, grad)(spec, grad, keep, out)
        self.save_for_backward(keep)
        return out

    def backward(self, grad):
        (keep,) = self.saved_tensors
        return DropoutGrad.apply(grad, keep.array, self.spec), None, None


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, seed: int | None = None) -> Tensor:
    """input · keep / (1 - p), where each element of keep is 0 with probability p, else 1; Srivastava et al. 2014, JMLR 15.

    So the expected value stays what it was, and outside training (and for p = 0) the result is ``input`` itself.
    The same ``seed``, in [0, 2⁶⁴), drops the same elements; without one, a seed is drawn from ``minivgg.default_generator``.
    ``inplace`` overwrites ``input``. Saved for backward: the mask, one byte an element.

    >>> import minivgg
    >>> minivgg.nn.functional.dropout(minivgg.ones(2, 4), p=0.5, seed=7)
    tensor([[0., 2., 2., 0.],
            [0., 0., 2., 0.]])
    """
    check_floating("dropout", input)
    check_flags("dropout", training=training, inplace=inplace)
    check_probability("dropout", "p", p)
    if seed is not None and not 0 <= seed < 2**64:
        raise ArgumentError("dropout", f"seed must lie in [0, 2**64), got {seed}")
    if not training or p == 0:
        return input
    spec = Problem(input.shape, p, default_generator.seed_for_mask() if seed is None else seed)
    return in_place(Dropout, input, spec, True) if inplace else Dropout.apply(input, spec, False)


def _oracle(x: numpy.ndarray, p: float = 0.5, training: bool = True, inplace: bool = False, *, seed: int) -> numpy.ndarray:
    """The definition with a generator of its own, one element at a time: ``kernels/dropout/reference.py``."""
    out: Any = numpy.copy(x)
    if training and p > 0:
        algorithms("dropout")["reference"].run(Problem(x.shape, p, seed), x, out, numpy.empty(x.shape, "uint8"))
    return out


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((3, 5), (2, 3, 2, 2), (7,), (), (0, 3)):
        for p in (0.5, 0.1, 0.9):
            yield Sample((rng.standard_normal(shape), p), {"seed": int(rng.integers(0, 2**63))})
    x = rng.standard_normal((3, 3))
    yield Sample((x,), {"seed": 2**64 - 1})
    yield Sample((x, 1.0), {"seed": 0})
    yield Sample((x, 0.0), {"seed": 1})
    yield Sample((x, 0.5, False), {"seed": 2})


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros(3)
    yield ErrorSample((x, 1.5), {}, ArgumentError, "dropout: p must lie in [0, 1], got 1.5")
    yield ErrorSample((x, float("nan")), {}, ArgumentError, "dropout: p must lie in [0, 1], got nan")
    yield ErrorSample((x,), {"seed": -1}, ArgumentError, "dropout: seed must lie in [0, 2**64), got -1")
    yield ErrorSample((x.astype("int64"),), {}, DtypeError, "dropout: takes float32 or float64, got int64")


OPERATION = Operation(dropout, shapes="* -> *", samples=_samples, oracle=_oracle, errors=_errors)

"""dropout: in training, set elements to 0 at random and scale up the others."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.inplace import in_place
from minivgg.random import default_generator
from minivgg.registry import ErrorSample, Operation, Sample


class Dropout(Function):
    """out = scale · x where ``keep`` holds, else 0: linear, and its own transpose. Saves the mask, one byte an element."""

    def forward(self, x, keep, scale, inplace):
        self.scale = scale
        self.save_for_backward(keep)
        factor = keep.astype(x.dtype)
        factor *= scale
        with numpy.errstate(invalid="ignore"):  # inf · 0 is nan, as in PyTorch
            return namespace(x).multiply(x, factor, out=x if inplace else None)

    def backward(self, grad):
        (keep,) = self.saved_tensors
        return Dropout.apply(grad, keep.array, self.scale, False), None, None, None


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
    if not 0 <= p <= 1:
        raise ArgumentError("dropout", f"p must lie in [0, 1], got {p}")
    if input.dtype not in FLOATING:
        raise DtypeError("dropout", f"takes float32 or float64, got {input.dtype}")
    if seed is not None and not 0 <= seed < 2**64:
        raise ArgumentError("dropout", f"seed must lie in [0, 2**64), got {seed}")
    if not training or p == 0:
        return input
    keep = dropout_mask(default_generator.seed_for_mask() if seed is None else seed, input.shape, p)
    scale = 1 / (1 - p) if p < 1 else 0.0
    args = namespace(input.array).asarray(keep), scale, inplace
    return in_place(Dropout, input, *args) if inplace else Dropout.apply(input, *args)


def _philox(seed: int, block: int) -> list[int]:
    """Four 64-bit numbers: ten rounds of multiplying two words and crossing over the halves, in Python's own integers."""
    (a, b, c, d), (k, l), low = (block, 0, 0, 0), (seed, 0), 2**64 - 1  # noqa: E741
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = second >> 64 ^ b ^ k, second & low, first >> 64 ^ d ^ l, first & low
        k, l = (k + 0x9E3779B97F4A7C15) & low, (l + 0xBB67AE8584CAA73B) & low  # noqa: E741
    return [a, b, c, d]


def _oracle(x, p=0.5, training=True, inplace=False, *, seed):
    """The definition with a generator of its own, one element at a time."""
    if not training or p == 0:
        return x
    out = numpy.zeros(x.shape)
    for i, place in enumerate(numpy.ndindex(*x.shape)):
        word = _philox(seed, 1 + i // 8)[i % 8 // 2] >> 32 * (i % 2) & (2**32 - 1)
        if word >= p * 2**32:
            out[place] = x[place] / (1 - p)
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

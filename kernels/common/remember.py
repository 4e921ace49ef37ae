"""What a kernel derives from a weight (transformed or packed filters), kept between calls for as long as the weight stays as it is.

Only while nothing is recorded: in training the weights change at every step, and the derived data, several times their
size, would be memory for nothing. That the weight is unchanged is not believed but checked: a fingerprint of its contents
is compared at every call, whoever changed it and by whatever way. That costs one reading of the weight, beside the computation
itself: the threads begin with what was kept, and should the weight have changed, all is computed again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy
from llvmlite import ir
from numba.core import cgutils

from minivgg.autograd import is_grad_enabled
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.loops import Cell
from minivgg.kernels.common.simd import INTEGER, VECTOR_BYTES, Vectors, address, emitter, integer
from minivgg.parallel import Loop, parallel

_kept: dict[tuple[int, Any, Any], tuple[weakref.ref[numpy.ndarray], int, Any]] = {}

CHUNK = 1 << 16
"""Words that one thread reads at a time."""

ODD = 0x9E3779B97F4A7C15
"""Any odd number with its bits well mixed: 2⁶⁴ over the golden ratio."""


WORDS = 4 * VECTOR_BYTES // 8
"""Words that four vectors hold."""


@emitter
def mix_vectors(v: Vectors, words: Any, chains: Any, steps: Any) -> None:
    """Each of WORDS chains h takes every WORDS-th word: h = rotate((h ^ word) · odd). The vectors hide each other's latency."""
    builder, lanes = v.builder, VECTOR_BYTES // 8
    kind = ir.VectorType(INTEGER, lanes)

    def every_lane(number: int) -> Any:
        return ir.Constant(kind, [number] * lanes)

    def place(address: Any, vector: int) -> Any:
        return builder.inttoptr(builder.add(address, integer(vector * VECTOR_BYTES)), kind.as_pointer())

    def load(address: Any, vector: int) -> Any:
        value = builder.load(place(address, vector))
        value.align = 8
        return value

    cells = [Cell(builder, load(chains, vector)) for vector in range(4)]
    with cgutils.for_range(builder, steps) as step:
        here = builder.add(words, builder.mul(step.index, integer(8 * WORDS)))
        for vector, cell in enumerate(cells):
            product = builder.mul(builder.xor(cell.get(), load(here, vector)), every_lane(ODD))
            cell.set(builder.or_(builder.shl(product, every_lane(31)), builder.lshr(product, every_lane(33))))
    for vector, cell in enumerate(cells):
        builder.store(cell.get(), place(chains, vector)).align = 8


@compiled
def mix(words, first, last):  # pragma: no cover compiled
    """64 bits that change with any word: every step of a chain is one to one, in the chain and in the word.

    Without the rotation the highest bit would reach no other: turning the signs of two numbers would go unnoticed.
    """
    odd, left, right = numpy.uint64(ODD), numpy.uint64(31), numpy.uint64(33)
    chains = numpy.full(WORDS, odd, numpy.uint64)
    steps = (last - first) // WORDS
    mix_vectors(0.0, address(words) + 8 * first, address(chains), steps)
    total = odd
    for i in range(first + steps * WORDS, last):
        total = (total ^ words[i]) * odd
        total = (total << left) | (total >> right)
    for j in range(WORDS):
        total = (total ^ (chains[j] * odd)) * odd  # not the chain itself: the same change in both would go unnoticed
        total = (total << left) | (total >> right)
    return total


class Fingerprint:
    """A number that stands for the contents of a contiguous array; two contents share one with probability 2⁻⁶⁴. It is known when ``loop`` has run.

    >>> a = numpy.arange(1000.0)
    >>> before = fingerprint(a)
    >>> a[500] += 1e-13
    >>> fingerprint(a) == before
    False
    """

    def __init__(self, array: numpy.ndarray) -> None:
        contents = array.reshape(-1).view(numpy.uint8)
        even = contents.size // 8 * 8
        self.words, self.kind, self.rest = contents[:even].view(numpy.uint64), (array.shape, array.dtype.str), contents[even:]
        self.parts = [0] * -(-self.words.size // CHUNK)
        self.loop = Loop(self.mix, len(self.parts))

    def mix(self, item: int) -> None:
        self.parts[item] = int(mix(self.words, item * CHUNK, min((item + 1) * CHUNK, self.words.size)))

    def number(self) -> int:
        return hash((self.kind, tuple(self.parts), self.rest.tobytes()))


def fingerprint(array: numpy.ndarray) -> int:
    """The number at once."""
    found = Fingerprint(array)
    parallel(*found.loop)
    return found.number()


def with_remembered(array: numpy.ndarray, kind: Any, make: Callable[[], Any], compute: Callable[[Any, Loop | None], None]) -> None:
    """``compute(value, beside)`` with ``value = make()``, or what that was for this array and ``kind`` before, if the contents are the same.

    ``kind`` stands for all that ``make`` depends on but for the array: one weight may serve convolutions of several kinds.

    ``compute`` shall run the loop ``beside`` too, which finds that out; else it is called once more, and overwrites what it wrote.
    """
    if is_grad_enabled() or not array.flags.c_contiguous:
        compute(make(), None)
        return
    now = Fingerprint(array)
    key = id(array), kind, now.kind  # whoever gives an array another shape must not begin with filters of the old one
    known = _kept.get(key)
    if known is not None and known[0]() is array:
        compute(known[2], now.loop)
        if now.number() == known[1]:
            return
    else:
        parallel(*now.loop)
    value = make()
    _kept[key] = (weakref.ref(array, lambda _: _kept.pop(key, None)), now.number(), value)
    compute(value, None)

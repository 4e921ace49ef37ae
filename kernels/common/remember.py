"""What a kernel derives from a weight (transformed or packed filters), kept between calls for as long as the weight stays as it is.

Only while nothing is recorded: in training the weights change at every step, and the derived data, several times their
size, would be memory for nothing. That the weight is unchanged is not believed but checked: a fingerprint of its contents
is compared at every call, whoever changed it and by whatever way. That costs one reading of the weight.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import is_grad_enabled
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.threads import parallel

_kept: dict[tuple[int, Any], tuple[weakref.ref[numpy.ndarray], int, Any]] = {}

CHUNK = 1 << 17
"""Words that one thread reads at a time."""


@compiled
def mix(words, first, last):  # pragma: no cover compiled
    """64 bits that change with any word: eight independent chains of h = (h ^ word) · odd, each step of which is one to one."""
    prime = numpy.uint64(0x9E3779B97F4A7C15)
    chains = numpy.full(8, prime, numpy.uint64)
    whole = first + (last - first) // 8 * 8
    for i in range(first, whole, 8):
        for j in range(8):
            chains[j] = (chains[j] ^ words[i + j]) * prime
    for i in range(whole, last):
        chains[0] = (chains[0] ^ words[i]) * prime
    total = numpy.uint64(0)
    for j in range(8):
        total = (total ^ chains[j]) * prime
        total ^= total >> numpy.uint64(29)
    return total


def fingerprint(array: numpy.ndarray) -> int:
    """A number that stands for the contents of a contiguous array; two contents share one with probability 2⁻⁶⁴.

    >>> a = numpy.arange(1000.0)
    >>> before = fingerprint(a)
    >>> a[500] += 1e-13
    >>> fingerprint(a) == before
    False
    """
    contents = array.reshape(-1).view(numpy.uint8)
    even = contents.size // 8 * 8
    words = contents[:even].view(numpy.uint64)
    count = -(-words.size // CHUNK)
    parts = [0] * count

    def work(item: int) -> None:
        parts[item] = int(mix(words, item * CHUNK, min((item + 1) * CHUNK, words.size)))

    parallel(work, count)
    return hash((array.shape, array.dtype.str, tuple(parts), contents[even:].tobytes()))


def remembered(array: numpy.ndarray, kind: Any, make: Callable[[], Any]) -> Any:
    """``make()``, or what it returned for this array and ``kind`` before, if the contents are the same."""
    if is_grad_enabled() or not array.flags.c_contiguous:
        return make()
    key, mark = (id(array), kind), fingerprint(array)
    if key in _kept and _kept[key][0]() is array and _kept[key][1] == mark:
        return _kept[key][2]
    value = make()
    _kept[key] = (weakref.ref(array, lambda _: _kept.pop(key, None)), mark, value)
    return value

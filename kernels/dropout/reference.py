"""Dropout by its definition, one element at a time, with the random stream in Python's own integers."""

from typing import Any

import numpy

from minivgg.backend import Array
from minivgg.registry import algorithm


def philox(seed: int, block: int) -> list[int]:
    """Four 64-bit numbers of Philox4x64-10: ten rounds of multiplying two words and crossing over the halves.

    The published test vector of a key and a counter of zeros (Salmon et al. 2011, ``kat_vectors``):

    >>> [hex(word) for word in philox(0, 0)][:2]
    ['0x16554d9eca36314c', '0xdb20fe9d672d0fdc']
    """
    (a, b, c, d), (k, l), low = (block, 0, 0, 0), (seed, 0), 2**64 - 1  # noqa: E741
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = second >> 64 ^ b ^ k, second & low, first >> 64 ^ d ^ l, first & low
        k, l = (k + 0x9E3779B97F4A7C15) & low, (l + 0xBB67AE8584CAA73B) & low  # noqa: E741
    return [a, b, c, d]


@algorithm("dropout", automatic=False, exact=False)
def dropout(spec: Any, x: Array, out: Array, keep: Array) -> None:
    for i, place in enumerate(numpy.ndindex(*spec.shape)):
        word = philox(spec.seed, 1 + i // 8)[i % 8 // 2] >> 32 * (i % 2) & (2**32 - 1)
        keep[place] = word >= spec.p * 2**32
        out[place] = x[place] * (spec.scale if keep[place] else 0)


@algorithm("dropout_grad", automatic=False, exact=False)
def dropout_grad(spec: Any, grad: Array, keep: Array, out: Array) -> None:
    for place in numpy.ndindex(*spec.shape):
        out[place] = grad[place] * (spec.scale if keep[place] else 0)

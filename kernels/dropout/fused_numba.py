"""Dropout in one pass: some words of the random stream at a time, in the first cache, then the elements that they decide on."""

from __future__ import annotations

import math
from typing import Any

import numpy
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import copies, flat, writable
from minivgg.parallel import get_num_threads, parallel_blocks
from minivgg.registry import algorithm

CHUNK = 2048
"""Elements decided on at a time."""

FIRST, SECOND = numpy.uint64(0xD2E7470EE14C6C93), numpy.uint64(0xCA5A826395121157)
"""What Philox4x64 multiplies by."""


@intrinsic
def high(typingctx: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of a product of two 64-bit numbers: one instruction, which Numba has no name for."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(value, wide) for value in args))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@compiled
def draw(keys, block, words):  # pragma: no cover compiled
    """Philox4x64-10 (Salmon et al. 2011): four words for each counter from ``block`` on."""
    one, zero = numpy.uint64(1), numpy.uint64(0)
    counter = numpy.uint64(block)
    for i in range(0, words.size, 4):
        a, b, c, d = counter, zero, zero, zero
        for number in range(10):
            a, b, c, d = high(SECOND, c) ^ b ^ keys[number, 0], SECOND * c, high(FIRST, a) ^ d ^ keys[number, 1], FIRST * a
        words[i], words[i + 1], words[i + 2], words[i + 3] = a, b, c, d
        counter += one


@compiled
def drop(x, out, keep, keys, limit, scale, first, last, words):  # pragma: no cover compiled
    """keep = word > limit, and out = x · scale or x · 0: the elements first to last; first is a multiple of 8."""
    zero, halves = x.dtype.type(0), words.view(numpy.uint32)
    for begin in range(first, last, halves.size):
        count = min(halves.size, last - begin)
        draw(keys, 1 + begin // 8, words[: (count + 7) // 8 * 4])
        source, result, kept = x[begin : begin + count], out[begin : begin + count], keep[begin : begin + count]
        for i in range(count):
            kept[i] = halves[i] > limit
        for i in range(count):
            result[i] = source[i] * (scale if halves[i] > limit else zero)


@compiled
def drop_in_place(x, keep, keys, limit, scale, first, last, words):  # pragma: no cover compiled
    """The same with the input overwritten: one array, or the compiler would have to fear that two overlap."""
    zero, halves = x.dtype.type(0), words.view(numpy.uint32)
    for begin in range(first, last, halves.size):
        count = min(halves.size, last - begin)
        draw(keys, 1 + begin // 8, words[: (count + 7) // 8 * 4])
        result, kept = x[begin : begin + count], keep[begin : begin + count]
        for i in range(count):
            kept[i] = halves[i] > limit
        for i in range(count):
            result[i] *= scale if halves[i] > limit else zero


@compiled
def scale_kept(grad, keep, scale, first, last, out):  # pragma: no cover compiled
    """out = grad · scale where kept, grad · 0 elsewhere."""
    zero = grad.dtype.type(0)
    grad, keep, out = grad[first:last], keep[first:last], out[first:last]
    for i in range(grad.size):
        out[i] = grad[i] * (scale if keep[i] else zero)


def _keys(seed: int) -> numpy.ndarray:
    """The keys of the ten rounds, (10, 2): each goes up by a constant a round."""
    low = 2**64 - 1
    return numpy.array([[(seed + i * 0x9E3779B97F4A7C15) & low, i * 0xBB67AE8584CAA73B & low] for i in range(10)], numpy.uint64)


def _bytes(spec: Any, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in one memory order, and each thread's words."""
    return copies(spec.shape, 3 * dtype.itemsize + 2) + get_num_threads() * 4 * CHUNK


@algorithm("dropout", backend="numba", exact=False, workspace=_bytes)
def dropout(spec, x, out, keep):
    """The stream goes along the rows of the shape, whatever the memory order."""
    keys, scale = _keys(spec.seed), x.dtype.type(spec.scale)
    limit = numpy.uint32(math.ceil(spec.p * 2**32) - 1)
    source, result, kept = writable(numpy.ascontiguousarray(x)).reshape(-1), numpy.ascontiguousarray(out).reshape(-1), numpy.ascontiguousarray(keep).reshape(-1)

    def work(first: int, last: int) -> None:
        words = numpy.empty(CHUNK // 2, numpy.uint64)
        if out is x:
            drop_in_place(result, kept, keys, limit, scale, first, last, words)
        else:
            drop(source, result, kept, keys, limit, scale, first, last, words)

    parallel_blocks(work, result.size)
    for array, computed in ((out, result), (keep, kept)):
        if not numpy.may_share_memory(array, computed):
            array[...] = computed.reshape(array.shape)


@algorithm("dropout_grad", backend="numba", exact=False, workspace=_bytes)
def dropout_grad(spec, grad, keep, out):
    scale = out.dtype.type(spec.scale)
    flat(lambda out, grad, keep: parallel_blocks(lambda first, last: scale_kept(grad, keep, scale, first, last, out), out.size), [out], grad, keep)

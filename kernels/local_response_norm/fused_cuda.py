"""Local response normalisation on the GPU in one pass, in both memory orders. The kernels are in fused.cu."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import Array, is_channels_last
from minivgg.kernels.common.cuda import TYPES, Program, ceil_div, struct
from minivgg.kernels.common.cuda_memory import channels_last, dense, into, into_channels_last
from minivgg.kernels.common.layout import copies
from minivgg.registry import algorithm

PROGRAM = Program(Path(__file__).with_name("fused.cu"), ({"T": "float"}, {"T": "double"}))

THREADS = 256
ACROSS = 32
"""Threads of a block that lie side by side in a plane; the others go along the channels."""

MOST = 1024
"""Threads of a block."""


def _reach(spec: Any) -> tuple[int, int]:
    return min(spec.size // 2, spec.shape[1]), min((spec.size - 1) // 2, spec.shape[1])


def _neighbours_fit(spec: Any, dtype: numpy.dtype) -> str | None:
    most = MOST // ACROSS // 2
    return f"a block has threads for {most} neighbours of a channel, got {sum(_reach(spec))}" if sum(_reach(spec)) > most else None


def _bytes(spec: Any, dtype: numpy.dtype) -> int:
    """Copies of what does not lie in the result's memory order."""
    return 3 * copies(spec.shape, dtype.itemsize)


def _run(name: str, spec: Any, inputs: list[Array], out: Array, blocks: Any) -> None:
    """A kernel on arrays [outer, channels, inner]; ``blocks(out, inner)`` are its blocks, the threads of each, and elements that they share."""
    if not out.size:
        return
    last, channels, (before, after) = is_channels_last(out), spec.shape[1], _reach(spec)
    inner = 1 if last else math.prod(spec.shape[2:])
    outer = out.size // channels // inner
    problem = struct(outer=numpy.int64(outer), inner=numpy.int64(inner), channels=channels, before=before, after=after)
    arrays = [channels_last(x) if last else dense(x) for x in inputs]
    numbers = [out.dtype.type(number) for number in (spec.alpha / spec.size, spec.beta, spec.k)]
    count, threads, shared = blocks(out, inner)
    kernel = PROGRAM.kernel(name, T=TYPES[out.dtype])
    (into_channels_last if last else into)(out, lambda out: kernel(count, threads, out, *arrays, problem, *numbers, shared=shared * out.dtype.itemsize))


@algorithm("local_response_norm", backend="cuda", exact=False, supports=_neighbours_fit, workspace=_bytes)
def local_response_norm(spec, x, out):
    _run("normalise", spec, [x], out, lambda out, inner: (ceil_div(out.size, THREADS), THREADS, 0))


@algorithm("local_response_norm_grad", backend="cuda", exact=False, supports=_neighbours_fit, workspace=_bytes)
def local_response_norm_grad(spec, grad, x, dx):
    """Each block has threads for the neighbours of its results, too, beside or above and below them."""
    reach, channels = sum(_reach(spec)), spec.shape[1]

    def blocks(out: Array, inner: int) -> tuple[int, tuple[int, int], int]:
        if inner == 1:
            return ceil_div(out.size, THREADS - reach), (THREADS, 1), THREADS
        down = 1 << (min(MOST // ACROSS, channels + reach) - 1).bit_length()
        return ceil_div(out.size // channels, ACROSS) * ceil_div(channels, down - reach), (ACROSS, down), ACROSS * down

    _run("gradient", spec, [grad, x], dx, blocks)

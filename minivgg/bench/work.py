"""How much an algorithm really computes and moves: what the definition's operations are compared with."""

from __future__ import annotations

import re

import numpy

from minivgg.bench.network import Network
from minivgg.registry import select
from minivgg.spec import Conv2dSpec


def executed_macs(spec: Conv2dSpec, algorithm: str) -> int | None:
    """Multiply-adds in an algorithm's matrix products or loops, without those of transforms; None for FFT, which has complex ones.

    Winograd F(m x m, 3x3) has (m + 2)² for each tile, input and output channel, in each of the three directions.

    >>> spec = Conv2dSpec.parse("n1 c64 h8 w8 k32 r3 p1")
    >>> executed_macs(spec, "direct") / executed_macs(spec, "winograd_f4"), executed_macs(spec, "direct") / executed_macs(spec, "winograd_f2")
    (4.0, 2.25)
    """
    winograd = re.fullmatch(r"winograd_f([0-9]+)", algorithm)
    if winograd:
        m = int(winograd[1])
        tiles = spec.n * -(-spec.p // m) * -(-spec.q // m)
        return tiles * (m + 2) ** 2 * spec.c * spec.k
    return None if algorithm == "fft" else spec.macs


def least_bytes(spec: Conv2dSpec, itemsize: int = 4) -> int:
    """Input, weights and output, each touched once: what any algorithm must move between memory and processor.

    >>> least_bytes(Conv2dSpec.parse("n1 c2 h5 w5 k3 r1"))
    524
    """
    image = spec.n * (spec.c * spec.h * spec.w + spec.k * spec.p * spec.q)
    return itemsize * (image + spec.k * spec.c // spec.groups * spec.r * spec.s)


def network_macs(network: Network, batch: int) -> int:
    """Multiply-adds that a forward pass executes, each convolution by the algorithm that is chosen for it now."""
    total = 0
    for layer in network.layers:
        if layer.kind == "conv2d":
            spec = layer.spec(batch)
            total += executed_macs(spec, select("conv2d", spec, numpy.dtype("float32")).name) or spec.macs
        else:
            total += batch * layer.macs
    return total

"""Loops and variables inside a function that explicit vectors are written into; see simd.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llvmlite import ir
from numba.core import cgutils

from minivgg.kernels.common.simd import Vectors, integer


@contextlib.contextmanager
def each_vector(v: Vectors, count: ir.Value) -> Iterator[ir.Value]:
    """A loop over the first element of each vector: 0, lanes, ...; the last of ``count`` >= lanes elements overlaps the one before."""
    builder, lanes = v.builder, integer(v.count)
    with cgutils.for_range(builder, builder.sdiv(builder.add(count, integer(v.count - 1)), lanes)) as step:
        start, last = builder.mul(step.index, lanes), builder.sub(count, lanes)
        yield builder.select(builder.icmp_signed("<", start, last), start, last)


class Cell:
    """A variable of a function under construction: a register, once LLVM has seen that nobody takes its address."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.place = builder, cgutils.alloca_once(builder, value.type)
        self.set(value)

    def set(self, value: ir.Value) -> None:
        self.builder.store(value, self.place)

    def get(self) -> ir.Value:
        return self.builder.load(self.place)

"""The machine's own ceilings, measured: multiply-adds a second on data in the innermost cache, and bytes a second from memory."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from minivgg.bench.machine import cores, set_threads

MEMORY = 1 << 28
"""Bytes that are read and copied: several times what a core's share of the last cache holds."""

ITEMS = 16
"""Work items for each thread."""

PAUSE = 0.05
"""Seconds before each trial: they are spread over a while, so that one of them meets the machine undisturbed."""


@dataclass(frozen=True)
class Ceilings:
    """What so many threads reach together at the best of several trials. Operations: two a multiply-add, in float32."""

    threads: int
    flops: float
    """Operations a second."""
    read: float
    """Bytes a second."""
    copy: float
    """Bytes read and bytes written, a second."""

    def __str__(self) -> str:
        many = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{many}: {self.flops / 1e9:.0f} GFLOP/s, reads {self.read / 1e9:.1f} GB/s, copies {self.copy / 1e9:.1f} GB/s"


def measure_ceilings(threads: int | None = None, trials: int = 40) -> Ceilings:
    """Run the register tile on a few KiB, and go through 256 MiB, with so many threads (all cores, if None); some seconds.

    A ceiling is a best, not a median: whatever else the machine does can only lower it.
    """
    count = threads or cores()
    set_threads(count)
    kernels = importlib.import_module("minivgg.kernels.common.ceilings")
    source = numpy.ones(MEMORY // 4, numpy.float32)
    target = numpy.ones_like(source)
    items = ITEMS * count
    return Ceilings(
        count,
        _best(lambda: kernels.multiply(items, 2000), trials),
        _best(lambda: kernels.read_all(source, items), trials),
        _best(lambda: kernels.copy_all(source, target, items), trials),
    )


def _best(work: Callable[[], int], trials: int) -> float:
    """The highest rate of several calls, of which each returns its amount of work."""
    rates = []
    for _ in range(trials + 1):
        time.sleep(PAUSE)
        start = time.perf_counter()
        amount = work()
        rates.append(amount / (time.perf_counter() - start))
    return max(rates[1:])  # the first one compiles

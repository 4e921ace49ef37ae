"""``minivgg warmup``: compile every kernel ahead, so that nothing needs to wait for it later."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy
import typer

if TYPE_CHECKING:
    from minivgg.registry import Algorithm
    from minivgg.testing.problems import Problem

SMALL = 40_000
"""Elements of the largest array of a problem that is only there to have a kernel compiled."""


def calls() -> Iterator[tuple[Algorithm, list[tuple[Problem, numpy.dtype]]]]:
    """Every compiled algorithm, with the problems that reach all of its kernels in all the types that occur."""
    from minivgg.registry import algorithms, operations_with_algorithms
    from minivgg.testing.problems import problems

    for operation in operations_with_algorithms():
        small = [problem for problem in problems(operation) if max(numpy.prod(shape) for shape in (*problem.inputs, *problem.outputs) if shape) <= SMALL]
        for algorithm in algorithms(operation).values():
            if algorithm.backend == "numba":
                pairs = [(problem, dtype) for problem in small for dtype in map(numpy.dtype, ("float32", "float64"))]
                yield algorithm, [(problem, dtype) for problem, dtype in pairs if algorithm.supports(problem.spec, dtype) is None]


def run(algorithm: Algorithm, problem: Problem, dtype: numpy.dtype) -> None:
    """Call it in both memory orders, as inference does; what it computes is nobody's concern."""
    from minivgg.autograd import no_grad
    from minivgg.testing.kernel_checks import LAYOUTS, data, poisoned_outputs

    for layout in ("row_major", "channels_last"):
        inputs = [None if array is None else LAYOUTS[layout](array) for array in data(problem, dtype, "normal")]
        with no_grad():
            algorithm.run(problem.spec, *inputs, *poisoned_outputs(problem, dtype, 0, layout))


def warmup() -> None:
    """Compile all kernels for this machine, in both precisions, and keep them; what is kept already is only looked at.

    The exit code is 1 if they cannot be kept: then NUMBA_CACHE_DIR must name a folder that can be written.

        minivgg warmup
        NUMBA_CACHE_DIR=/var/cache/minivgg minivgg warmup
    """
    from minivgg.cli.console import console, duration
    from minivgg.cli.progress import Status
    from minivgg.registry import operations_with_algorithms

    operations_with_algorithms()  # imports the kernels
    jit = importlib.import_module("minivgg.kernels.common.jit")
    if not jit.kept():
        console(stderr=True).print("[red]the cache folder cannot be written: nothing would be kept; set NUMBA_CACHE_DIR to a writable folder[/]")
        raise typer.Exit(1)
    jit.TELLER.told = True  # the user knows
    start, todo = time.perf_counter(), list(calls())
    before = {id(kernel): sum(kernel.stats.cache_misses.values()) for kernel in jit.KERNELS}
    with Status() as status:
        for i, (algorithm, pairs) in enumerate(todo):
            status(f"{algorithm.operation} by {algorithm.name} ({i + 1} of {len(todo)})")
            for problem, dtype in pairs:
                run(algorithm, problem, dtype)
    made = sum(sum(kernel.stats.cache_misses.values()) - before[id(kernel)] for kernel in jit.KERNELS)
    console().print(f"{len(todo)} algorithms are ready; compiled {made} functions in {duration(time.perf_counter() - start)}")

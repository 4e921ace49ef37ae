"""How far float32 lies from the truth: outputs and gradients of every operation against the same calls in float64.

An error is counted in roundings: |float32 - float64| / (2⁻²⁴ · m), where m is the largest number of the result; for a gradient
at least 1, the size of the upstream gradient, because gradients cancel (that of a softmax that is sure of itself is 0). One
correct rounding of the exact result is at most 1. The float64 run starts from the same float32 numbers, so what is measured is the
computation alone. ``python -m minivgg.testing.numerics`` prints the table, and with ``--write`` puts it into docs/numerics.md.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy

from minivgg.registry import OPERATIONS, Operation
from minivgg.testing.checks import in_dtype, names_dtype, run
from minivgg.testing.samples import is_floating

ROUNDING = 2.0**-24
LIMIT = 32.0
"""Roundings that no output and no gradient of any operation exceeds on its samples."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The largest errors of an operation over its samples, in roundings; None where nothing floating comes out."""

    name: str
    samples: int
    forward: float | None
    gradient: float | None


def error_of(got: numpy.ndarray, exact: numpy.ndarray, least: float = 0.0) -> float:
    """The error in roundings; infinite if one of both is finite where the other is not.

    >>> error_of(numpy.array([1 + 2.0**-23, 0.5]), numpy.array([1.0, 0.5]))
    2.0
    """
    finite = numpy.isfinite(exact)
    if not numpy.array_equal(finite, numpy.isfinite(got)):
        return numpy.inf
    largest = float(numpy.abs(exact[finite]).max(initial=least))
    return float(numpy.abs(got[finite] - exact[finite]).max(initial=0.0)) / (ROUNDING * largest) if largest else 0.0


def measure(operation: Operation, seeds: int = 3) -> Row:
    """Every sample of an operation for several seeds.

    >>> from minivgg.ops.relu import OPERATION
    >>> row = measure(OPERATION)
    >>> row.samples, row.forward, row.gradient <= 1
    (12, 0.0, True)
    """
    found: tuple[list[float], list[float]] = ([], [])
    count = 0
    for seed in range(seeds):
        for sample in operation.samples(numpy.random.default_rng(seed)):
            if names_dtype(sample):
                continue
            count += 1
            coarse = in_dtype(sample, "float32")
            results = run(operation, coarse), run(operation, in_dtype(coarse, "float64"))
            for errors, least, got, exact in zip(found, (0.0, 1.0), *results, strict=True):
                errors += [error_of(a, b, least) for a, b in zip(got, exact, strict=True) if is_floating(b)]
    forward, gradient = (max(errors) if errors else None for errors in found)
    return Row(operation.name, count, forward, gradient)


def measure_all() -> Iterator[Row]:
    """A row for every operation."""
    for operation in list(OPERATIONS.values()):
        yield measure(operation)


def table() -> str:
    """The rows as a page shows them."""
    lines = ["| operation | calls | outputs, roundings | gradients, roundings |", "|---|---|---|---|"]
    for row in measure_all():
        errors = ("-" if error is None else f"{error:.1f}" for error in (row.forward, row.gradient))
        lines.append(f"| {row.name} | {row.samples} | {' | '.join(errors)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    printed = table()
    print(printed)
    if sys.argv[1:] == ["--write"]:
        page = Path(__file__).parents[2] / "docs" / "numerics.md"
        text = page.read_text(encoding="utf-8")
        begin, end = (re.search(f"<!-- numerics: {mark}.*?-->", text) for mark in ("begin", "end"))
        assert begin is not None, f"{page} has no place for the table"
        assert end is not None, f"{page} has no end of the table"
        page.write_text(f"{text[: begin.end()]}\n\n{printed}\n\n{text[end.start() :]}", encoding="utf-8")

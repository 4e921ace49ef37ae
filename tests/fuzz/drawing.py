"""What generators of calls draw with: sizes, shapes, arrays, chances; and the table that they register themselves in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

Call = tuple[tuple[Any, ...], dict[str, Any]]
Rng = numpy.random.Generator

CALLS: dict[str, Callable[[Rng], Call]] = {}
"""For each operation, by its name in the registry, a function that draws a call."""


def calls(*names: str) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Register a generator for one operation, or for several of the same form."""

    def register(draw: Callable[..., Call]) -> Callable[..., Call]:
        for name in names:
            CALLS[name] = draw
        return draw

    return register


def chance(rng: Rng, p: float) -> bool:
    return bool(rng.random() < p)


def one_of(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def size(rng: Rng, low: int = 1, high: int = 5) -> int:
    """Mostly small; now and then none, or one more than a vector has lanes."""
    return 0 if chance(rng, 0.02) else int(rng.integers(15, 19)) if chance(rng, 0.04) else int(rng.integers(low, high + 1))


def shape(rng: Rng, low: int = 0, high: int = 4) -> tuple[int, ...]:
    return tuple(size(rng) for _ in range(int(rng.integers(low, high + 1))))


def array(rng: Rng, of: tuple[int, ...], kind: str | None = None) -> numpy.ndarray:
    """Numbers of one kind: normal, small integers with many ties, on a grid of halves, large and small together."""
    kind = kind or one_of(rng, "normal", "normal", "integers", "halves", "spread")
    if kind == "integers":
        return numpy.asarray(rng.integers(-2, 3, of), float)
    if kind == "halves":
        return numpy.asarray(rng.integers(-4, 5, of) / 2)
    numbers = rng.standard_normal(of)
    return numpy.asarray(numbers * 10.0 ** rng.integers(-6, 7, of) if kind == "spread" else numbers)


def one_or_two(rng: Rng, low: int, high: int) -> Any:
    return int(rng.integers(low, high + 1)) if chance(rng, 0.6) else (int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1)))


def broadcast_pair(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole = shape(rng)
    narrow = tuple(1 if chance(rng, 0.3) else extent for extent in whole)[int(rng.integers(len(whole) + 1)) :]
    return (whole, narrow) if chance(rng, 0.5) else (narrow, whole)


def axis_of(rng: Rng, dimensions: int) -> int:
    """An axis, now and then one that does not exist."""
    return int(rng.integers(-dimensions - chance(rng, 0.05), dimensions + chance(rng, 0.05))) if dimensions else one_of(rng, 0, -1)

"""What a diagnosis has to go on: for each input both sides of the comparison, and the subject itself, to experiment with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from minivgg.testing.gradients.subject import Arrays, Index, Subject

ALIKE = 1e-4
"""Relative distance (of norms) up to which two gradients count as the same when a hypothesis is tried."""


def alike(a: numpy.ndarray, b: numpy.ndarray, limit: float = ALIKE) -> bool:
    """Whether two arrays are the same up to the accuracy of differences, and not both 0."""
    with numpy.errstate(all="ignore"):
        size = max(float(numpy.linalg.norm(a)), float(numpy.linalg.norm(b)))
        return size > 1e-12 and bool(float(numpy.linalg.norm(a - b)) <= limit * size)


@dataclasses.dataclass
class Leaf:
    """One input. The rows of ``analytic`` and ``numeric`` are upstream gradients (the random ones, then in full mode the unit
    vectors, one for each output element); their columns are the ``indices`` that were checked.
    """

    label: str
    array: numpy.ndarray
    indices: list[Index]
    connected: bool
    """Whether backward returned a gradient at all."""
    analytic: numpy.ndarray
    numeric: numpy.ndarray
    columns: numpy.ndarray
    """The numeric Jacobian: [output element, index]."""
    wrong: numpy.ndarray
    """For each of the indices."""
    looks: dict[int, Any]
    """The closer look at some of the indices, by number."""
    together: tuple[int, list[int], float, float, float] | None = None
    """Elements that kink together and are wrong together: output, indices, backward's derivative along all, and its bounds."""

    @property
    def whole(self) -> bool:
        """Whether every element was checked."""
        return len(self.indices) == self.array.size

    def shaped(self, values: numpy.ndarray) -> numpy.ndarray:
        """Values for each index, in the input's shape; nan where it was not checked. Leading dimensions stay."""
        found = numpy.full((*values.shape[:-1], *self.array.shape), numpy.nan)
        for j, index in enumerate(self.indices):
            found[(slice(None),) * (values.ndim - 1) + index] = values[..., j]
        return found


@dataclasses.dataclass
class Case:
    """A whole check. ``precision`` is that in which the function really computes; ``vectors`` are the random upstream gradients."""

    subject: Subject
    order: int
    precision: numpy.dtype
    vectors: list[Arrays]
    leaves: dict[str, Leaf]

    @property
    def random(self) -> int:
        return len(self.vectors)

    def output_shapes(self) -> list[Index]:
        return [part.shape for part in self.vectors[0]]

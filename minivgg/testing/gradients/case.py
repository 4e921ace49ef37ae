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


@dataclasses.dataclass(frozen=True)
class Together:
    """Elements that meet at a kink of one output and are wrong together: backward's derivative along all of them, and its bounds."""

    output: int
    elements: tuple[tuple[str, Index], ...]
    along: float
    low: float
    high: float


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
    together: Together | None = None

    @property
    def whole(self) -> bool:
        """Whether every element was checked."""
        return len(self.indices) == self.array.size

    def rows(self, case: Case) -> tuple[numpy.ndarray, numpy.ndarray] | None:
        """Both Jacobians, [output element, index], where each row was taken; None where only products with random vectors were."""
        if len(self.analytic) == case.random or not self.indices:
            return None
        return self.analytic[case.random :], self.numeric[case.random :]

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


def gradient_for(case: Case, leaf: Leaf, vectors: list[list[numpy.ndarray]]) -> numpy.ndarray:
    """Rows of the checked elements for other upstream gradients."""
    position = list(case.subject.leaves).index(leaf.label)
    rows = [arrived[position] for vector in vectors for arrived in case.subject.gradients([vector])]
    return numpy.array([[0.0 if row is None else row[index] for index in leaf.indices] for row in rows]).reshape(len(rows), len(leaf.indices))


def upstream_of(case: Case, leaf: Leaf) -> numpy.ndarray | None:
    """The upstream gradients as rows, if the one output has the input's shape."""
    if case.output_shapes() != [leaf.array.shape] or not leaf.indices:
        return None
    return numpy.array([[vector[0][index] for index in leaf.indices] for vector in case.vectors], numpy.float64)

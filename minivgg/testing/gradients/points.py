"""A closer look at one element where backward and differences part: wrong, or a step too large, or a kink?"""

from __future__ import annotations

import dataclasses

import numpy

from minivgg.testing.gradients.case import Case, Leaf, Together
from minivgg.testing.gradients.differences import Curve, Derivative, curve, derivative

UNSURE = 0.02
"""Doubt of a difference, relative to the largest gradient beside it, from which nothing can be concluded from it."""


@dataclasses.dataclass(frozen=True)
class Look:
    """One element under nine steps. ``low`` and ``high`` bound the derivative for each upstream gradient, ``doubt`` widens them."""

    curve: Curve
    found: Derivative
    functionals: numpy.ndarray
    analytic: numpy.ndarray
    low: numpy.ndarray
    high: numpy.ndarray
    doubt: numpy.ndarray
    cleared: bool
    error: float

    @property
    def at_kink(self) -> bool:
        return self.cleared and bool((self.found.kink | self.found.jump).any())

    @classmethod
    def closely(cls, case: Case, leaf: Leaf, j: int, here: numpy.ndarray, functionals: numpy.ndarray, atol: float, rtol: float) -> Look:
        """Take the curve of index number ``j`` and judge what backward says of it."""
        label, index, analytic = leaf.label, leaf.indices[j], leaf.analytic[:, j]
        taken = curve(case.subject, label, index, here, case.precision)
        found = derivative(taken, rtol)
        weights = numpy.concatenate([functionals, numpy.eye(len(found.low))]) if len(analytic) > len(functionals) else functionals
        with numpy.errstate(all="ignore"):
            one, other = (numpy.where(weights == 0, 0.0, weights * end) for end in (found.low, found.high))  # 0 times infinity is 0 here
            low, high = numpy.minimum(one, other).sum(axis=1), numpy.maximum(one, other).sum(axis=1)
            doubt = numpy.where(weights == 0, 0.0, numpy.abs(weights) * found.doubt).sum(axis=1)
            outside = numpy.maximum(numpy.maximum(low - analytic, analytic - high), 0.0)
            largest = numpy.maximum(
                numpy.maximum(numpy.abs(low), numpy.abs(high)), numpy.abs(leaf.numeric).max(axis=1, initial=0.0, where=numpy.isfinite(leaf.numeric))
            )
            close = outside <= atol + rtol * numpy.maximum(numpy.abs(low), numpy.abs(high)) + doubt
            sure = doubt <= atol + UNSURE * largest
        jumps = (weights != 0) @ found.jump > 0
        cleared = bool(numpy.isfinite(analytic).all() and (close & sure | jumps).all())
        with numpy.errstate(all="ignore"):
            error = numpy.where(jumps, 0.0, numpy.maximum(outside - doubt, 0.0) / (numpy.minimum(numpy.abs(low), numpy.abs(high)) + atol / rtol))
        return cls(taken, found, functionals, analytic, low, high, doubt, cleared, float(error.max(initial=0.0)))

    def nearest(self, analytic: numpy.ndarray) -> numpy.ndarray:
        """For each upstream gradient the derivative that is nearest to what backward gives."""
        return numpy.clip(analytic, self.low, self.high)

    def error_by_step(self, row: int) -> tuple[tuple[float, float, float, float], ...]:
        """For one upstream gradient: (step, |analytic - central difference|, what rounding may contribute, the error of a right gradient)."""
        units = row - len(self.functionals)
        weights = self.functionals[row] if units < 0 else numpy.eye(self.curve.central.shape[1])[units]
        with numpy.errstate(all="ignore"):
            numeric = self.curve.central @ weights
            errors, right = numpy.abs(numeric - self.analytic[row]), numpy.abs(numeric - self.nearest(self.analytic)[row])
            noise = self.curve.noise @ numpy.abs(weights)
        return tuple(zip(self.curve.steps, errors.tolist(), noise.tolist(), right.tolist(), strict=True))


TOGETHER = 1e-5
"""The step along which elements that kink together are moved."""


def at_kinks(case: Case, atol: float, rtol: float) -> None:
    """Where an output kinks, all elements that it depends on must be right together, too, in whichever inputs they lie.

    Of two equal numbers in a maximum each may have any derivative from 0 to 1, but both together have 1: moved together,
    the output moves as they do. A backward that gives 1 to each is right at each by itself, and wrong.
    """
    if any(leaf.wrong.any() for leaf in case.leaves.values()):
        return
    kinks = [look.found.kink for leaf in case.leaves.values() for look in leaf.looks.values() if look.at_kink and not look.found.jump.any()]
    if not kinks:
        return
    for output in numpy.flatnonzero(numpy.any(kinks, axis=0))[:8].tolist():
        group = [(leaf, j) for leaf in case.leaves.values() for j in range(len(leaf.indices)) if _takes_part(leaf, j, output)]
        if len(group) < 2:
            continue
        along = float(_analytic_row(case, output, group).sum())
        here = case.subject.flat()[output]
        sides = [float(_moved_together(case, group, step)[output] - here) / step for step in (TOGETHER, -TOGETHER)]
        low, high = min(sides), max(sides)
        tolerance = atol + max(rtol, 1e-3) * (1 + max(abs(low), abs(high)))
        if not low - tolerance <= along <= high + tolerance:
            together = Together(output, tuple((leaf.label, leaf.indices[j]) for leaf, j in group), along, low, high)
            for leaf, j in group:
                if j in leaf.looks:
                    leaf.wrong[j], leaf.together = True, together
            return


def _takes_part(leaf: Leaf, j: int, output: int) -> bool:
    return bool(leaf.columns[output, j]) or (j in leaf.looks and bool(leaf.looks[j].found.kink[output]))


def _moved_together(case: Case, group: list[tuple[Leaf, int]], step: float) -> numpy.ndarray:
    """All outputs with these elements moved by one step."""
    before = [leaf.array[leaf.indices[j]] for leaf, j in group]
    try:
        for leaf, j in group:
            leaf.array[leaf.indices[j]] += step
        return case.subject.flat()
    finally:
        for (leaf, j), value in zip(group, before, strict=True):
            leaf.array[leaf.indices[j]] = value


def _analytic_row(case: Case, output: int, group: list[tuple[Leaf, int]]) -> numpy.ndarray:
    """What backward gives these elements for the unit vector of one output."""
    if len(group[0][0].analytic) > case.random:
        return numpy.array([leaf.analytic[case.random + output, j] for leaf, j in group])
    vector = [numpy.zeros(part.shape, part.dtype) for part in case.vectors[0]]
    for part in vector:
        if output < part.size:
            part.reshape(-1)[output] = 1
            break
        output -= part.size
    (arrived,) = case.subject.gradients([vector])
    found = dict(zip(case.subject.leaves, arrived, strict=True))
    return numpy.array([0.0 if (gradient := found[leaf.label]) is None else gradient[leaf.indices[j]] for leaf, j in group])

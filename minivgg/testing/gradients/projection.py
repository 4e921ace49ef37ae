"""Large inputs: instead of every element, random directions of all of them at once, and what may escape that.

Moved along u, the outputs change by J·u; with an upstream gradient v this is one number, v·J·u, which backward gives as
(v·J)·u. The elements of u are +1 or -1, never small, so an error of δ in one element of the gradient shows as ±δ, and δ is
normally distributed with v. It escapes if it is below the accuracy T of the difference: with the chance erf(T / (δ √2)).

T is measured, not assumed: the differences are taken at several steps, and what changes between them bounds their error.
So T is near 1e-9 of the gradient's norm where a fixed relative tolerance of 1e-3 would hide any one of a million elements.
"""

from __future__ import annotations

import dataclasses
import math

import numpy

from minivgg.testing.gradients.differences import Curve, derivative
from minivgg.testing.gradients.subject import Arrays, Subject

DIRECTIONS = 8
STEPS = tuple(10.0**-k for k in range(2, 8))
SURE = 0.01
"""A direction says nothing if its difference may be off by more than this part of the gradient's norm."""


@dataclasses.dataclass(frozen=True)
class Projection:
    """All directions: the two numbers of the worst, how many could be judged, the chance that one wrong element escapes."""

    ok: bool
    evidence: str
    judged: int
    escape: float
    directions: int

    @property
    def coverage(self) -> str:
        if not self.judged:
            return f"{self.directions} random directions, none of which could be judged: too many kinks within the smallest step"
        chance = "less than 1e-12" if self.escape < 1e-12 else f"{self.escape:.1g}"
        return f"{self.judged} random directions of all inputs at once: one element wrong by the size of a typical gradient escapes with a chance of {chance}"


def project(subject: Subject, directions: int = DIRECTIONS, seed: int = 0) -> Projection:
    """Costs a backward and twelve forward passes a direction, whatever the number of elements."""
    rng = numpy.random.default_rng(seed)
    before = {label: leaf.copy() for label, leaf in subject.leaves.items()}
    judged, escape, worst, evidence = 0, 1.0, -1.0, ""
    count = sum(leaf.size for leaf in subject.leaves.values())
    for _ in range(directions):
        here = subject.outputs()
        vector = [numpy.asarray(rng.standard_normal(out.shape), out.dtype) for out in here]
        direction = {label: 2 * rng.integers(0, 2, leaf.shape, numpy.int8) - 1 for label, leaf in subject.leaves.items()}
        taken = _curve(subject, before, direction)
        along, difference, doubt, norm = _both_sides(subject, vector, direction, taken)
        accuracy = 10 * doubt + 1e-8 * norm
        if not abs(along - difference) <= accuracy:  # before it is called wrong: only by the outputs that have a derivative along it
            found = derivative(taken, 1e-6)
            smooth = ~(found.kink | found.jump)
            if not smooth.all():
                stops = numpy.cumsum([part.size for part in vector])[:-1]
                kept = numpy.split(smooth, stops)
                vector = [numpy.where(mask.reshape(part.shape), part, part.dtype.type(0)) for part, mask in zip(vector, kept, strict=True)]
                along, difference, doubt, norm = _both_sides(subject, vector, direction, taken)
                accuracy = 10 * doubt + 1e-8 * norm
        if not doubt <= SURE * norm:
            continue
        judged += 1
        if norm > 0:
            escape *= math.erf(accuracy / (norm / math.sqrt(count) * math.sqrt(2)))
        miss = abs(along - difference) / accuracy if accuracy > 0 else 0.0
        if miss > worst:
            worst = miss
            evidence = f"backward gives {along:.9g} along the worst of {directions} directions, differences {difference:.9g} ± {accuracy:.1g}"
    return Projection(worst <= 1, evidence, judged, escape if judged else 1.0, directions)


def _curve(subject: Subject, before: dict[str, numpy.ndarray], direction: dict[str, numpy.ndarray]) -> Curve:
    """The derivatives of all outputs along the direction, at every step, from values alone."""
    rows, noise = [], []
    here = subject.flat()
    try:
        for step in STEPS:
            ends = []
            for sign in (1.0, -1.0):
                for label, leaf in subject.leaves.items():
                    leaf[...] = direction[label]
                    leaf *= sign * step  # in place: the leaves may be as large as memory allows
                    leaf += before[label]
                ends.append(subject.flat())
            with numpy.errstate(all="ignore"):
                rows.append(((ends[0] - ends[1]) / (2 * step), (ends[0] - here) / step, (here - ends[1]) / step))
                noise.append(4 * float(numpy.finfo(float).eps) * (numpy.abs(ends[0]) + numpy.abs(ends[1])) / (2 * step))
    finally:
        for label, leaf in subject.leaves.items():
            leaf[...] = before[label]
    middle, right, left = (numpy.array(part) for part in zip(*rows, strict=True))
    return Curve(STEPS, middle, right, left, numpy.array(noise))


def _both_sides(subject: Subject, vector: Arrays, direction: dict[str, numpy.ndarray], taken: Curve) -> tuple[float, float, float, float]:
    """(v·J)·u as backward gives it, v·(J·u) from values and how far that may be off, and the norm of v·J."""
    (gradients,) = subject.gradients([vector])
    pairs = [(gradient, direction[label]) for label, gradient in zip(subject.leaves, gradients, strict=True) if gradient is not None]
    along = sum(float(numpy.multiply(gradient, sign, dtype=numpy.float64).sum()) for gradient, sign in pairs)
    norm = math.hypot(*(float(numpy.linalg.norm(gradient)) for gradient, _ in pairs))
    flat = numpy.concatenate([part.ravel() for part in vector]).astype(numpy.float64)
    column = (taken.central @ flat)[:, None]
    rounding = numpy.linalg.norm(taken.noise * flat, axis=1)[:, None]
    value, doubt = (lambda c: c.best(c.central))(Curve(taken.steps, column, column, column, rounding))
    difference = float(value[0])
    return along, difference, float(doubt[0]), max(norm, abs(difference) / 4)  # a gradient of 0 must not make every difference look like one

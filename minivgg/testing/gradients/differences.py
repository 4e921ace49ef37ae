"""Derivatives from values alone: central differences, both one-sided ones, over a range of steps; and the complex step.

    central  (f(x + h) - f(x - h)) / 2h = f'(x) + h² f'''(x) / 6 + O(h⁴)      truncation, plus rounding of about ε |f| / h
    right    (f(x + h) - f(x)) / h      = f'(x) + h f''(x) / 2 + O(h²)
    complex  Im f(x + ih) / h           = f'(x) - h² f'''(x) / 6              no cancellation: h may be 1e-30

Truncation shrinks with the step, rounding grows, so the two make a valley; at a kink left and right stay apart.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy

from minivgg.testing.gradients.subject import COMPLEX_STEP, Index, Subject

STEPS = {numpy.dtype("float64"): tuple(10.0**-k for k in range(1, 10)), numpy.dtype("float32"): tuple(0.3 * 10 ** (-k / 2) for k in range(8))}
"""The steps of a curve, by the precision in which the function computes."""


def difference(subject: Subject, label: str, index: Index, step: float) -> tuple[numpy.ndarray, numpy.ndarray, float, float]:
    """All outputs with one element moved up and down, and how far it really moved, after rounding."""
    array = subject.leaves[label]
    value = array[index]
    try:
        array[index] = value + step
        above, after = float(array[index]) - float(value), subject.flat()
        array[index] = value - step
        below, before = float(value) - float(array[index]), subject.flat()
    finally:
        array[index] = value
    return after, before, above, below


def central(subject: Subject, label: str, index: Index, step: float) -> numpy.ndarray:
    """The derivative of all outputs by one element."""
    after, before, above, below = difference(subject, label, index, step)
    with numpy.errstate(all="ignore"):
        return (after - before) / (above + below)


def complex_step(subject: Subject, label: str, index: Index) -> numpy.ndarray | None:
    """The same without cancellation; None where the function takes no complex numbers or loses their imaginary part."""
    assert subject.complex_step is not None
    try:
        with numpy.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")  # numbers whose imaginary part is dropped
            moved = subject.complex_step(label, index)
    except Exception:
        return None
    return None if moved.dtype.kind != "c" else numpy.ravel(moved.imag) / COMPLEX_STEP


@dataclasses.dataclass(frozen=True)
class Curve:
    """The derivatives of all outputs by one element, at one step after the other: arrays [step, output]."""

    steps: tuple[float, ...]
    central: numpy.ndarray
    right: numpy.ndarray
    left: numpy.ndarray
    noise: numpy.ndarray
    """What rounding alone may have done to them."""

    def best(self, which: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """For each output the value at the bottom of the valley, and how far it may be off.

        One extrapolation removes the first term of the truncation (h² for ``central``, h for a one-sided one), and what it
        changes from one step to the next is the measure of what is left.
        """
        ratio = self.steps[0] / self.steps[1]
        gain = ratio**2 if which is self.central else ratio
        with numpy.errstate(all="ignore"):
            better = (gain * which[1:] - which[:-1]) / (gain - 1)
            doubt = numpy.abs(numpy.diff(better, axis=0)) + 2 * (self.noise[1:-1] + self.noise[2:])
        doubt = numpy.where(numpy.isnan(doubt), numpy.inf, doubt)
        k = doubt.argmin(axis=0)
        each = numpy.arange(which.shape[1])
        return better[k + 1, each], doubt[k, each]


def curve(subject: Subject, label: str, index: Index, here: numpy.ndarray, precision: numpy.dtype, steps: Sequence[float] = ()) -> Curve:
    """Differences at every step; ``here`` are the outputs unmoved. Steps are relative for elements larger than 1."""
    size = max(1.0, abs(float(subject.leaves[label][index])))
    wanted = [step * size for step in steps or STEPS[precision]]
    rows, noise = [], []
    with numpy.errstate(all="ignore"):
        for step in wanted:
            after, before, above, below = difference(subject, label, index, step)
            rows.append(((after - before) / (above + below), (after - here) / above, (here - before) / below))
            noise.append(4 * float(numpy.finfo(precision).eps) * (numpy.abs(after) + numpy.abs(before) + numpy.abs(here)) / (above + below))
    middle, right, left = (numpy.array(part) for part in zip(*rows, strict=True))
    return Curve(tuple(wanted), middle, right, left, numpy.array(noise))


@dataclasses.dataclass(frozen=True)
class Derivative:
    """What the curve of one element says, for each output: where the derivative must lie, and whether there is a kink.

    At a smooth point ``low`` = ``high``. At a kink every value between the derivatives from the left and from the right is
    one; where the function jumps there is none, and every value is let pass.
    """

    low: numpy.ndarray
    high: numpy.ndarray
    doubt: numpy.ndarray
    kink: numpy.ndarray
    jump: numpy.ndarray


def derivative(found: Curve, tolerance: float) -> Derivative:
    """Read the curve; differences between left and right below ``tolerance`` (relative, or absolute where small) are no kink."""
    middle, doubt = found.best(found.central)
    right, right_doubt = found.best(found.right)
    left, left_doubt = found.best(found.left)
    with numpy.errstate(all="ignore"):
        scale = 1 + numpy.maximum(numpy.abs(right), numpy.abs(left))
        apart = numpy.abs(right - left)
        kink = apart > 4 * (right_doubt + left_doubt) + tolerance * scale
        small = found.steps.index(min(found.steps)) - 2  # three of the smaller steps
        jump = numpy.zeros(kink.shape, bool)
        for side in (found.right, found.left):
            growth = numpy.abs(side[small:]) / numpy.abs(side[small - 1 : -1])
            ratio = found.steps[0] / found.steps[1]
            jump |= (growth > 0.8 * ratio).all(axis=0) & (numpy.abs(side[-1]) > 1e3 * found.noise[-1])
    low, high = (numpy.where(kink, extreme(left, right), middle) for extreme in (numpy.minimum, numpy.maximum))
    return Derivative(low, high, numpy.where(kink, right_doubt + left_doubt, doubt), kink & ~jump, jump)


def computes_in(subject: Subject) -> numpy.dtype:
    """float32 if all outputs that move with the inputs are float32 numbers, whatever their arrays are; else float64."""
    rng = numpy.random.default_rng(0)
    saved = {label: leaf.copy() for label, leaf in subject.leaves.items()}
    here = subject.flat()
    try:
        for leaf in subject.leaves.values():
            noise = rng.standard_normal(leaf.shape)
            noise *= 1e-3
            leaf += noise.astype(leaf.dtype, copy=False)
        nearby = subject.flat()
    finally:
        for label, leaf in subject.leaves.items():
            leaf[...] = saved[label]
    rounding = 64 * float(numpy.finfo(float).eps) * max([1.0, *(float(numpy.abs(leaf).max(initial=0.0)) for leaf in subject.leaves.values())])
    changed = nearby[numpy.isfinite(nearby) & (nearby != here) & (numpy.abs(nearby) > rounding)]  # what is left of terms that cancel has few digits
    with numpy.errstate(all="ignore"):
        coarse = len(changed) > 0 and bool((changed == changed.astype(numpy.float32)).all())
    return numpy.dtype("float32" if coarse else "float64")

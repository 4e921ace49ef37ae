"""Before any number is compared: does the function repeat itself, leave its inputs alone, and does its backward run at all?"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy

from minivgg.testing.gradients.report import Diagnosis
from minivgg.testing.gradients.subject import Arrays, Subject

PART = 1 << 20
"""Elements that are compared at a time."""

COARSE = 0.02
"""Relative difference of a float32 gradient from the float64 one that rounding, and a ReLU that it flips, may make."""


def examine(subject: Subject) -> tuple[list[Diagnosis], bool]:
    """The faults, and whether it makes sense to compare gradients in spite of them."""
    before = {**{label: leaf.copy() for label, leaf in subject.leaves.items()}, **{label: array.copy() for label, array in subject.constants.items()}}
    arrays = {**subject.leaves, **subject.constants}
    first, second = subject.outputs(), subject.outputs()
    changed = _changed(arrays, before)
    if changed:
        sentence = f"The forward pass changes {changed} in place: the caller's numbers are lost, and no difference can be taken."
        return [Diagnosis("input modified", changed, sentence, _change(arrays[changed], before[changed]))], _restore(arrays, before, False)
    if not all(_equal(a, b) for a, b in zip(first, second, strict=True)):
        return [_not_deterministic(first, second)], False
    vector = [numpy.asarray(numpy.random.default_rng(3).standard_normal(out.shape), out.dtype) for out in first]
    given = [part.copy() for part in vector]
    random_state = subject.randomness()
    try:
        (gradients,) = subject.gradients([vector])
    except Exception as error:
        return [_raised(subject, error)], _restore(arrays, before, False)
    drawn = not _same(random_state, subject.randomness())
    changed = _changed(arrays, before)
    if changed:
        sentence = f"The backward pass changes {changed} in place: whoever reads it afterwards gets other numbers."
        return [Diagnosis("input modified", changed, sentence, _change(arrays[changed], before[changed]))], _restore(arrays, before, False)
    for part, kept in zip(vector, given, strict=True):
        if not same_bits(part, kept):
            sentence = "The backward pass changes the upstream gradient in place, which other branches of the graph still need."
            return [Diagnosis("input modified", "grad_output", sentence, _change(part, kept))], False
    return _repeated(subject, given, gradients, drawn)


def _repeated(subject: Subject, vector: Arrays, gradients: list[Any], drawn: bool) -> tuple[list[Diagnosis], bool]:
    (again,) = subject.gradients([vector])
    differs = _first_difference(subject, gradients, again)
    del again
    if differs or drawn:
        label, evidence = differs or (None, "both gave the same gradients this time")
        if drawn:
            sentence = "Backward draws random numbers of its own. The mask of the forward pass must be saved and used again, not drawn a second time."
            return [
                Diagnosis(
                    "second mask drawn in backward",
                    label,
                    sentence,
                    f"the random stream stood elsewhere after backward than before; two backward passes: {evidence}",
                )
            ], False
        sentence = (
            "Two backward passes of the same forward pass give different gradients: memory "
            "that was not written, a random number, or state that is kept from call to call."
        )
        return [Diagnosis("backward not deterministic", label, sentence, evidence)], False
    (disturbed,) = subject.gradients([vector], disturbed=True)
    differs = _first_difference(subject, gradients, disturbed)
    if differs:
        label, evidence = differs
        sentence = "What backward needs is kept where a later call overwrites it (on the class, the module or a global) instead of being saved with this call."
        return [Diagnosis("state shared between calls", label, sentence, f"with one more forward pass at another point in between: {evidence}")], True
    return [], True


def _first_difference(subject: Subject, a: list[Any], b: list[Any]) -> tuple[str, str] | None:
    for label, one, other in zip(subject.leaves, a, b, strict=True):
        if (one is None) != (other is None) or (one is not None and not _equal(one, other)):
            where = (
                "one of them none"
                if one is None or other is None
                else f"{int((one != other).sum())} of {one.size} elements differ, by up to {float(numpy.nanmax(abs(one - other))):.3g}"
            )
            return label, f"of {label} {where}"
    return None


def _equal(a: numpy.ndarray, b: numpy.ndarray) -> bool:
    """nan is nan here; looking for it takes ten times as long, so it comes second."""
    return numpy.array_equal(a, b) or numpy.array_equal(a, b, equal_nan=True)


def _not_deterministic(first: Arrays, second: Arrays) -> Diagnosis:
    gap = max((float(numpy.nanmax(numpy.abs(a - b), initial=0.0)) for a, b in zip(first, second, strict=True) if a.shape == b.shape), default=0.0)
    sentence = "Two calls with the same inputs gave different results: it draws from a random stream of its own, or keeps state from call to call."
    return Diagnosis("forward not deterministic", None, sentence, f"the outputs differ by up to {gap:.3g}")


def _raised(subject: Subject, error: Exception) -> Diagnosis:
    """Backward did not get through; a gradient of a wider shape is the sum over a broadcast axis that is missing."""
    text = f"{type(error).__name__}: {error}"
    shapes = [tuple(int(size) for size in re.findall(r"\d+", found)) for found in re.findall(r"\(([\d, ]*)\)", str(error))]
    for wanted in shapes:
        for came in shapes:
            axes = _left_over(wanted, came)
            if axes:
                sentence = (
                    f"The gradient has shape {came}, its input {wanted}: each of its elements takes part in several outputs, "
                    f"so the gradient must be summed over axis {', '.join(map(str, axes))}."
                )
                return Diagnosis("missing sum over broadcast", None, sentence, text)
    return Diagnosis("backward raised", None, "The backward pass does not run through.", text)


def _left_over(wanted: tuple[int, ...], came: tuple[int, ...]) -> list[int]:
    """The axes of ``came`` to sum over for ``wanted``: those along which it is broadcast, or else those that it does not have.

    >>> _left_over((3,), (2, 3)), _left_over((2, 1), (2, 5)), _left_over((3,), (3, 4)), _left_over((3,), (2, 2))
    ([0], [1], [1], [])
    """
    extra = len(came) - len(wanted)
    if extra < 0 or came == wanted:
        return []
    axes = [axis for axis in range(len(came)) if axis < extra or wanted[axis - extra] != came[axis]]
    if all(axis < extra or wanted[axis - extra] == 1 for axis in axes):
        return axes
    kept = next((kept for kept in itertools.combinations(range(len(came)), len(wanted)) if tuple(came[axis] for axis in kept) == wanted), None)
    return [] if kept is None else [axis for axis in range(len(came)) if axis not in kept]


def _changed(arrays: dict[str, numpy.ndarray], before: dict[str, numpy.ndarray]) -> str | None:
    return next((label for label, array in arrays.items() if not same_bits(array, before[label])), None)


def same_bits(a: numpy.ndarray, b: numpy.ndarray) -> bool:
    """Also of nan and -0; by parts, so that large arrays take no memory for it."""
    parts = zip(_parts(a), _parts(b), strict=True)
    return a.shape == b.shape and all(one.tobytes() == other.tobytes() for one, other in parts)


def _parts(array: numpy.ndarray) -> Iterator[numpy.ndarray]:
    flat = array.reshape(-1)
    return (flat[i : i + PART] for i in range(0, flat.size, PART))


def _change(now: numpy.ndarray, before: numpy.ndarray) -> str:
    places = numpy.argwhere((now != before) & ~((now != now) & (before != before)))
    if not len(places):
        return "the bits differ"
    index = tuple(int(i) for i in places[0])
    return f"{len(places)} of {now.size} elements; the first, {index}, was {before[index]:.6g} and is {now[index]:.6g}"


def _restore(arrays: dict[str, numpy.ndarray], before: dict[str, numpy.ndarray], result: bool) -> bool:
    for label, array in arrays.items():
        array[...] = before[label]
    return result


def _same(a: Any, b: Any) -> bool:
    return all(numpy.array_equal(one, other) for one, other in zip(a, b, strict=True)) if isinstance(a, tuple) else bool(numpy.all(a == b))


def against_float64(subject: Subject, precise: Subject) -> list[Diagnosis]:
    """Whether the float32 gradients are those of float64, rounded."""
    rng = numpy.random.default_rng(0)
    here = subject.outputs()
    vector = [numpy.asarray(rng.standard_normal(out.shape), out.dtype) for out in here]
    try:
        (coarse,), (fine,) = subject.gradients([vector]), precise.gradients([[part.astype(numpy.float64) for part in vector]])
    except Exception:
        return []  # the examination of the float64 function says what is wrong
    found = []
    for label, one, other in zip(subject.leaves, coarse, fine, strict=True):
        if one is None or other is None or not numpy.isfinite(other).all():
            continue
        error = float(numpy.linalg.norm(one - other)) / max(float(numpy.linalg.norm(other)), 1e-30)
        if not error <= COARSE and float(numpy.linalg.norm(other)) > 1e-10:
            sentence = "In float32 backward gives another gradient than in float64, beyond rounding."
            found.append(Diagnosis("float32 too coarse", label, sentence, f"relative difference {error:.2g} in the norm; rounding makes about 1e-6"))
    return found

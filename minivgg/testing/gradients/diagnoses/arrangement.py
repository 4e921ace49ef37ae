"""The right numbers at the wrong places: flipped, transposed, height for width, shifted by one, in another order.

First it is tried whether the gradient itself is rearranged; then whether it would be right for a rearranged upstream gradient;
then whether it is the right gradient at another point, where another input (a filter) is rearranged.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike
from minivgg.testing.gradients.coordinates import letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.differences import central
from minivgg.testing.gradients.report import Diagnosis
from minivgg.testing.gradients.subject import Index

Change = Callable[[numpy.ndarray], numpy.ndarray]

AFFORDABLE = 2000
"""Function calls for one hypothesis about another input."""


def rearrangements(label: str, shape: Index) -> Iterator[tuple[str, str, Change]]:
    """(kind, words, change) for every simple rearrangement of an array of this shape; its leading axes beyond are left alone."""
    d = len(shape)
    letters = letters_of(label, shape)
    if d >= 2:
        both = "turned by 180 degrees (rows and columns reversed)"
        yield "flipped", both, lambda a: a[..., ::-1, ::-1]
        if shape[-1] == shape[-2]:
            if d == 2:
                yield "transposed", "transposed", lambda a: a.swapaxes(-1, -2)
            else:
                yield "swapped height and width", "with rows and columns exchanged", lambda a: a.swapaxes(-1, -2)
                yield "flipped", "reflected at the other diagonal", lambda a: a.swapaxes(-1, -2)[..., ::-1, ::-1]
    if d == 4 and shape[0] == shape[1]:
        yield "transposed", f"with {letters[0]} and {letters[1]} exchanged", lambda a: a.swapaxes(-4, -3)
        yield "transposed", f"with {letters[0]} and {letters[1]} exchanged and turned by 180 degrees", lambda a: a.swapaxes(-4, -3)[..., ::-1, ::-1]
    for axis in range(d):
        if shape[axis] > 1:
            back = axis - d
            yield "flipped", f"reversed along {letters[axis]}", functools.partial(numpy.flip, axis=back)
    for axis in range(d):
        if shape[axis] > 2:
            back = axis - d
            for step in (1, -1):
                yield "shifted", f"shifted by {step:+d} along {letters[axis]}", functools.partial(numpy.roll, shift=step, axis=back)
    if d >= 3 and min(shape[-2:]) > 2:
        for steps in itertools.product((1, -1), repeat=2):
            words = f"shifted by {steps[0]:+d} along {letters[-2]} and {steps[1]:+d} along {letters[-1]}"
            yield "shifted", words, functools.partial(numpy.roll, shift=steps, axis=(-2, -1))
    for axis in range(d):
        if shape[axis] > 2 and shape[axis] % 2 == 0:
            words = f"with the halves along {letters[axis]} exchanged"
            yield "permuted", words, functools.partial(numpy.roll, shift=shape[axis] // 2, axis=axis - d)
    if 3 <= d <= 4 and len(set(shape)) < d - 1:
        for axes in itertools.permutations(range(d)):
            if axes != tuple(range(d)) and tuple(shape[axis] for axis in axes) == tuple(shape):
                words = f"with its axes in the order {' '.join(letters[axis] for axis in axes)}"
                yield "transposed", words, functools.partial(_with_axes, axes=axes)


def _with_axes(a: numpy.ndarray, axes: tuple[int, ...]) -> numpy.ndarray:
    """The last axes of an array in another order."""
    ahead = a.ndim - len(axes)
    return a.transpose(*range(ahead), *(ahead + axis for axis in axes))


@rule
def result(case: Case, leaf: Leaf) -> Diagnosis | None:
    """The gradient itself is the right one, rearranged."""
    if not leaf.whole or leaf.array.size < 2:
        return None
    a, n = leaf.shaped(leaf.analytic[: case.random]), leaf.shaped(leaf.numeric[: case.random])
    for kind, words, change in rearrangements(leaf.label, leaf.array.shape):
        if change(n).shape == a.shape and (alike(a, change(n)) or (kind == "shifted" and _inside(a, change(n)))):
            numbers = (
                f"all {a.size} numbers agree with the differences once those are rearranged so; as "
                f"they are, the norm of the difference is {_distance(a, n):.2g} of the gradient's"
            )
            return Diagnosis(kind, leaf.label, f"The gradient is the right one, {words}.", numbers)
    for axis in range(leaf.array.ndim):
        order = _permutation(a, n, axis + 1)
        if order is not None:
            letter = letters_of(leaf.label, leaf.array.shape)[axis]
            sentence = (
                f"The gradient is the right one in another order along {letter}: what "
                f"belongs at {letter}=0, 1, ... stands at {', '.join(map(str, order[:12]))}."
            )
            return Diagnosis(
                "permuted", leaf.label, sentence, f"each of the {len(order)} slices along {letter} is found among the differences, at another place"
            )
    places = _scattered(a.reshape(len(a), -1), n.reshape(len(n), -1))
    if places is not None:
        moved = int(numpy.count_nonzero(places != numpy.arange(len(places))))
        sentence = f"The gradient is the right one with its elements in another order: {moved} of {len(places)} stand at another place."
        return Diagnosis("permuted", leaf.label, sentence, f"each of the {len(places)} numbers is found among the differences, for all upstream gradients")
    return None


def _scattered(a: numpy.ndarray, n: numpy.ndarray) -> numpy.ndarray | None:
    """Where each column of a stands in n, if each one stands somewhere and no two are alike."""
    by_a, by_n = numpy.lexsort(numpy.round(a[:1], 6)), numpy.lexsort(numpy.round(n[:1], 6))
    if not numpy.isfinite(a).all() or not alike(a[:, by_a], n[:, by_n]) or (numpy.diff(n[0, by_n]) <= 1e-5 * numpy.abs(n[0]).max()).any():
        return None
    order = numpy.empty(a.shape[1], int)
    order[by_a] = by_n
    return order


def _distance(a: numpy.ndarray, n: numpy.ndarray) -> float:
    return float(numpy.linalg.norm(a - n)) / max(float(numpy.linalg.norm(n)), 1e-300)


def _inside(a: numpy.ndarray, b: numpy.ndarray) -> bool:
    """Alike but for one border, where a shift brings something else in."""
    inner = tuple(slice(1, -1) if size > 4 else slice(None) for size in a.shape[1:])
    return any(part != slice(None) for part in inner) and alike(a[(slice(None), *inner)], b[(slice(None), *inner)])


def _permutation(a: numpy.ndarray, n: numpy.ndarray, axis: int) -> list[int] | None:
    size = a.shape[axis]
    if not 2 <= size <= 64:
        return None
    places = []
    for i in range(size):
        found = [j for j in range(size) if alike(numpy.take(n, i, axis), numpy.take(a, j, axis))]
        if len(found) != 1:
            return None
        places += found
    return places if sorted(places) == list(range(size)) and places != list(range(size)) else None


@rule
def upstream(case: Case, leaf: Leaf) -> Diagnosis | None:
    """The gradient is right for the upstream gradient rearranged, or summed over an axis."""
    if len(case.vectors[0]) != 1:
        return None
    (shape,) = case.output_shapes()
    a = leaf.analytic[: case.random]
    given = numpy.array([vector[0] for vector in case.vectors], numpy.float64)
    for kind, words, change in rearrangements("grad_output", shape):
        if change(given).shape == given.shape and alike(a, change(given).reshape(len(given), -1) @ leaf.columns):
            return Diagnosis(
                kind, leaf.label, f"The upstream gradient is used {words}.", f"with it rearranged so, differences give all {a.size} numbers that backward gives"
            )
    letters = letters_of("grad_output", shape)
    for axis, size in enumerate(shape):
        summed, first = given.sum(axis + 1, keepdims=True), numpy.take(given, [0], axis + 1)
        for words, reduced in (("summed", summed), ("averaged", summed / size), ("taken from the first index of all", first)):
            if size > 1 and alike(a, numpy.broadcast_to(reduced, given.shape).reshape(len(given), -1) @ leaf.columns):
                sentence = f"The upstream gradient is {words} over {letters[axis]} before it is used."
                return Diagnosis(
                    "upstream gradient reduced", leaf.label, sentence, f"with it {words} so, differences give all {a.size} numbers that backward gives"
                )
    return None


@rule
def other_input(case: Case, leaf: Leaf) -> Diagnosis | None:
    """The gradient is the right one at another point: where another input, such as the filters, is rearranged."""
    if 2 * len(leaf.indices) > AFFORDABLE:
        return None
    a = leaf.analytic[: case.random]
    for label, other in case.subject.leaves.items():
        if label == leaf.label or other.ndim < 2 or label.startswith("grad_output"):
            continue
        for kind, words, change in rearrangements(label, other.shape):
            if kind == "shifted" or change(other).shape != other.shape:
                continue
            if alike(a, _elsewhere(case, leaf, {label: change})):
                return Diagnosis(
                    kind,
                    leaf.label,
                    f"Backward uses {label} {words}.",
                    f"at the point where {label} is {words}, differences give all {a.size} numbers that backward gives here",
                )
    return None


@rule
def everything_swapped(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Backward takes rows for columns throughout: the stride, padding or kernel size of one for the other."""
    outputs = case.output_shapes()
    maps = [label for label, array in case.subject.leaves.items() if array.ndim >= 2 and array.shape[-1] == array.shape[-2]]
    if leaf.label not in maps or len(outputs) != 1 or outputs[0][-1:] != outputs[0][-2:-1] or 2 * len(leaf.indices) > AFFORDABLE or not leaf.whole:
        return None
    swapped = [[part.swapaxes(-1, -2) for part in vector] for vector in case.vectors]
    expected = leaf.shaped(_elsewhere(case, leaf, {label: lambda a: a.swapaxes(-1, -2) for label in maps}, swapped)).swapaxes(-1, -2)
    if not alike(leaf.shaped(leaf.analytic[: case.random]), expected):
        return None
    if leaf.array.ndim == 2:
        sentence = "The gradient is the transpose of what it is for transposed inputs: the factors of a product stand in the other order."
        return Diagnosis("transposed", leaf.label, sentence, "with every matrix transposed, differences give the transpose of what backward gives here")
    sentence = (
        "Backward takes height for width: an argument that differs between rows and "
        "columns (stride, padding, dilation, kernel size) is used the wrong way round."
    )
    return Diagnosis(
        "swapped height and width", leaf.label, sentence, "with rows and columns exchanged in every map, differences give what backward gives here"
    )


def _elsewhere(case: Case, leaf: Leaf, changes: dict[str, Change], vectors: list[list[numpy.ndarray]] | None = None) -> numpy.ndarray:
    """Differences at the point where these inputs are rearranged: rows for the random upstream gradients."""
    weights = numpy.array([numpy.concatenate([part.ravel() for part in vector]) for vector in vectors or case.vectors], numpy.float64)
    before = {label: case.subject.leaves[label].copy() for label in changes}
    try:
        for label, change in changes.items():
            case.subject.leaves[label][...] = change(before[label])
        return numpy.array([weights @ central(case.subject, leaf.label, index, 1e-6) for index in leaf.indices]).T
    finally:
        for label, array in before.items():
            case.subject.leaves[label][...] = array

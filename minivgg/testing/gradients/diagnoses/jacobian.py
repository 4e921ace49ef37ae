"""The whole Jacobian: its rows rearranged, contributions lost, what each output sends arriving elsewhere.

A row is what one output element sends back to this input, so these rules know which output a mistake belongs to.
"""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike
from minivgg.testing.gradients.coordinates import describe, letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis

SAME = 1e-5
"""Difference of two elements of the Jacobian, relative to the largest, up to which they count as the same."""


def _close(a: numpy.ndarray, n: numpy.ndarray) -> numpy.ndarray:
    return numpy.abs(a - n) <= SAME * max(float(numpy.abs(n).max(initial=0.0)), 1e-12)


@rule
def parts(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Of several outputs (the gradients by several inputs, in a second derivative), one sends back too much, too little or nothing."""
    shapes = case.output_shapes()
    if len(shapes) < 2:
        return None
    stops = numpy.cumsum([int(numpy.prod(shape)) for shape in shapes])
    pieces = []
    for vector in case.vectors:
        flat = [part.ravel().astype(numpy.float64) for part in vector]
        pieces.append([weights @ leaf.columns[stop - len(weights) : stop] for weights, stop in zip(flat, stops, strict=True)])
    parts = numpy.array(pieces)  # [upstream, output, index]
    sends = [k for k in range(len(shapes)) if numpy.abs(parts[:, k]).max() > 1e-9]
    if len(sends) < 2:
        return None
    basis = parts[:, sends].transpose(0, 2, 1).reshape(-1, len(sends))
    a = leaf.analytic[: case.random].reshape(-1)
    factors = numpy.linalg.lstsq(basis, a, rcond=None)[0]
    if not alike(basis @ factors, a):
        return None
    listed = ", ".join(f"{factor:.4g} of output {k}" for factor, k in zip(factors, sends, strict=True))
    off = [(factor, k) for factor, k in zip(factors, sends, strict=True) if abs(factor - 1) > 1e-3]
    nothing = [str(k) for factor, k in off if abs(factor) < 1e-6]
    second = " (in a second derivative, the outputs are the gradients by the inputs, in their order)" if case.order == 2 else ""
    if nothing:
        sentence = f"What comes back from output {', '.join(nothing)} is missing{second}; what comes from the others is right."
        return Diagnosis("missing term", leaf.label, sentence, f"the gradient is made of {listed}, exactly")
    sentence = f"What comes back from output {', '.join(str(k) for _, k in off)} has the wrong scale{second}."
    return Diagnosis("missing scale", leaf.label, sentence, f"the gradient is made of {listed}, exactly")


@rule
def through_others(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Each output depends on its own input element and, through a sum, on others: these are missing, or have one wrong factor."""
    rows = leaf.rows(case)
    if rows is None or not leaf.whole or case.output_shapes() != [leaf.array.shape] or leaf.array.size < 3:
        return None
    a, n = rows
    others = ~numpy.eye(len(a), dtype=bool)
    if numpy.abs(n[others]).max() <= 1e-9:
        return None
    factor = float((a[others] * n[others]).sum() / (n[others] ** 2).sum())
    if abs(factor - 1) < 1e-3 or not (numpy.abs(a[others]).max() <= 1e-9 or alike(a[others], factor * n[others])):
        return None
    much = "nothing" if abs(factor) < 1e-9 else f"{factor:.4g} times what it should"
    sentence = f"A term is missing: through a sum (a mean, a norm) each output depends on other elements, too, and from these comes back {much}."
    numbers = f"{int((numpy.abs(n[others]) > 1e-9).sum())} elements of the Jacobian beside its diagonal are not 0"
    return Diagnosis("missing term", leaf.label, sentence, numbers)


@rule
def lost(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Every element of the Jacobian is right or 0, and some are 0 that should not be."""
    rows = leaf.rows(case)
    if rows is None or len(rows[0]) < 2:
        return None
    a, n = rows
    right, gone = _close(a, n), ~_close(n, 0 * n) & _close(a, 0 * n)
    if not (right | gone).all() or not gone.any() or not a.any():
        return None
    outputs = (gone | _close(n, 0 * n)).all(axis=1) & gone.any(axis=1)
    needed = ~_close(n, 0 * n)
    counts = f"of {int(needed.sum())} elements of the Jacobian that are not 0, backward has {int((right & needed).sum())}, and those are right"
    shapes = case.output_shapes()
    kept_of_each = (right & ~_close(n, 0 * n)).sum(axis=0)[gone.any(axis=0)]
    if (kept_of_each == 1).all() and len(kept_of_each) < leaf.array.size:
        sentence = "Of the outputs that come back to one element, only one is kept: it is assigned where it must be added up (= in place of +=)."
        return Diagnosis("overwritten instead of added", leaf.label, sentence, counts)
    if (gone.any(axis=1) == outputs).all() and len(shapes) == 1 and shapes[0]:
        kept = ~outputs.reshape(shapes[0])
        last = []
        for axis, size in enumerate(shapes[0]):
            others = tuple(other for other in range(kept.ndim) if other != axis)
            if size > 1 and numpy.flatnonzero(kept.any(axis=others)).tolist() in ([size - 1], [0]):
                last.append(axis)
        if last and kept.sum() * numpy.prod([shapes[0][axis] for axis in last]) == kept.size:
            where = describe("grad_output", kept)
            sentence = f"Only what comes back from the output {where} is kept: it is assigned where it must be added up (= in place of +=)."
            return Diagnosis("overwritten instead of added", leaf.label, sentence, counts)
        sentence = f"What comes back from the output {describe('grad_output', ~kept)} is left out of this gradient; from the others it is right."
        return Diagnosis("elements left out", leaf.label, sentence, counts)
    sentence = "Where several outputs come back to one element, only a part of them is kept: it is assigned where it must be added up (= in place of +=)."
    return Diagnosis("overwritten instead of added", leaf.label, sentence, counts)


@rule
def permuted_outputs(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Right for the upstream gradient with its slices along an axis in another order."""
    rows = leaf.rows(case)
    shapes = case.output_shapes()
    if rows is None or len(shapes) != 1:
        return None
    (shape,) = shapes
    a, n = (part.reshape(*shape, -1) for part in rows)
    for axis, size in enumerate(shape):
        if not 3 <= size <= 64:
            continue
        left, right = numpy.moveaxis(a, axis, 0), numpy.moveaxis(n, axis, 0)
        order = [next((j for j in range(size) if alike(left[i], right[j])), None) for i in range(size)]
        if sorted(-1 if j is None else j for j in order) == list(range(size)) and order != list(range(size)):
            letter = letters_of("grad_output", shape)[axis]
            sentence = (
                f"The upstream gradient is used in another order along {letter}: what belongs to {letter}=0, 1, ... is taken for {', '.join(map(str, order))}."
            )
            return Diagnosis("permuted", leaf.label, sentence, f"each of the {size} slices of the Jacobian along {letter} is found, at another place")
    return None


@rule
def other_places(case: Case, leaf: Leaf) -> Diagnosis | None:
    """What each output sends back are the right numbers, at other elements."""
    rows = leaf.rows(case)
    if rows is None or not leaf.whole or leaf.array.size < 3 or len(rows[0]) < 2:
        return None
    a, n = rows
    moved = ~_close(a, n).all(axis=1)
    if not moved.any():
        return None
    if not _close(numpy.sort(a, axis=1), numpy.sort(n, axis=1)).all():
        if not _close(numpy.sort(a, axis=0), numpy.sort(n, axis=0)).all():
            return None
        sentence = "Each element gets the right numbers from other outputs than those that it went to: an index is wrong."
        return Diagnosis("other elements", leaf.label, sentence, "the columns of the Jacobian hold the right numbers at other places")
    counts = f"the rows of the Jacobian hold the right numbers, {int(moved.sum())} of {len(a)} of them at other places"
    if leaf.array.ndim >= 2 and moved.sum() >= 2:
        positions = numpy.array([sum(index[-2:]) for index in leaf.indices])
        along = [_places(row, n.max(), positions) for row in (*a[moved], *n[moved])]
        if along[: len(along) // 2] == along[len(along) // 2 :]:
            sentence = "Each number arrives mirrored at a diagonal, row plus column being right: row and column within the window are exchanged."
            return Diagnosis("swapped height and width", leaf.label, sentence, counts)
    sentence = "What each output sends back arrives at another element than the one that it came from: an index is wrong."
    return Diagnosis("other elements", leaf.label, sentence, counts)


def _places(row: numpy.ndarray, scale: float, positions: numpy.ndarray) -> list[int]:
    return sorted(positions[numpy.abs(row) > SAME * scale].tolist())


@rule
def transposed(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Of an input and an output of one shape: the Jacobian where its transpose belongs, or at least in the transpose's pattern."""
    rows = leaf.rows(case)
    if rows is None or not leaf.whole or case.output_shapes() != [leaf.array.shape]:
        return None
    a, n = rows
    if (not alike(a, n)) and alike(a, n.T):
        return Diagnosis("transposed", leaf.label, "Backward applies the Jacobian, not its transpose.", f"all {a.size} elements are those of the transpose")
    used, needed = ~_close(a, 0 * a), ~_close(n, 0 * n)
    if (used != needed).any() and (used == needed.T).all():
        sentence = "Backward looks the wrong way: it adds up over those that an element depends on, not over those that depend on it."
        numbers = f"{int(used.sum())} elements of the Jacobian are not 0, exactly where those of its transpose are not"
        return Diagnosis("transposed", leaf.label, sentence, numbers)
    return None

"""Right where it arrives, but it does not arrive everywhere: a sum over a broadcast axis, rows that a stride leaves over."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike, gradient_for
from minivgg.testing.gradients.coordinates import describe, letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def uncovered(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Where it is wrong, the gradient is 0 though it should not be, or not 0 though nothing depends on these elements."""
    if leaf.wrong.all() or not leaf.analytic.any() or not leaf.numeric.any():
        return None
    n, a = leaf.numeric[:, leaf.wrong], leaf.analytic[:, leaf.wrong]
    where = numpy.zeros(leaf.array.shape, bool)
    for j in numpy.flatnonzero(leaf.wrong).tolist():
        where[leaf.indices[j]] = True
    words = describe(leaf.label, where) if leaf.whole else f"at {int(leaf.wrong.sum())} of {len(leaf.indices)} sampled elements"
    rows = leaf.array.ndim >= 3 and any(letter in words for letter in ("h=", "w=", "r=", "s=", "p=", "q="))
    if not numpy.abs(n).max() > 1e-9:
        kind = "rows that a stride leaves uncovered" if rows else "unfounded gradient"
        sentence = (
            f"{_capital(words)} nothing depends on the input, and the gradient must be 0; "
            "backward leaves something there (memory that was not cleared, or a wrong range)."
        )
        return Diagnosis(kind, leaf.label, sentence, f"differences are 0 there, backward gives up to {float(numpy.abs(a).max()):.6g}")
    if not a.any():
        kind = "rows left out" if rows else "elements left out"
        sentence = f"{_capital(words)} no gradient arrives, though the function depends on these elements; elsewhere it is right."
        return Diagnosis(kind, leaf.label, sentence, f"backward gives 0 there, differences reach {float(numpy.abs(n).max()):.6g}")
    return None


@rule
def broadcast(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Only one index of an axis of the output reaches the gradient."""
    if len(case.vectors[0]) != 1:
        return None
    (shape,) = case.output_shapes()
    letters = letters_of("grad_output", shape)
    for axis, size in enumerate(shape):
        if size < 2:
            continue
        for kept in (0, size - 1):
            only = numpy.zeros(size)
            only[kept] = 1
            mask = only.reshape([-1 if other == axis else 1 for other in range(len(shape))])
            vectors = [[(vector[0] * mask).astype(vector[0].dtype)] for vector in case.vectors]
            flat = numpy.array([vector[0].ravel() for vector in vectors], numpy.float64)
            if alike(gradient_for(case, leaf, vectors), leaf.analytic[: case.random], 1e-9) and alike(leaf.analytic[: case.random], flat @ leaf.columns):
                sentence = (
                    f"Of the output only {letters[axis]}={kept} reaches this gradient: it was "
                    f"used at every {letters[axis]}, so its gradient is the sum over that axis."
                )
                numbers = f"with the upstream gradient set to 0 at every other {letters[axis]}, backward gives the same {leaf.analytic[0].size} numbers"
                return Diagnosis("missing sum over broadcast", leaf.label, sentence, numbers)
    return None


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]

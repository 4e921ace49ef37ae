"""No pattern in the numbers: then at least where they are wrong."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf
from minivgg.testing.gradients.coordinates import describe, name_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.diagnoses.jacobian import SAME
from minivgg.testing.gradients.report import Diagnosis

VARIED = 5
"""Different numbers that a Jacobian must hold for a number found in it to say anything."""


@rule
def right_elsewhere(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Every wrong number of the Jacobian is a right one of other places: not the formula is wrong, but what it reads or where it writes."""
    rows = leaf.rows(case)
    if rows is None:
        return None
    a, n = rows
    accuracy = SAME * float(numpy.abs(n).max(initial=0.0))
    moved = a[(numpy.abs(a - n) > accuracy) & (numpy.abs(a) > accuracy)]
    known = numpy.sort(n[numpy.abs(n) > accuracy])
    if len(_distinct(known, accuracy)) < VARIED or len(_distinct(numpy.sort(moved), accuracy)) < 2:
        return None
    after = numpy.searchsorted(known, moved).clip(1, len(known) - 1)
    if not (numpy.minimum(numpy.abs(known[after] - moved), numpy.abs(known[after - 1] - moved)) <= accuracy).all():
        return None
    sentence = "The formula is right, but reads or writes other elements than forward does: an index, an offset, a stride, a dilation or a group is wrong."
    numbers = f"each of {len(moved)} wrong elements of the Jacobian that are not 0 is the right one of another place"
    return Diagnosis("other elements", leaf.label, sentence, numbers)


def _distinct(ordered: numpy.ndarray, accuracy: float) -> numpy.ndarray:
    return ordered[numpy.diff(ordered, prepend=-numpy.inf) > accuracy]


@rule
def only_some(case: Case, leaf: Leaf) -> Diagnosis | None:
    if leaf.wrong.all() or not leaf.whole:
        return None
    where = numpy.zeros(leaf.array.shape, bool)
    for j in numpy.flatnonzero(leaf.wrong).tolist():
        where[leaf.indices[j]] = True
    words = describe(leaf.label, where)
    kind = "wrong at the border" if _at_border(where) else "wrong at some elements"
    sentence = f"The gradient is wrong {words}, and right elsewhere" + (": how the border or the padding is treated." if kind.endswith("border") else ".")
    j = int(numpy.flatnonzero(leaf.wrong)[0])
    numbers = f"at {name_of(leaf.label, leaf.indices[j], leaf.array.shape)} backward gives {leaf.analytic[0, j]:.6g}, differences {leaf.numeric[0, j]:.6g}"
    return Diagnosis(kind, leaf.label, sentence, f"{int(leaf.wrong.sum())} of {len(leaf.indices)} elements; {numbers}")


def _at_border(where: numpy.ndarray) -> bool:
    if where.ndim < 3 or min(where.shape[-2:]) < 3:
        return False
    return not where[..., 1:-1, 1:-1].any()


@rule
def unexplained(case: Case, leaf: Leaf) -> Diagnosis:
    j = int(numpy.flatnonzero(leaf.wrong)[0])
    a, n = leaf.analytic[: case.random], leaf.numeric[: case.random]
    with numpy.errstate(all="ignore"):
        cosine = float((a * n).sum() / (numpy.linalg.norm(a) * numpy.linalg.norm(n)))
    sentence = "The gradient is wrong, in no way that a rule here knows."
    numbers = (
        f"at {name_of(leaf.label, leaf.indices[j], leaf.array.shape)} backward gives {a[0, j]:.6g}, "
        f"differences {n[0, j]:.6g}; the angle between both has the cosine {cosine:.4g}"
    )
    return Diagnosis("unexplained", leaf.label, sentence, numbers)

"""Masks forgotten or turned round. What shows them is where gradients are 0."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike, upstream_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


def zero_patterns(case: Case, leaf: Leaf) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The elements whose gradient is 0 for every random upstream gradient: by backward, and by differences."""
    return (numpy.abs(leaf.analytic[: case.random]) <= 1e-9).all(axis=0), (numpy.abs(leaf.numeric[: case.random]) <= 1e-9).all(axis=0)


@rule
def missing_mask(case: Case, leaf: Leaf) -> Diagnosis | None:
    """An elementwise function passes nothing at some elements, backward hands the upstream gradient on there."""
    given = upstream_of(case, leaf)
    wrong = leaf.wrong
    if given is None or wrong.all() or numpy.abs(leaf.numeric[:, wrong]).max(initial=0.0) > 1e-9 or not leaf.numeric.any():
        return None
    a, v = leaf.analytic[: case.random, wrong], given[:, wrong]
    with numpy.errstate(all="ignore"):
        factors = (a * v).sum(axis=0) / (v * v).sum(axis=0)
    if not alike(a, factors * v, 1e-6):
        return None
    sentence = f"Backward lacks the mask: at {int(wrong.sum())} of {wrong.size} elements nothing passes forward, and the upstream gradient is handed on there."
    numbers = (
        f"differences are 0 there, backward gives {float(factors.min()):.4g} to {float(factors.max()):.4g} times the upstream gradient; elsewhere it is right"
    )
    return Diagnosis("missing factor", leaf.label, sentence, numbers)


@rule
def inverted_mask(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Zero exactly where it must not be, and not where it must."""
    zero_a, zero_n = zero_patterns(case, leaf)
    if not zero_a.any() or zero_a.all() or not (zero_a == ~zero_n).all():
        return None
    exchanged = [other for other in case.leaves.values() if other.array.shape == leaf.array.shape and alike(other.analytic, leaf.numeric)]
    if any(alike(leaf.analytic, other.numeric) for other in exchanged):
        return None  # two inputs got each other's gradients
    sentence = "The gradient passes exactly where it must not, and is 0 everywhere else: the mask, or the comparison that makes it, is turned round."
    counts = f"{int(zero_n.sum())} elements whose gradient must be 0 get one; the other {int(zero_a.sum())} get none"
    return Diagnosis("inverted mask", leaf.label, sentence, counts)

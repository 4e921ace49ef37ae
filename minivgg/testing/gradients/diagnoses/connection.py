"""Gradients that do not arrive, that do not depend on what comes in, or that arrive at another input."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike, gradient_for
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def no_gradient(case: Case, leaf: Leaf) -> Diagnosis | None:
    if leaf.analytic.any():
        return None
    came = "0 everywhere" if leaf.connected else "nothing at all"
    sentence = "The function depends on this input, but no gradient arrives."
    if case.order == 2:
        sentence = "The second derivative does not arrive: backward computes outside the graph (on arrays, on detached tensors or on saved constants)."
    return Diagnosis("no gradient", leaf.label, sentence, f"backward gives {came}; differences reach {float(numpy.abs(leaf.numeric).max()):.6g}")


@rule
def no_dependence(case: Case, leaf: Leaf) -> Diagnosis | None:
    if leaf.numeric.any():
        return None
    sentence = "The function does not depend on this input at all, yet a gradient arrives."
    return Diagnosis(
        "unfounded gradient", leaf.label, sentence, f"differences are 0 everywhere; backward gives up to {float(numpy.abs(leaf.analytic).max()):.6g}"
    )


@rule
def upstream_ignored(case: Case, leaf: Leaf) -> Diagnosis | None:
    first, second = leaf.analytic[0], leaf.analytic[1]
    if not numpy.array_equal(first, second):
        return None
    sentence = "The gradient is the same whatever comes in from above: backward does not multiply by the upstream gradient."
    return Diagnosis(
        "upstream gradient ignored", leaf.label, sentence, f"two random upstream gradients give the same {len(first)} numbers, the first {first[0]:.6g}"
    )


@rule
def not_linear(case: Case, leaf: Leaf) -> Diagnosis | None:
    first, second = case.vectors[:2]
    twice = [[2 * part for part in first], [a + b for a, b in zip(first, second, strict=True)]]
    doubled, added = gradient_for(case, leaf, twice)
    g, h = leaf.analytic[0], leaf.analytic[1]
    if alike(doubled, 2 * g, 1e-6) and alike(added, g + h, 1e-6):
        return None
    size = float(numpy.linalg.norm(doubled)) / max(float(numpy.linalg.norm(g)), 1e-300)
    sentence = "Backward is not linear in the upstream gradient: it squares it, takes its sign or its maximum, or adds something of its own."
    return Diagnosis(
        "not linear in the upstream gradient",
        leaf.label,
        sentence,
        f"twice the upstream gradient gives {size:.4g} times the gradient (norms); "
        f"the gradient of a sum is {'' if alike(added, g + h, 1e-6) else 'not '}the sum of the gradients",
    )


@rule
def swapped_inputs(case: Case, leaf: Leaf) -> Diagnosis | None:
    """What arrives here belongs to another input of the same shape."""
    n = case.random
    for other in case.leaves.values():
        if (
            other is not leaf
            and other.array.shape == leaf.array.shape
            and alike(leaf.analytic[:n], other.numeric[:n])
            and not alike(leaf.numeric[:n], other.numeric[:n])
            and not alike(leaf.analytic[:n], -leaf.numeric[:n])
        ):
            back = " and the other way round" if alike(other.analytic[:n], leaf.numeric[:n]) else ""
            sentence = f"This is the gradient of {other.label}: backward returns its gradients in another order than forward takes its inputs."
            return Diagnosis("gradients swapped", leaf.label, sentence, f"all {leaf.analytic[:n].size} numbers are those of {other.label}{back}")
    return None
